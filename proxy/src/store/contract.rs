//! What every session store promises, as one function that each implementation runs.
use crate::login::device_claim::{ClaimedDevice, DeviceClaim};
use crate::login::session::{AccessToken, ProviderLogout, Purpose, Session, SessionStore, TicketHash, Tokens, Which};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Fact, Posture, Proof, Report, SourceTrust, Timestamp, User, Why};
use zeroize::Zeroizing;

pub const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);

pub fn session(id: &str, user: &str) -> Session {
    Session {
        id: id.into(),
        user: Arc::new(User {
            name: user.into(),
            provider: "corp".into(),
            issuer: "https://idp.example.test".into(),
            subject: format!("sub-{user}").into(),
            federated: false,
        }),
        display_name: Some(format!("Name of {user}")),
        email: None,
        groups: Fact::Known(Arc::new(["hr", "all-employees"].into_iter().collect())),
        device: claimed(),
        proofs: [Proof { tier: "mfa".into(), proven_at: NOON, provider: "corp".into() }].into(),
        provider_session: Some(format!("sid-{id}")),
        tokens: Tokens {
            id_token: Some(Zeroizing::new(format!("id-token-{id}"))),
            refresh_token: Some(Zeroizing::new(format!("refresh-{id}"))),
            access_token: Some(AccessToken {
                secret: Zeroizing::new(format!("access-{id}")),
                expires: NOON.plus(Duration::from_secs(300)),
            }),
        },
        created: NOON,
        expires: NOON.plus(Duration::from_secs(3600)),
        last_seen: NOON,
        opened_from: "192.0.2.7".into(),
        user_agent: "Firefox".into(),
    }
}

fn claimed() -> DeviceClaim {
    let firewall = Report { value: true, source: "claim of corp".into(), trust: SourceTrust::Agent, at: NOON };
    let posture = Posture { firewall: Some(firewall), ..Posture::default() };
    Fact::Known(Arc::new(ClaimedDevice { serial: Some("ser-17".into()), posture }))
}

/// Runs every promise on an empty store.
pub async fn holds(store: Arc<dyn SessionStore>) {
    a_session_comes_back_as_it_was(&*store).await;
    a_handle_opens_at_its_host_only(&*store).await;
    many_handles_are_one_question(&*store).await;
    a_handle_is_replaced(&*store).await;
    an_ended_session_is_gone(&*store).await;
    a_session_never_changes_hands(&*store).await;
    revocations_end_what_they_name(&*store).await;
    a_logout_that_comes_before_its_login_wins(&*store).await;
    expired_and_idle_sessions_are_swept(&*store).await;
    a_one_time_value_is_taken_once(&store).await;
    a_provider_is_asked_by_one(&store).await;
    what_has_gone_is_known(&*store).await;
    a_grant_is_spent_once(&store).await;
    ten_thousand_sessions(&*store).await;
}

async fn empty(store: &dyn SessionStore) {
    store.end(&Which::All, NOON).await.unwrap();
}

fn handle(n: u32) -> TicketHash {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    TicketHash(hash)
}

