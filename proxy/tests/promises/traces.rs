//! Traces: a request is one span, the application goes on in the same trace, and no collector costs a request anything.
use crate::harness::api::{Api, Does};
use crate::harness::pki::write_secret;
use crate::harness::raw::ask;
use crate::harness::{Answer, Call, Connection, Door, Setup, World, until};
use crate::signals::socket;
use serde_json::{Value, json};
use std::time::Duration;

const TOKEN: &str = "a-token-of-the-collector";
const MARK: &str = "m4rk3dS3cr3t";
const CALLERS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A gate that sends spans of all requests to a collector.
async fn traced(collector: &Api) -> World {
    let mut setup = Setup::new().await;
    write_secret(&setup.folder.path().join("token"), TOKEN);
    setup.config.push_str(&format!(
        "telemetry:\n  traces:\n    endpoint: {}/v1/traces\n    send: {{ Authorization: {{ file: token, prefix: \"Bearer \" }} }}\n    \
         sample: 100%\n",
        collector.url()
    ));
    setup.start().await
}

/// All that arrived, in order.
fn spans(collector: &Api) -> Vec<Value> {
    let messages = collector.asked().into_iter().map(|asked| serde_json::from_str::<Value>(&asked.body).unwrap());
    messages
        .flat_map(|message| message["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone())
        .collect()
}

fn attribute(span: &Value, key: &str) -> Option<String> {
    let value = &span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key)?["value"];
    Some(value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap().to_owned())
}

/// The span in which the application's own spans lie, once it has come.
async fn span_of(collector: &Api, answer: &Answer) -> Value {
    let seen = answer.seen();
    let told = seen.all("traceparent");
    assert_eq!(told.len(), 1, "{told:?}");
    let parts: Vec<&str> = told[0].split('-').collect();
    let is_it = |span: &Value| span["traceId"] == parts[1] && span["spanId"] == parts[2];
    until("the span arrives", async || spans(collector).iter().any(is_it)).await;
    spans(collector).into_iter().find(is_it).unwrap()
}

/// The value of a metric.
async fn metric(world: &World, name: &str) -> u64 {
    let (_, scrape) = ask(&socket(world), "/metrics").await;
    let line = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    line.unwrap_or_else(|| panic!("{name} is not in\n{scrape}")).parse().unwrap()
}

const SENT: &str = "torhaus_trace_spans_sent_total";
const NOT_TAKEN: &str = "torhaus_trace_spans_dropped_total{cause=\"collector\"}";

async fn status(world: &World, alpn: &str, traceparent: &str) -> Answer {
    let tls = world.tls(None, &[alpn]);
    let call = Call::get("status.test", &format!("/{MARK}?token={MARK}"))
        .with("traceparent", traceparent)
        .with("tracestate", "vendor=1")
        .with("authorization", &format!("Bearer {MARK}"))
        .with("cookie", &format!("app={MARK}"));
    Connection::open(world.address(Door::Inside), "status.test", &tls).await.unwrap().send(&call).await.unwrap()
}

#[tokio::test]
async fn a_request_is_one_span_with_its_stages_and_the_application_goes_on_in_its_trace() {
    let collector = Api::start(Does::Say(json!({}))).await;
    let world = traced(&collector).await;
    let mut alice = world.browser(Door::Inside).of("alice");
    let answer = alice.open("https://wiki.test/").await;
    assert_eq!(answer.status, 200, "{:?}", alice.trail);
    let span = span_of(&collector, &answer).await;
    assert_eq!(span["name"], "GET wiki");
    assert_eq!(span.get("parentSpanId"), None, "nobody asked to continue a trace");
    let said = |key| attribute(&span, key);
    assert_eq!(said("http.response.status_code").as_deref(), Some("200"));
    assert_eq!((said("torhaus.route").as_deref(), said("torhaus.reason").as_deref()), (Some("wiki"), Some("allowed")));
    assert_eq!(world.recorded(&said("torhaus.decision").unwrap())["resource"], "wiki");
    let nanos = |value: &Value| value.as_str().unwrap().parse::<u128>().unwrap();
    let events: Vec<(&str, u128)> = span["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["name"].as_str().unwrap(), nanos(&event["timeUnixNano"])))
        .collect();
    let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["identify", "facts", "decide", "record", "upstream answered"]);
    let times = [
        vec![nanos(&span["startTimeUnixNano"])],
        events.iter().map(|(_, at)| *at).collect(),
        vec![nanos(&span["endTimeUnixNano"])],
    ]
    .concat();
    assert!(times.is_sorted() && times[0] < times[6], "{times:?}");

    // A stranger chooses neither the trace nor whether it is sampled.
    for alpn in ["http/1.1", "h2"] {
        for theirs in [CALLERS.to_owned(), CALLERS.replace("-01", "-00"), "nonsense".to_owned()] {
            let answer = status(&world, alpn, &theirs).await;
            let seen = answer.seen();
            assert!(!seen.header("traceparent").unwrap().contains("0af7651916cd43dd"), "{seen:?}");
            assert_eq!(seen.header("tracestate"), None, "{alpn}");
            let span = span_of(&collector, &answer).await;
            assert_eq!(
                attribute(&span, "network.protocol.version").unwrap(),
                alpn.trim_start_matches("http/").trim_start_matches('h')
            );
        }
    }
    // A peer that is believed does, also after a reload, which loses nothing.
    world.change("torhaus.yaml", "    sample: 100%\n", "    sample: 0%\n    continue_from: [127.0.0.1]\n");
    world.reload().await.unwrap();
    let answer = status(&world, "h2", CALLERS).await;
    assert_eq!(answer.seen().header("tracestate"), Some("vendor=1"));
    let span = span_of(&collector, &answer).await;
    assert_eq!(
        (&span["traceId"], &span["parentSpanId"]),
        (&json!("0af7651916cd43dd8448eb211c80319c"), &json!("b7ad6b7169203331"))
    );
    let unsampled = status(&world, "http/1.1", &CALLERS.replace("-01", "-00")).await.seen();
    let told = unsampled.header("traceparent").unwrap();
    assert!(told.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && told.ends_with("-00"), "{told}");

    // What the process knows last arrives when it ends.
    let last = status(&world, "http/1.1", CALLERS).await;
    world.signal("TERM").await;
    span_of(&collector, &last).await;

    let asked = collector.asked();
    assert!(asked.iter().all(|asked| asked.header("authorization") == format!("Bearer {TOKEN}")));
    assert!(asked.iter().all(|asked| asked.method == "POST" && asked.target == "/v1/traces"));
    let all: String = asked.iter().map(|asked| asked.body.as_str()).collect();
    assert!(!all.contains(MARK) && !all.contains("alice"), "a path, a query, a header or a name: {all}");
    assert!(!all.contains(told.split('-').nth(2).unwrap()), "not sampled is not sent");
    assert!(!world.read("stderr.log").contains(TOKEN));
}

#[tokio::test]
async fn a_collector_that_is_silent_refuses_or_lies_costs_spans_and_no_request() {
    let collector = Api::start(Does::Silence).await;
    let world = traced(&collector).await;
    let tls = world.tls(None, &["http/1.1"]);
    let mut connection = Connection::open(world.address(Door::Inside), "status.test", &tls).await.unwrap();
    let call = Call::get("status.test", "/");
    // Many spans wait for a collector that says nothing.
    for _ in 0..1000 {
        assert_eq!(connection.send(&call).await.unwrap().status, 200);
    }
    until("spans are given up", async || metric(&world, NOT_TAKEN).await > 0).await;
    assert_eq!(metric(&world, SENT).await, 0);
    collector.does(Does::Say(json!({})));
    until("the others go, now that it answers", async || {
        metric(&world, SENT).await + metric(&world, NOT_TAKEN).await == 1000
    })
    .await;

    let rejects =
        |spans: Value| Does::Say(json!({ "partialSuccess": { "rejectedSpans": spans, "errorMessage": "no" } }));
    for (what, does, taken) in [
        ("refuses", Does::Status(503), false),
        ("sends elsewhere", Does::Status(307), false),
        ("sends without end", Does::Flood(1 << 20), false),
        ("rejects", rejects(json!("1")), false),
        ("rejects more than there is", rejects(json!(1_000_000)), false),
        ("says nothing of the kind", Does::Text("thank you".into()), true),
        ("answers late", Does::Wait(Duration::from_millis(300), Box::new(Does::Say(json!({})))), true),
    ] {
        collector.does(does);
        let before = (metric(&world, SENT).await, metric(&world, NOT_TAKEN).await);
        assert_eq!(connection.send(&call).await.unwrap().status, 200, "{what}");
        let after = if taken { (before.0 + 1, before.1) } else { (before.0, before.1 + 1) };
        until(what, async || (metric(&world, SENT).await, metric(&world, NOT_TAKEN).await) == after).await;
    }
    let log = world.read("stderr.log");
    assert!(log.contains("spans are lost") && log.contains("takes spans again"), "{log}");
}
