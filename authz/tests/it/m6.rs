//! The table of mission.md M6: four people, inside and outside, verdict and reason.
use crate::fixture::*;
use torhaus_authz::Policy;

const ALICE: (&str, &[&str]) = ("alice", &["all-employees", "it-admins"]);
const DANA: (&str, &[&str]) = ("dana", &["all-employees", "hr"]);
const FRANK: (&str, &[&str]) = ("frank", &["all-employees", "finance"]);
const DAVE: (&str, &[&str]) = ("dave", &["all-employees", "developers"]);

/// One row: who, with which proof, wants what: inside, outside.
fn holds(
    policy: &Policy,
    (name, of_groups): (&str, &[&str]),
    proven: &str,
    resource: &str,
    inside: &str,
    outside: &str,
) {
    for (address, expected) in [(INSIDE, inside), (OUTSIDE, outside)] {
        let facts = of(request(resource, address), user(name), of_groups, proven);
        check(policy, &facts, expected);
    }
}

#[test]
fn the_table_of_m6_holds_inside_and_outside_for_four_people() {
    let policy = build(m6());
    let zone = "deny zone_denied";
    let not = "deny not_allowed";
    for (who, proven, resource, inside, outside) in [
        // wiki: a password anywhere
        (ALICE, "standard", "wiki", "allow", "allow"),
        (DANA, "standard", "wiki", "allow", "allow"),
        (FRANK, "standard", "wiki", "allow", "allow"),
        (DAVE, "standard", "wiki", "allow", "allow"),
        (DAVE, "", "wiki", "step_up standard", "step_up standard"),
        (DAVE, "hardware", "wiki", "allow", "allow"),
        // samba-general: MFA anywhere
        (ALICE, "standard", "samba-general", "step_up mfa", "step_up mfa"),
        (ALICE, "mfa", "samba-general", "allow", "allow"),
        (DANA, "mfa", "samba-general", "allow", "allow"),
        (FRANK, "hardware", "samba-general", "allow", "allow"),
        (DAVE, "mfa", "samba-general", "allow", "allow"),
        // samba-hr: MFA for HR and finance inside, refused outside
        (DANA, "standard", "samba-hr", "step_up mfa", zone),
        (DANA, "mfa", "samba-hr", "allow", zone),
        (FRANK, "mfa", "samba-hr", "allow", zone),
        (FRANK, "hardware", "samba-hr", "allow", zone),
        (ALICE, "hardware", "samba-hr", not, zone),
        (DAVE, "mfa", "samba-hr", not, zone),
        // Proxmox and Headscale: a hardware key inside, refused outside
        (ALICE, "standard", "proxmox", "step_up hardware", zone),
        (ALICE, "mfa", "proxmox", "step_up hardware", zone),
        (ALICE, "hardware", "proxmox", "allow", zone),
        (DANA, "hardware", "proxmox", not, zone),
        (DAVE, "hardware", "proxmox", not, zone),
        (ALICE, "mfa", "headscale", "step_up hardware", zone),
        (ALICE, "hardware", "headscale", "allow", zone),
        (FRANK, "hardware", "headscale", not, zone),
        // critical services in K3s: MFA
        (DAVE, "standard", "k3s-critical", "step_up mfa", "step_up mfa"),
        (DAVE, "mfa", "k3s-critical", "allow", "allow"),
        (ALICE, "hardware", "k3s-critical", not, not),
        (DANA, "mfa", "k3s-critical", not, not),
        // what has no row
        (ALICE, "hardware", "payroll", "deny no_rule", "deny no_rule"),
    ] {
        holds(&policy, who, proven, resource, inside, outside);
    }
}

#[test]
fn before_sign_in_every_row_asks_for_its_own_tier_or_stays_closed() {
    let policy = build(m6());
    for (resource, inside, outside) in [
        ("wiki", "login standard", "login standard"),
        ("samba-general", "login mfa", "login mfa"),
        // EX-14 may let somebody in from outside, so we ask who it is.
        ("samba-hr", "login mfa", "login hardware"),
        ("proxmox", "login hardware", "deny zone_denied"),
        ("headscale", "login hardware", "deny zone_denied"),
        ("k3s-critical", "login mfa", "login mfa"),
        ("backup-api", "login standard", "deny zone_denied"),
        ("status", "allow", "allow"),
        ("payroll", "deny no_rule", "deny no_rule"),
    ] {
        check(&policy, &request(resource, INSIDE), inside);
        check(&policy, &request(resource, OUTSIDE), outside);
    }
}