async fn a_session_comes_back_as_it_was(store: &dyn SessionStore) {
    let (groups, unknown) = (session("", "").groups, Fact::Unknown(Why::SourceDown));
    for (groups, device) in [
        (groups, claimed()),
        (Fact::Known(Arc::default()), Fact::Unknown(Why::Malformed)),
        (unknown, Fact::Unknown(Why::NotConfigured)),
    ] {
        let mut kept = session("s-1", "alice");
        (kept.groups, kept.device) = (groups, device);
        store.create(&kept, handle(1), "wiki").await.unwrap();
        let found = store.find(handle(1), "wiki").await.unwrap().unwrap();
        assert_eq!(found.user, kept.user);
        assert_eq!(found.groups, kept.groups, "unknown is not none");
        assert_eq!(found.device, kept.device);
        assert_eq!(found.proofs, kept.proofs);
        assert_eq!((found.created, found.expires, found.last_seen), (kept.created, kept.expires, kept.last_seen));
        assert_eq!((&found.display_name, &found.email), (&kept.display_name, &kept.email));
        assert_eq!((&found.opened_from, &found.user_agent), (&kept.opened_from, &kept.user_agent));
        assert_eq!(found.provider_session, kept.provider_session);
        assert_eq!(found.tokens.id_token.as_deref(), kept.tokens.id_token.as_deref());
        assert_eq!(found.tokens.refresh_token.as_deref(), kept.tokens.refresh_token.as_deref());
        let access = |session: &Session| {
            session.tokens.access_token.as_ref().map(|token| (token.secret.to_string(), token.expires))
        };
        assert_eq!(access(&found), access(&kept));
        assert!(store.create(&kept, handle(9), "wiki").await.is_err(), "an id is given once");
        empty(store).await;
    }
}

async fn a_handle_opens_at_its_host_only(store: &dyn SessionStore) {
    store.create(&session("s-1", "alice"), handle(1), "wiki").await.unwrap();
    let all = [(handle(1), "wiki".into()), (handle(1), "pve".into()), (handle(2), "wiki".into())];
    let found = store.find_all(&all).await.unwrap();
    assert_eq!(
        found.iter().map(|(handle, session)| (handle.0, &*session.id)).collect::<Vec<_>>(),
        [(handle(1).0, "s-1")]
    );
    assert!(store.find(handle(1), "wiki").await.unwrap().is_some());
    assert!(store.find(handle(1), "pve").await.unwrap().is_none(), "another host");
    assert!(store.find(handle(2), "wiki").await.unwrap().is_none(), "another handle");
    assert!(store.add_handle(&"s-1".into(), handle(2), "pve", None).await.unwrap());
    assert!(store.find(handle(2), "pve").await.unwrap().is_some());
    assert!(store.find(handle(1), "wiki").await.unwrap().is_some());
    empty(store).await;
}

async fn many_handles_are_one_question(store: &dyn SessionStore) {
    let hashes: Vec<TicketHash> =
        (0..600u16).map(|n| TicketHash([n.to_be_bytes(); 16].concat().try_into().unwrap())).collect();
    for (n, hash) in hashes.iter().enumerate().step_by(9) {
        store.create(&session(&format!("s-{n}"), "alice"), *hash, "wiki").await.unwrap();
    }
    for count in [0, 1, 7, 8, 9, 64, 65, 500, 501, 600] {
        let asked: Vec<_> = hashes[..count].iter().map(|hash| (*hash, "wiki".into())).collect();
        let mut found: Vec<_> = store.find_all(&asked).await.unwrap();
        found.sort_by_key(|(hash, _)| hash.0);
        let ids: Vec<_> = found.iter().map(|(_, session)| session.id.to_string()).collect();
        assert_eq!(ids, (0..count).step_by(9).map(|n| format!("s-{n}")).collect::<Vec<_>>(), "{count}");
    }
    empty(store).await;
}

async fn a_handle_is_replaced(store: &dyn SessionStore) {
    store.create(&session("s-1", "alice"), handle(1), "wiki").await.unwrap();
    store.create(&session("s-2", "bob"), handle(5), "wiki").await.unwrap();
    assert!(store.add_handle(&"s-1".into(), handle(2), "wiki", Some(handle(1))).await.unwrap());
    assert!(store.find(handle(1), "wiki").await.unwrap().is_none(), "the old cookie opens nothing");
    assert!(store.add_handle(&"s-1".into(), handle(3), "wiki", Some(handle(5))).await.unwrap());
    assert!(store.find(handle(5), "wiki").await.unwrap().is_some(), "a handle of somebody else stays");
    empty(store).await;
}

