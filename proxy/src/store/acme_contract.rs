//! What every store of the ACME server promises, as one function that each implementation runs.
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use torhaus_certs::acme::{
    Account, AccountChange, AccountStatus, Authorization, AuthorizationState, Certificate, Changed, DnsName, EabKey,
    Enrolled, Enrolment, Grant, Identifier, Jwk, Order, OrderState, Owner, Proof, Store,
};

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_795_392_000).unwrap()
}

fn hours(count: i64) -> OffsetDateTime {
    now() + Duration::hours(count)
}

fn name() -> Identifier {
    Identifier::Dns(DnsName::parse("laptop.alice.devices.test").unwrap())
}

fn key() -> Jwk {
    let pair = rcgen::KeyPair::generate().unwrap();
    let point = pair.public_key_raw();
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    Jwk::parse(&json!({"kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..])})).unwrap()
}

fn enrolment(label: &str) -> Enrolment {
    Enrolment {
        owner: Owner::Person("alice".into()),
        label: label.into(),
        names: vec![Grant::Exactly(name()), Grant::Below(DnsName::parse("a.test").unwrap())],
        wildcards: true,
        proof: Proof::Approved,
        profile: "device".into(),
        until: hours(24),
        facts: BTreeMap::from([("user".into(), "al\"ice".into())]),
    }
}

pub fn eab() -> EabKey {
    EabKey::new(enrolment("laptop"), now(), hours(1)).unwrap()
}

fn account(id: &str, eab: &EabKey) -> Account {
    let key = key();
    Account {
        id: id.into(),
        thumbprint: key.thumbprint(),
        key,
        status: AccountStatus::Valid,
        contact: vec!["mailto:alice@example.test".into()],
        kid: eab.kid.clone(),
        enrolment: eab.enrolment.clone(),
        created: now(),
    }
}

fn order(id: &str, account: &str, replaces: Option<&str>) -> (Order, Authorization) {
    let authorization = Authorization {
        id: format!("authorization of {id}"),
        account: account.into(),
        identifier: name(),
        state: AuthorizationState::Pending,
        expires: hours(1),
        challenges: Vec::new(),
    };
    let order = Order {
        id: id.into(),
        account: account.into(),
        state: OrderState::Open,
        expires: hours(1),
        identifiers: vec![name()],
        authorizations: vec![authorization.id.clone()],
        profile: "device".into(),
        replaces: replaces.map(str::to_owned),
    };
    (order, authorization)
}

fn certificate(id: &str, order: &str, account: &str) -> Certificate {
    Certificate {
        id: id.into(),
        account: account.into(),
        order: order.into(),
        serial: vec![0x54, 1],
        renewal_id: format!("aki.{id}"),
        identifiers: vec![name()],
        chain_pem: "chain".into(),
        alternates_pem: Vec::new(),
        not_before: now(),
        not_after: hours(12),
    }
}

async fn enrolled(store: &dyn Store, id: &str) -> Account {
    let eab = eab();
    store.add_eab(eab.clone()).await.unwrap();
    let account = account(id, &eab);
    assert!(matches!(store.enrol(account.clone(), &eab.kid, now()).await.unwrap(), Enrolled::Created));
    account
}

async fn ordered(store: &dyn Store, id: &str, account: &str, replaces: Option<&str>) -> bool {
    let (order, authorization) = order(id, account, replaces);
    store.add_order(order, vec![authorization]).await.unwrap()
}

/// Runs every promise on an empty store.
pub async fn holds(store: Arc<dyn Store>) {
    nonces_and_keys(&*store).await;
    accounts(&*store).await;
    orders(&*store).await;
    races(&store).await;
    sweeping(&*store).await;
}

async fn nonces_and_keys(store: &dyn Store) {
    assert!(store.spend_nonce([7; 16], hours(1)).await.unwrap());
    assert!(!store.spend_nonce([7; 16], hours(1)).await.unwrap(), "a nonce is spent once");
    let (one, other) = (eab(), eab());
    store.add_eab(one.clone()).await.unwrap();
    store.add_eab(other.clone()).await.unwrap();
    assert_eq!(store.eab(&one.kid).await.unwrap(), Some(one.clone()), "as it was made");
    assert_eq!(store.eabs().await.unwrap().len(), 2);
    assert!(store.revoke_eab(&one.kid).await.unwrap());
    assert!(!store.revoke_eab(&one.kid).await.unwrap() && !store.revoke_eab("nobody's").await.unwrap());
    let refused = store.enrol(account("refused", &one), &one.kid, now()).await.unwrap();
    assert!(matches!(refused, Enrolled::EabGone), "a revoked key makes no account");
    let refused = store.enrol(account("late", &other), &other.kid, hours(1)).await.unwrap();
    assert!(matches!(refused, Enrolled::EabGone), "nor does one whose time is over");
    assert!(store.accounts().await.unwrap().is_empty());
}

async fn accounts(store: &dyn Store) {
    let alice = enrolled(store, "alice").await;
    assert_eq!(store.account("alice").await.unwrap(), Some(alice.clone()));
    assert_eq!(store.account_by_key(&alice.thumbprint).await.unwrap(), Some(alice.clone()));
    assert_eq!(store.eab(&alice.kid).await.unwrap().unwrap().used_by.as_deref(), Some("alice"));
    let again = store.enrol(account("second", &eab()), &alice.kid, now()).await.unwrap();
    assert!(matches!(again, Enrolled::EabGone), "a key is used once");
    let fresh = EabKey::new(enrolment("desktop"), now(), hours(1)).unwrap();
    store.add_eab(fresh.clone()).await.unwrap();
    let twin = Account { id: "twin".into(), ..alice.clone() };
    let twin = store.enrol(twin, &fresh.kid, now()).await.unwrap();
    assert!(matches!(twin, Enrolled::KeyExists(known) if known.id == "alice"));
    assert_eq!(store.eab(&fresh.kid).await.unwrap().unwrap().used_by, None, "and nothing was used up");
    assert!(store.enrol_again("alice", &fresh.kid, now()).await.unwrap());
    assert!(!store.enrol_again("alice", &fresh.kid, now()).await.unwrap());
    let alice = store.account("alice").await.unwrap().unwrap();
    assert_eq!((alice.enrolment.label.as_str(), &alice.kid), ("desktop", &fresh.kid));

    let bob = enrolled(store, "bob").await;
    let taken = store.change_account("alice", AccountChange::Key(bob.key.clone())).await.unwrap();
    assert_eq!(taken, Changed::KeyTaken("bob".into()));
    let new = key();
    assert_eq!(store.change_account("alice", AccountChange::Key(new.clone())).await.unwrap(), Changed::Yes);
    assert_eq!(store.account_by_key(&alice.thumbprint).await.unwrap(), None, "the old key finds nobody");
    assert_eq!(store.account_by_key(&new.thumbprint()).await.unwrap().unwrap().id, "alice");
    let contact = AccountChange::Contact(vec!["mailto:new@example.test".into()]);
    assert_eq!(store.change_account("bob", contact.clone()).await.unwrap(), Changed::Yes);
    let end = AccountChange::End(AccountStatus::Revoked);
    assert_eq!(store.change_account("bob", end).await.unwrap(), Changed::Yes);
    assert_eq!(store.change_account("bob", contact.clone()).await.unwrap(), Changed::NotValid);
    assert_eq!(store.change_account("nobody", contact).await.unwrap(), Changed::NotValid);
    let late = eab();
    store.add_eab(late.clone()).await.unwrap();
    assert!(!store.enrol_again("bob", &late.kid, now()).await.unwrap(), "who was revoked does not come back");
}

async fn orders(store: &dyn Store) {
    for id in ["o1", "o2"] {
        assert!(ordered(store, id, "alice", None).await);
    }
    assert_eq!(store.orders_of("alice").await.unwrap(), ["o1", "o2"]);
    let (expected, authorization) = order("o1", "alice", None);
    assert_eq!(store.order("o1").await.unwrap(), Some(expected));
    assert!(!store.has_proved("alice", &name(), now()).await.unwrap());
    let proved = Authorization { state: AuthorizationState::Valid, ..authorization.clone() };
    assert!(store.change_authorization(&authorization, proved.clone()).await.unwrap());
    assert!(!store.change_authorization(&authorization, proved.clone()).await.unwrap(), "it is not as it was");
    assert_eq!(store.authorization(&proved.id).await.unwrap(), Some(proved));
    assert!(store.has_proved("alice", &name(), now()).await.unwrap());
    assert!(!store.has_proved("alice", &name(), hours(1)).await.unwrap(), "a proof ends");
    assert!(!store.has_proved("bob", &name(), now()).await.unwrap(), "and is its account's own");

    let processing = OrderState::Processing { since: 5, attempt: "first".into() };
    assert!(store.move_order("o1", &OrderState::Open, processing.clone()).await.unwrap());
    assert!(!store.move_order("o1", &OrderState::Open, processing.clone()).await.unwrap());
    assert!(!store.complete(certificate("c1", "o1", "alice"), &OrderState::Open).await.unwrap());
    assert!(store.complete(certificate("c1", "o1", "alice"), &processing).await.unwrap());
    let valid = OrderState::Valid { certificate: "c1".into() };
    assert_eq!(store.order("o1").await.unwrap().unwrap().state, valid);
    assert_eq!(store.certificate("c1").await.unwrap(), Some(certificate("c1", "o1", "alice")));
    assert_eq!(store.certificate_by_renewal_id("aki.c1").await.unwrap().unwrap().id, "c1");
    assert_eq!(store.certificates_of("alice").await.unwrap().len(), 1);
    assert_eq!(store.certificates_of("bob").await.unwrap(), []);

    assert!(ordered(store, "o3", "alice", Some("aki.c1")).await);
    assert!(!ordered(store, "o4", "alice", Some("aki.c1")).await, "a certificate is replaced once");
    assert_eq!(store.order("o4").await.unwrap(), None, "all or nothing");
    assert!(store.move_order("o3", &OrderState::Open, OrderState::Invalid { problem: None }).await.unwrap());
    assert!(ordered(store, "o5", "alice", Some("aki.c1")).await, "an invalid order replaces nothing");

    assert!(ordered(store, "b1", "bob", None).await);
    assert!(store.move_order("b1", &OrderState::Open, processing.clone()).await.unwrap());
    assert!(!store.complete(certificate("cb", "b1", "bob"), &processing).await.unwrap(), "bob was revoked meanwhile");
    assert_eq!(store.certificate("cb").await.unwrap(), None);
}

/// Of two callers, one gets it.
async fn races(store: &Arc<dyn Store>) {
    let (first, second) = (store.clone(), store.clone());
    let eab = eab();
    store.add_eab(eab.clone()).await.unwrap();
    let (one, other) = (account("race-1", &eab), account("race-2", &eab));
    let kid = eab.kid.clone();
    let one = tokio::spawn(async move { first.enrol(one, &kid, now()).await.unwrap() });
    let kid = eab.kid.clone();
    let other = tokio::spawn(async move { second.enrol(other, &kid, now()).await.unwrap() });
    let created = [one.await.unwrap(), other.await.unwrap()].map(|got| matches!(got, Enrolled::Created));
    assert_eq!(created.iter().filter(|created| **created).count(), 1);
    assert!(ordered(&**store, "r1", "alice", None).await);
    let moves = (0..4).map(|attempt| {
        let store = store.clone();
        let to = OrderState::Processing { since: attempt, attempt: attempt.to_string() };
        tokio::spawn(async move { store.move_order("r1", &OrderState::Open, to).await.unwrap() })
    });
    let moved = futures::future::join_all(moves).await;
    assert_eq!(moved.iter().filter(|done| *done.as_ref().unwrap()).count(), 1);
}

async fn sweeping(store: &dyn Store) {
    assert_eq!(store.sweep(now()).await.unwrap(), 0, "nothing is past yet");
    store.sweep(hours(1 + 24)).await.unwrap();
    assert_eq!(store.eabs().await.unwrap(), [], "keys go a day after their end");
    assert_eq!(store.order("o2").await.unwrap(), None);
    assert!(store.order("o1").await.unwrap().is_some(), "the order of a certificate stays as long as it");
    assert!(store.authorization("authorization of o1").await.unwrap().is_some());
    store.sweep(hours(12 + 24)).await.unwrap();
    assert_eq!(store.certificate("c1").await.unwrap(), None);
    assert_eq!(store.order("o1").await.unwrap(), None);
    assert!(store.account("alice").await.unwrap().is_some(), "accounts stay for a month");
    store.sweep(hours(24 + 30 * 24)).await.unwrap();
    assert_eq!(store.accounts().await.unwrap(), []);
}
