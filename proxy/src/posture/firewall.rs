//! Whether a Linux machine refuses what nobody asked for: every way in ends in drop or reject, for IPv4 and, where the
//! machine has an address of it, for IPv6.
use super::linux::{Machine, Ran};
use serde_json::Value;

pub(super) fn closed(machine: &Machine) -> Option<bool> {
    let v6 = has_ipv6(machine);
    let by_nft = nft(machine, v6);
    if by_nft == Some(true) {
        return Some(true);
    }
    // Rules of the older interface are not in nft's list.
    match (by_nft, legacy(machine, v6)) {
        (_, Legacy::Closed) => Some(true),
        (Some(false), Legacy::Open | Legacy::Unused) | (None, Legacy::Open) => Some(false),
        (Some(false), Legacy::Unknown) | (None, Legacy::Unused | Legacy::Unknown) | (Some(true), _) => None,
    }
}

/// An address of another interface than `lo`.
fn has_ipv6(machine: &Machine) -> bool {
    let addresses = machine.text("proc/net/if_inet6").unwrap_or_default();
    addresses.lines().any(|line| line.split_whitespace().last().is_some_and(|interface| interface != "lo"))
}

fn nft(machine: &Machine, v6: bool) -> Option<bool> {
    let Ran::Said(text) = machine.ask("nft", &["-j", "list", "ruleset"]) else { return None };
    let list: Value = serde_json::from_str(&text).ok()?;
    let list = list.get("nftables")?.as_array()?;
    let closes =
        |family: &str| list.iter().filter_map(|entry| entry.get("chain")).any(|chain| closes(list, chain, family));
    Some(closes("inet") || (closes("ip") && (!v6 || closes("ip6"))))
}

/// A chain that all incoming packets pass, and that lets none through by default.
fn closes(list: &[Value], chain: &Value, family: &str) -> bool {
    let is = |entry: &Value, key: &str, wanted: &Value| entry.get(key) == Some(wanted);
    if !is(chain, "family", &family.into())
        || !is(chain, "hook", &"input".into())
        || !is(chain, "type", &"filter".into())
    {
        return false;
    }
    if is(chain, "policy", &"drop".into()) {
        return true;
    }
    let (Some(table), Some(name)) = (chain.get("table"), chain.get("name")) else { return false };
    let rules = list.iter().filter_map(|entry| entry.get("rule"));
    let mut own =
        rules.filter(|rule| is(rule, "family", &family.into()) && is(rule, "table", table) && is(rule, "chain", name));
    let last = own.next_back().and_then(|rule| rule.get("expr")).and_then(Value::as_array);
    let Some(parts) = last else { return false };
    // Without a condition: it counts and logs at most.
    let ends = |part: &Value| part.get("drop").is_some() || part.get("reject").is_some();
    let passes = |part: &Value| part.get("counter").is_some() || part.get("log").is_some();
    parts.iter().any(ends) && parts.iter().all(|part| ends(part) || passes(part))
}

enum Legacy {
    Closed,
    Open,
    /// Nothing of it is in use.
    Unused,
    Unknown,
}

fn legacy(machine: &Machine, v6: bool) -> Legacy {
    let closed = |program: &str| match machine.ask(program, &["-S", "INPUT"]) {
        Ran::Said(rules) => Some(drops(&rules)),
        _ => None,
    };
    let either = |names: [&str; 2]| names.iter().find_map(|name| closed(name));
    match (either(["iptables-legacy", "iptables"]), either(["ip6tables-legacy", "ip6tables"])) {
        (Some(true), Some(true)) => Legacy::Closed,
        (Some(true), _) if !v6 => Legacy::Closed,
        (Some(_), Some(_)) => Legacy::Open,
        (Some(false), None) => Legacy::Open,
        // Its tables are listed once they are in use, for root alone.
        _ => match machine.text("proc/net/ip_tables_names").as_deref() {
            Some("") => Legacy::Unused,
            Some(_) => Legacy::Unknown,
            None if !machine.exists("proc/net/ip_tables_names") && machine.exists("proc/net/dev") => Legacy::Unused,
            None => Legacy::Unknown,
        },
    }
}