async fn an_ended_session_is_gone(store: &dyn SessionStore) {
    let kept = session("s-1", "alice");
    store.create(&kept, handle(1), "wiki").await.unwrap();
    assert_eq!(store.end(&Which::Session("s-1".into()), NOON).await.unwrap(), ["s-1".into()]);
    assert!(store.find(handle(1), "wiki").await.unwrap().is_none());
    assert!(!store.update(&kept).await.unwrap(), "a refresh that comes late revives nothing");
    assert!(!store.add_handle(&kept.id, handle(2), "pve", Some(handle(1))).await.unwrap());
    assert!(store.find(handle(2), "pve").await.unwrap().is_none());
    store.touch(&[(kept.id.clone(), NOON)]).await.unwrap();
    assert!(store.list(&Which::All).await.unwrap().is_empty());
    assert!(store.end(&Which::Session(kept.id), NOON).await.unwrap().is_empty(), "ended once");
}

async fn a_session_never_changes_hands(store: &dyn SessionStore) {
    let mut kept = session("s-1", "alice");
    store.create(&kept, handle(1), "wiki").await.unwrap();
    kept.groups = Fact::Unknown(Why::SourceDown);
    kept.proofs = [].into();
    kept.tokens = Tokens::default();
    kept.expires = kept.expires.plus(Duration::from_secs(3600));
    assert!(store.update(&kept).await.unwrap());
    let found = store.find(handle(1), "wiki").await.unwrap().unwrap();
    assert_eq!(found.groups, Fact::Unknown(Why::SourceDown));
    assert!(found.proofs.is_empty() && found.tokens.refresh_token.is_none());
    assert_eq!(found.expires, session("", "").expires, "the absolute end never moves away");

    assert!(!store.update(&session("s-1", "mallory")).await.unwrap());
    assert_eq!(&*store.find(handle(1), "wiki").await.unwrap().unwrap().user.name, "alice");
    empty(store).await;
}

async fn revocations_end_what_they_name(store: &dyn SessionStore) {
    let issuer = || "https://idp.example.test".into();
    let rows = [
        (Which::Session("a-1".into()), vec!["a-1"]),
        (Which::These(vec!["a-2".into(), "p-1".into(), "gone".into()]), vec!["a-2", "p-1"]),
        (Which::These(vec![]), vec![]),
        (Which::User("alice".into()), vec!["a-1", "a-2"]),
        (Which::User("nobody".into()), vec![]),
        (Which::Subject { issuer: issuer(), subject: "sub-bob".into() }, vec!["b-1"]),
        (Which::Subject { issuer: "https://other".into(), subject: "sub-bob".into() }, vec![]),
        (logged_out(None, Some("sid-a-2")), vec!["a-2"]),
        (logged_out(Some("sub-alice"), None), vec!["a-1", "a-2"]),
        (logged_out(Some("sub-alice"), Some("sid-a-2")), vec!["a-2"]),
        (logged_out(Some("sub-bob"), Some("sid-a-2")), vec!["b-1"]),
        (logged_out(None, None), vec![]),
        (Which::Device("Laptop-7".into()), vec!["a-2", "b-1"]),
        (Which::Device("laptop-8".into()), vec!["a-2"]),
        (Which::Device("laptop".into()), vec![]),
        (Which::Hosts(vec!["pve".into()]), vec![]),
        (Which::Hosts(vec![]), vec![]),
        (Which::Hosts(vec!["pve".into(), "wiki".into()]), vec!["a-1", "a-2", "b-1", "p-1"]),
        (Which::Hosts(vec!["*.wiki".into()]), vec![]),
        (Which::Provider("corp".into()), vec!["a-1", "a-2", "b-1"]),
        (Which::VouchedFor { provider: "corp".into(), issuer: issuer() }, vec!["a-1", "a-2", "b-1"]),
        (Which::VouchedFor { provider: "corp".into(), issuer: "https://partner".into() }, vec![]),
        (Which::All, vec!["a-1", "a-2", "b-1", "p-1"]),
    ];
    for (which, expected) in rows {
        let mut partner = session("p-1", "partner/paul");
        partner.user =
            Arc::new(User { provider: "partner".into(), issuer: "https://partner".into(), ..(*partner.user).clone() });
        // Of Bob's session the provider's name is not known.
        let bob = Session { provider_session: None, ..session("b-1", "bob") };
        let all = [session("a-1", "alice"), session("a-2", "alice"), bob, partner];
        for (n, kept) in (0..).zip(&all) {
            store.create(kept, handle(n), "wiki").await.unwrap();
        }
        for (id, devices) in
            [("a-2", vec!["laptop-7", "laptop-8"]), ("a-2", vec!["laptop-7"]), ("b-1", vec!["Laptop-7"])]
        {
            let devices: Vec<_> = devices.into_iter().map(Into::into).collect();
            assert!(store.used_with(&id.into(), &devices).await.unwrap());
        }
        assert!(!store.used_with(&"nobody".into(), &["laptop-7".into()]).await.unwrap(), "a session that is over");
        let mut vouchers = store.vouchers().await.unwrap();
        vouchers.sort();
        assert_eq!(vouchers, [("corp".into(), issuer()), ("partner".into(), "https://partner".into())]);
        let mut listed: Vec<String> = store.list(&which).await.unwrap().iter().map(|s| s.id.to_string()).collect();
        listed.sort();
        let mut ended = store.end(&which, NOON).await.unwrap();
        ended.sort();
        assert_eq!(listed, expected, "{which:?}");
        assert_eq!(ended.iter().map(|id| &**id).collect::<Vec<_>>(), expected, "{which:?}");
        for (n, kept) in (0..).zip(&all) {
            let live = store.find(handle(n), "wiki").await.unwrap().is_some();
            assert_eq!(live, !expected.contains(&&*kept.id), "{which:?}: {}", kept.id);
        }
        empty(store).await;
    }
}

