//! The admin socket, from the outside: through its client and through raw HTTP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
use async_trait::async_trait;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::oneshot;
use torhaus::admin::{
    self, BindError, BreakGlassAnswer, BreakGlassOrder, Caller, Client, ClientError, Control, ListenerStatus,
    ReloadFailed, Reloaded, Rollback, Selector, SessionLine, Socket, Status,
};
use torhaus::login::break_glass::BreakGlassError;
use torhaus::login::session::{Session, SessionId, Tokens, Unavailable, Which};
use torhaus::lookup::health::SourceStatus;
use torhaus_authz::{Fact, Name, Timestamp, User, Why};
use zeroize::Zeroizing;

/// A process that notes what it was asked.
#[derive(Default)]
struct Fake {
    without: Vec<String>,
    revoked: Mutex<Vec<(Which, Caller)>>,
    broken: bool,
}

fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        pid: 7,
        config_file: "torhaus.yaml".into(),
        config_hash: "c".into(),
        policy_version: "p".into(),
        started: Timestamp::from_seconds(1),
        config_loaded: Timestamp::from_seconds(2),
        uptime_seconds: 3,
        listeners: vec![ListenerStatus { name: "public".into(), address: "0.0.0.0:8443".into(), connections: 4 }],
        sessions_live: 1,
        reload_error: None,
        rolled_back: None,
        candidate: None,
        sources: vec![],
        not_ready: vec![],
        degraded: vec![],
        without: vec![],
        kubernetes: None,
    }
}

#[async_trait]
impl Control for Fake {
    fn status(&self) -> Status {
        Status { not_ready: self.not_ready(), ..status() }
    }

    fn sources(&self) -> Vec<SourceStatus> {
        vec![]
    }

    fn not_ready(&self) -> Vec<String> {
        if self.broken { vec!["the store is down".into(), "no certificate".into()] } else { vec![] }
    }

    fn without(&self) -> Vec<String> {
        self.without.clone()
    }

    fn metrics(&self) -> String {
        "# EOF\n".into()
    }

    async fn sessions(&self, _: &Which) -> Result<Vec<Session>, Unavailable> {
        let user = User {
            name: "alice".into(),
            provider: "corp".into(),
            issuer: "https://idp".into(),
            subject: "1".into(),
            federated: false,
        };
        Ok(vec![Session {
            id: "s-1".into(),
            user: Arc::new(user),
            display_name: None,
            email: None,
            groups: Fact::Unknown(Why::SourceDown),
            device: Fact::Unknown(Why::NotConfigured),
            proofs: [].into(),
            provider_session: None,
            tokens: Tokens {
                id_token: Some(Zeroizing::new("marked-secret".into())),
                refresh_token: Some(Zeroizing::new("marked-secret".into())),
                access_token: None,
            },
            created: Timestamp::from_seconds(1),
            expires: Timestamp::from_seconds(2),
            last_seen: Timestamp::from_seconds(1),
            opened_from: "192.0.2.1".into(),
            user_agent: "Firefox".into(),
        }])
    }

    fn degraded(&self) -> Vec<String> {
        if self.broken { vec!["the provider `corp` does not answer".into()] } else { vec![] }
    }

    fn hosts_of(&self, resource: &str) -> Vec<Name> {
        vec![format!("{resource}.test").into()]
    }

    async fn revoke(&self, which: &Which, by: Caller) -> Result<Vec<SessionId>, Unavailable> {
        self.revoked.lock().unwrap().push((which.clone(), by));
        Ok(vec!["s-1".into()])
    }

    async fn break_glass(&self, _: &BreakGlassOrder, _: Caller) -> Result<BreakGlassAnswer, BreakGlassError> {
        Err(BreakGlassError::NotOurs)
    }

    async fn roll_back(&self, _: &Rollback, _: Caller) -> Result<Reloaded, ReloadFailed> {
        Err(ReloadFailed { errors: "no policy ran before this one".into() })
    }

    async fn reload(&self, _: Caller) -> Result<Reloaded, ReloadFailed> {
        Err(ReloadFailed { errors: "torhaus.yaml:3: no".into() })
    }
}

async fn start(path: &Path, control: Arc<Fake>) -> oneshot::Sender<()> {
    let socket = Socket::bind(path).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(admin::serve(socket, control, async {
        let _ = stopped.await;
    }));
    stop
}

