//! A server with everything it needs in memory, and a client that signs whatever a test wants, right or wrong.
use crate::issuer::TestIssuer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{Method, Request, Response};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use time::{Duration, OffsetDateTime};
use torhaus_certs::acme::*;

pub const ORIGIN: &str = "https://ca.corp.example";
pub const PORTAL: &str = "https://portal.corp.example/devices";
pub const NOW: OffsetDateTime = time::macros::datetime!(2026-06-01 12:00 UTC);

pub struct World {
    pub server: Server,
    pub store: Arc<Memory>,
    pub issuer: Arc<TestIssuer>,
    pub standing: Arc<Mutex<Answer>>,
    pub probe: Arc<Mutex<Scripted>>,
    pub now: Mutex<OffsetDateTime>,
}

struct Owners(Arc<Mutex<Answer>>);

#[async_trait::async_trait]
impl Standing for Owners {
    async fn ask(&self, _: &Enrolment, _: OffsetDateTime) -> Answer {
        // As a directory does: others run meanwhile, between the look at an order and its change.
        tokio::task::yield_now().await;
        self.0.lock().unwrap().clone()
    }
}

struct Network(Arc<Mutex<Scripted>>);

#[async_trait::async_trait]
impl Probe for Network {
    async fn http(&self, host: &Identifier, path: &str) -> Result<Vec<u8>, Unseen> {
        let script = self.0.lock().unwrap().clone();
        script.http(host, path).await
    }
    async fn txt(&self, name: &DnsName) -> Result<Vec<Vec<u8>>, Unseen> {
        let script = self.0.lock().unwrap().clone();
        script.txt(name).await
    }
    async fn tls_alpn(&self, host: &Identifier, name: &str) -> Result<Vec<u8>, Unseen> {
        let script = self.0.lock().unwrap().clone();
        script.tls_alpn(host, name).await
    }
}

pub fn config() -> Config {
    Config {
        origins: vec![ORIGIN.into(), "https://ca.other.example:8443".into()],
        path: "/acme".into(),
        terms_of_service: None,
        website: None,
        portal: Some(PORTAL.into()),
        client_zone: Some(dns("clients.corp.example")),
        rates: Rates::default(),
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(config(), Nonces::alone().unwrap(), Arc::default())
    }

    pub fn with(config: Config, nonces: Nonces, store: Arc<Memory>) -> Self {
        let issuer = Arc::new(TestIssuer::new());
        let standing = Arc::new(Mutex::new(Answer::Good));
        let probe: Arc<Mutex<Scripted>> = Arc::default();
        let parts = Parts {
            store: Arc::clone(&store) as _,
            issuer: Arc::clone(&issuer) as _,
            standing: Arc::new(Owners(Arc::clone(&standing))),
            probe: Arc::new(Network(Arc::clone(&probe))),
        };
        let server = Server::new(config, parts, nonces).unwrap();
        Self { server, store, issuer, standing, probe, now: Mutex::new(NOW) }
    }

    pub fn now(&self) -> OffsetDateTime {
        *self.now.lock().unwrap()
    }

    pub fn later(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }

    /// A nonce as a client gets it.
    pub async fn nonce(&self) -> String {
        self.get(Method::HEAD, "/acme/new-nonce").await.header("replay-nonce").unwrap()
    }

    pub async fn get(&self, method: Method, path: &str) -> Reply {
        let request = Request::builder().method(method).uri(path).header("host", "ca.corp.example");
        self.send(request.body(vec![]).unwrap()).await
    }

    pub async fn send(&self, request: Request<Vec<u8>>) -> Reply {
        let is_post = request.method() == Method::POST;
        Reply { is_post, inner: self.server.handle(&request, "192.0.2.7".parse().unwrap(), self.now()).await }
    }

    /// An EAB key in the store.
    pub async fn eab(&self, enrolment: Enrolment) -> EabKey {
        let key = EabKey::new(enrolment, self.now(), self.now() + Duration::minutes(15)).unwrap();
        self.store.add_eab(key.clone()).await.unwrap();
        key
    }

    /// A client with an account.
    pub async fn client(&self, enrolment: Enrolment) -> Client {
        let eab = self.eab(enrolment).await;
        let key = Key::new();
        let reply = self.new_account(&key, &eab).await;
        assert_eq!(reply.status(), 201, "{}", reply.text());
        Client { kid: reply.header("location").unwrap(), key }
    }

    pub async fn new_account(&self, key: &Key, eab: &EabKey) -> Reply {
        let payload = json!({"termsOfServiceAgreed": true, "externalAccountBinding": binding(eab, key)});
        self.post(key, "new-account").jwk().json(&payload).send().await
    }

    pub fn post<'a>(&'a self, key: &'a Key, path: &str) -> Post<'a> {
        let path = path.strip_prefix(ORIGIN).map_or_else(|| format!("/acme/{path}"), str::to_owned);
        let header = [("alg".to_owned(), json!("ES256")), ("url".into(), json!(format!("{ORIGIN}{path}")))];
        let media = Some("application/jose+json".to_owned());
        Post { world: self, key, path, header: header.into_iter().collect(), payload: vec![], media, after: None }
    }
}