fn logged_out(subject: Option<&str>, sid: Option<&str>) -> Which {
    Which::LoggedOut(logout(subject, sid, NOON))
}

fn logout(subject: Option<&str>, sid: Option<&str>, heard: Timestamp) -> ProviderLogout {
    ProviderLogout {
        issuer: "https://idp.example.test".into(),
        subject: subject.map(Into::into),
        sid: sid.map(Into::into),
        heard,
    }
}

/// A login began at noon, and was finished at one.
async fn a_logout_that_comes_before_its_login_wins(store: &dyn SessionStore) {
    let minutes = |n: u64| NOON.plus(Duration::from_secs(60 * n));
    let known = Session { created: minutes(1), ..session("s-1", "alice") };
    let unnamed = Session { provider_session: None, ..known.clone() };
    let (before, after) = (NOON.minus(Duration::from_secs(60)), minutes(1));
    let rows = [
        ("the session itself", logout(None, Some("sid-s-1"), after), true, false),
        ("the session itself, heard of before the login began", logout(None, Some("sid-s-1"), before), true, false),
        ("the session and its person", logout(Some("sub-alice"), Some("sid-s-1"), after), true, true),
        ("the session and another person", logout(Some("sub-bob"), Some("sid-s-1"), after), false, false),
        ("another session of the person", logout(Some("sub-alice"), Some("sid-s-2"), after), false, true),
        ("the person", logout(Some("sub-alice"), None, after), true, true),
        ("the person, heard of before the login began", logout(Some("sub-alice"), None, before), false, false),
        ("another person", logout(Some("sub-bob"), None, after), false, false),
        (
            "another issuer",
            ProviderLogout { issuer: "https://other".into(), ..logout(Some("sub-alice"), None, after) },
            false,
            false,
        ),
    ];
    for (n, (what, heard, bars_known, bars_unnamed)) in (0..).zip(rows) {
        assert_eq!(store.keep_logout(handle(n), &heard, minutes(2)).await.unwrap(), heard.heard);
        assert_eq!(store.is_logged_out(&known, NOON).await.unwrap(), bars_known, "{what}");
        assert_eq!(store.is_logged_out(&unnamed, NOON).await.unwrap(), bars_unnamed, "{what}, no sid known");
        // The same token again, later: it means what it meant first.
        let again = ProviderLogout { heard: minutes(30), ..heard.clone() };
        assert_eq!(store.keep_logout(handle(n), &again, minutes(2)).await.unwrap(), heard.heard, "{what}");
        store.sweep(minutes(2), NOON).await.unwrap();
        assert!(!store.is_logged_out(&known, NOON).await.unwrap(), "{what}: forgotten when nobody can come back");
    }
    // Whoever signed in after it was heard of is not meant.
    let later = Session { created: minutes(2), ..session("s-2", "alice") };
    store.create(&known, handle(1), "wiki").await.unwrap();
    store.create(&later, handle(2), "wiki").await.unwrap();
    let ended = store.end(&Which::LoggedOut(logout(Some("sub-alice"), None, minutes(1))), minutes(3)).await.unwrap();
    assert_eq!(ended, ["s-1".into()]);
    empty(store).await;
}

