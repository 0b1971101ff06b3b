//! The sample applications: what they show of what they were told.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside #[test] functions")]
use torhaus_demo::applications::{ALL, router};

async fn start(name: &str) -> String {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let application = ALL.iter().find(|application| application.name == name).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router(application, "https://auth.localhost:8443")).await });
    url
}

async fn get(url: String, headers: &[(&str, &str)]) -> String {
    let request = headers.iter().fold(reqwest::Client::new().get(url), |r, (name, value)| r.header(*name, *value));
    request.send().await.unwrap().text().await.unwrap()
}

const TOLD: [(&str, &str); 6] = [
    ("X-Forwarded-User", "alice"),
    ("X-Forwarded-Groups", "<b>it-admins</b>"),
    ("Forwarded", "for=127.0.0.1;proto=https"),
    // {"sub":"alice"}
    ("X-Torhaus-Assertion", "e30.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"),
    ("Cookie", "session=marked-secret"),
    ("Authorization", "Bearer marked-secret"),
];

#[tokio::test]
async fn a_page_shows_who_it_was_told_you_are_and_no_secret() {
    let url = start("wiki").await;
    let page = get(format!("{url}/a/page"), &[&TOLD[..], &[("Accept", "text/html,*/*;q=0.1")]].concat()).await;
    for shown in
        ["Hello, alice", "/a/page", "for=127.0.0.1;proto=https", "https://auth.localhost:8443", "&#34;sub&#34;"]
    {
        assert!(page.contains(shown), "{shown}\n{page}");
    }
    for hidden in ["marked-secret", "c2lnbmF0dXJl", "<b>"] {
        assert!(!page.contains(hidden), "{hidden}\n{page}");
    }
}

#[tokio::test]
async fn a_script_and_the_api_for_services_speak_json() {
    for (name, accept) in [("wiki", "*/*"), ("backup-api", "text/html")] {
        let url = start(name).await;
        let text = get(format!("{url}/jobs"), &[&TOLD[..], &[("Accept", accept)]].concat()).await;
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["application"], &json["user"]), (&name.into(), &"alice".into()));
        assert_eq!(json["assertion"]["sub"], "alice");
        assert!(!text.contains("marked-secret") && !text.contains("c2lnbmF0dXJl"));
    }
}

#[tokio::test]
async fn events_come_one_by_one_while_the_stream_is_open() {
    let url = start("k3s-critical").await;
    let mut response = reqwest::get(format!("{url}/events")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let first = response.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"id: 0\n"), "{first:?}");
    let second = response.chunk().await.unwrap().unwrap();
    assert!(second.starts_with(b"id: 1\n"), "{second:?}");
}
