//! Under a service manager: it is told how we are, and connections wait in its sockets while we are replaced.
use crate::harness::browser::echoes;
use crate::harness::client::Tls;
use crate::harness::{Call, Connection, Door, Setup, until};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UnixDatagram;
use torhaus::admin::Status;

#[tokio::test]
async fn the_service_manager_is_told_that_we_serve_live_and_stop() {
    let mut setup = Setup::new().await;
    let path = setup.folder.path().join("notify");
    let told = UnixDatagram::bind(&path).unwrap();
    setup.environment.push(("NOTIFY_SOCKET", path.display().to_string()));
    setup.environment.push(("WATCHDOG_USEC", "200000".to_owned()));
    let world = setup.start().await;
    let (mut ready, mut alive) = (false, 0);
    let mut buffer = [0; 256];
    until("the service manager hears", async || {
        let length = told.recv(&mut buffer).await.unwrap();
        let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
        ready |= said.starts_with("READY=1\n");
        alive += usize::from(said == "WATCHDOG=1");
        ready && alive >= 3
    })
    .await;
    world.signal("TERM").await;
    until("it hears that we stop", async || {
        let length = told.recv(&mut buffer).await.unwrap();
        buffer[..length].starts_with(b"STOPPING=1")
    })
    .await;
}

#[tokio::test]
async fn connections_wait_in_the_sockets_of_the_service_manager_while_the_gate_is_replaced() {
    let mut setup = Setup::new().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let own = "name: office, address: \"127.0.0.1:0\"";
    assert!(setup.config.contains(own), "{}", setup.config);
    setup.config = setup.config.replace(own, &format!("name: office, address: \"{address}\""));
    setup.socket = Some(socket);
    let world = setup.start().await;
    assert_eq!(world.address(Door::Inside), address);
    let call = || Call::get("status.test", "/").with("accept", "application/json");
    assert_eq!(world.call(Door::Inside, None, &call()).await.unwrap().status, 200);
    let tls = world.tls(None, &["http/1.1"]);
    let mut waiting = None;
    let world = world
        .killed_and_started(async |_| {
            TcpStream::connect(address).expect("nobody is turned away");
            waiting =
                Some(tokio::spawn(
                    async move { Connection::open(address, "status.test", &tls).await?.send(&call()).await },
                ));
        })
        .await;
    let answer = waiting.unwrap().await.unwrap().expect("who came while nobody served is served now");
    assert_eq!(answer.status, 200);
    assert_eq!(world.address(Door::Inside), address);
}

#[tokio::test]
async fn without_a_service_manager_a_new_process_takes_the_sockets_over_and_nobody_is_turned_away() {
    let mut setup = Setup::new().await;
    let address = setup.stays_at_its_address();
    let world = setup.start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://wiki.test/").await.status, 200, "{:?}", alice.trail);
    let (started, pid) = (world.status().await.started, world.pid());

    // One after the other, each on a connection of its own, from before until after.
    let (tls, over) = (world.tls(None, &["http/1.1"]), Arc::new(AtomicBool::new(false)));
    let callers = (0..3).map(|_| {
        let (tls, over) = (tls.clone(), over.clone());
        tokio::spawn(async move {
            let call = Call::get("status.test", "/").with("accept", "application/json");
            let mut answered = 0;
            while !over.load(Ordering::Acquire) {
                let mut connection = Connection::open(address, "status.test", &tls).await.expect("turned away");
                assert_eq!(connection.send(&call).await.expect("no answer").status, 200);
                answered += 1;
            }
            answered
        })
    });
    let callers: Vec<_> = callers.collect();
    world.signal("USR2").await;
    until("another process serves", async || {
        world.admin().get::<Status>("/status").await.is_ok_and(|status| status.started > started)
    })
    .await;
    assert_eq!(alice.fetch("https://wiki.test/").await.status, 200, "who was signed in is");
    over.store(true, Ordering::Release);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
    assert_eq!(world.status().await.pid, pid, "whoever watches the process notices nothing");
    let kinds = |kind| world.recorded_with(&[("kind", kind)]).len();
    assert_eq!((kinds("stop"), world.torhaus(&["audit", "verify"]).await.0), (1, 0));

    // A configuration that it could not start with leaves the running process alone.
    world.change("torhaus.yaml", "version: 1", "version: 9");
    world.signal("USR2").await;
    until("it says so", async || world.read("stderr.log").contains("not replaced")).await;
    assert_eq!(alice.fetch("https://wiki.test/").await.status, 200);
}

