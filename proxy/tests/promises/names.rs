//! Host and SNI belong together: a connection to one host is worth nothing at a host that asks for more of clients.
use crate::harness::client::{Tls, handshake};
use crate::harness::pki::BACKUP;
use crate::harness::raw::exchange;
use crate::harness::{Call, Connection, Door, World};
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use std::sync::Arc;

#[tokio::test]
async fn host_and_sni_belong_together() {
    let world = World::start().await;
    let device = world.pki.device("laptop");
    let login = (401, "login_needed");
    let wrong = (421, "wrong_host");
    for (sni, host, expected) in [
        ("wiki.test", "wiki.test", login),
        ("wiki.test", "samba.test", login),
        ("wiki.test", "WIKI.test", login),
        ("auth.test", "wiki.test", login),
        ("pve.test", "headscale.test", login),
        // From an open name to one that asks for certificates, to one that asks for others, and back.
        ("wiki.test", "pve.test", wrong),
        ("wiki.test", "backup.test", wrong),
        ("status.test", "backup.test", wrong),
        ("pve.test", "backup.test", wrong),
        ("pve.test", "service.test", wrong),
        ("service.test", "backup.test", wrong),
        ("pve.test", "wiki.test", wrong),
        ("pve.test", "auth.test", wrong),
        ("wiki.test", "nowhere.test", wrong),
        ("wiki.test", "localhost", wrong),
    ] {
        for alpn in ["http/1.1", "h2"] {
            let tls = world.tls(Some(&device), &[alpn]);
            let call = Call::get(host, "/").with("accept", "application/json");
            let answer = Connection::open(world.address(Door::Inside), sni, &tls).await.unwrap().send(&call).await;
            let (status, reason) = answer.unwrap().outcome();
            assert_eq!((status, reason.as_str()), expected, "SNI {sni}, host {host}, {alpn}");
        }
    }
    assert_eq!(world.echo.count(), 0);
}

#[tokio::test]
async fn a_handshake_without_a_name_of_ours_is_refused() {
    let world = World::start().await;
    let tls = world.tls(None, &["http/1.1"]);
    for name in ["127.0.0.1", "nowhere.test", "sub.wiki.test", "test"] {
        assert!(handshake(world.address(Door::Inside), name, &tls).await.is_err(), "{name}");
    }
    // Names are compared without case, and a name in odd case gets the rule of its host.
    let get = b"GET / HTTP/1.1\r\nHost: backup.test\r\n\r\n";
    assert!(exchange(world.address(Door::Inside), "BaCkUp.TeSt", &tls, get).await.iter().all(|a| a.status >= 400));
    let call = Call::get("backup.test", "/");
    for host in ["BACKUP.test", "backup.test"] {
        let mut connection = Connection::open(world.address(Door::Inside), host, &tls).await.unwrap();
        assert!(connection.send(&call).await.is_err(), "{host} asks for a certificate");
    }
    assert_eq!(world.echo.count(), 0);
}

/// Offers every ticket everywhere, as no honest client does.
#[derive(Debug)]
struct AnyTicket(ClientSessionMemoryCache);

fn one_name() -> ServerName<'static> {
    ServerName::try_from("any.test").unwrap()
}

impl ClientSessionStore for AnyTicket {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(one_name(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&one_name())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(one_name(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&one_name())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one_name());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one_name(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one_name())
    }
}

#[tokio::test]
async fn a_ticket_of_an_open_host_is_worth_nothing_where_certificates_are_asked_for() {
    let world = World::start().await;
    let mut config = (*world.tls(None, &["http/1.1"])).clone();
    config.resumption = Resumption::store(Arc::new(AnyTicket(ClientSessionMemoryCache::new(16))));
    let tls: Tls = Arc::new(config);
    let get = |host: &str| Call::get(host, "/").with("accept", "application/json");
    let address = world.address(Door::Inside);
    for _ in 0..2 {
        let mut open = Connection::open(address, "status.test", &tls).await.unwrap();
        assert_eq!(open.send(&get("status.test")).await.unwrap().status, 200);
    }
    assert!(Connection::open(address, "status.test", &tls).await.unwrap().resumed, "the tickets are good at home");
    for (host, expected) in [("backup.test", None), ("service.test", Some("login_needed"))] {
        let mut open = Connection::open(address, "status.test", &tls).await.unwrap();
        assert_eq!(open.send(&get("status.test")).await.unwrap().status, 200);
        let before = world.echo.count();
        match Connection::open(address, host, &tls).await {
            Err(_) => assert_eq!(expected, None, "{host}"),
            Ok(mut connection) => {
                assert!(!connection.resumed, "{host} took a ticket of another group");
                let reason = connection.send(&get(host)).await.ok().and_then(|answer| answer.reason());
                assert_eq!(reason.as_deref(), expected, "{host}");
            }
        }
        assert_eq!(world.echo.count(), before);
    }
    let backup = world.pki.service(BACKUP);
    assert_eq!(world.call(Door::Inside, Some(&backup), &get("backup.test")).await.unwrap().status, 200);
}
