//! Headscale's policy, as far as it says who reaches what over TCP: to find ways around the gate. Rules only ever add, so
//! one that lets somebody else in is a way, whatever the others say. What cannot be understood counts as one, too.
use super::api::{Node, User};
use ipnet::IpNet;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Debug, Default, Deserialize)]
pub struct Policy {
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    hosts: BTreeMap<String, String>,
    /// None is not the same as no rule: then everything is allowed.
    acls: Option<Vec<Acl>>,
    grants: Option<Vec<Grant>>,
}

#[derive(Debug, Deserialize)]
struct Acl {
    #[serde(default)]
    proto: String,
    #[serde(default)]
    src: Vec<String>,
    /// `target:ports`
    #[serde(default)]
    dst: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Grant {
    #[serde(default)]
    src: Vec<String>,
    #[serde(default)]
    dst: Vec<String>,
    /// `*`, `443`, `tcp:443`, `tcp:80-90`
    #[serde(default)]
    ip: Vec<String>,
}

/// Where an application is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub address: IpAddr,
    pub port: u16,
}

/// Somebody who is not the gate and reaches an application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// `acls[3]`.
    pub rule: String,
    pub from: String,
    pub to: Target,
}

impl Policy {
    /// # Errors
    /// It is no huJSON of this form.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(&json_of(text)).map_err(|error| error.to_string())
    }

    /// Every way to the targets but the gate's own.
    pub fn ways_around(&self, gate: &str, targets: &BTreeSet<Target>, nodes: &[Node]) -> BTreeSet<Way> {
        let mut found = BTreeSet::new();
        let way = |rule: &str, from: &str, to: &Target| Way { rule: rule.into(), from: from.into(), to: to.clone() };
        if self.acls.is_none() && self.grants.is_none() {
            found.extend(targets.iter().map(|target| way("no rules at all", "*", target)));
        }
        for (n, acl) in self.acls.iter().flatten().enumerate().filter(|(_, acl)| is_tcp(&acl.proto)) {
            for target in targets.iter().filter(|target| acl.dst.iter().any(|dst| self.leads_to(dst, target, nodes))) {
                let others = acl.src.iter().filter(|src| self.is_somebody_else(src, gate, nodes));
                found.extend(others.map(|src| way(&format!("acls[{n}]"), src, target)));
            }
        }
        for (n, grant) in self.grants.iter().flatten().enumerate() {
            let leads = |target: &Target| {
                grant.dst.iter().any(|dst| self.covers(dst, target.address, nodes))
                    && grant.ip.iter().any(|ip| opens(ip, target.port))
            };
            for target in targets.iter().filter(|target| leads(target)) {
                let others = grant.src.iter().filter(|src| self.is_somebody_else(src, gate, nodes));
                found.extend(others.map(|src| way(&format!("grants[{n}]"), src, target)));
            }
        }
        found
    }

    fn leads_to(&self, dst: &str, target: &Target, nodes: &[Node]) -> bool {
        // `[fd7a::1]:443`: the last colon is the one.
        let (alias, ports) = dst.rsplit_once(':').unwrap_or((dst, "*"));
        self.covers(alias.trim_matches(['[', ']']), target.address, nodes) && has_port(ports, target.port)
    }

    /// Whether an alias of a destination contains the address.
    fn covers(&self, alias: &str, address: IpAddr, nodes: &[Node]) -> bool {
        // `[fd7a::]/48`.
        let bare: String = alias.chars().filter(|c| !matches!(c, '[' | ']')).collect();
        if let Some(network) = network(&bare) {
            return network.contains(&address);
        }
        let has = |belongs: &dyn Fn(&Node) -> bool| {
            nodes.iter().any(|node| belongs(node) && node.addresses.contains(&address))
        };
        match alias {
            "*" => true,
            "autogroup:internet" => is_public(address),
            "autogroup:member" | "autogroup:self" => has(&|node| node.tags.is_empty()),
            "autogroup:tagged" => has(&|node| !node.tags.is_empty()),
            tag if tag.starts_with("tag:") => has(&|node| node.tags.iter().any(|own| own == tag)),
            group if group.starts_with("group:") => {
                let members = self.groups.get(group).map(Vec::as_slice).unwrap_or_default();
                has(&|node| members.iter().any(|member| is_of(node, member)))
            }
            user if user.contains('@') => has(&|node| is_of(node, user)),
            host => {
                self.hosts.get(host).and_then(|text| network(text)).is_none_or(|network| network.contains(&address))
            }
        }
    }

    fn is_somebody_else(&self, src: &str, gate: &str, nodes: &[Node]) -> bool {
        if src == gate || self.groups.get(src).is_some_and(Vec::is_empty) {
            return false;
        }
        // One address of the gate's node, by itself or as an entry of `hosts`.
        let text = self.hosts.get(src).map_or(src, String::as_str);
        let Some(network) = network(text).filter(|network| network.hosts().count() == 1) else { return true };
        let own = nodes.iter().filter(|node| node.tags.iter().any(|tag| tag == gate)).flat_map(|node| &node.addresses);
        let gate: BTreeSet<IpAddr> = own.copied().chain(gate.parse()).collect();
        !gate.contains(&network.addr())
    }
}

