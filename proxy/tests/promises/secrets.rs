//! No token, cookie, key or query value ever stands in a log: marked ones go in by every way, and nothing comes out.
use crate::harness::pki::{Identity, now};
use crate::harness::raw::exchange;
use crate::harness::{Call, Door, Setup, World};
use std::fs;
use std::path::Path;
use torhaus_certs::{LeafRequest, odd};

/// Stands in every secret of this test.
const MARK: &str = "m4rk3dS3cr3t";

/// Everything the gate wrote, as text, by file.
fn written(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![];
    let mut folders = vec![world.path("state")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match fs::metadata(&path).unwrap() {
                data if data.is_dir() => folders.push(path),
                data if data.is_file() => found.push((path.display().to_string(), fs::read(&path).unwrap())),
                _ => {}
            }
        }
    }
    for log in ["stdout.log", "stderr.log"] {
        found.push((log.to_owned(), fs::read(world.path(log)).unwrap()));
    }
    found
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

/// The lines of a private key between its first and its last.
fn inside(pem: &str) -> Vec<String> {
    pem.lines().filter(|line| !line.contains("---") && line.len() > 20).map(str::to_owned).collect()
}

async fn misbehave(world: &World) {
    let everywhere = |call: Call| {
        call.with("authorization", &format!("Bearer {MARK}.{MARK}.{MARK}"))
            .with("cookie", &format!("__Host-torhaus={MARK}; __Host-torhaus-nonce={MARK}; app={MARK}"))
            .with("x-api-key", MARK)
            .with("x-forwarded-user", MARK)
            .with("referer", &format!("https://wiki.test/?token={MARK}"))
    };
    for host in ["wiki.test", "auth.test", "apps.test", "status.test", "backup.test", "nowhere.test"] {
        for path in
            ["/", "/wiki", "/login", "/logout", "/.torhaus/session", "/callback/demo", "/unasked", "/.torhaus/whoami"]
        {
            for accept in ["text/html", "application/json"] {
                let target = format!("{path}?code={MARK}&state={MARK}&to={MARK}&password={MARK}&id_token_hint={MARK}");
                let call = everywhere(Call::get(host, &target)).with("accept", accept);
                drop(world.call(Door::Inside, None, &call).await);
                let post = Call { method: "POST", body: format!("password={MARK}&logout_token={MARK}"), ..call };
                let post = post.with("content-type", "application/x-www-form-urlencoded");
                drop(world.call(Door::Inside, None, &post).await);
            }
        }
    }
    let basic = Call::get("wiki.test", "/").with("authorization", &format!("Basic {MARK}"));
    drop(world.call(Door::Inside, None, &basic).await);
    let tls = world.tls(None, &["http/1.1"]);
    for bytes in [
        format!("GET /?x={MARK} HTTP/1.1\r\nHost: status.test\r\nHost: status.test\r\nCookie: a={MARK}\r\n\r\n"),
        format!("GET /%00?x={MARK} HTTP/1.1\r\nHost: status.test\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: status.test\r\nAuthorization : {MARK}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: status.test\r\nCookie: {MARK}\0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: status.test\r\nCookie: x={MARK}{}\r\n\r\n", "y".repeat(70_000)),
    ] {
        exchange(world.address(Door::Inside), "status.test", &tls, bytes.as_bytes()).await;
    }
}

