//! What of Headscale's policy can stand in ours: its hosts as named networks, its groups as the people they name, its
//! tags. Text for people to read and keep in Git; nothing of it is a fact, and nothing follows the policy by itself.
//!
//! Reads huJSON as strictly as Headscale does, and says of each mistake in which line it is.
use super::api::User;
use super::policy::{alias_is_of, json_of, network};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::path::Path;
use torhaus_authz::Name;
use torhaus_config::Mistake;

/// As it is typed. Rules and all else belong to the mesh and are passed over.
#[derive(Deserialize)]
struct Typed {
    #[serde(default)]
    groups: Pairs<Vec<String>>,
    #[serde(default)]
    hosts: Pairs<String>,
    #[serde(default, rename = "tagOwners")]
    tag_owners: Pairs<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Import {
    pub networks: BTreeMap<String, IpNet>,
    /// As Headscale names their members: `alice@`.
    pub groups: BTreeMap<String, Vec<String>>,
    pub tags: BTreeSet<String>,
}

impl Import {
    /// # Errors
    /// Every mistake, each with its line.
    pub fn read(file: &Path, text: &str) -> Result<Self, Vec<Mistake>> {
        // Every character keeps its place.
        let json = json_of(text);
        let typed: Typed = serde_json::from_str(&json).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default().to_owned();
            let hint = "huJSON is JSON with `//` and `/* */` comments and commas before a closing bracket";
            vec![mistake(file, error.line(), error.column(), "", message, hint)]
        })?;
        let mut reader = Reader { file, json: &json, mistakes: Vec::new() };
        let import = Self {
            networks: reader.hosts(typed.hosts.0),
            groups: reader.groups(typed.groups.0),
            tags: reader.tags(typed.tag_owners.0.into_iter().map(|(tag, _)| tag)),
        };
        match reader.mistakes.is_empty() {
            true => Ok(import),
            false => Err(reader.mistakes),
        }
    }

    /// YAML: a block for torhaus.yaml, and in comments what rows of the policy may say. `name` is who a user of the mesh
    /// is in our policy.
    pub fn yaml(&self, users: &[User], name: impl Fn(&User) -> Option<Name>) -> String {
        let mut out = String::new();
        // Quoted as JSON, so nothing of another system breaks out of its line.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let line = |out: &mut String, text: &str| {
            let _ = writeln!(out, "{text}");
        };
        line(&mut out, "# torhaus.yaml: hosts of Headscale's policy, for conditions like `networks: [NAME]`");
        if self.networks.is_empty() {
            line(&mut out, "# (there are none)");
        } else {
            line(&mut out, "lookups:\n  geoip:\n    named_networks:");
            for (name, network) in &self.networks {
                line(&mut out, &format!("      {}: {{ networks: [\"{network}\"] }}", quoted(name)));
            }
        }
        line(&mut out, "\n# policy.yaml: people of its groups, for `allow` and for conditions like `users: [NAME]`");
        for (group, members) in &self.groups {
            let (mut known, mut unknown) = (BTreeSet::new(), Vec::new());
            for member in members {
                let mut own = users.iter().filter(|user| alias_is_of(member, user));
                match (own.next(), own.next()) {
                    (Some(user), None) => match name(user) {
                        Some(name) => drop(known.insert(quoted(&format!("user:{name}")))),
                        None => unknown.push(quoted(member)),
                    },
                    _ => unknown.push(quoted(member)),
                }
            }
            let known: Vec<String> = known.into_iter().collect();
            line(&mut out, &format!("# {}: allow: [{}]", quoted(group), known.join(", ")));
            if !unknown.is_empty() {
                line(&mut out, &format!("#   not one user of the mesh: {}", unknown.join(", ")));
            }
        }
        line(&mut out, "\n# policy.yaml: tags of its devices, for conditions like `device: { tags: [TAG] }`");
        for tag in &self.tags {
            line(&mut out, &format!("# {}", quoted(tag)));
        }
        out
    }
}

