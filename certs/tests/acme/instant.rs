//! A client that others wrote, instant-acme, over TLS: the whole life of an account and its certificates.
use crate::harness::{config, laptop, laptop_name, service};
use crate::listener::Listener;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy, RevocationReason, RevocationRequest,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::sync::atomic::Ordering;
use time::{Duration, OffsetDateTime};
use torhaus_certs::acme::{EabKey, Enrolment, Store as _};

#[tokio::test]
async fn instant_acme_enrols_orders_renews_changes_keys_and_revokes() {
    let listener = Listener::start(config()).await;
    let (mut account, _) = sign_up(&listener, laptop("alice")).await.unwrap();
    let profiles: std::collections::BTreeSet<_> = account.profiles().map(|profile| profile.name.to_owned()).collect();
    assert_eq!(profiles.into_iter().collect::<Vec<_>>(), ["device", "server"]);

    let names = [Identifier::Dns(laptop_name("alice"))];
    let mut order = account.new_order(&NewOrder::new(&names).profile("device")).await.unwrap();
    assert_eq!(order.state().status, OrderStatus::Ready);
    let first = finalize(&mut order, &laptop_name("alice")).await;

    let id = CertificateIdentifier::try_from(&first).unwrap();
    let (info, retry_after) = account.renewal_info(&id).await.unwrap();
    let now = OffsetDateTime::now_utc();
    assert!(info.suggested_window.start > now && info.suggested_window.end > info.suggested_window.start);
    assert!(retry_after > std::time::Duration::from_secs(60));

    let _new_credentials = account.update_key().await.unwrap();
    account.update_contacts(&["mailto:alice@corp.example"]).await.unwrap();
    let mut order = account.new_order(&NewOrder::new(&names).replaces(id.clone())).await.unwrap();
    let second = finalize(&mut order, &laptop_name("alice")).await;
    assert_ne!(first, second);
    let again = account.new_order(&NewOrder::new(&names).replaces(id.clone())).await;
    problem(again.map(drop), "alreadyReplaced");

    let request = RevocationRequest { certificate: &first, reason: Some(RevocationReason::Superseded) };
    account.revoke(&request).await.unwrap();
    assert!(account.renewal_info(&id).await.unwrap().0.suggested_window.end < now, "revoked: renew now");
    problem(account.revoke(&request).await, "alreadyRevoked");
    assert_eq!(listener.world.issuer.live(), 1);

    let foreign = [Identifier::Dns(laptop_name("bob"))];
    problem(account.new_order(&NewOrder::new(&foreign)).await.map(drop), "rejectedIdentifier");
    listener.world.issuer.down.store(true, Ordering::SeqCst);
    let mut order = account.new_order(&NewOrder::new(&names)).await.unwrap();
    let csr = csr(&laptop_name("alice"));
    problem(order.finalize_csr(&csr).await, "serverInternal");
    account.deactivate().await.unwrap();
    let accounts = listener.world.store.accounts().await.unwrap();
    assert_eq!(accounts[0].status, torhaus_certs::acme::AccountStatus::Deactivated);
}

#[tokio::test]
async fn instant_acme_proves_a_name_by_dns_01() {
    let listener = Listener::start(config()).await;
    let (account, _) = sign_up(&listener, service()).await.unwrap();
    let names = [Identifier::Dns("*.web.corp.example".into())];
    let mut order = account.new_order(&NewOrder::new(&names)).await.unwrap();
    assert_eq!(order.state().status, OrderStatus::Pending);
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.unwrap();
        assert_eq!((authorization.status, authorization.wildcard), (AuthorizationStatus::Pending, true));
        let mut challenge = authorization.challenge(ChallengeType::Dns01).unwrap();
        let value = challenge.key_authorization().dns_value().into_bytes();
        let record = "_acme-challenge.web.corp.example".to_owned();
        listener.world.probe.lock().unwrap().txt.insert(record, Ok(vec![value]));
        challenge.set_ready().await.unwrap();
    }
    assert_eq!(order.poll_ready(&RetryPolicy::default()).await.unwrap(), OrderStatus::Ready);
    finalize(&mut order, "*.web.corp.example").await;
}

#[tokio::test]
async fn instant_acme_is_told_why_it_gets_no_account() {
    let listener = Listener::start(config()).await;
    let (_, credentials) = sign_up(&listener, laptop("alice")).await.unwrap();
    let again = Account::builder_with_root(&listener.root).unwrap().from_credentials(credentials).await.unwrap();
    let names = [Identifier::Dns(laptop_name("alice"))];
    assert_eq!(again.new_order(&NewOrder::new(&names)).await.unwrap().state().status, OrderStatus::Ready);

    let none = Account::builder_with_root(&listener.root).unwrap();
    problem(none.create(&new_account(), listener.directory(), None).await.map(drop), "externalAccountRequired");
    let unknown = ExternalAccountKey::new("nobody".into(), &[1; 32]);
    let builder = Account::builder_with_root(&listener.root).unwrap();
    problem(builder.create(&new_account(), listener.directory(), Some(&unknown)).await.map(drop), "unauthorized");
}

async fn sign_up(listener: &Listener, enrolment: Enrolment) -> Result<(Account, AccountCredentials), Error> {
    let now = OffsetDateTime::now_utc();
    let enrolment = Enrolment { until: now + Duration::days(30), ..enrolment };
    let key = EabKey::new(enrolment, now, now + Duration::minutes(15)).unwrap();
    listener.world.store.add_eab(key.clone()).await.unwrap();
    let secret = BASE64_URL_SAFE_NO_PAD.decode(&*key.secret_base64()).unwrap();
    let eab = ExternalAccountKey::new(key.kid, &secret);
    let builder = Account::builder_with_root(&listener.root).unwrap();
    builder.create(&new_account(), listener.directory(), Some(&eab)).await
}

fn new_account() -> NewAccount<'static> {
    NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false }
}

async fn finalize(order: &mut Order, name: &str) -> CertificateDer<'static> {
    order.finalize_csr(&csr(name)).await.unwrap();
    let pem = order.poll_certificate(&RetryPolicy::default()).await.unwrap();
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn csr(name: &str) -> Vec<u8> {
    crate::harness::csr(&rcgen::KeyPair::generate().unwrap(), &[name])
}

#[track_caller]
fn problem(outcome: Result<(), Error>, kind: &str) {
    match outcome {
        Err(Error::Api(problem)) => {
            assert_eq!(problem.r#type.as_deref(), Some(format!("urn:ietf:params:acme:error:{kind}").as_str()));
        }
        other => panic!("{other:?} instead of {kind}"),
    }
}
