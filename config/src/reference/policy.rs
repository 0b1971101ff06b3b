//! Every key of `policy.yaml`.
use super::{Key, Section, key};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "The whole",
        text: "",
        keys: &[
            key("version", "number", "required", "version of the file format: `1`"),
            key(
                "include",
                "list of files",
                "`[]`",
                "project files below this folder: rows, exceptions and tests; they tighten rows of this file or add rows",
            ),
            key("longest_exception", "duration", "`90d`", "an exception may not end later than this from now")
                .because("what is needed for longer belongs into the table, where it is reviewed"),
            key("zones", "names", "`{}`", "where people can be; everything else is `external`"),
            key(
                "zones.*",
                "mapping",
                "",
                "one zone: whoever comes by one of its listeners, else by the longest network that fits",
            ),
            key("zones.*.networks", "list of networks", "`[]`", "addresses of it"),
            key("zones.*.listeners", "list of names", "`[]`", "listeners of it"),
            key("tiers", "list", "required", "the ladder of how strongly somebody is proven, lowest first"),
            key("tiers[].name", "name", "required", "stands in cells and in `tiers` of identity providers"),
            key("tiers[].max_age", "duration", "required", "how old a proof of it may be"),
            key("tiers[].factors", "text", "", "what people need for it: `password + hardware key`"),
        ],
    },
    Section {
        title: "`table`: one row per resource",
        text: "What has no row is closed, and so is a zone without a cell.",
        keys: &[
            key("table", "list", "required", "the rows"),
            key("table[].resource", "name", "required", "what routes name as `resource`"),
            key("table[].sensitivity", "text", "", "for readers: `low` … `critical`"),
            key("table[].description", "text", "", "for readers"),
            key("table[].owner", "text", "", "who decides about it"),
            key("table[].review_by", "date", "", "from then on `check` reminds of it: `2027-01-31`"),
            key(
                "table[].allow",
                "list",
                "`[]`",
                "`group:NAME`, `user:NAME`, `service:SPIFFE-ID`, `authenticated`, `anyone`",
            ),
            key("table[].zones", "names", "`{}`", "a cell for each zone"),
            key("table[].zones.*", "tier, `deny`, `anonymous`", "`deny`", "what is needed from there"),
            key("table[].require", "list of conditions", "`[]`", "must hold; unknown does not"),
            key("table[].deny", "list of conditions", "`[]`", "must not hold; unknown counts as holding"),
            key("table[].raise", "list", "`[]`", "when a higher tier is needed"),
            key("table[].raise[].name", "name", "required", "stands on pages and in logs"),
            key("table[].raise[].when", "condition", "required", "when it applies"),
            key("table[].raise[].to", "tier", "required", "what is needed then"),
            key(
                "table[].raise[].on_unknown",
                "`raise`, `ignore`",
                "`raise`",
                "when it cannot be told whether it applies",
            ),
            key("table[].max_age", "duration", "the tier's", "how old a proof may be for this row"),
            key("table[].record", "`changes`, `every`", "`changes`", "`every`: every single request is recorded"),
        ],
    },
    Section {
        title: "Conditions",
        text: "Items of `require` and `deny`, the `when` of `raise`, and the inside of `all`, `any`, `not`. Several keys in \
               one condition must all hold.",
        keys: &[
            key("CONDITION.name", "name", "required in `require`, `deny`", "stands on pages and in logs"),
            key(
                "CONDITION.client_certificate",
                "trust domain, `any`, `none`",
                "",
                "a verified client certificate of it, of `any`, or `none` at all; a route must ask for one",
            ),
            key("CONDITION.country_in", "list of country codes", "", "the address is in one of them"),
            key("CONDITION.country_not_in", "list of country codes", "", "the address is in none of them"),
            key(
                "CONDITION.continent_in",
                "list of continents",
                "",
                "the country is on one of `AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`",
            ),
            key("CONDITION.continent_not_in", "list of continents", "", "the country is on none of them"),
            key(
                "CONDITION.networks",
                "list of names",
                "",
                "the address is in one of these networks of `lookups.geoip.named_networks`",
            ),
            key("CONDITION.groups", "list of names", "", "in one of these groups"),
            key("CONDITION.users", "list of names", "", "one of these users"),
            key("CONDITION.services", "list of SPIFFE IDs", "", "one of these services"),
            key("CONDITION.zones", "list of zones", "", "in one of these zones, `external` included"),
            key("CONDITION.methods", "list of methods", "", "the request has one of them: `[GET, HEAD]`"),
            key(
                "CONDITION.paths",
                "list of paths",
                "",
                "the path is one of these or below one: `/admin` is `/admin/x`, not `/administration`; case counts",
            ),
            key(
                "CONDITION.proof",
                "mapping",
                "",
                "how freshly something was proven, beyond what the tier asks: `{ tier: mfa, newer_than: 15m }`",
            ),
            key("CONDITION.proof.tier", "tier", "required", "this tier, or a higher one"),
            key("CONDITION.proof.newer_than", "duration", "required", "how long ago at most"),
            key(
                "CONDITION.time",
                "mapping",
                "",
                "a window of time: `{ days: [mon, fri], from: \"08:00\", to: \"18:00\", zone: Europe/Berlin }`; when it opens or closes, what is open is judged anew",
            ),
            key("CONDITION.time.days", "list of days", "every day", "`mon` … `sun`, on which the window begins"),
            key("CONDITION.time.from", "time of day", "`00:00`", "its first minute"),
            key("CONDITION.time.to", "time of day", "`24:00`", "its end; earlier than `from`: on the next day"),
            key("CONDITION.time.zone", "time zone", "this or `utc_offset`", "by whose clock: `Europe/Berlin`")
                .because("its summer time is followed by the rules that came with this version"),
            key("CONDITION.time.utc_offset", "offset", "this or `zone`", "a clock without summer time: `+01:00`"),
            key("CONDITION.device", "mapping", "", "the device that the connection is bound to, by its client certificate"),
            key("CONDITION.device.known", "true/false", "", "it is in the list of devices, or in none"),
            key("CONDITION.device.managed", "true/false", "", "the company administers it"),
            key("CONDITION.device.owner", "`self`, user, or list", "", "it belongs to the person who asks, or to one of these"),
            key("CONDITION.device.tags", "list of names", "", "it has one of these tags"),
            key("CONDITION.posture", "mapping", "", "the state of that device, as reported; what nobody reported is unknown"),
            key("CONDITION.posture.disk_encrypted", "true/false", "", "its disk is encrypted"),
            key("CONDITION.posture.firewall", "true/false", "", "its firewall is on"),
            key("CONDITION.posture.secure_boot", "true/false", "", "it starts signed systems only"),
            key("CONDITION.posture.compliant", "true/false", "", "the verdict of its device management"),
            key("CONDITION.posture.edr", "list", "", "its malware protection is one of `healthy`, `unhealthy`, `absent`"),
            key("CONDITION.posture.patched_within", "duration", "", "security updates were installed since: `30d`"),
            key("CONDITION.posture.os", "list", "", "one of `windows`, `macos`, `linux`, `ios`, `android`, `chromeos`"),
            key("CONDITION.posture.min_os_version", "version", "", "this one or a later one, of the one system in `os`: `\"10.0.22631\"`"),
            key("CONDITION.posture.max_report_age", "duration", "`lookups.posture.max_age`", "an older report is as good as none"),
            key("CONDITION.posture.source_trust", "`self`, `agent`, `mdm`, `attested`", "`self`", "who must have reported it, at least"),
            key("CONDITION.new_place", "`country`, `network`", "", "the person never came from there before; a network is the /24 of an IPv4 address, the /48 of an IPv6 one")
                .because("a place is known once a request from it was allowed that proved more than the lowest tier, and as much as the row's `raise` asks of a new place; for 180 days after the last one. A password alone makes no place known, so `require` and `deny` with `new_place` open only after a stronger proof on some row"),
            key("CONDITION.all", "list of conditions", "", "all of these"),
            key("CONDITION.any", "list of conditions", "", "at least one of these"),
            key("CONDITION.not", "condition", "", "not this; unknown stays unknown"),
        ],
    },
    Section {
        title: "`exceptions`",
        text: "For a while, for somebody, from somewhere. Replaces the cell and `allow`, never `require` or `deny`. An \
               expired one does nothing, and `check` names it.",
        keys: &[
            key("exceptions", "list", "`[]`", "the exceptions"),
            key("exceptions[].id", "name", "required", "stands in the record of each use"),
            key("exceptions[].resource", "row", "required", "for which row"),
            key("exceptions[].allow", "list", "required", "for whom, as in `table`"),
            key("exceptions[].zone", "zone", "required", "from where"),
            key("exceptions[].tier", "tier", "required", "how strongly proven"),
            key("exceptions[].owner", "text", "required", "who answers for it"),
            key("exceptions[].reason", "text", "required", "why it is there"),
            key(
                "exceptions[].expires",
                "date or time",
                "required",
                "when it ends: `2026-12-01` or `2026-12-01T18:00:00Z`",
            ),
        ],
    },
    Section {
        title: "`tests`: promises about the table",
        text: "A policy whose tests fail does not load. A fact that is not given is unknown; nothing is looked up. \
               `torhaus policy test` runs them and shows each step of those that fail.",
        keys: &[
            key("tests", "list", "`[]`", "the promises"),
            key("tests[].name", "text", "required", "what is promised, as a sentence"),
            key("tests[].user", "name", "nobody", "who asks"),
            key("tests[].service", "SPIFFE ID", "nobody", "which service asks"),
            key("tests[].groups", "list of names", "unknown", "in which groups"),
            key("tests[].ip", "address", "unknown", "from which address"),
            key("tests[].listener", "name", "", "by which listener"),
            key("tests[].country", "country code", "unknown", "from which country"),
            key(
                "tests[].proven",
                "tier, or tier: age",
                "none",
                "what was proven, just now or how long ago: `{ mfa: 2h }`",
            ),
            key("tests[].proven.*", "duration", "", "how long ago"),
            key(
                "tests[].client_certificate",
                "trust domain, `none`",
                "unknown",
                "with a client certificate of it, or without any",
            ),
            key("tests[].device", "mapping, `none`", "unknown", "on which device; `none`: one that is in no list"),
            key("tests[].device.owner", "user, `none`", "unknown", "whose it is"),
            key("tests[].device.managed", "true/false", "unknown", "whether the company administers it"),
            key("tests[].device.tags", "list of names", "`[]`", "its tags"),
            key("tests[].posture", "mapping", "unknown", "what was reported of the device"),
            key("tests[].posture.disk_encrypted", "true/false", "not reported", "as in conditions"),
            key("tests[].posture.firewall", "true/false", "not reported", "as in conditions"),
            key("tests[].posture.secure_boot", "true/false", "not reported", "as in conditions"),
            key("tests[].posture.compliant", "true/false", "not reported", "as in conditions"),
            key("tests[].posture.edr", "`healthy`, `unhealthy`, `absent`", "not reported", "its malware protection"),
            key("tests[].posture.patched", "duration", "not reported", "how long ago it was patched"),
            key("tests[].posture.os", "system", "not reported", "as in conditions"),
            key("tests[].posture.os_version", "version", "not reported", "of the system"),
            key("tests[].posture.reported", "duration", "`0s`", "how long ago all of it was reported"),
            key("tests[].posture.source_trust", "`self`, `agent`, `mdm`, `attested`", "`self`", "by whom"),
            key("tests[].new_place", "`country`, `network`, `none`", "unknown", "what of the place is new for the person"),
            key("tests[].resource", "row", "required", "what is asked for"),
            key("tests[].method", "text", "unknown", "with which method"),
            key("tests[].path", "path", "unknown", "at which path"),
            key("tests[].now", "date or time", "any time", "when; needed where the answer changes with time"),
            key("tests[].expect", "`allow`, `login`, `step_up`, `deny`", "required", "what must come out"),
            key("tests[].reason", "reason", "any", "for which reason: `zone_denied`, `not_allowed`, …"),
            key("tests[].tier", "tier", "any", "which tier must be asked for, or have been enough"),
        ],
    },
];

/// Where conditions stand in the tree; each key of `CONDITION` may stand below each of these.
pub(super) const CONDITIONS: [&str; 3] = ["table[].require[]", "table[].deny[]", "table[].raise[].when"];

pub(super) const CONDITION: &str = "CONDITION.";

/// The keys inside of `all`, `any` and `not` are those of a condition again.
pub(super) fn of_condition(path: &str) -> Option<&'static Key> {
    let keys = SECTIONS.iter().flat_map(|section| section.keys);
    let names = |own: &str| path.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    keys.into_iter().find(|key| key.path.strip_prefix(CONDITION).is_some_and(names))
}
