//! Wrong policies: each mistake on its line, with what to do; and what is only worth a warning.
use crate::fixture::*;
use std::time::Duration;
use torhaus_authz::*;

/// `policy.yaml:LINE: message; hint`, one per problem.
fn problems(change: impl FnOnce(&mut PolicyDraft)) -> Vec<String> {
    let mut draft = m6();
    change(&mut draft);
    let text = |p: Problem| format!("{}: {}; {}", p.line, p.message, p.hint.unwrap_or_default());
    Policy::build(draft).err().unwrap_or_default().into_iter().map(text).collect()
}

type Change = fn(&mut PolicyDraft);

#[test]
fn every_mistake_is_named_with_its_line_and_what_to_do() {
    let cases: &[(Change, &str)] = &[
        (|d| d.rows[0].zones[0].0 = at(30, "intrenal"), "30: unknown zone `intrenal`; did you mean `internal`?"),
        (|d| d.rows[0].zones[0].0 = at(30, "x"), "30: unknown zone `x`; defined are `external` and `internal`"),
        (
            |d| d.rows[0].zones[0].1 = at(30, CellDraft::Tier("mfs".to_owned())),
            "30: unknown tier `mfs`; did you mean `mfa`?",
        ),
        (
            |d| d.rows[0].zones[1].0 = at(30, "internal"),
            "30: zone `internal` is already defined on line 9; remove one of them or rename it",
        ),
        (
            |d| d.rows[1].resource = at(30, "wiki"),
            "30: resource `wiki` is already defined on line 9; remove one of them or rename it",
        ),
        (|d| d.rows[0].resource = at(30, "  "), "30: a resource has no name; give it a name"),
        (
            |d| d.rows[0].resource = at(30, "wi\nki"),
            "30: the name of resource `wi\\nki` has spaces around it or control characters; remove them",
        ),
        (
            |d| d.rows[0].allow[0] = at(30, "hr"),
            "30: `hr` in `allow` does not say what it is; did you mean `group:hr` or `user:hr`?",
        ),
        (
            |d| d.rows[0].allow[0] = at(30, "anyon"),
            "30: `anyon` in `allow` does not say what it is; did you mean `anyone`?",
        ),
        (
            |d| d.rows[0].allow[0] = at(30, "everyone"),
            "30: `everyone` in `allow` does not say what it is; write `authenticated` for everybody who signs in; `anyone` is for `anonymous` cells",
        ),
        (
            |d| d.rows[0].allow[0] = at(30, "groups:hr"),
            "30: `groups:hr` in `allow` begins with an unknown word `groups`; did you mean `group:hr`?",
        ),
        (
            |d| d.rows[0].allow[0] = at(30, "spiffe://example.test/x"),
            "30: `spiffe://example.test/x` in `allow` begins with an unknown word `spiffe`; did you mean `service:spiffe://example.test/x`?",
        ),
        (
            |d| d.rows[0].allow[0] = at(30, "colour:red"),
            "30: `colour:red` in `allow` begins with an unknown word `colour`; write `group:NAME`, `user:NAME`, `service:SPIFFE-ID`, `authenticated` or `anyone`",
        ),
        (|d| d.rows[0].allow[0] = at(30, "group:"), "30: a group has no name; give it a name"),
        (
            |d| d.rows[0].allow[0] = at(30, "service:backup"),
            "30: `backup` is not a SPIFFE ID: does not begin with `spiffe://`; write `service:spiffe://trust-domain/path`",
        ),
        (
            |d| d.rows[0].allow.push(at(30, "group:all-employees")),
            "30: `group:all-employees` stands twice in `allow` (first on line 9); remove one of them",
        ),
        (
            |d| d.rows[0].allow = vec![at(30, "anyone")],
            "9: row `wiki` allows `anyone`, but zone `internal` asks for a tier; write `authenticated` in `allow` for everybody who signs in, or `anonymous` in the cell",
        ),
        (
            |d| d.rows[7].zones.iter_mut().for_each(|(_, cell)| cell.value = CellDraft::Deny),
            "16: row `status` allows `anyone`, but no cell of it is `anonymous`; write `authenticated` in `allow` for everybody who signs in, or `anonymous` in a cell",
        ),
        (
            |d| d.rows[0].zones[1].1 = at(30, CellDraft::Anonymous),
            "30: row `wiki` is `anonymous` from zone `external`, but `allow` is not `[anyone]`; write `allow: [anyone]`, or a tier in the cell",
        ),
        (
            |d| {
                d.rows[7].require =
                    vec![guard(30, "hr", Condition::Not(Box::new(Condition::Groups(vec![at(30, "hr")]))))]
            },
            "30: condition `hr` asks for a person, but row `status` is `anonymous`; nobody signs in here: write a tier in the cell or remove the condition",
        ),
        (
            |d| d.rows[7].raise = vec![raise(30, "up", Condition::Zones(vec![at(30, "external")]), "mfa")],
            "30: condition `up` raises a tier, but row `status` is `anonymous`; nobody signs in here: use `deny` or `require`, or write a tier in the cell",
        ),
        (
            |d| d.rows[0].raise = vec![raise(30, "up", Condition::Zones(vec![at(30, "external")]), "hardwear")],
            "30: unknown tier `hardwear`; did you mean `hardware`?",
        ),
        (
            |d| d.rows[0].deny = vec![guard(30, "c", Condition::CountryIn(vec![]))],
            "30: condition `c` has an empty list; fill the list or remove the condition",
        ),
        (
            |d| d.rows[0].deny = vec![guard(30, "c", Condition::Zones(vec![at(30, "externl")]))],
            "30: unknown zone `externl`; did you mean `external`?",
        ),
        (
            |d| d.rows[0].deny = vec![guard(30, "c", Condition::Services(vec![at(31, "backup")]))],
            "31: `backup` is not a SPIFFE ID: does not begin with `spiffe://`; write `spiffe://trust-domain/path`",
        ),
        (
            |d| {
                let deep = (0..9).fold(Condition::Zones(vec![at(30, "external")]), |c, _| Condition::Not(Box::new(c)));
                d.rows[0].deny = vec![guard(30, "c", deep)];
            },
            "30: condition `c` nested too deeply; write it as several conditions",
        ),
        (
            |d| {
                d.rows[0].deny = vec![guard(30, "c", Condition::ClientCertificate(at(30, "devices")))];
                d.rows[0].require = vec![guard(31, "c", Condition::ClientCertificate(at(31, "devices")))];
            },
            "31: condition `c` is already defined on line 30; remove one of them or rename it",
        ),
        (
            |d| d.rows[0].max_age = Some(Duration::ZERO),
            "9: row `wiki` has a `max_age` of less than a second, so no proof could satisfy it; write how old a proof may be, such as `max_age: 15m`",
        ),
        (
            |d| d.zones.push(ZoneDraft { name: at(30, "external"), networks: vec![], listeners: vec![] }),
            "30: the zone `external` cannot be defined; it is every place that is in no other zone; remove it or rename it",
        ),
        (
            |d| d.zones.push(ZoneDraft { name: at(30, "internal"), networks: vec![], listeners: vec![] }),
            "30: zone `internal` is already defined on line 3; remove one of them or rename it",
        ),
        (
            |d| d.zones.push(ZoneDraft { name: at(30, "b"), networks: vec![], listeners: vec![at(31, "mesh")] }),
            "31: listener `mesh` is already in a zone on line 3; a listener belongs to one zone; remove one of them",
        ),
        (
            |d| {
                d.zones.push(ZoneDraft {
                    name: at(30, "b"),
                    networks: vec![at(31, net("10.0.0.0/8"))],
                    listeners: vec![],
                })
            },
            "31: network `10.0.0.0/8` is already in a zone on line 3; a network belongs to one zone; remove one of them",
        ),
        (
            |d| d.zones[0].networks[1] = at(30, net("192.0.2.7/24")),
            "30: network `192.0.2.7/24` has bits set after its prefix; did you mean `192.0.2.0/24`?",
        ),
        (
            |d| d.zones[0].networks[1] = at(30, net("::ffff:10.0.0.0/104")),
            "30: network `::ffff:10.0.0.0/104` is IPv4 in IPv6 clothes and would match nothing; write the IPv4 network; clients that arrive as `::ffff:a.b.c.d` are matched as IPv4",
        ),
        (
            |d| {
                d.zones.push(ZoneDraft {
                    name: at(30, "b"),
                    networks: vec![at(31, net("100.64.0.0/16"))],
                    listeners: vec![],
                })
            },
            "31: network `100.64.0.0/16` never matches: carriers use 100.64.0.0/10 for their customers; name the mesh listener instead: `listeners: [mesh]`",
        ),
        (
            |d| d.tiers.push(tier(30, "mfa", hours(1))),
            "30: tier `mfa` is already defined on line 6; remove one of them or rename it",
        ),
        (
            |d| d.tiers.push(tier(30, "deny", hours(1))),
            "30: a tier cannot be called `deny`; cells use this word; rename it",
        ),
        (
            |d| d.tiers[0].max_age = Duration::ZERO,
            "5: tier `standard` has a `max_age` of less than a second, so no proof could satisfy it; write how old a proof may be, such as `max_age: 8h`",
        ),
        (
            |d| d.exceptions.push(exception(30, "EX-14", "wiki", &["user:carol"], "external", "mfa")),
            "30: exception `EX-14` is already defined on line 18; remove one of them or rename it",
        ),
        (
            |d| d.exceptions[0].resource = at(30, "samba_hr"),
            "30: unknown resource `samba_hr`; did you mean `samba-hr`?",
        ),
        (|d| d.exceptions[0].zone = at(30, "extrenal"), "30: unknown zone `extrenal`; did you mean `external`?"),
        (
            |d| d.exceptions[0].tier = at(30, "deny"),
            "30: unknown tier `deny`; defined are `standard`, `mfa` and `hardware`",
        ),
        (
            |d| d.exceptions[0].owner = " ".to_owned(),
            "18: exception `EX-14` has no owner; say who answers for it: `owner: alice@example.test`",
        ),
        (
            |d| d.exceptions[0].reason.clear(),
            "18: exception `EX-14` has no reason; say why it exists: `reason: audit on site`",
        ),
        (
            |d| d.exceptions[0].allow.clear(),
            "18: exception `EX-14` allows nobody; name who it is for: `allow: [\"user:carol\"]`",
        ),
        (
            |d| d.exceptions[0].allow[0] = at(18, "anyone"),
            "18: exception `EX-14` allows `anyone`; an exception asks for a tier, so it needs people: write `user:`, `group:` or `authenticated`",
        ),
        (
            |d| d.exceptions[0].resource = at(18, "status"),
            "18: exception `EX-14` is for a zone from which `status` is `anonymous`; everybody may come in there already; remove the exception",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(problems(change), [*expected]);
    }
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    let found = problems(|d| {
        d.exceptions[0].owner.clear();
        d.rows[3].zones[0].0 = at(12, "inside");
        d.tiers[0].max_age = Duration::ZERO;
        d.rows[0].allow[0] = at(9, "all-employees");
        d.rows[5].resource = at(14, "wiki");
    });
    let lines: Vec<&str> = found.iter().filter_map(|text| text.split(':').next()).collect();
    assert_eq!(lines, ["5", "9", "12", "14", "18"], "{found:#?}");
}

#[test]
fn what_should_not_stay_is_a_warning() {
    let mut draft = m6();
    draft.zones.push(ZoneDraft { name: at(4, "lab"), networks: vec![], listeners: vec![] });
    draft.zones.push(ZoneDraft { name: at(4, "all"), networks: vec![at(4, net("::/0"))], listeners: vec![] });
    draft.rows[0].review_by = Some(NOW);
    draft.rows[0].owner = Some("alice".to_owned());
    draft.rows[0].raise = vec![raise(9, "up", Condition::Zones(vec![at(9, "external")]), "standard")];
    draft.rows[1].allow.clear();
    draft.rows[3].zones.truncate(0);
    draft.rows[4].max_age = Some(Duration::from_secs(5));
    draft.exceptions = vec![
        ExceptionDraft { expires: NOW, ..exception(20, "EX-1", "wiki", &["user:a"], "external", "mfa") },
        ExceptionDraft {
            expires: NOW.plus(hours(24 * 14)),
            ..exception(21, "EX-2", "wiki", &["user:a"], "external", "mfa")
        },
        ExceptionDraft {
            expires: NOW.plus(hours(24 * 15)),
            ..exception(22, "EX-3", "wiki", &["user:a"], "external", "mfa")
        },
        ExceptionDraft {
            expires: NOW.plus(hours(24 * 91)),
            ..exception(23, "EX-4", "wiki", &["user:a"], "external", "mfa")
        },
    ];
    let overlong = build(draft.clone()).overlong_exceptions(NOW, LONGEST_EXCEPTION);
    let overlong: Vec<String> = overlong.into_iter().map(|p| format!("{}: {}", p.line, p.message)).collect();
    assert_eq!(
        overlong,
        ["23: exception `EX-4` of alice@example.test ends at 2026-09-30T12:00:00Z, more than 90d from now"]
    );
    let text: Vec<String> =
        build(draft).warnings(NOW).into_iter().map(|p| format!("{}: {}", p.line, p.message)).collect();
    assert_eq!(
        text,
        [
            "4: zone `lab` has no networks and no listeners, so nobody is ever in it",
            "4: network `::/0` is the whole internet",
            "9: row `wiki` was to be reviewed by 2026-07-01T12:00:00Z; its owner is alice",
            "9: condition `up` raises to `standard`, which every cell of row `wiki` asks for anyway",
            "10: row `samba-general` allows nobody",
            "12: row `proxmox` is closed from every zone",
            "13: row `headscale` has a `max_age` under a minute, which people can hardly meet",
            "20: exception `EX-1` of alice@example.test expired at 2026-07-01T12:00:00Z and does nothing",
            "21: exception `EX-2` of alice@example.test expires in 14d (2026-07-15T12:00:00Z)",
        ]
    );
    assert_eq!(build(m6()).warnings(NOW), []);
}

#[test]
fn a_policy_says_what_the_configuration_must_define() {
    let policy = m6_with("wiki", |row| {
        row.require = vec![guard(9, "device", Condition::Any(vec![Condition::ClientCertificate(at(40, "devices"))]))];
        row.raise =
            vec![raise(9, "up", Condition::Not(Box::new(Condition::ClientCertificate(at(41, "partner")))), "mfa")];
    });
    assert_eq!(policy.named_trust_domains(), [at::<Name>(40, "devices"), at(41, "partner")]);
    assert_eq!(policy.named_listeners(), [at::<Name>(3, "mesh")]);
    assert_eq!(policy.row("samba-hr").unwrap().groups().map(|g| &**g).collect::<Vec<_>>(), ["hr", "finance"]);
}

#[test]
fn the_table_reads_like_the_one_on_paper() {
    let policy = m6_with("wiki", |row| {
        row.sensitivity = Some("low | public".to_owned());
        row.require = vec![guard(9, "device", Condition::ClientCertificate(at(9, "devices")))];
    });
    let markdown = policy.table().to_markdown();
    for line in [
        "| resource | sensitivity | who | from internal | from external | conditions |",
        "| wiki | low \\| public | group:all-employees | standard | standard | require: device (a client certificate of \\`devices\\`) |",
        "| samba-hr |  | group:hr, group:finance | mfa | deny |  |",
        "| backup-api |  | service:spiffe://example.test/backup | standard | deny |  |",
        "| hardware | what hardware asks for | 1h |",
        "| EX-14 | samba-hr | user:carol | external | hardware | 2026-07-31T12:00:00Z | alice@example.test | audit on site |",
    ] {
        assert!(markdown.lines().any(|found| found == line), "{line}\n{markdown}");
    }
    let json = serde_json::to_value(policy.table()).unwrap();
    assert_eq!(json["rows"][2]["cells"], serde_json::json!(["mfa", "deny"]));
    assert_eq!(json["exceptions"][0]["id"], "EX-14");
}