pub struct Client {
    pub kid: String,
    pub key: Key,
}

impl Client {
    pub fn post<'a>(&'a self, world: &'a World, path: &str) -> Post<'a> {
        world.post(&self.key, path).header("kid", json!(self.kid))
    }

    pub async fn order(&self, world: &World, names: &[&str]) -> Reply {
        self.post(world, "new-order").json(&wishes(names)).send().await
    }

    /// From order to certificate.
    pub async fn certificate(&self, world: &World, name: &str) -> Certified {
        let order = self.order(world, &[name]).await;
        assert_eq!(order.status(), 201, "{}", order.text());
        self.take(world, &order, name).await
    }

    async fn take(&self, world: &World, order: &Reply, name: &str) -> Certified {
        let key = rcgen::KeyPair::generate().unwrap();
        let reply = self.finalize(world, order, &csr(&key, &[name])).await;
        assert_eq!((reply.status(), reply.json()["status"].as_str()), (200, Some("valid")), "{}", reply.text());
        let url = reply.json()["certificate"].as_str().unwrap().to_owned();
        let reply = self.post(world, &url).send().await;
        let (_, pem) = x509_parser::pem::parse_x509_pem(reply.body()).unwrap();
        Certified { order: order.header("location").unwrap(), url, der: pem.contents, key }
    }

    /// From order to certificate, by http-01.
    pub async fn proved(&self, world: &World, name: &str) -> Certified {
        let order = self.order(world, &[name]).await;
        let authorization = order.json()["authorizations"][0].as_str().unwrap().to_owned();
        let authorization = self.post(world, &authorization).send().await.json();
        let challenge =
            authorization["challenges"].as_array().unwrap().iter().find(|c| c["type"] == "http-01").unwrap();
        let token = challenge["token"].as_str().unwrap();
        let shown = format!("{token}.{}", self.key.thumbprint()).into_bytes();
        let at = (name.to_owned(), format!("/.well-known/acme-challenge/{token}"));
        world.probe.lock().unwrap().http.insert(at, Ok(shown));
        let answer = self.post(world, challenge["url"].as_str().unwrap()).json(&json!({})).send().await;
        assert_eq!(answer.json()["status"], "valid", "{}", answer.text());
        self.take(world, &order, name).await
    }

    pub async fn finalize(&self, world: &World, order: &Reply, csr: &[u8]) -> Reply {
        let url = order.json()["finalize"].as_str().unwrap().to_owned();
        self.post(world, &url).json(&json!({"csr": b64(csr)})).send().await
    }

    pub fn id(&self) -> &str {
        self.kid.rsplit('/').next().unwrap()
    }
}

pub struct Certified {
    pub order: String,
    pub url: String,
    pub der: Vec<u8>,
    pub key: rcgen::KeyPair,
}

pub struct Key(EcdsaKeyPair);

impl Key {
    pub fn new() -> Self {
        Self(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub fn from_pkcs8(der: &[u8]) -> Self {
        Self(EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der).unwrap())
    }

    pub fn pkcs8(&self) -> Vec<u8> {
        self.0.to_pkcs8v1().unwrap().as_ref().to_vec()
    }

    pub fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)})
    }

    pub fn thumbprint(&self) -> String {
        Jwk::parse(&self.jwk()).unwrap().thumbprint()
    }

    /// A flattened JWS.
    pub fn sign(&self, header: &Value, payload: &[u8]) -> Value {
        let (protected, payload) = (b64(header.to_string().as_bytes()), b64(payload));
        let signature = self.0.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).unwrap();
        json!({"protected": protected, "payload": payload, "signature": b64(signature.as_ref())})
    }
}

type After = Box<dyn Fn(&mut Value) + Send>;

/// A POST before it is sent.
pub struct Post<'a> {
    world: &'a World,
    key: &'a Key,
    path: String,
    header: Map<String, Value>,
    payload: Vec<u8>,
    media: Option<String>,
    after: Option<After>,
}

impl Post<'_> {
    pub fn header(mut self, name: &str, value: Value) -> Self {
        self.header.insert(name.into(), value);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.header.remove(name);
        // Keeps `send` from adding a nonce.
        if name == "nonce" {
            self.header.insert("no-nonce".into(), true.into());
        }
        self
    }

    pub fn jwk(self) -> Self {
        let jwk = self.key.jwk();
        self.header("jwk", jwk)
    }

    pub fn json(self, payload: &Value) -> Self {
        self.raw(payload.to_string().as_bytes())
    }

    pub fn raw(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub fn media(mut self, media: Option<&str>) -> Self {
        self.media = media.map(str::to_owned);
        self
    }

    /// Changes the body after it was signed.
    pub fn after(mut self, change: impl Fn(&mut Value) + Send + 'static) -> Self {
        self.after = Some(Box::new(change));
        self
    }

    pub async fn request(mut self) -> Request<Vec<u8>> {
        if !self.header.contains_key("nonce") && !self.header.contains_key("no-nonce") {
            let nonce = self.world.nonce().await;
            self.header.insert("nonce".into(), nonce.into());
        }
        let mut body = self.key.sign(&Value::from(self.header), &self.payload);
        if let Some(after) = self.after {
            after(&mut body);
        }
        let request = Request::post(self.path).header("host", "ca.corp.example");
        let request = self.media.into_iter().fold(request, |request, media| request.header("content-type", media));
        request.body(body.to_string().into_bytes()).unwrap()
    }

    pub async fn send(self) -> Reply {
        let world = self.world;
        world.send(self.request().await).await
    }
}