#[tokio::test]
async fn an_operator_sees_and_ends_sessions_without_seeing_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(admin::SOCKET);
    let control = Arc::new(Fake::default());
    let _stop = start(&path, Arc::clone(&control)).await;
    let client = Client::new(&path);
    assert_eq!(client.get::<Status>("/status").await.unwrap(), status());
    let shown: serde_json::Value = client.get("/sessions").await.unwrap();
    assert!(!shown.to_string().contains("marked-secret"), "{shown}");
    let lines: Vec<SessionLine> = client.get("/sessions?user=alice").await.unwrap();
    assert_eq!(lines[0].user, "alice");

    let alice = Selector { user: Some("alice".into()), ..Selector::default() };
    assert_eq!(client.post::<Vec<String>>("/sessions/revoke", &alice).await.unwrap(), ["s-1"]);
    let (which, by) = control.revoked.lock().unwrap().pop().unwrap();
    assert_eq!(which, Which::User("alice".into()));
    assert_eq!(by.pid, i32::try_from(std::process::id()).ok());

    let failed = client.post::<Reloaded>("/reload", &()).await;
    assert!(matches!(failed, Err(ClientError::Refused(code, text)) if code == 409 && text.contains("torhaus.yaml:3")));
}

#[tokio::test]
async fn a_revocation_that_names_nothing_or_two_things_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(admin::SOCKET);
    let control = Arc::new(Fake::default());
    let _stop = start(&path, Arc::clone(&control)).await;
    let both = Selector { user: Some("alice".into()), all: true, ..Selector::default() };
    for selector in [Selector::default(), both] {
        let refused = Client::new(&path).post::<Vec<String>>("/sessions/revoke", &selector).await;
        assert!(matches!(refused, Err(ClientError::Refused(code, _)) if code == 400), "{selector:?}");
    }
    assert!(control.revoked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_its_owner_may_open_the_socket_and_it_goes_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state").join(admin::SOCKET);
    let stop = start(&path, Arc::default()).await;
    let meta = std::fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let folder = std::fs::metadata(dir.path().join("state")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    assert_eq!(std::fs::read_dir(dir.path().join("state")).unwrap().count(), 1, "nothing else is left there");
    assert!(matches!(Socket::bind(&path).await, Err(BindError::InUse(_))), "a second process");
    stop.send(()).unwrap();
    for _ in 0..100 {
        if !path.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!path.exists());
    assert!(matches!(Client::new(&path).get::<Status>("/status").await, Err(ClientError::Unreachable(..))));
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(admin::SOCKET);
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _stop = start(&path, Arc::default()).await;
    assert!(Client::new(&path).get::<Status>("/status").await.is_ok());
}

async fn fetch(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn loopback_only(address: std::net::SocketAddr) -> torhaus_config::Admin {
    torhaus_config::Admin { address, beyond_loopback: false }
}

#[tokio::test]
async fn the_loopback_address_serves_health_and_metrics_and_nothing_else() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let control = Arc::new(Fake { broken: true, ..Fake::default() });
    tokio::spawn(admin::serve_health(loopback_only(free), control, std::future::pending()));
    for _ in 0..100 {
        if TcpStream::connect(free).await.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(fetch(free, "/healthz").await.starts_with("HTTP/1.1 200"));
    let ready = fetch(free, "/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503")
            && ready.contains("the store is down\nno certificate\ndegraded: the provider `corp`"),
        "{ready}"
    );
    assert!(fetch(free, "/metrics").await.contains("application/openmetrics-text"));
    for path in ["/status", "/sessions", "/reload", "/"] {
        assert!(fetch(free, path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    let public = admin::serve_health(
        loopback_only("0.0.0.0:0".parse().unwrap()),
        Arc::new(Fake::default()),
        std::future::pending(),
    );
    assert!(public.await.is_err());
}

/// Runs the command line against the socket: exit code and standard output.
async fn torhaus(arguments: &str, socket: &Path) -> (i32, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_torhaus"));
    let output = command.args(arguments.split_whitespace()).arg("--socket").arg(socket).output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn status_tells_apart_whether_it_lives_and_whether_traffic_may_come() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(admin::SOCKET);
    let (code, _) = torhaus("status --alive", &path).await;
    assert_eq!(code, 3, "nobody answers");
    let _stop = start(&path, Arc::new(Fake { broken: true, ..Fake::default() })).await;
    let (ready, _) = torhaus("status", &path).await;
    let (alive, _) = torhaus("status --alive", &path).await;
    assert_eq!((ready, alive), (1, 0));
}

#[tokio::test]
async fn the_command_line_talks_to_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(admin::SOCKET);
    let control = Arc::new(Fake::default());
    let _stop = start(&path, Arc::clone(&control)).await;
    let (code, text) = torhaus("status", &path).await;
    assert!(code == 0 && text.contains("public 0.0.0.0:8443, 4 connections"), "{text}");
    let (code, text) = torhaus("session list --user alice", &path).await;
    assert!(code == 0 && text.contains("alice") && !text.contains("marked-secret"), "{text}");
    let (code, text) = torhaus("session revoke --user partner/bob", &path).await;
    assert_eq!((code, text.as_str()), (0, "1 ended:\n  s-1\n"));
    assert_eq!(control.revoked.lock().unwrap().pop().unwrap().0, Which::User("partner/bob".into()));
    let (code, text) = torhaus("reload", &path).await;
    assert!(code == 1 && text.contains("torhaus.yaml:3: no") && text.contains("nothing was changed"), "{text}");
}
