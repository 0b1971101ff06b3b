//! Handshakes that no library would make.
use crate::harness::raw::parse;
use crate::harness::{Door, PATIENCE, Setup, World, until};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How a greeting is sent.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// As it is.
    Whole,
    /// In records of so many bytes, all in one packet.
    Records(usize),
    /// In packets of so many bytes.
    Packets(usize),
    /// In records of so many bytes, each in a packet of its own.
    Both(usize),
}

fn pieces(hello: &[u8], cut: Cut) -> Vec<Vec<u8>> {
    let records = |size: usize| -> Vec<Vec<u8>> {
        let (head, message) = hello.split_at(5);
        let record = |part: &[u8]| [&head[..3], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
        message.chunks(size).map(record).collect()
    };
    match cut {
        Cut::Whole => vec![hello.to_vec()],
        Cut::Records(size) => vec![records(size).concat()],
        Cut::Packets(size) => hello.chunks(size).map(<[u8]>::to_vec).collect(),
        Cut::Both(size) => records(size),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    Status(u16),
    /// TLS alert, or closed without a word.
    Refused,
}

/// A greeting, cut and edited, then a request; what came of it.
async fn greet(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    host: &str,
    cut: Cut,
    edit: impl Fn(Vec<u8>) -> Vec<u8>,
) -> Got {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut connection = ClientConnection::new(config.clone(), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    for piece in pieces(&edit(hello), cut) {
        if tcp.write_all(&piece).await.is_err() {
            return Got::Refused;
        }
        tokio::task::yield_now().await;
    }
    let host = host.to_ascii_lowercase();
    let get = format!("GET / HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n");
    connection.writer().write_all(get.as_bytes()).unwrap();
    let mut received = Vec::new();
    let talk = async {
        let mut part = [0u8; 16 * 1024];
        loop {
            let read = tcp.read(&mut part).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            let mut unread = &part[..read];
            while !unread.is_empty() {
                connection.read_tls(&mut unread).unwrap();
                match connection.process_new_packets() {
                    Ok(state) => {
                        let mut plain = vec![0; state.plaintext_bytes_to_read()];
                        connection.reader().read_exact(&mut plain).unwrap();
                        received.extend(plain);
                    }
                    Err(_) => return,
                }
            }
            let mut out = Vec::new();
            connection.write_tls(&mut out).unwrap();
            if tcp.write_all(&out).await.is_err() {
                return;
            }
        }
    };
    timeout(PATIENCE, talk).await.expect("the gate neither answers nor closes");
    parse(&received).first().map_or(Got::Refused, |answer| Got::Status(answer.status))
}

/// Traefik CVE-2026-32305 read the first record only, and took what it did not find for the open configuration.
#[tokio::test]
async fn a_greeting_in_pieces_gets_the_rule_of_its_name() {
    let world = World::start().await;
    let config = world.tls(None, &["http/1.1"]);
    let address = world.address(Door::Inside);
    let cuts = [
        Cut::Whole,
        Cut::Records(1),
        Cut::Records(7),
        Cut::Records(100),
        Cut::Packets(1),
        Cut::Packets(5),
        Cut::Packets(300),
        Cut::Both(1),
        Cut::Both(13),
        Cut::Both(150),
    ];
    for cut in cuts {
        assert_eq!(greet(address, &config, "status.test", cut, |hello| hello).await, Got::Status(200), "{cut:?}");
        for strict in ["backup.test", "BACKUP.TEST", "Backup.Test"] {
            assert_eq!(greet(address, &config, strict, cut, |hello| hello).await, Got::Refused, "{strict} {cut:?}");
        }
    }
    assert_eq!(world.echo.count(), cuts.len());
}

#[tokio::test]
async fn a_name_that_is_none_gets_no_configuration() {
    let world = World::start().await;
    let address = world.address(Door::Inside);
    let config = world.tls(None, &["http/1.1"]);
    let swap = |from: &'static str, to: &'static str| {
        move |mut hello: Vec<u8>| {
            let at =
                hello.windows(from.len()).position(|part| part == from.as_bytes()).expect("the name is in the hello");
            hello[at..at + from.len()].copy_from_slice(to.as_bytes());
            hello
        }
    };
    for (from, to) in [
        ("samba.test", "auth.test."),
        ("status.test", "status\0test"),
        ("status.test", "status test"),
        ("status.test", "*.........."),
        ("status.test", "..........."),
        ("status.test", "[::ffff:1]:"),
        ("status.test", "127.0.0.001"),
        ("status.test", "statuss.tes"),
    ] {
        assert_eq!(greet(address, &config, from, Cut::Whole, swap(from, to)).await, Got::Refused, "{to:?}");
    }
    let mut nameless = (*config).clone();
    nameless.enable_sni = false;
    assert_eq!(greet(address, &Arc::new(nameless), "status.test", Cut::Whole, |hello| hello).await, Got::Refused);
    // Larger than any real one.
    let mut large = (*config).clone();
    large.alpn_protocols = (0..90).map(|n| vec![b'a' + u8::try_from(n % 26).unwrap(); 250]).collect();
    assert_eq!(greet(address, &Arc::new(large), "status.test", Cut::Whole, |hello| hello).await, Got::Refused);
    assert_eq!(world.echo.count(), 0);
}

fn offering(
    world: &World,
    suites: &[SupportedCipherSuite],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let provider = rustls::crypto::CryptoProvider { cipher_suites: suites.to_vec(), ..aws_lc_rs::default_provider() };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(world.pki.web.root_der().to_vec())).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn only_what_the_profile_names_is_agreed_to() {
    use rustls::version::{TLS12, TLS13};
    let world = World::start().await;
    let address = world.address(Door::Inside);
    for (suite, versions, expected) in [
        (cipher_suite::TLS13_AES_128_GCM_SHA256, &TLS13, Got::Status(200)),
        (cipher_suite::TLS13_AES_256_GCM_SHA384, &TLS13, Got::Status(200)),
        (cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, &TLS13, Got::Refused),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, &TLS12, Got::Status(200)),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, &TLS12, Got::Status(200)),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, &TLS12, Got::Refused),
    ] {
        let config = offering(&world, &[suite], &[versions]);
        assert_eq!(greet(address, &config, "status.test", Cut::Whole, |hello| hello).await, expected, "{suite:?}");
    }
}