/// What many callers got while the gate was replaced under them.
#[derive(Default)]
struct Load {
    answered: AtomicUsize,
    connections: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// Asks without a pause on one kept connection, until the gate says that it closes it; then on the next.
    async fn caller(&self, address: SocketAddr, tls: &Tls) {
        let call = Call::get("status.test", "/load").with("accept", "application/json");
        while !self.over.load(Ordering::Acquire) {
            let mut connection = Connection::open(address, "status.test", tls).await.expect("turned away");
            self.connections.fetch_add(1, Ordering::AcqRel);
            while !self.over.load(Ordering::Acquire) && connection.is_open().await {
                let answer = match connection.send(&call).await {
                    Ok(answer) => answer,
                    // Not sent, or by RFC 9113 section 6.8 not processed: it is sent on another connection, as every client
                    // does. That nothing was done twice, the application's count says.
                    Err(why)
                        if why.starts_with("hyper::Error(Canceled, ") || why.contains("GoAway(b\"\", NO_ERROR") =>
                    {
                        break;
                    }
                    Err(why) => panic!("a request was lost: {why}"),
                };
                assert_eq!(answer.status, 200, "{answer:?}");
                self.answered.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_under_load_loses_no_request_on_kept_connections_and_streams_come_back() {
    let mut setup = Setup::new().await;
    let address = setup.stays_at_its_address();
    let world = setup.start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://wiki.test/").await.status, 200, "{:?}", alice.trail);
    let mut socket = alice.socket("wiki.test", "/socket").await.unwrap();
    let started = world.status().await.started;

    let load = Arc::new(Load::default());
    let (h1, h2) = (world.tls(None, &["http/1.1"]), world.tls(None, &["h2"]));
    let callers: Vec<_> = (0..8)
        .map(|n| {
            let (load, tls) = (load.clone(), if n % 2 == 0 { h1.clone() } else { h2.clone() });
            tokio::spawn(async move { load.caller(address, &tls).await })
        })
        .collect();
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = load.answered.load(Ordering::Acquire);
    println!("{} requests in a second, on kept connections", before * 1000 / began.elapsed().as_millis() as usize);
    assert!(load.connections.load(Ordering::Acquire) == 8 && before > 100, "{before}");

    world.signal("USR2").await;
    // It is told to come back by the end of its connection, when those of requests are done.
    until("the WebSocket ends", async || !echoes(&mut socket, "still there?").await).await;
    until("another process serves", async || {
        world.admin().get::<Status>("/status").await.is_ok_and(|status| status.started > started)
    })
    .await;
    until("the WebSocket is there again", async || match alice.socket("wiki.test", "/socket").await {
        Ok(mut socket) => echoes(&mut socket, "hello").await,
        Err(_) => false,
    })
    .await;
    until("kept connections are busy again", async || load.answered.load(Ordering::Acquire) > before + 100).await;
    load.over.store(true, Ordering::Release);
    for caller in callers {
        caller.await.unwrap();
    }
    // What was said not to be processed was not: the application got each request once.
    assert_eq!(world.echo.seen_at("/load").len(), load.answered.load(Ordering::Acquire));
    // Each was told to leave once, and is where it went then.
    assert_eq!(load.connections.load(Ordering::Acquire), 16);
    assert_eq!(world.torhaus(&["audit", "verify"]).await.0, 0);
}
