//! An API server of Kubernetes as far as a client sees it: TLS, bearer tokens, lists in pages, watches with bookmarks,
//! versions that were forgotten (410), optimistic locking, merge patches of a subresource, refusals. It knows no
//! resource: what is put is listed and watched.
use crate::harness::pki::Identity;
use bytes::Bytes;
use futures::channel::mpsc;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use torhaus_certs::{Authority, LeafRequest};

pub const TOKEN: &str = "the token of a service account";

type Place = (String, String, String);
type Body = BoxBody<Bytes, Infallible>;

pub struct ApiServer {
    pub port: u16,
    authority: Authority,
    cluster: Arc<Cluster>,
    task: tokio::task::JoinHandle<()>,
}

struct Cluster {
    state: Mutex<State>,
    /// Another number after each change of an object, or when watches have something to do.
    news: watch::Sender<u64>,
    /// Another number whenever all connections are cut.
    cuts: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By plural, namespace and name.
    objects: BTreeMap<Place, Value>,
    history: Vec<(u64, String, &'static str, Value)>,
    /// Versions up to this one are forgotten.
    forgotten: u64,
    /// Raw lines that are sent into every watch of a resource once.
    injected: Vec<(String, String)>,
    refused: BTreeSet<(String, String)>,
    /// Resources whose watches are told nothing for now.
    withheld: BTreeSet<String>,
    is_down: bool,
    /// Method and path of everything that was asked.
    asked: Vec<(String, String)>,
    first_asked: Option<Instant>,
    bookmarks: usize,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
        self.cluster.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl ApiServer {
    pub async fn start() -> Self {
        let now = time::OffsetDateTime::now_utc();
        let authority = Authority::new("cluster", now, time::Duration::days(200)).unwrap();
        let own = authority.issue(&LeafRequest::server(["localhost".to_owned()]), now).unwrap();
        let own = Identity::from(own);
        let chain = CertificateDer::pem_slice_iter(own.cert_pem.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls.with_no_client_auth().with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cluster =
            Arc::new(Cluster { state: Mutex::default(), news: watch::Sender::new(0), cuts: watch::Sender::new(0) });
        let serving = cluster.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (tls, cluster) = (tls.clone(), serving.clone());
                tokio::spawn(async move {
                    let mut cuts = cluster.cuts.subscribe();
                    if cluster.state.lock().unwrap().is_down {
                        return;
                    }
                    let serve = async {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        let service = service_fn(|request| answer(cluster.clone(), request));
                        drop(
                            hyper::server::conn::http1::Builder::new()
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        );
                    };
                    tokio::select! {
                        () = serve => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { port, authority, cluster, task }
    }

    /// A kubeconfig beside the gate's files; it is named in the configuration.
    pub fn write_kubeconfig(&self, folder: &Path) {
        std::fs::write(folder.join("cluster-ca.pem"), self.authority.root_pem()).unwrap();
        let ca = folder.join("cluster-ca.pem").display().to_string();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": format!("https://localhost:{}", self.port), "certificate-authority": ca } }],
            "users": [{ "name": "u", "user": { "token": TOKEN } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u", "namespace": "torhaus" } }],
        });
        std::fs::write(folder.join("kubeconfig"), config.to_string()).unwrap();
    }

    /// Makes or replaces an object; its place is read from it.
    pub fn put(&self, object: Value) {
        self.cluster.put(object);
    }

    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let place = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let mut state = self.cluster.state.lock().unwrap();
        let mut object = state.objects.remove(&place).expect("there is no such object");
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        state.history.push((version, plural.to_owned(), "DELETED", object));
        drop(state);
        self.cluster.news.send_modify(|news| *news += 1);
    }

    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let place = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.cluster.state.lock().unwrap().objects.get(&place).cloned()
    }

    /// Notes of the events about an object, with their reasons.
    pub fn events(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        let state = self.cluster.state.lock().unwrap();
        let events = state.objects.iter().filter(|((plural, ns, _), _)| plural == "events" && ns == namespace);
        let about = events.filter(|(_, event)| event["regarding"]["name"] == name).map(|(_, event)| event);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        about.map(|event| (text(&event["reason"]), text(&event["note"]))).collect()
    }

    /// Where an ingress says that it is reached.
    pub fn addresses(&self, namespace: &str, name: &str) -> Vec<String> {
        let ingress = self.get("ingresses", namespace, name).unwrap();
        let shown = ingress["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
        shown.iter().map(|one| one["ip"].as_str().or(one["hostname"].as_str()).unwrap().to_owned()).collect()
    }

    /// Forbids a verb (`list`, `watch`, `get`, `create`, `update`, `patch`) on a resource.
    pub fn forbid(&self, verb: &str, plural: &str) {
        self.cluster.state.lock().unwrap().refused.insert((verb.to_owned(), plural.to_owned()));
    }

    pub fn permit(&self, verb: &str, plural: &str) {
        self.cluster.state.lock().unwrap().refused.remove(&(verb.to_owned(), plural.to_owned()));
    }

    /// Watches of a resource are told what happens after `tell`.
    pub fn withhold(&self, plural: &str) {
        self.cluster.state.lock().unwrap().withheld.insert(plural.to_owned());
    }

    pub fn tell(&self, plural: &str) {
        self.cluster.state.lock().unwrap().withheld.remove(plural);
        self.cluster.news.send_modify(|news| *news += 1);
    }

    /// Nobody answers, and every connection is gone.
    pub fn go_down(&self) {
        self.cluster.state.lock().unwrap().is_down = true;
        self.cut();
    }

    pub fn come_back(&self) {
        self.cluster.state.lock().unwrap().is_down = false;
    }

    /// Cuts every connection, in the middle of whatever it does.
    pub fn cut(&self) {
        self.cluster.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// As etcd's compaction: whoever watches from before is told to list again.
    pub fn forget(&self) {
        let mut state = self.cluster.state.lock().unwrap();
        state.version += 1;
        state.forgotten = state.version;
        drop(state);
        self.cluster.news.send_modify(|news| *news += 1);
    }

    /// Sends a raw line into a running watch.
    pub fn inject(&self, plural: &str, line: &str) {
        self.cluster.state.lock().unwrap().injected.push((plural.to_owned(), line.to_owned()));
        self.cluster.news.send_modify(|news| *news += 1);
    }

    pub fn asked(&self, method: &str, containing: &str) -> usize {
        let state = self.cluster.state.lock().unwrap();
        state.asked.iter().filter(|(m, path)| m == method && path.contains(containing)).count()
    }

    /// When somebody asked for the first time.
    pub fn first_asked(&self) -> Option<Instant> {
        self.cluster.state.lock().unwrap().first_asked
    }

    pub fn bookmarks(&self) -> usize {
        self.cluster.state.lock().unwrap().bookmarks
    }
}

impl Cluster {
    fn put(&self, mut object: Value) -> Value {
        let mut state = self.state.lock().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let plural = plural_of(&text(&object["kind"]));
        let place = (plural.clone(), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        state.version += 1;
        let version = state.version;
        let before = state.objects.get(&place);
        let meta = &mut object["metadata"];
        meta["resourceVersion"] = json!(version.to_string());
        if meta["uid"].is_null() {
            meta["uid"] =
                before.map_or_else(|| json!(format!("uid-{version}")), |before| before["metadata"]["uid"].clone());
        }
        if meta["creationTimestamp"].is_null() {
            let first = json!("2026-11-01T00:00:00Z");
            meta["creationTimestamp"] = before.map_or(first, |before| before["metadata"]["creationTimestamp"].clone());
        }
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        state.objects.insert(place, object.clone());
        state.history.push((version, plural, kind, object.clone()));
        drop(state);
        self.news.send_modify(|news| *news += 1);
        object
    }
}

fn plural_of(kind: &str) -> String {
    match kind {
        "Ingress" => "ingresses",
        "IngressClass" => "ingressclasses",
        "Service" => "services",
        "EndpointSlice" => "endpointslices",
        "Secret" => "secrets",
        "Lease" => "leases",
        "Event" => "events",
        other => panic!("what is a {other}?"),
    }
    .to_owned()
}

fn full(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed();
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(body).unwrap()
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    full(code, &status_of(code.as_u16(), reason, message))
}

fn status_of(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message })
}

async fn answer(cluster: Arc<Cluster>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    {
        let mut state = cluster.state.lock().unwrap();
        state.asked.push((head.method.to_string(), path.clone()));
        state.first_asked.get_or_insert_with(Instant::now);
    }
    let bearer = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    if bearer != Some(&format!("Bearer {TOKEN}")) {
        return Ok(failure(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"));
    }
    // /api/v1/… or /apis/GROUP/VERSION/…, then [namespaces/NS/]PLURAL[/NAME[/SUBRESOURCE]]
    let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let namespace = if parts[0] == "namespaces" && parts.len() > 2 { Some(parts.remove(1).to_owned()) } else { None };
    if namespace.is_some() {
        parts.remove(0);
    }
    let (plural, name) = (parts[0].to_owned(), parts.get(1).map(ToString::to_string));
    let is_watch = query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
    let verb = match (&head.method, &name) {
        (&Method::GET, None) if is_watch => "watch",
        (&Method::GET, None) => "list",
        (&Method::GET, Some(_)) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        _ => "delete",
    };
    if cluster.state.lock().unwrap().refused.contains(&(verb.to_owned(), plural.clone())) {
        let message = format!("{plural} is forbidden: the service account cannot {verb} it");
        return Ok(failure(StatusCode::FORBIDDEN, "Forbidden", &message));
    }
    let in_scope = Scope { plural, namespace, selector: query.get("fieldSelector").cloned() };
    Ok(match verb {
        "watch" => watching(&cluster, in_scope, &query),
        "list" => listing(&cluster, &in_scope, &query),
        _ => one(&cluster, &in_scope, verb, name.as_deref(), &body),
    })
}

struct Scope {
    plural: String,
    namespace: Option<String>,
    selector: Option<String>,
}

impl Scope {
    fn has(&self, object: &Value) -> bool {
        let inside = self.namespace.as_ref().is_none_or(|namespace| object["metadata"]["namespace"] == **namespace);
        let selected = self.selector.as_ref().is_none_or(|selector| {
            let (field, value) = selector.split_once('=').unwrap();
            let found = match field {
                "type" => &object["type"],
                "metadata.name" => &object["metadata"]["name"],
                other => panic!("what is the field {other}?"),
            };
            found == value
        });
        inside && selected
    }
}

fn listing(cluster: &Cluster, scope: &Scope, query: &HashMap<String, String>) -> Response<Body> {
    let state = cluster.state.lock().unwrap();
    let limit: usize = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let from: usize = query.get("continue").and_then(|at| at.parse().ok()).unwrap_or(0);
    let all = state.objects.iter().filter(|((plural, ..), object)| *plural == scope.plural && scope.has(object));
    let all: Vec<&Value> = all.map(|(_, object)| object).collect();
    let mut items: Vec<Value> = all.iter().skip(from).take(limit).map(|object| (*object).clone()).collect();
    for item in &mut items {
        // As the API server does: a list says once of what it is.
        let fields = item.as_object_mut().unwrap();
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    let mut meta = json!({ "resourceVersion": state.version.to_string() });
    if from + items.len() < all.len() {
        meta["continue"] = json!((from + items.len()).to_string());
    }
    full(StatusCode::OK, &json!({ "kind": "List", "apiVersion": "v1", "metadata": meta, "items": items }))
}

fn watching(cluster: &Arc<Cluster>, scope: Scope, query: &HashMap<String, String>) -> Response<Body> {
    let mut seen: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let bookmarks = query.get("allowWatchBookmarks").is_some_and(|yes| yes == "true");
    let (sender, receiver) = mpsc::unbounded::<Result<Frame<Bytes>, Infallible>>();
    let cluster = cluster.clone();
    let mut injected = cluster.state.lock().unwrap().injected.len();
    tokio::spawn(async move {
        let mut news = cluster.news.subscribe();
        let send = |line: String| sender.unbounded_send(Ok(Frame::data(Bytes::from(line + "\n")))).is_ok();
        loop {
            let mut lines = Vec::new();
            if !cluster.state.lock().unwrap().withheld.contains(&scope.plural) {
                let mut state = cluster.state.lock().unwrap();
                if seen < state.forgotten {
                    let gone =
                        json!({ "type": "ERROR", "object": status_of(410, "Expired", "too old resource version") });
                    send(gone.to_string());
                    return;
                }
                let known = state.history.partition_point(|(version, ..)| *version <= seen);
                for (_, plural, kind, object) in state.history.iter().skip(known) {
                    if *plural == scope.plural && scope.has(object) {
                        lines.push(json!({ "type": kind, "object": object }).to_string());
                    }
                }
                let raw = state.injected.iter().skip(injected).filter(|(plural, _)| *plural == scope.plural);
                lines.extend(raw.map(|(_, line)| line.clone()));
                injected = state.injected.len();
                if bookmarks && state.version > seen && lines.is_empty() {
                    let kind = "Bookmark";
                    let meta = json!({ "resourceVersion": state.version.to_string() });
                    let object = json!({ "kind": kind, "apiVersion": "v1", "metadata": meta });
                    lines.push(json!({ "type": "BOOKMARK", "object": object }).to_string());
                    state.bookmarks += 1;
                }
                seen = seen.max(state.version);
            }
            if !lines.into_iter().all(send) {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_secs(5), news.changed()).await;
        }
    });
    let response = Response::builder().status(StatusCode::OK).header("content-type", "application/json");
    response.body(StreamBody::new(receiver).boxed()).unwrap()
}

fn one(cluster: &Cluster, scope: &Scope, verb: &str, name: Option<&str>, body: &Bytes) -> Response<Body> {
    let sent = || -> Value { serde_json::from_slice(body).unwrap() };
    let namespace = scope.namespace.clone().unwrap_or_default();
    let missing = || failure(StatusCode::NOT_FOUND, "NotFound", "not found");
    let known = |name: &str| {
        let place = (scope.plural.clone(), namespace.clone(), name.to_owned());
        cluster.state.lock().unwrap().objects.get(&place).cloned()
    };
    match verb {
        "create" => {
            let mut object = sent();
            object["metadata"]["namespace"] = json!(namespace);
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if known(&name).is_some() {
                return failure(StatusCode::CONFLICT, "AlreadyExists", "it is there already");
            }
            full(StatusCode::CREATED, &cluster.put(object))
        }
        "get" => known(name.unwrap()).map_or_else(missing, |object| full(StatusCode::OK, &object)),
        "update" => {
            let (object, Some(before)) = (sent(), known(name.unwrap())) else { return missing() };
            if object["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"] {
                return failure(StatusCode::CONFLICT, "Conflict", "it was changed since");
            }
            full(StatusCode::OK, &cluster.put(object))
        }
        "patch" => {
            let Some(mut object) = known(name.unwrap()) else { return missing() };
            merge(&mut object, &sent());
            full(StatusCode::OK, &cluster.put(object))
        }
        other => panic!("nobody should {other}"),
    }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(into.as_object_mut().unwrap().remove(key)),
            value => merge(into.as_object_mut().unwrap().entry(key).or_insert(Value::Null), value),
        }
    }
}