/// Data that is sent before the handshake is done can be sent again by anybody (RFC 8446 section 8).
#[tokio::test]
async fn no_ticket_lets_data_come_early() {
    let world = World::start().await;
    let mut config = (*world.tls(None, &["http/1.1"])).clone();
    config.enable_early_data = true;
    let config = Arc::new(config);
    for _ in 0..2 {
        assert_eq!(
            greet(world.address(Door::Inside), &config, "status.test", Cut::Whole, |h| h).await,
            Got::Status(200)
        );
    }
    let name = ServerName::try_from("status.test").unwrap();
    let mut again = ClientConnection::new(config, name).unwrap();
    assert!(again.early_data().is_none(), "the ticket allows early data");
}

/// Keeps the response that was stapled to the handshake.
#[derive(Debug, Default)]
struct Stapled(Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for Stapled {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = Some(ocsp_response.to_vec());
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn stapled(world: &World) -> Vec<u8> {
    let found = Arc::new(Stapled::default());
    let mut config = (*world.tls(None, &["http/1.1"])).clone();
    config.dangerous().set_certificate_verifier(found.clone());
    assert_eq!(
        greet(world.address(Door::Inside), &Arc::new(config), "status.test", Cut::Whole, |h| h).await,
        Got::Status(200)
    );
    found.0.lock().unwrap().take().unwrap()
}

#[tokio::test]
async fn an_ocsp_response_is_stapled_and_replaced_with_its_file() {
    // `successful`, and something in it.
    let response = |last: u8| vec![0x30, 0x06, 0x0a, 0x01, 0x00, 0x04, 0x01, last];
    let mut setup = Setup::new().await;
    std::fs::write(setup.folder.path().join("web.ocsp"), response(1)).unwrap();
    setup.config = setup.config.replace("key_file: web.key }", "key_file: web.key, ocsp_file: web.ocsp }");
    let world = setup.start().await;
    assert_eq!(stapled(&world).await, response(1));
    std::fs::write(world.path("web.ocsp"), response(2)).unwrap();
    until("the new response is stapled", async || stapled(&world).await == response(2)).await;
    // One that says "try later" is refused, and the good one stays.
    std::fs::write(world.path("web.ocsp"), [0x30, 0x03, 0x0a, 0x01, 0x03]).unwrap();
    assert!(world.reload().await.is_err());
    assert_eq!(stapled(&world).await, response(2));
}