pub struct Reply {
    is_post: bool,
    inner: Response<Vec<u8>>,
}

impl Reply {
    pub fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.inner.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    pub fn links(&self, relation: &str) -> Vec<String> {
        let links = self.inner.headers().get_all("link").iter().map(|value| value.to_str().unwrap());
        let wanted = format!(">;rel=\"{relation}\"");
        links.filter_map(|link| Some(link.strip_suffix(&wanted)?.trim_start_matches('<').to_owned())).collect()
    }

    pub fn body(&self) -> &[u8] {
        self.inner.body()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(self.body()).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub fn told(&self) -> &Told {
        self.inner.extensions().get().unwrap()
    }

    /// One row of a table: refused with this status, this type, and these words.
    #[track_caller]
    pub fn is(&self, case: &str, status: u16, kind: &str, words: &str) {
        let (text, body) = (self.text(), self.json());
        let urn = format!("urn:ietf:params:acme:error:{kind}");
        assert_eq!((self.status(), body["type"].as_str()), (status, Some(urn.as_str())), "{case}: {text}");
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{case}: `{detail}` does not say `{words}`");
        assert_eq!(body["status"], status, "{case}");
        assert_eq!(self.header("content-type").as_deref(), Some("application/problem+json"), "{case}");
        assert_eq!(self.header("cache-control").as_deref(), Some("no-store"), "{case}");
        if status != 421 {
            assert_eq!(self.links("index"), [format!("{ORIGIN}/acme/directory")], "{case}");
        }
        // certbot and acme.sh go on with the nonce of an error.
        assert_eq!(self.header("replay-nonce").is_some(), self.is_post, "{case}");
        assert_eq!(self.told().problem.map(Kind::name), Some(kind), "{case}");
    }
}

pub fn laptop(owner: &str) -> Enrolment {
    Enrolment {
        owner: Owner::Person(owner.into()),
        label: format!("{owner}'s laptop"),
        names: vec![Grant::Exactly(Identifier::Dns(dns(&laptop_name(owner))))],
        wildcards: false,
        proof: Proof::Approved,
        profile: "device".into(),
        until: NOW + Duration::days(30),
        facts: BTreeMap::new(),
    }
}

pub fn laptop_name(owner: &str) -> String {
    format!("nb.{owner}.clients.corp.example")
}

/// An operator's key: names are proved.
pub fn service() -> Enrolment {
    Enrolment {
        owner: Owner::Service("web".into()),
        label: "web servers".into(),
        names: vec![
            Grant::Below(dns("corp.example")),
            Grant::Exactly(Identifier::parse("ip", "10.1.2.3").unwrap()),
            Grant::Exactly(Identifier::parse("ip", "2001:db8::7").unwrap()),
        ],
        wildcards: true,
        proof: Proof::Challenge,
        profile: "server".into(),
        ..laptop("ops")
    }
}

pub fn binding(eab: &EabKey, account: &Key) -> Value {
    let header = json!({"alg": "HS256", "kid": eab.kid, "url": format!("{ORIGIN}/acme/new-account")});
    mac(&eab.secret_base64(), &header, &account.jwk())
}

pub fn mac(secret: &str, header: &Value, payload: &Value) -> Value {
    let secret = BASE64_URL_SAFE_NO_PAD.decode(secret).unwrap();
    let (protected, payload) = (b64(header.to_string().as_bytes()), b64(payload.to_string().as_bytes()));
    let algorithm = match header["alg"].as_str() {
        Some("HS384") => hmac::HMAC_SHA384,
        Some("HS512") => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let tag = hmac::sign(&hmac::Key::new(algorithm, &secret), format!("{protected}.{payload}").as_bytes());
    json!({"protected": protected, "payload": payload, "signature": b64(tag.as_ref())})
}

pub fn csr(key: &rcgen::KeyPair, names: &[&str]) -> Vec<u8> {
    csr_with(key, names, |_| {})
}

pub fn csr_with(key: &rcgen::KeyPair, names: &[&str], change: impl Fn(&mut rcgen::CertificateParams)) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    params.serialize_request(key).unwrap().der().to_vec()
}

pub fn wishes(names: &[&str]) -> Value {
    let wish = |name: &&str| {
        let kind = if name.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
        json!({"type": kind, "value": name})
    };
    json!({"identifiers": names.iter().map(wish).collect::<Vec<_>>()})
}

pub fn dns(name: &str) -> DnsName {
    DnsName::parse(name).unwrap()
}

pub fn b64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
