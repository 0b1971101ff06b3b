//! The parts that talk to the world, against small servers of our own on the loopback device.
use crate::acme::dns::{self, DnsError};
use crate::acme::probe::Network;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use torhaus_certs::acme::{DnsName, Identifier, Probe as _, Unseen};
use torhaus_config::AcmeProbe;

/// A name server that sends a guess before each answer, and answers about `big.test` over TCP only.
async fn name_server() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let question = &buffer[..length];
            let mut answer = answer(question);
            if name_in(question).starts_with("big") {
                answer.truncate(question.len());
                answer[2] |= 0x02;
                answer[7] = 0;
            }
            // Somebody guesses first.
            let mut guess = answer.clone();
            guess[0] ^= 1;
            udp.send_to(&guess, from).await.unwrap();
            udp.send_to(&answer, from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            let answer = answer(&question);
            stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

fn name_in(question: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).into_owned());
        at = end;
    }
    labels.join(".")
}

fn answer(question: &[u8]) -> Vec<u8> {
    let name = name_in(question);
    let kind = question[question.len() - 3];
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    let mut record = |name: &[u8], kind: u8, data: &[u8]| {
        answer[7] += 1;
        answer.extend_from_slice(name);
        answer.extend_from_slice(&[0, kind, 0, 1, 0, 0, 0, 60, 0, data.len().try_into().unwrap()]);
        answer.extend_from_slice(data);
    };
    let asked = [0xc0, 12];
    match (name.as_str(), kind) {
        ("here.test", 1) => record(&asked, 1, &[127, 0, 0, 1]),
        ("inside.test", 1) => record(&asked, 1, &[10, 1, 2, 3]),
        ("mapped.test", 28) => record(&asked, 28, &"::ffff:10.1.2.3".parse::<std::net::Ipv6Addr>().unwrap().octets()),
        ("_acme-challenge.here.test" | "big.test", 16) => record(&asked, 16, b"\x05hello\x06 world"),
        ("alias.test", 1) => {
            record(&asked, 5, b"\x04here\x04test\0");
            record(b"\x04HERE\x04test\0", 1, &[127, 0, 0, 1]);
            record(b"\x05other\x04test\0", 1, &[127, 0, 0, 9]);
        }
        ("loop.test", 1) => record(&[0xc0, u8::try_from(question.len()).unwrap()], 1, &[127, 0, 0, 1]),
        ("here.test" | "inside.test" | "mapped.test" | "alias.test", _) => {}
        _ => answer[3] |= 3,
    }
    answer
}

#[tokio::test]
async fn a_name_server_is_asked_and_believed_only_about_the_question() {
    let server = name_server().await;
    let loopback = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap()];
    assert_eq!(dns::addresses(server, "here.test").await.unwrap(), loopback);
    assert_eq!(dns::addresses(server, "alias.test").await.unwrap(), loopback, "aliases are followed");
    assert!(matches!(dns::addresses(server, "nobody.test").await, Err(DnsError::NoName)));
    assert!(matches!(dns::addresses(server, "loop.test").await, Err(DnsError::Garbled | DnsError::NoName)));
    assert_eq!(dns::txt(server, "big.test").await.unwrap(), [b"hello world"], "over TCP");
    let network = network(server, &["127.0.0.0/8"], 1);
    assert_eq!(network.txt(&DnsName::parse("big.test").unwrap()).await.unwrap(), [b"hello world"]);
    assert_eq!(dns::txt(server, "_acme-challenge.here.test").await.unwrap(), [b"hello world"]);
}

fn network(resolver: SocketAddr, networks: &[&str], http_port: u16) -> Network {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    Network::new(AcmeProbe { networks, resolver: Some(resolver), http_port, tls_port: 1 })
}

fn host(name: &str) -> Identifier {
    Identifier::Dns(DnsName::parse(name).unwrap())
}

/// Answers every request with what its path asks for; counts them.
async fn web_server() -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let location = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            let answer = match head.split(' ').nth(1).unwrap() {
                "/token" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproof".to_owned(),
                "/away" => location("http://alias.test/token"),
                "/inside" => location("http://inside.test/token"),
                "/meta" => location("http://169.254.169.254/latest"),
                "/port" => location("http://here.test:22/"),
                "/round" => location("/round"),
                "/long" => format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000)),
                _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nsecret".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, asked)
}

#[tokio::test]
async fn a_probe_reaches_allowed_networks_and_nothing_else() {
    let (server, (port, asked)) = (name_server().await, web_server().await);
    let network = network(server, &["127.0.0.0/8"], port);
    assert_eq!(network.http(&host("here.test"), "/token").await, Ok(b"proof".to_vec()));
    assert_eq!(network.http(&Identifier::Ip("127.0.0.1".parse().unwrap()), "/token").await, Ok(b"proof".to_vec()));
    assert_eq!(network.http(&host("here.test"), "/away").await, Ok(b"proof".to_vec()), "redirects are followed");
    assert_eq!(network.http(&host("here.test"), "/other").await, Ok(Vec::new()), "an error page is not shown");
    assert_eq!(network.http(&host("here.test"), "/long").await.unwrap().len(), 1024, "and a long one is cut");
    for path in ["/inside", "/meta"] {
        assert_eq!(network.http(&host("here.test"), path).await, Err(Unseen::NotAllowed), "{path}");
    }
    for path in ["/port", "/round"] {
        assert!(matches!(network.http(&host("here.test"), path).await, Err(Unseen::Connection(_))), "{path}");
    }
    for name in ["inside.test", "mapped.test"] {
        assert_eq!(network.http(&host(name), "/token").await, Err(Unseen::NotAllowed), "{name}");
        assert_eq!(network.tls_alpn(&host(name), name).await, Err(Unseen::NotAllowed), "{name}");
    }
    assert!(matches!(network.http(&host("nobody.test"), "/token").await, Err(Unseen::Dns(_))));
    assert!(matches!(network.tls_alpn(&host("here.test"), "here.test").await, Err(Unseen::Connection(_))));

    let before = asked.load(std::sync::atomic::Ordering::SeqCst);
    let nothing = self::network(server, &[], port);
    assert_eq!(nothing.http(&host("here.test"), "/token").await, Err(Unseen::NotAllowed), "by default, nothing");
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), before, "nobody was asked");
}