async fn expired_and_idle_sessions_are_swept(store: &dyn SessionStore) {
    let minutes = |n: u64| NOON.plus(Duration::from_secs(60 * n));
    for (n, id) in ["expired", "idle", "used"].into_iter().enumerate() {
        let mut kept = session(id, "alice");
        if id == "expired" {
            kept.expires = minutes(10);
        }
        store.create(&kept, handle(u32::try_from(n).unwrap()), "wiki").await.unwrap();
    }
    store.put_once(Purpose::HandOver, handle(7), b"x", minutes(1)).await.unwrap();
    store.touch(&[("used".into(), minutes(9)), ("expired".into(), minutes(9))]).await.unwrap();
    store.touch(&[("used".into(), minutes(3))]).await.unwrap();
    assert!(store.sweep(minutes(9), minutes(0)).await.unwrap().is_empty(), "nothing has ended yet");
    let mut ended = store.sweep(minutes(10), minutes(5)).await.unwrap();
    ended.sort();
    assert_eq!(ended, ["expired".into(), "idle".into()], "an older touch does not undo a newer one");
    assert!(store.find(handle(1), "wiki").await.unwrap().is_none());
    assert!(store.find(handle(2), "wiki").await.unwrap().is_some());
    empty(store).await;
}

async fn a_one_time_value_is_taken_once(store: &Arc<dyn SessionStore>) {
    let later = NOON.plus(Duration::from_secs(60));
    store.put_once(Purpose::LoginState, handle(1), b"state", later).await.unwrap();
    assert!(store.take_once(Purpose::HandOver, handle(1), NOON).await.unwrap().is_none(), "another purpose");
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.take_once(Purpose::LoginState, handle(1), NOON).await.unwrap() })
        })
        .collect();
    let mut taken = 0;
    for racer in racers {
        if let Some(value) = racer.await.unwrap() {
            assert_eq!(value, b"state");
            taken += 1;
        }
    }
    assert_eq!(taken, 1, "of two callers, one finds it gone");

    store.put_once(Purpose::HandOver, handle(2), b"code", later).await.unwrap();
    assert!(store.take_once(Purpose::HandOver, handle(2), later).await.unwrap().is_none(), "expired");
    assert!(store.take_once(Purpose::HandOver, handle(2), NOON).await.unwrap().is_none(), "and gone");
}