struct Reader<'a> {
    file: &'a Path,
    json: &'a str,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn hosts(&mut self, typed: Vec<(String, String)>) -> BTreeMap<String, IpNet> {
        let mut found = BTreeMap::new();
        for (name, text) in typed {
            if name.is_empty() || name.contains([':', '@']) {
                self.wrong(
                    "hosts",
                    &name,
                    format!("`{name}` is not the name of a host"),
                    "a name has no `:` and no `@`",
                );
            }
            match network(&text) {
                None => {
                    let message = format!("`{text}` is neither an address nor a network");
                    self.wrong("hosts", &name, message, "write `10.0.0.5` or `10.0.0.0/24`");
                }
                Some(network) => {
                    if found.insert(name.clone(), network.trunc()).is_some() {
                        self.twice("hosts", &name);
                    }
                }
            }
        }
        found
    }

    fn groups(&mut self, typed: Vec<(String, Vec<String>)>) -> BTreeMap<String, Vec<String>> {
        let mut found = BTreeMap::new();
        for (name, members) in typed {
            if name.strip_prefix("group:").is_none_or(str::is_empty) {
                self.wrong("groups", &name, format!("`{name}` is not the name of a group"), "write `group:NAME`");
            }
            for member in members.iter().filter(|member| !member.contains('@')) {
                let hint = match member.starts_with("group:") {
                    true => "a group of Headscale's has no groups in it: name the people".to_owned(),
                    false => format!("write `{member}@`, or an e-mail address"),
                };
                self.wrong("groups", &name, format!("`{member}` in `{name}` is not a user"), &hint);
            }
            if found.insert(name.clone(), members).is_some() {
                self.twice("groups", &name);
            }
        }
        found
    }

    fn tags(&mut self, typed: impl Iterator<Item = String>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for name in typed {
            if name.strip_prefix("tag:").is_none_or(str::is_empty) {
                self.wrong("tagOwners", &name, format!("`{name}` is not a tag"), "write `tag:NAME`");
            }
            if !found.insert(name.clone()) {
                self.twice("tagOwners", &name);
            }
        }
        found
    }

    fn twice(&mut self, block: &str, key: &str) {
        self.wrong(block, key, format!("`{key}` stands there twice"), "keep one of them");
    }

    fn wrong(&mut self, block: &str, key: &str, message: String, hint: &str) {
        let (line, column) = self.place(block, key);
        self.mistakes.push(mistake(self.file, line, column, &format!("{block}.{key}"), message, hint));
    }

    /// Where a key of a block stands last.
    fn place(&self, block: &str, key: &str) -> (usize, usize) {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let is_key = |(at, text): &(usize, &str)| {
            self.json.get(at + text.len()..).is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        let begins = self.json.match_indices(&quoted(block)).find(is_key).map_or(0, |(at, _)| at);
        let inside = self.json.get(begins..).unwrap_or_default();
        // A block ends with its own bracket; names of other blocks begin with other words.
        let ends = inside.find('}').map_or(inside.len(), |end| end);
        let inside = inside.get(..ends).unwrap_or_default();
        let found = inside.rmatch_indices(&quoted(key)).map(|(at, text)| (begins + at, text)).find(is_key);
        let before = self.json.get(..found.map_or(begins, |(at, _)| at)).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }
}

fn mistake(file: &Path, line: usize, column: usize, path: &str, message: String, hint: &str) -> Mistake {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mistake {
        file: file.to_owned(),
        line: number(line),
        column: number(column),
        path: path.to_owned(),
        message,
        hint: Some(hint.to_owned()),
        excerpt: None,
    }
}