#[tokio::test]
async fn no_secret_stands_in_anything_that_the_gate_writes() {
    let mut setup = Setup::with_secret(&format!("client-{MARK}-secret")).await;
    setup.environment.push(("RUST_LOG", "debug,torhaus=trace".into()));
    let web_key = fs::read_to_string(setup.folder.path().join("web.key")).unwrap();
    let world = setup.start().await;

    // An honest day: logins, step-ups, a refusal, a form that is kept, a session that ends, a certificate.
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open(&format!("https://wiki.test/search?q={MARK}")).await;
    alice.open(&format!("https://pve.test/?ticket={MARK}")).await;
    let mut dana = world.browser(Door::Inside).of("dana");
    dana.open(&format!("https://samba.test/?q={MARK}")).await;
    dana.open(&format!("https://k3s.test/?q={MARK}")).await;
    let backup = world.pki.service(crate::harness::pki::BACKUP);
    world.call(Door::Inside, Some(&backup), &Call::get("backup.test", &format!("/?k={MARK}"))).await.unwrap();
    let wrong: Identity =
        odd::expired(&world.pki.services, &LeafRequest::service(crate::harness::pki::BACKUP), now()).unwrap().into();
    drop(world.call(Door::Inside, Some(&wrong), &Call::get("service.test", &format!("/?k={MARK}"))).await);
    let mut secrets: Vec<(String, String)> = vec![];
    for browser in [&alice, &dana] {
        for (host, cookies) in &browser.jar {
            secrets.extend(cookies.iter().map(|(name, value)| (format!("{name} of {host}"), value.clone())));
        }
        for (_, url) in &browser.trail {
            let url = url::Url::parse(url).unwrap();
            let telling = |name: &str| matches!(name, "code" | "state" | "to" | "nonce" | "code_challenge");
            let pairs = url.query_pairs().filter(|(name, value)| telling(name) && value.len() > 12);
            secrets.extend(pairs.map(|(name, value)| (format!("`{name}` in an address"), value.into_owned())));
        }
    }
    misbehave(&world).await;
    dana.jar.entry("wiki.test".into()).or_default().insert("__Host-torhaus".into(), "A".repeat(43));
    dana.navigate("POST", "https://wiki.test/save", &[("password", MARK)]).await;
    world.torhaus(&["session", "revoke", "--user", "dana"]).await;
    world.change("torhaus.yaml", "portal:", "portla:");
    assert!(world.reload().await.is_err());
    world.change("torhaus.yaml", "portla:", "portal:");
    fs::write(world.path("secret"), format!("new-{MARK}\nsecond line {MARK}\n")).unwrap();
    drop(world.reload().await);

    for serial in [backup.key_pem.as_str(), wrong.key_pem.as_str(), web_key.as_str()] {
        secrets.extend(inside(serial).into_iter().map(|line| ("a private key".to_owned(), line)));
    }
    for person in torhaus_demo::provider::people::PEOPLE {
        secrets.push((format!("the password of {}", person.user), person.password.to_owned()));
    }
    secrets.push(("a marked value".to_owned(), MARK.to_owned()));
    let mut outputs = written(&world);
    for arguments in [
        &["session", "list", "--output", "json"][..],
        &["status"],
        &["audit", "query", "--output", "json"],
        &["policy", "table"],
        &["check"],
    ] {
        let (_, said, why) = world.torhaus(arguments).await;
        outputs.push((format!("torhaus {}", arguments.join(" ")), (said + &why).into_bytes()));
    }
    for path in ["/status", "/sessions"] {
        let said: serde_json::Value = world.admin().get(path).await.unwrap();
        outputs.push((path.to_owned(), said.to_string().into_bytes()));
    }
    assert!(
        outputs.iter().any(|(name, _)| name.ends_with("torhaus.db"))
            && outputs.iter().any(|(_, text)| holds(text, "alice"))
    );
    let mut leaks = vec![];
    for (name, bytes) in &outputs {
        // The keys of the gate itself are kept in `state/keys`, which only its owner reads.
        if Path::new(name).components().any(|part| part.as_os_str() == "keys") {
            continue;
        }
        for (what, secret) in secrets.iter().filter(|(_, secret)| secret.len() > 7) {
            if holds(bytes, secret) {
                let line = String::from_utf8_lossy(bytes)
                    .lines()
                    .find(|line| holds(line.as_bytes(), secret))
                    .map(|line| line.chars().take(400).collect::<String>());
                leaks.push(format!("{what} stands in {name}: {line:?}"));
            }
        }
    }
    leaks.dedup();
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}