fn is_of(node: &Node, user: &str) -> bool {
    let Some(own) = node.user.as_ref().filter(|_| node.tags.is_empty()) else { return false };
    alias_is_of(user, own)
}

/// Whether this is how the policy names the user: by e-mail address, by name, or `name@`.
pub(super) fn alias_is_of(alias: &str, user: &User) -> bool {
    user.email == alias || user.name == alias || alias.strip_suffix('@') == Some(user.name.as_str())
}

pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Not one of the ranges that an exit node keeps to itself.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let carrier = v4.octets().first() == Some(&100) && v4.octets().get(1).is_some_and(|b| b & 0xc0 == 64);
            !(v4.is_private() || v4.is_link_local() || v4.is_loopback() || carrier)
        }
        IpAddr::V6(v6) => !(v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback()),
    }
}

/// Empty: what clients use by default, TCP among it.
fn is_tcp(proto: &str) -> bool {
    matches!(proto, "" | "tcp" | "6" | "ipv4" | "ipv6")
}

fn opens(ip: &str, port: u16) -> bool {
    match ip.split_once(':') {
        Some((proto, ports)) => is_tcp(proto) && has_port(ports, port),
        None => has_port(ip, port),
    }
}

fn has_port(ports: &str, port: u16) -> bool {
    ports.split(',').any(|part| {
        let part = part.trim();
        match part.split_once('-') {
            _ if part == "*" => true,
            Some((first, last)) => match (first.parse::<u16>(), last.parse::<u16>()) {
                (Ok(first), Ok(last)) => (first..=last).contains(&port),
                _ => true,
            },
            None => part.parse::<u16>().map_or(true, |own| own == port),
        }
    })
}

/// JSON with comments and trailing commas, without them: a space stands for each of their characters, so that all others
/// keep their place. A text in quotes stays as it is.
pub(super) fn json_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '"' => quoted(rest),
            '/' if rest.starts_with("//") || rest.starts_with("/*") => {
                let ends = match rest.starts_with("//") {
                    true => rest.find('\n'),
                    false => rest.get(2..).and_then(|inside| inside.find("*/")).map(|end| end + 4),
                };
                let (comment, after) = rest.split_at(ends.unwrap_or(rest.len()));
                out.extend(comment.chars().map(|c| if c == '\n' { c } else { ' ' }));
                rest = after;
                continue;
            }
            ']' | '}' => {
                let kept = out.trim_end().len();
                if out.get(..kept).is_some_and(|kept| kept.ends_with(',')) {
                    out.replace_range(kept - 1..kept, " ");
                }
                c.len_utf8()
            }
            _ => c.len_utf8(),
        };
        let (part, after) = rest.split_at(taken);
        out.push_str(part);
        rest = after;
    }
    out
}

