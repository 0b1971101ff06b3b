//! Who a row or an exception allows: `group:`, `user:`, `service:`, `authenticated`, `anyone`.
use crate::condition::Holds;
use crate::draft::Located;
use crate::facts::{Fact, Facts};
use crate::identity::{Identity, Name};
use crate::problems::{Problems, nearest};
use crate::spiffe::SpiffeId;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Subjects {
    anyone: bool,
    authenticated: bool,
    users: Box<[Name]>,
    groups: Box<[Name]>,
    services: Box<[SpiffeId]>,
    /// As the file has them.
    texts: Box<[Name]>,
}

enum Subject {
    Anyone,
    Authenticated,
    User(Name),
    Group(Name),
    Service(SpiffeId),
}

impl Subjects {
    pub(crate) fn check(drafts: &[Located<String>], problems: &mut Problems) -> Self {
        let (mut users, mut groups, mut services) = (Vec::new(), Vec::new(), Vec::new());
        let mut out = Self::default();
        for (index, draft) in drafts.iter().enumerate() {
            if let Some(first) = drafts.iter().take(index).find(|other| other.value == draft.value) {
                let first = problems.on_line(first.line, draft.line);
                problems.add(
                    draft.line,
                    format!("`{}` stands twice in `allow` (first on {first})", draft.value),
                    "remove one of them",
                );
            }
            match parse(draft, problems) {
                Some(Subject::Anyone) => out.anyone = true,
                Some(Subject::Authenticated) => out.authenticated = true,
                Some(Subject::User(name)) => users.push(name),
                Some(Subject::Group(name)) => groups.push(name),
                Some(Subject::Service(id)) => services.push(id),
                None => {}
            }
        }
        users.sort_unstable();
        services.sort_unstable();
        out.users = users.into();
        out.groups = groups.into();
        out.services = services.into();
        out.texts = drafts.iter().map(|draft| draft.value.as_str().into()).collect();
        out
    }

    /// Whether who sent the request is among them. `anyone` matters only in `anonymous` cells, which ask nobody.
    pub(crate) fn contain(&self, facts: &Facts<'_>) -> Holds {
        let named = match &facts.identity {
            Identity::Anonymous => return Holds::Pending,
            Identity::User(user) => self.users.binary_search(&user.name).is_ok(),
            Identity::Service(service) => self.services.binary_search(&service.id).is_ok(),
        };
        if named || self.authenticated {
            return Holds::Yes;
        }
        match &facts.groups {
            _ if self.groups.is_empty() => Holds::No,
            Fact::Known(groups) => self.groups.iter().any(|group| groups.contains(group)).into(),
            Fact::Unknown(why) => Holds::Unknown(*why),
        }
    }

    pub(crate) fn anyone(&self) -> bool {
        self.anyone
    }

    pub(crate) fn only_anyone(&self) -> bool {
        self.anyone && self.texts.len() == 1
    }

    pub(crate) fn groups(&self) -> &[Name] {
        &self.groups
    }

    /// Every name it keeps.
    pub(crate) fn names_mut(&mut self) -> impl Iterator<Item = &mut Name> {
        self.users.iter_mut().chain(&mut self.groups).chain(&mut self.texts)
    }

    pub(crate) fn texts(&self) -> &[Name] {
        &self.texts
    }
}

fn parse(draft: &Located<String>, problems: &mut Problems) -> Option<Subject> {
    let text = draft.value.as_str();
    match text {
        "anyone" => return Some(Subject::Anyone),
        "authenticated" => return Some(Subject::Authenticated),
        _ => {}
    }
    let Some((kind, name)) = text.split_once(':') else {
        problems.add(draft.line, format!("`{text}` in `allow` does not say what it is"), bare_hint(text));
        return None;
    };
    let located = Located { value: name.to_owned(), line: draft.line };
    match kind {
        "user" | "group" => {
            problems.name(kind, &located);
            let name = Name::from(name);
            Some(if kind == "user" { Subject::User(name) } else { Subject::Group(name) })
        }
        "service" => match SpiffeId::parse(name) {
            Ok(id) => Some(Subject::Service(id)),
            Err(why) => {
                problems.add(
                    draft.line,
                    format!("`{name}` is not a SPIFFE ID: {why}"),
                    "write `service:spiffe://trust-domain/path`",
                );
                None
            }
        },
        _ => {
            let hint = match nearest(kind, ["user", "group", "service"].into_iter()) {
                Some(near) => format!("did you mean `{near}:{name}`?"),
                None if kind == "spiffe" => format!("did you mean `service:{text}`?"),
                None => "write `group:NAME`, `user:NAME`, `service:SPIFFE-ID`, `authenticated` or `anyone`".to_owned(),
            };
            problems.add(draft.line, format!("`{text}` in `allow` begins with an unknown word `{kind}`"), hint);
            None
        }
    }
}

fn bare_hint(text: &str) -> String {
    match nearest(text, ["anyone", "authenticated"].into_iter()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if matches!(text, "everyone" | "everybody" | "all" | "*") => {
            "write `authenticated` for everybody who signs in; `anyone` is for `anonymous` cells".to_owned()
        }
        None => format!("did you mean `group:{text}` or `user:{text}`?"),
    }
}
