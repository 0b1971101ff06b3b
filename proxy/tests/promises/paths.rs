//! The policy sees the path the application sees.
use crate::harness::client::handshake;
use crate::harness::raw::parse;
use crate::harness::{Door, World};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PATHS: u64 = 10_000;
const WALKERS: u64 = 4;

/// What paths are made of: plain names mostly, so that few of them are refused outright.
const PARTS: [&str; 30] = [
    "a",
    "b",
    "x.y",
    "admin",
    "admin",
    "adminx",
    "Admin",
    "%61dmin",
    "adm%69n",
    "%41dmin",
    "a%20b",
    "%C3%A4",
    "~u",
    "@",
    "admin.html",
    "admin:",
    "-",
    ".",
    "..",
    "..",
    "%2e",
    "%2E%2e",
    ".%2e",
    "",
    "",
    "...",
    "..a",
    "a",
    "b",
    "c",
];
/// Two servers may read these in two ways.
const ODD: [&str; 14] =
    [";", "admin;x", "..;", "%2f", "%2Fadmin", "%5c", "\\", "%00", "%25%36%31", "%c0%ae", "%", "%zz", "#", "\u{7f}"];

fn path(random: &mut StdRng) -> String {
    let mut path = String::new();
    for _ in 0..random.random_range(1..6) {
        path.push('/');
        let odd = random.random_range(0..40) == 0;
        let pool: &[&str] = if odd { &ODD } else { &PARTS };
        path.push_str(pool[random.random_range(0..pool.len())]);
    }
    path
}

/// As a lenient server reads it: decoded, dot segments resolved.
fn lenient(path: &str) -> Vec<String> {
    let decoded: String =
        url::form_urlencoded::parse(format!("p={}", path.replace('+', "%2B").replace('&', "%26")).as_bytes())
            .map(|(_, value)| value.into_owned())
            .collect();
    let mut found: Vec<String> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(found.pop()),
            name => found.push(name.to_owned()),
        }
    }
    found
}

fn is_canonical(path: &str) -> bool {
    let upper = path.to_ascii_uppercase();
    let dots = path.split('/').any(|segment| segment == "." || segment == "..");
    let encoded = ["%2E", "%2F", "%5C", "%61", "%69", "%41", "%00", "%25"].iter().any(|code| upper.contains(code));
    !path.contains("//") && !dots && !encoded && !path.contains([';', '\\', '#'])
}

/// Sends paths on connections that are kept as long as the gate keeps them: path, status, and what the application saw.
async fn walk(world: &World, seed: u64) -> Vec<(String, u16, Option<String>)> {
    let mut random = StdRng::seed_from_u64(seed);
    let tls = world.tls(None, &["http/1.1"]);
    let mut found = Vec::new();
    let mut open = None;
    for _ in 0..PATHS / WALKERS {
        let mut stream = match open.take() {
            Some(stream) => stream,
            None => handshake(world.address(Door::Inside), "status.test", &tls).await.unwrap(),
        };
        let path = path(&mut random);
        let request = format!("GET {path} HTTP/1.1\r\nHost: status.test\r\nAccept: application/json\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        let answer = loop {
            let mut part = [0u8; 4096];
            let read =
                tokio::time::timeout(crate::harness::PATIENCE, stream.read(&mut part)).await.unwrap().unwrap_or(0);
            received.extend_from_slice(&part[..read]);
            let answer = parse(&received).into_iter().next();
            let whole = |a: &crate::harness::Answer| a.header("content-length").parse() == Ok(a.body.len());
            match answer {
                Some(answer) if whole(&answer) || read == 0 => break answer,
                _ => assert!(read > 0, "no whole answer to {path}: {:?}", received.escape_ascii()),
            }
        };
        let target = (answer.status == 200).then(|| answer.seen().target);
        if answer.header("connection") != "close" {
            open = Some(stream);
        }
        found.push((path, answer.status, target));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_sees_the_path_the_application_sees() {
    let world = World::start().await;
    let walks = futures::future::join_all((0..WALKERS).map(|seed| walk(&world, seed))).await;
    let (mut passed, mut stopped, mut refused) = (0, 0, 0);
    for (path, status, target) in walks.into_iter().flatten() {
        let protected = lenient(&path).first().is_some_and(|first| first == "admin");
        match (status, target) {
            (200, Some(target)) => {
                passed += 1;
                assert!(is_canonical(&target), "{path} arrived as {target}");
                assert!(!protected, "{path} arrived as {target} without a permit");
                assert_eq!(lenient(&target), lenient(&path), "{path} arrived as {target}: another path");
            }
            (401, None) => {
                stopped += 1;
                assert!(protected, "{path} is not below /admin");
            }
            (400, None) => refused += 1,
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(passed > 4000 && stopped > 500 && refused > 200, "{passed} {stopped} {refused}: a strange mix");
    let arrived = world.echo.seen();
    assert_eq!(arrived.len(), passed);
    let below = |target: &str| target == "/admin" || target.starts_with("/admin/");
    assert!(!arrived.iter().any(|seen| below(&seen.target)));
}
