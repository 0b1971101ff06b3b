//! The policy and the application see one path. Policy and routing read the canonical form; what an application makes of
//! it is modelled here by other programs' rules, none of them ours.
use crate::h2::{self, Raw};
use crate::harness::raw::exchange;
use crate::harness::{Call, Door, Setup, World};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use torhaus::path::{canonical, canonical_with_slashes, slashes_decoded};

const PATHS: usize = 100_000;

const PARTS: [&str; 56] = [
    "a",
    "b",
    "admin",
    "admin",
    "admin",
    "Admin",
    "ADMIN",
    "adminx",
    "xadmin",
    "admin.html",
    "admin.",
    "%61dmin",
    "adm%69n",
    "%41dmin",
    "a%64min",
    "admin%20",
    "%20admin",
    "admin+",
    ".",
    "..",
    "..",
    "%2e",
    "%2E",
    "%2e%2e",
    ".%2e",
    "%2E.",
    "...",
    "..a",
    "",
    "",
    "",
    "/",
    ";",
    ";x",
    "admin;x",
    "..;",
    ".;",
    "%3b",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "..\\",
    "%00",
    "admin%00",
    "%0a",
    "%0d%0a",
    "%09",
    "%25",
    "%2561dmin",
    "%252e%252e",
    "%25%36%31",
    "%c0%ae",
    "%c0%af",
    "%e0%80%af",
    "%ff",
];

fn generated(random: &mut StdRng) -> String {
    let mut path = String::new();
    for _ in 0..random.random_range(1..6) {
        path.push('/');
        for _ in 0..random.random_range(1..3) {
            path.push_str(PARTS[random.random_range(0..PARTS.len())]);
        }
    }
    path
}

