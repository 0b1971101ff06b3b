//! Rows: what is wanted, what is proven, and what happens next.
use super::*;
use crate::provider::people::find;
use time::macros::datetime;

const TEN: OffsetDateTime = datetime!(2026-11-22 10:00 UTC);
const ELEVEN: OffsetDateTime = datetime!(2026-11-22 11:00 UTC);
const NOON: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

fn proven(password: OffsetDateTime) -> Proven {
    Proven { password: Some(password), ..Proven::default() }
}

fn done(level: Level, at: OffsetDateTime) -> Next {
    Next::Done { level, at }
}

#[test]
fn what_is_asked_depends_on_what_is_wanted_and_what_is_proven() {
    use Level::{Gold, Phrh, Standard};
    use Wanted::{Any, Essential, Preferred};
    let password = proven(TEN);
    let code = Proven { code: Some(ELEVEN), ..proven(TEN) };
    let key = Proven { key: Some(ELEVEN), ..proven(TEN) };
    let relogged = Proven { password: Some(NOON), ..key.clone() };
    // alice has a hardware key, dana has none.
    type Row<'a> = (&'a str, &'a str, Wanted, Option<OffsetDateTime>, Option<&'a Proven>, Next);
    let rows: [Row<'_>; 20] = [
        ("nobody yet", "alice", Any, None, None, Next::Ask(Ask::Password)),
        ("nobody yet, gold", "alice", Essential(vec![Gold]), None, None, Next::Ask(Ask::Password)),
        ("a password is standard", "alice", Any, None, Some(&password), done(Standard, TEN)),
        ("nothing wanted tells the best", "alice", Any, None, Some(&key), done(Phrh, ELEVEN)),
        ("step up to gold", "alice", Essential(vec![Gold]), None, Some(&password), Next::Ask(Ask::SecondFactor)),
        ("gold by code", "alice", Essential(vec![Gold]), None, Some(&code), done(Gold, ELEVEN)),
        ("gold by key", "alice", Essential(vec![Gold]), None, Some(&key), done(Gold, ELEVEN)),
        ("code is no key", "alice", Essential(vec![Phrh]), None, Some(&code), Next::Ask(Ask::Key)),
        ("phrh by key", "alice", Essential(vec![Phrh]), None, Some(&key), done(Phrh, ELEVEN)),
        ("no key at all", "dana", Essential(vec![Phrh]), None, Some(&code), Next::Unmet),
        ("no key, only a wish", "dana", Preferred(vec![Phrh]), None, Some(&code), done(Gold, ELEVEN)),
        ("the next wish", "dana", Preferred(vec![Phrh, Gold]), None, Some(&password), Next::Ask(Ask::SecondFactor)),
        ("one of two", "dana", Essential(vec![Phrh, Gold]), None, Some(&code), done(Gold, ELEVEN)),
        ("unknown demand", "alice", Essential(vec![]), None, Some(&key), Next::Unmet),
        ("unknown wish", "alice", Preferred(vec![]), None, Some(&password), done(Standard, TEN)),
        ("a stale password", "alice", Any, Some(ELEVEN), Some(&password), Next::Ask(Ask::Password)),
        ("a stale key asks for all", "alice", Essential(vec![Phrh]), Some(NOON), Some(&key), Next::Ask(Ask::Password)),
        (
            "a new password, an old key",
            "alice",
            Essential(vec![Phrh]),
            Some(NOON),
            Some(&relogged),
            Next::Ask(Ask::Key),
        ),
        ("a new password does not refresh the key", "alice", Any, None, Some(&relogged), done(Phrh, ELEVEN)),
        ("all is newer", "alice", Any, Some(NOON), Some(&relogged), done(Standard, NOON)),
    ];
    for (what, user, wanted, since, proven, expected) in rows {
        let person = find(user).unwrap();
        assert_eq!(next(&wanted, since, proven.map(|proven| (person, proven))), expected, "{what}");
    }
}

#[test]
fn methods_are_those_that_made_the_level() {
    let code = Proven { code: Some(ELEVEN), ..proven(TEN) };
    let both = Proven { key: Some(NOON), ..code.clone() };
    assert_eq!(code.methods(Level::Standard), ["pwd"]);
    assert_eq!(code.methods(Level::Gold), ["pwd", "otp", "mfa"]);
    assert_eq!(both.methods(Level::Gold), ["pwd", "hwk", "mfa"]);
    assert_eq!(both.methods(Level::Phrh), ["pwd", "hwk", "mfa"]);
}