/// `iptables -S INPUT`: the policy, or a last rule without a condition.
fn drops(rules: &str) -> bool {
    let mut lines = rules.lines();
    let policy = lines.clone().any(|line| line.trim() == "-P INPUT DROP");
    let last = lines.rfind(|line| line.starts_with("-A INPUT"));
    let last = last.map(|line| line.split_whitespace().collect::<Vec<_>>());
    policy || matches!(last.as_deref(), Some(["-A", "INPUT", "-j", "DROP" | "REJECT", ..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const NOTHING: &str = r#"{"nftables":[{"metainfo":{"version":"1.0.6"}}]}"#;

    fn chain(family: &str, policy: &str) -> String {
        format!(
            r#"{{"chain":{{"family":"{family}","table":"filter","name":"input","type":"filter","hook":"input","prio":0,
            "policy":"{policy}"}}}}"#
        )
    }

    fn rule(family: &str, expr: &str) -> String {
        format!(r#"{{"rule":{{"family":"{family}","table":"filter","chain":"input","expr":[{expr}]}}}}"#)
    }

    fn rules(parts: &[String]) -> Ran {
        Ran::Said(format!(r#"{{"nftables":[{}]}}"#, parts.join(",")))
    }

    fn said(v6: bool, nft: Ran, iptables: Ran) -> Option<bool> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc/net")).unwrap();
        fs::write(folder.path().join("proc/net/dev"), "lo:").unwrap();
        let address = if v6 { "fe80 02 40 20 80 eth0\n" } else { "01 01 80 10 80 lo\n" };
        fs::write(folder.path().join("proc/net/if_inet6"), address).unwrap();
        closed(&Machine::fake(folder.path(), move |program, _| match program {
            "nft" => nft.clone(),
            "iptables" | "ip6tables" => iptables.clone(),
            _ => Ran::NotThere,
        }))
    }

    #[test]
    fn a_firewall_is_on_when_nothing_comes_in_unasked() {
        let only_nft = |v6, parts: &[String]| said(v6, rules(parts), Ran::NotThere);
        let accept = |family| chain(family, "accept");
        assert_eq!(said(true, Ran::Said(NOTHING.into()), Ran::NotThere), Some(false));
        assert_eq!(only_nft(true, &[chain("inet", "drop")]), Some(true));
        assert_eq!(only_nft(true, &[accept("inet")]), Some(false));
        assert_eq!(only_nft(true, &[chain("ip", "drop")]), Some(false), "IPv6 is open");
        assert_eq!(only_nft(false, &[chain("ip", "drop")]), Some(true), "there is no IPv6");
        assert_eq!(only_nft(true, &[chain("ip", "drop"), chain("ip6", "drop")]), Some(true));
        let reject = rule("inet", r#"{"counter":{"packets":1}},{"reject":{"type":"icmpx"}}"#);
        assert_eq!(only_nft(true, &[accept("inet"), reject.clone()]), Some(true), "firewalld");
        let some = rule("inet", r#"{"match":{"op":"==","left":{"payload":{}},"right":22}},{"drop":null}"#);
        assert_eq!(only_nft(true, &[accept("inet"), some.clone()]), Some(false), "one port alone");
        assert_eq!(only_nft(true, &[accept("inet"), reject, some]), Some(false), "the last rule is another");
        let forward = chain("inet", "drop").replace("\"hook\":\"input\"", "\"hook\":\"forward\"");
        assert_eq!(only_nft(true, &[forward]), Some(false));
    }

    #[test]
    fn what_cannot_be_read_is_no_firewall_that_is_off() {
        let denied = || Ran::Failed("Operation not permitted".into());
        let dropped = || Ran::Said("-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n".into());
        let rejected =
            || Ran::Said("-P INPUT ACCEPT\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j REJECT --reject-with x\n".into());
        let open = || Ran::Said("-P INPUT ACCEPT\n".into());
        assert_eq!(said(true, denied(), denied()), None);
        assert_eq!(said(true, Ran::NotThere, Ran::NotThere), None);
        assert_eq!(said(true, Ran::Said("garbage".into()), Ran::NotThere), None);
        assert_eq!(said(true, Ran::NotThere, dropped()), Some(true));
        assert_eq!(said(true, Ran::NotThere, rejected()), Some(true));
        assert_eq!(said(true, Ran::NotThere, open()), Some(false));
        assert_eq!(said(true, Ran::Said(NOTHING.into()), dropped()), Some(true));
    }
}