/// Percent-decoding, once, whatever comes out.
fn decoded(path: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let (mut out, mut at) = (Vec::new(), 0);
    while at < path.len() {
        match (path[at], hex(path.get(at + 1)), hex(path.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Segments with `.`, `..` and empty ones resolved.
fn resolved(path: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for segment in path.split(|b| *b == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(found.pop()),
            name => found.push(name.to_vec()),
        }
    }
    found
}

/// A path as its segments.
type Reading = fn(&[u8]) -> Vec<Vec<u8>>;

/// Readings of a path by programs that stand behind gates, named after who reads like that.
const READINGS: [(&str, Reading); 6] = [
    ("literally", |path| path.split(|b| *b == b'/').skip(1).map(<[u8]>::to_vec).collect()),
    ("nginx: decode, then resolve", |path| resolved(&decoded(path))),
    ("resolve, then decode", |path| resolved(path).iter().map(|segment| decoded(segment)).collect()),
    ("decoded twice", |path| resolved(&decoded(&decoded(path)))),
    ("servlets: parameters cut off", |path| {
        let cut = decoded(path)
            .split(|b| *b == b'/')
            .map(|s| s.split(|b| *b == b';').next().unwrap_or_default().to_vec())
            .collect::<Vec<_>>();
        resolved(&cut.join(&b'/'))
    }),
    ("IIS: backslash, NUL ends it", |path| {
        let plain: Vec<u8> =
            decoded(path).into_iter().take_while(|b| *b != 0).map(|b| if b == b'\\' { b'/' } else { b }).collect();
        resolved(&plain)
    }),
];

/// The rule of the route `/admin` of the tests, on segments.
fn is_protected(segments: &[Vec<u8>]) -> bool {
    segments.first().is_some_and(|first| first == b"admin")
}

#[test]
fn no_reading_of_a_hundred_thousand_paths_finds_what_the_policy_did_not_see() {
    let mut random = StdRng::seed_from_u64(7);
    let (mut accepted, mut protected) = (0, 0);
    for _ in 0..PATHS {
        let path = generated(&mut random);
        let Ok(ours) = canonical(&path) else { continue };
        accepted += 1;
        let seen: Vec<Vec<u8>> = resolved(ours.as_bytes());
        protected += usize::from(is_protected(&seen));
        for (who, reading) in READINGS {
            let theirs: Vec<Vec<u8>> =
                reading(ours.as_bytes()).into_iter().filter(|segment| !segment.is_empty()).collect();
            // Names may come decoded; what is below what may not differ.
            assert_eq!(theirs.len(), seen.len(), "{path} forwarded as {ours}, read {who}");
            assert_eq!(is_protected(&theirs), is_protected(&seen), "{path} forwarded as {ours}, read {who}");
        }
        // And what the client meant is what it gets: nothing is hidden by making it canonical.
        assert_eq!(is_protected(&resolved(&decoded(path.as_bytes()))), is_protected(&seen), "{path} became {ours}");
    }
    assert!(accepted > PATHS / 10 && protected > PATHS / 100, "{accepted} {protected}: a strange mix");
}

#[test]
fn an_encoded_slash_that_is_let_through_has_two_readings_of_one_place() {
    let mut random = StdRng::seed_from_u64(8);
    let mut let_through = 0;
    for _ in 0..PATHS {
        let path = generated(&mut random);
        let Ok(ours) = canonical_with_slashes(&path) else { continue };
        let Ok(read) = slashes_decoded(&ours) else { continue };
        let_through += usize::from(ours.contains("%2F"));
        // The rule that routes are held to: both readings below the same prefix.
        let (kept, split) = (resolved(ours.as_bytes()), resolved(read.as_bytes()));
        if is_protected(&kept) != is_protected(&split) {
            continue;
        }
        for (who, reading) in READINGS {
            assert_eq!(
                is_protected(&reading(ours.as_bytes()).into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>()),
                is_protected(&split),
                "{ours}, read {who}"
            );
        }
    }
    assert!(let_through > 500, "{let_through}");
}

/// Path, answer without a session, and what the application hears.
const TABLE: [(&str, u16, Option<&str>); 62] = [
    // Dot segments (Pomerium CVE-2023-33189, Oathkeeper CVE-2026-33494).
    ("/a/../admin", 401, None),
    ("/a/%2e%2e/admin", 401, None),
    ("/a/.%2E/admin", 401, None),
    ("/a/%2e./admin", 401, None),
    ("/./admin", 401, None),
    ("/%2e/admin", 401, None),
    ("/a/b/../../admin/", 401, None),
    ("/admin/../a", 200, Some("/a")),
    ("/admin/..", 200, Some("/")),
    ("/../admin", 400, None),
    ("/..%2fadmin", 400, None),
    ("/%2e%2e%2fadmin", 400, None),
    ("/a/..%2f..%2fadmin", 400, None),
    // Empty segments and encoded letters.
    ("//admin", 401, None),
    ("///admin", 401, None),
    ("/a/..//admin", 401, None),
    ("/%61dmin", 401, None),
    ("/adm%69n", 401, None),
    ("/%61%64%6d%69%6e", 401, None),
    ("/admin//x", 401, None),
    // Parameters (Envoy CVE-2026-73553, oauth2-proxy CVE-2026-41059).
    ("/admin;x", 400, None),
    ("/admin;", 400, None),
    ("/;/admin", 400, None),
    ("/a/..;/admin", 400, None),
    ("/a/.;/admin", 400, None),
    ("/admin%3bx", 400, None),
    ("/a/..%3b/admin", 400, None),
    ("/admin;jsessionid=1/x", 400, None),
    // Fragments and queries that look like paths.
    ("/a#/admin", 400, None),
    ("/a%23/admin", 200, Some("/a%23/admin")),
    ("/a?/../admin", 200, Some("/a?/../admin")),
    ("/a?x=/admin", 200, Some("/a?x=/admin")),
    ("/a%3f/../admin", 401, None),
    ("/admin?x=/a", 401, None),
    ("/admin?/../a", 401, None),
    // What ends or splits a name elsewhere.
    ("/admin%00", 400, None),
    ("/a%00/../admin", 400, None),
    ("/admin%00.png", 400, None),
    ("/a%0a/admin", 400, None),
    ("/a%0d%0aX-A:%20b", 400, None),
    ("/a%7f", 400, None),
    ("/a%1b[31m", 400, None),
    ("/a\\..\\admin", 400, None),
    ("/a%5c..%5cadmin", 400, None),
    ("/\\admin", 400, None),
    ("/%5cadmin", 400, None),
    // Overlong and broken UTF-8, double encoding.
    ("/%c0%ae%c0%ae/admin", 400, None),
    ("/%c1%a1dmin", 400, None),
    ("/a%e0%80%afadmin", 400, None),
    ("/a%f0%80%80%afadmin", 400, None),
    ("/a%ff", 400, None),
    ("/%2561dmin", 400, None),
    ("/%252e%252e/admin", 400, None),
    ("/%25%36%31dmin", 400, None),
    ("/%u0061dmin", 400, None),
    ("/admin%", 400, None),
    ("/admin%2", 400, None),
    // Case and near names: other paths, which the policy knows nothing of.
    ("/Admin", 200, Some("/Admin")),
    ("/adminx", 200, Some("/adminx")),
    ("/admin.", 200, Some("/admin.")),
    ("/admin%20", 200, Some("/admin%20")),
    ("/%20admin", 200, Some("/%20admin")),
];

#[tokio::test]
async fn each_path_has_its_answer_on_either_protocol() {
    let world = World::start().await;
    let tls = world.tls(None, &["http/1.1"]);
    let address = world.address(Door::Inside);
    let mut wrong = Vec::new();
    for (path, status, forwarded) in TABLE {
        let before = world.echo.count();
        let bytes = format!(
            "GET {path} HTTP/1.1\r\nHost: status.test\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
        );
        let answers = exchange(address, "status.test", &tls, bytes.as_bytes()).await;
        let got = answers.first().map_or(0, |answer| answer.status);
        let heard = world.echo.seen().get(before).map(|seen| seen.target.clone());
        if got != status || heard.as_deref() != forwarded {
            wrong.push(format!("h1 {path}: {got} {heard:?}"));
        }
        let before = world.echo.count();
        // On h2 a fragment is cut off before anybody sees it; then the policy and the application read the same.
        let (status, forwarded) = if path.contains('#') { (200, Some("/a")) } else { (status, forwarded) };
        let mut raw = Raw::open(&world, Door::Inside, "status.test").await;
        let head = h2::block(&h2::get("status.test", path));
        raw.send(&h2::frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, &head)).await;
        let got = raw.outcome(1).await;
        let heard = world.echo.seen().get(before).map(|seen| seen.target.clone());
        let right = match status {
            // The engine refuses some of them before we can: by a reset.
            400 => got == h2::Ended::Answered(400) || got == h2::Ended::Reset,
            status => got == h2::Ended::Answered(status),
        };
        if !right || heard.as_deref() != forwarded {
            wrong.push(format!("h2 {path}: {got:?} {heard:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), TABLE.len() * 2, wrong.join("\n"));
}

/// Package registries ask for `/@scope%2fname`: one name with a slash in it.
#[tokio::test]
async fn an_encoded_slash_passes_where_its_route_allows_it_and_hides_no_other_route() {
    let mut setup = Setup::new().await;
    let up = format!("http://127.0.0.1:{}", setup.echo.port);
    setup.config = setup.config.replace(
        "  - { name: device,",
        &format!("  - {{ name: packages, host: status.test, path: /npm, upstream: \"{up}\", resource: status, allow_encoded_slash: true }}\n  - {{ name: device,"),
    );
    let world = setup.start().await;
    for (path, status) in [
        ("/npm/@scope%2fname", 200),
        ("/npm/@scope%2Fname/-/name-1.0.tgz", 200),
        ("/npm/a%2f%2fb", 200),
        ("/npm/..%2fadmin", 400),
        ("/npm/..%2f..%2fadmin", 400),
        ("/npm/%2e%2e%2fadmin", 400),
        ("/npm/a%2f..%2f..%2fadmin", 400),
        ("/npm/a%2f.", 400),
        ("/npm%2fx", 400),
        ("/npm/@scope%252fname", 400),
        ("/npm/@scope%5cname", 400),
        ("/other/@scope%2fname", 400),
        ("/admin%2fx", 400),
        ("/%2fadmin", 400),
        ("/npm/../admin%2fx", 400),
        ("/.torhaus%2fwhoami", 400),
    ] {
        let before = world.echo.count();
        let answer = world.call(Door::Inside, None, &Call::get("status.test", path)).await.unwrap();
        assert_eq!(
            (answer.status, world.echo.count() - before),
            (status, usize::from(status == 200)),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(world.echo.seen_at("/npm/@scope%2Fname").len(), 1, "it stays encoded");
}