/// How long a text in quotes is, both quotes included.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: &str, user: &str, tags: &[&str]) -> Node {
        Node {
            name: name.into(),
            addresses: vec![address.parse().unwrap()],
            user: Some(User { name: user.into(), ..User::default() }),
            tags: tags.iter().map(|tag| (*tag).into()).collect(),
            expiry: None,
            routes: false,
        }
    }

    /// Who reaches 10.0.0.5:5432, 100.64.0.9:80 and [fd00::5]:443 beside the gate.
    fn ways(policy: &str) -> Vec<String> {
        let target = |address: &str, port| Target { address: address.parse().unwrap(), port };
        let targets = [target("10.0.0.5", 5432), target("100.64.0.9", 80), target("fd00::5", 443)].into();
        let nodes = [
            node("gate", "100.64.0.1", "alice", &["tag:torhaus"]),
            node("web", "100.64.0.9", "alice", &["tag:web"]),
            node("alice-nb", "100.64.0.7", "alice", &[]),
        ];
        let ways = Policy::parse(policy).unwrap().ways_around("tag:torhaus", &targets, &nodes);
        ways.into_iter().map(|way| format!("{} {} {}", way.rule, way.from, way.to.port)).collect()
    }

    fn acl(src: &str, dst: &str) -> String {
        format!(
            r#"{{ // who
            "groups": {{ "group:g": ["alice@"], "group:none": [], }}, "hosts": {{ "db": "10.0.0.5", "lan": "10.0.0.0/24", "gw": "100.64.0.1" }},
            /* what */ "acls": [ {{ "action": "accept", "src": ["{src}"], "dst": ["{dst}"], }}, ], }}"#
        )
    }

    #[test]
    fn whoever_else_reaches_an_application_is_found() {
        for (src, dst, found) in [
            ("group:g", "db:5432", vec!["acls[0] group:g 5432"]),
            ("group:g", "db:5433", vec![]),
            ("group:g", "10.0.0.0/24:*", vec!["acls[0] group:g 5432"]),
            ("group:g", "lan:80,5000-6000", vec!["acls[0] group:g 5432"]),
            ("group:g", "tag:web:80,443", vec!["acls[0] group:g 80"]),
            ("alice@", "tag:other:*", vec![]),
            ("*", "[fd00::5]:443", vec!["acls[0] * 443"]),
            ("*", "[fd00::]/48:400-500", vec!["acls[0] * 443"]),
            (
                "autogroup:member",
                "*:*",
                vec!["acls[0] autogroup:member 443", "acls[0] autogroup:member 5432", "acls[0] autogroup:member 80"],
            ),
            ("autogroup:member", "autogroup:internet:*", vec![]),
            ("autogroup:member", "autogroup:self:*", vec![]),
            ("group:g", "alice@:80", vec![]),
            // What nobody defines may be anything.
            ("group:g", "unheard-of:5432", vec!["acls[0] group:g 5432"]),
            ("tag:torhaus", "*:*", vec![]),
            ("100.64.0.1", "*:*", vec![]),
            ("gw", "*:*", vec![]),
            ("lan", "db:*", vec!["acls[0] lan 5432"]),
            ("group:none", "*:*", vec![]),
        ] {
            let mut found: Vec<String> = found.into_iter().map(str::to_owned).collect();
            let mut ways = ways(&acl(src, dst));
            found.sort();
            ways.sort();
            assert_eq!(ways, found, "{src} -> {dst}");
        }
        assert_eq!(ways(&acl("group:g", "db:5432").replace("\"action\"", "\"proto\": \"udp\", \"action\"")), [""; 0]);
        assert_eq!(ways("{}").len(), 3, "no rules are all rules");
        assert_eq!(ways(r#"{ "acls": [] }"#).len(), 0);
        let grant =
            |ip: &str| format!(r#"{{ "grants": [{{ "src": ["bob@"], "dst": ["10.0.0.5"], "ip": ["{ip}"] }}] }}"#);
        for (ip, reaches) in [("*", true), ("tcp:5432", true), ("5000-6000", true), ("udp:5432", false), ("443", false)]
        {
            assert_eq!(ways(&grant(ip)).len(), usize::from(reaches), "{ip}");
        }
    }

    #[test]
    fn comments_and_commas_are_taken_out_and_nothing_else() {
        let text = "{ // a \"b\"\n \"u\": \"https://x//y, ]\\\" /* z */\", /* c ] */ \"l\": [1, 2 , ], }";
        let json: serde_json::Value = serde_json::from_str(&json_of(text)).unwrap();
        assert_eq!(json, serde_json::json!({ "u": "https://x//y, ]\" /* z */", "l": [1, 2] }));
        assert_eq!(json_of("{ // never ends"), "{              ");
        assert_eq!(json_of("[/* a\n b */1,\n // c\n]"), "[    \n     1 \n     \n]", "each keeps its place");
        assert_eq!(json_of("[1 /*/ 2 */, 3]"), "[1         , 3]");
        assert_eq!(json_of("\"never ends"), "\"never ends");
        assert!(Policy::parse("{ acls }").is_err());
    }
}