/// A mapping as it is typed, a key that stands there twice included.
struct Pairs<T>(Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names and what they stand for")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Pairs(all))
            }
        }
        deserializer.deserialize_map(Each(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
  // who
  "groups": {
    "group:ops": ["alice@", "bob@example.test", "gone@"], /* two
    lines */
    "group:none": [],
  },
  "hosts": { "db": "10.0.0.5", "lan": "10.0.0.7/24", "six": "fd00::5", }, // where
  "tagOwners": { "tag:web": ["group:ops"], "tag:kiosk": [], },
  "acls": [ { "action": "accept", "src": ["group:ops"], "dst": ["db:5432"], }, ],
}"#;

    fn user(name: &str, email: &str) -> User {
        User { name: name.into(), email: email.into(), ..User::default() }
    }

    #[test]
    fn hosts_groups_and_tags_become_text_of_ours_and_who_is_no_user_is_named() {
        let import = Import::read(Path::new("acl.hujson"), GOOD).unwrap();
        let users = [user("alice", ""), user("bob", "bob@example.test"), user("eve", "")];
        let yaml = import.yaml(&users, |user| Some(user.name.as_str().into()));
        let expected = "\
# torhaus.yaml: hosts of Headscale's policy, for conditions like `networks: [NAME]`
lookups:
  geoip:
    named_networks:
      \"db\": { networks: [\"10.0.0.5/32\"] }
      \"lan\": { networks: [\"10.0.0.0/24\"] }
      \"six\": { networks: [\"fd00::5/128\"] }

# policy.yaml: people of its groups, for `allow` and for conditions like `users: [NAME]`
# \"group:none\": allow: []
# \"group:ops\": allow: [\"user:alice\", \"user:bob\"]
#   not one user of the mesh: \"gone@\"

# policy.yaml: tags of its devices, for conditions like `device: { tags: [TAG] }`
# \"tag:kiosk\"
# \"tag:web\"
";
        assert_eq!(yaml, expected);
        // Two users of one name: neither. And one whom we have no name for is nobody.
        let two = [user("alice", ""), user("alice", ""), user("bob", "bob@example.test")];
        for (bob, known, unknown) in [
            (Some("bob".into()), r#"["user:bob"]"#, r#""alice@", "gone@""#),
            (None, "[]", r#""alice@", "bob@example.test", "gone@""#),
        ] {
            let yaml = import.yaml(&two, |_| bob.clone());
            let line = format!("# \"group:ops\": allow: {known}\n#   not one user of the mesh: {unknown}\n");
            assert!(yaml.contains(&line), "{yaml}");
        }
    }

    #[test]
    fn a_name_of_the_mesh_stays_in_its_line() {
        let text = r#"{ "groups": { "group:a\nroutes: x": ["b\n@"] }, "hosts": { "a\n} b": "10.0.0.1" } }"#;
        let import = Import::read(Path::new("x"), text).unwrap();
        let yaml = import.yaml(&[], |_| None);
        assert!(yaml.lines().all(|line| !line.starts_with("routes") && !line.starts_with('@')), "{yaml}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_to_do() {
        let said = |text: &str| -> Vec<String> {
            let mistakes = Import::read(Path::new("acl.hujson"), text).unwrap_err();
            mistakes
                .iter()
                .map(|mistake| mistake.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" "))
                .collect()
        };
        for (what, from, to, lines) in [
            ("a host", "\"10.0.0.5\"", "\"db.example.test\"", "acl.hujson:8: hosts.db: `db.example.test` is neither"),
            ("a network", "10.0.0.7/24", "10.0.0.7/33", "acl.hujson:8: hosts.lan: `10.0.0.7/33` is neither"),
            ("a name", "\"six\"", "\"a:b\"", "acl.hujson:8: hosts.a:b: `a:b` is not the name of a host"),
            ("a group in a group", "\"gone@\"", "\"group:x\"", "acl.hujson:4: groups.group:ops: `group:x` in"),
            ("a member", "\"gone@\"", "\"gone\"", "hint: write `gone@`"),
            ("a group", "group:none", "none", "acl.hujson:6: groups.none: `none` is not the name of a group"),
            ("twice", "group:none", "group:ops", "acl.hujson:6: groups.group:ops: `group:ops` stands there twice"),
            ("a tag", "tag:kiosk", "kiosk", "acl.hujson:9: tagOwners.kiosk: `kiosk` is not a tag"),
            ("no comma", "[],\n  },", "[] \"x\": []\n  },", "acl.hujson:6: expected `,` or `}`"),
            (
                "a list",
                "\"db\": \"10.0.0.5\"",
                "\"db\": [1]",
                "acl.hujson:8: invalid type: sequence, expected a string",
            ),
            ("no end", "],\n}", "],\n", "acl.hujson:11: EOF while parsing"),
            ("a comment without an end", "*/", "", "acl.hujson:11: EOF while parsing"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{what}");
            let said = said(&text);
            assert!(said.len() == 1 && said[0].contains(lines) && said[0].contains("hint: "), "{what}: {said:#?}");
        }
        let many = GOOD.replace("10.0.0.5", "x").replace("tag:web", "web").replace("\"gone@\"", "\"gone\"");
        assert_eq!(said(&many).len(), 3, "all at once");
    }
}
