//! What a client sends ends up in logs that people and programs read.
use crate::harness::raw::exchange;
use crate::harness::{Call, Connection, Door, World, until};

/// One record for each request, whatever is in it; bounded; nothing that a terminal would act on.
#[tokio::test]
async fn a_log_line_is_one_record_whatever_a_client_sends() {
    let world = World::start().await;
    let tls = world.tls(None, &["http/1.1"]);
    let long = "u".repeat(20_000);
    let agents: [&[u8]; 9] = [
        b"\x1b[31mred",
        b"\xc2\x9b31m",
        b"a\tb",
        b"\"}\n".trim_ascii_end(),
        b"{\"time\":1}",
        b"%0d%0aGET / HTTP/1.1",
        b"\xff\xfe\xfd",
        b"\xe2\x80\xae\xe2\x80\xa8reversed",
        long.as_bytes(),
    ];
    for (n, agent) in agents.iter().enumerate() {
        for path in ["/a%20b%22%7D", "/%e2%80%ae%e2%80%a8", "/%c2%9b31m", "/q?%1b[31m=%0d%0a"] {
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: status.test\r\nX-Agent-{n}: 1\r\nConnection: close\r\nUser-Agent: "
            );
            let bytes = [head.as_bytes(), agent, b"\r\nReferer: ", agent, b"\r\n\r\n"].concat();
            exchange(world.address(Door::Inside), "status.test", &tls, &bytes).await;
        }
    }
    for path in ["/%0d%0aX: y", "/a\u{1b}[31m", "/\u{9b}31m"] {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: status.test\r\nConnection: close\r\n\r\n");
        exchange(world.address(Door::Inside), "status.test", &tls, bytes.as_bytes()).await;
    }
    let call = Call::get("wiki.test", &format!("/{}", "p".repeat(7_000))).with("accept", "application/json");
    let mut connection = Connection::open(world.address(Door::Inside), "wiki.test", &tls).await.unwrap();
    connection.send(&call).await.unwrap();
    until("all is written", async || world.read("stdout.log").contains("/ppp")).await;
    for (name, most) in [("stdout.log", 10_000), ("stderr.log", 10_000)] {
        let text = std::fs::read(world.path(name)).unwrap();
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let shown = String::from_utf8_lossy(&line[..line.len().min(300)]).into_owned();
            assert!(line.len() < most, "{name}: {} bytes: {shown}", line.len());
            let odd = line.iter().find(|b| **b < 0x20 && **b != b'\t' || **b == 0x7f);
            assert!(odd.is_none(), "{name}: byte {odd:?} in {shown}");
            assert!(
                !shown.contains('\u{9b}') && !shown.contains('\u{2028}') && !shown.contains('\u{202e}'),
                "{name}: {shown}"
            );
            if name == "stdout.log" {
                serde_json::from_slice::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {shown}"));
            }
        }
    }
    for line in world.audit() {
        assert!(line.to_string().len() < 10_000, "{line}");
    }
    let (code, tail, _) = world.torhaus(&["audit", "tail"]).await;
    assert!(code == 0 && tail.bytes().all(|b| b >= 0x20 || b == b'\n'), "{tail}");
}