async fn a_provider_is_asked_by_one(store: &Arc<dyn SessionStore>) {
    let minutes = |n: u64| NOON.plus(Duration::from_secs(60 * n));
    for n in 0..20 {
        store.create(&session(&format!("s-{n}"), "alice"), handle(n), "wiki").await.unwrap();
    }
    let late = Session { created: minutes(4), ..session("late", "alice") };
    store.create(&late, handle(99), "wiki").await.unwrap();
    let claimed_at = async |now: Timestamp| {
        let racers = (0..4).map(|_| {
            let store = Arc::clone(store);
            let before = now.minus(Duration::from_secs(300));
            tokio::spawn(async move { store.claim_renewals(before, now).await.unwrap() })
        });
        let claimed = futures::future::join_all(racers).await;
        claimed.into_iter().flat_map(Result::unwrap).collect::<Vec<_>>()
    };
    let first = claimed_at(minutes(5)).await;
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), first.len(), "of several callers one gets a session");
    assert_eq!(first.len(), 20, "one that is not old enough is not due");
    assert_eq!(claimed_at(minutes(6)).await, [], "and for a while nobody");
    assert_eq!(claimed_at(minutes(9)).await, ["late".into()]);
    assert_eq!(claimed_at(minutes(10)).await.len(), 20);
    empty(&**store).await;
    assert_eq!(claimed_at(minutes(60)).await, [], "what has ended is not asked about");

    let young = Session { created: minutes(61), ..session("young", "alice") };
    store.create(&young, handle(100), "wiki").await.unwrap();
    let claim_one = async |before, now| {
        let racers = (0..4).map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.claim_renewal(&"young".into(), before, now).await.unwrap() })
        });
        let claimed = futures::future::join_all(racers).await;
        claimed.into_iter().filter(|claimed| *claimed.as_ref().unwrap()).count()
    };
    assert_eq!(claim_one(minutes(61), minutes(62)).await, 1, "however young, one of several gets it");
    assert_eq!(claim_one(minutes(61), minutes(63)).await, 0, "and for a while nobody");
    assert_eq!(claim_one(minutes(62), minutes(64)).await, 1);
    assert_eq!(claimed_at(minutes(65)).await, [], "both claims are one");
    store.end(&Which::All, minutes(66)).await.unwrap();
    assert_eq!(claim_one(minutes(70), minutes(71)).await, 0, "what has ended is nobody's");
}

async fn what_has_gone_is_known(store: &dyn SessionStore) {
    store.create(&session("s-1", "alice"), handle(1), "wiki").await.unwrap();
    let some = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
    assert_eq!(store.gone(&some(&["s-0", "s-1", "s-2"])).await.unwrap(), some(&["s-0", "s-2"]));
    assert_eq!(store.gone(&[]).await.unwrap(), some(&[]));
    let many: Vec<_> = (1..=1200).map(|n| format!("s-{n}").into()).collect();
    assert_eq!(store.gone(&many).await.unwrap().len(), 1199);
    empty(store).await;
}

async fn a_grant_is_spent_once(store: &Arc<dyn SessionStore>) {
    let racers = (0..8).map(|n| {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.spend_grant("bg-1", &format!("uid {n}"), NOON).await.unwrap() })
    });
    let spent = futures::future::join_all(racers).await;
    assert_eq!(spent.into_iter().filter(|spent| *spent.as_ref().unwrap()).count(), 1);
    store.sweep(NOON.plus(Duration::from_secs(86_400 * 400)), NOON).await.unwrap();
    assert!(!store.spend_grant("bg-1", "uid 0", NOON).await.unwrap(), "and is never forgotten");
}

async fn ten_thousand_sessions(store: &dyn SessionStore) {
    for n in 0..10_000 {
        store.create(&session(&format!("s-{n}"), &format!("user-{}", n % 100)), handle(n), "wiki").await.unwrap();
    }
    assert_eq!(&*store.find(handle(9_999), "wiki").await.unwrap().unwrap().id, "s-9999");
    assert_eq!(store.end(&Which::User("user-7".into()), NOON).await.unwrap().len(), 100);
    assert!(store.find(handle(107), "wiki").await.unwrap().is_none());
    let left: HashSet<_> = store.list(&Which::All).await.unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(left.len(), 9_900);
    assert_eq!(store.end(&Which::All, NOON).await.unwrap().len(), 9_900);
}
