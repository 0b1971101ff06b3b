//! A scripted browser: cookies per host, redirects, and the forms of the provider.
use crate::harness::client::{self, Answer, Call, Connection, Tls};
use crate::harness::idp::person;
use crate::harness::pki::Identity;
use crate::harness::{Door, PATIENCE, World};
use futures::future::BoxFuture;
use http::Uri;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use url::Url;

const MOST_HOPS: usize = 25;
const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

pub type Socket = WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

/// One gate, or several behind an address.
pub trait Gates: Sync {
    fn address(&self, door: Door) -> SocketAddr;
    /// Trusts their authority.
    fn tls(&self, identity: Option<&Identity>, alpn: &[&str]) -> Tls;
    /// How often a browser sends what may be sent again and was not answered (RFC 9110 section 9.2.2).
    fn tries(&self) -> usize {
        1
    }
}

impl Gates for World {
    fn address(&self, door: Door) -> SocketAddr {
        World::address(self, door)
    }

    fn tls(&self, identity: Option<&Identity>, alpn: &[&str]) -> Tls {
        World::tls(self, identity, alpn)
    }
}

pub struct Browser<'a> {
    world: &'a dyn Gates,
    pub door: Door,
    tls: Tls,
    /// By host; the provider is another host.
    pub jar: BTreeMap<String, BTreeMap<String, String>>,
    /// Every `Set-Cookie` so far, with its host.
    pub set: Vec<(String, String)>,
    /// Who sits in front of it; nobody: the provider's forms are not filled in.
    person: Option<&'static str>,
    /// Where it went, and what it got there.
    pub trail: Vec<(u16, String)>,
    /// Redirects to an address with this in it are not followed.
    pub stop_before: Option<&'static str>,
    /// Hosts whose cookies it does not keep.
    pub refuses_cookies_of: Vec<&'static str>,
    /// What the person does to addresses on the way.
    pub tampers: Option<fn(&mut Url)>,
}

impl<'a> Browser<'a> {
    pub fn new(world: &'a dyn Gates, door: Door) -> Self {
        let tls = world.tls(None, &["http/1.1"]);
        Self {
            world,
            door,
            tls,
            jar: BTreeMap::new(),
            set: Vec::new(),
            person: None,
            trail: Vec::new(),
            stop_before: None,
            refuses_cookies_of: Vec::new(),
            tampers: None,
        }
    }

    pub fn of(mut self, person: &'static str) -> Self {
        self.person = Some(person);
        self
    }

    pub fn with_certificate(mut self, identity: &Identity) -> Self {
        self.tls = self.world.tls(Some(identity), &["http/1.1"]);
        self
    }

    /// The same browser by the other listener.
    pub fn go(&mut self, door: Door) {
        self.door = door;
    }

    /// Somebody types an address: follows redirects and signs in where a form asks.
    pub async fn open(&mut self, url: &str) -> Answer {
        self.trail.clear();
        let first = self.navigate("GET", url, &[]).await;
        self.follow(url, first).await
    }

    /// Goes on from an answer.
    pub async fn follow(&mut self, url: &str, mut answer: Answer) -> Answer {
        let mut at = Url::parse(url).unwrap();
        for _ in 0..MOST_HOPS {
            if (300..400).contains(&answer.status) {
                at = at.join(answer.header("location")).unwrap();
                if self.stop_before.is_some_and(|part| at.as_str().contains(part)) {
                    return answer;
                }
                if let Some(tamper) = self.tampers {
                    tamper(&mut at);
                }
                answer = self.navigate("GET", at.as_str(), &[]).await;
                continue;
            }
            let Some(form) = self.fill_in(&at, &answer).await else { return answer };
            let fields: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
            answer = self.navigate("POST", at.as_str(), &fields).await;
            assert!(answer.status < 400, "the provider did not take the form: {}", answer.body);
        }
        panic!("a redirect loop: {:#?}", self.trail);
    }

    /// One navigation without following.
    pub async fn navigate(&mut self, method: &'static str, url: &str, form: &[(&str, &str)]) -> Answer {
        let mut call = self.request(method, url).with("accept", CHROME).with("sec-fetch-mode", "navigate");
        if method == "POST" {
            let origin = Url::parse(url).unwrap().origin().ascii_serialization();
            call = call.with("origin", &origin).with("content-type", "application/x-www-form-urlencoded");
            call.body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        }
        self.send(url, &call).await
    }

    /// What a script on a page sends: no page wanted, no redirect followed.
    pub async fn fetch(&mut self, url: &str) -> Answer {
        let call = self.request("GET", url).with("accept", "application/json").with("sec-fetch-mode", "cors");
        self.send(url, &call).await
    }

    /// A request with this browser's cookies, for one's own headers.
    pub fn request(&self, method: &'static str, url: &str) -> Call {
        let uri: Uri = url.parse().unwrap();
        let host = uri.authority().unwrap().to_string();
        let target = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let mut call = Call { method, ..Call::get(&host, &target) };
        let line: Vec<String> =
            self.jar.get(&host).into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
        if !line.is_empty() {
            call = call.with("cookie", &line.join("; "));
        }
        call
    }

    /// Sends one request and keeps the cookies of its answer.
    pub async fn send(&mut self, url: &str, call: &Call) -> Answer {
        let answer = if url.starts_with("http://") {
            plain(call).await
        } else {
            let tries = if call.method == "GET" { self.world.tries() } else { 1 };
            let mut answer = Err(String::new());
            for _ in 0..tries {
                let address = self.world.address(self.door);
                answer = match Connection::open(address, host_of(&call.host), &self.tls).await {
                    Ok(mut connection) => connection.send(call).await,
                    Err(error) => Err(error),
                };
                if answer.is_ok() {
                    break;
                }
            }
            answer
        };
        let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
        self.trail.push((answer.status, url.to_owned()));
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap().to_owned();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            let cookies = self.jar.entry(call.host.clone()).or_default();
            if self.refuses_cookies_of.contains(&call.host.as_str()) {
            } else if line.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
            self.set.push((call.host.clone(), line));
        }
        answer
    }

    /// The handle of this browser's session at a host.
    pub fn handle(&self, host: &str) -> Option<&str> {
        self.jar.get(host)?.get("__Host-torhaus").map(String::as_str)
    }

    /// Signs in as far as the redirect that `part` is in, and returns its address.
    pub async fn up_to(&mut self, url: &str, part: &'static str) -> String {
        self.stop_before = Some(part);
        let answer = self.open(url).await;
        self.stop_before = None;
        assert!(answer.header("location").contains(part), "{:?}", self.trail);
        answer.header("location").to_owned()
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// The answer was no.
    pub async fn socket(&self, host: &str, path: &str) -> Result<Socket, u16> {
        let stream = client::handshake(self.world.address(self.door), host, &self.tls).await.unwrap();
        let mut request = format!("wss://{host}{path}").into_client_request().unwrap();
        for (name, value) in self.request("GET", &format!("https://{host}{path}")).headers {
            request.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(SocketError::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{host}{path}: {error}"),
        }
    }

    /// Begins a request whose answer goes on and on.
    pub async fn stream(&self, url: &str) -> http::Response<hyper::body::Incoming> {
        let call = self.request("GET", url);
        let mut connection = Connection::open(self.world.address(self.door), &call.host, &self.tls).await.unwrap();
        connection.start(&call).await.unwrap()
    }

    /// What the person types into the provider's form; none if this is no form of the provider.
    async fn fill_in(&mut self, at: &Url, answer: &Answer) -> Option<Vec<(&'static str, String)>> {
        let person = person(self.person?);
        if at.scheme() != "http" {
            return None;
        }
        let has = |name: &str| answer.body.contains(&format!("name=\"{name}\""));
        if has("password") {
            return Some(vec![("user", person.user.to_owned()), ("password", person.password.to_owned())]);
        }
        if has("key") && person.has_key {
            return Some(vec![("key", "touched".to_owned())]);
        }
        if has("code") {
            let url = at.join(&format!("/demo/code/{}", person.user)).unwrap();
            let code: BoxFuture<'_, Answer> = Box::pin(self.navigate("GET", url.as_str(), &[]));
            return Some(vec![("code", code.await.body.trim().to_owned())]);
        }
        None
    }
}

/// Says something over a socket and waits for it to come back.
pub async fn echoes(socket: &mut Socket, text: &str) -> bool {
    use futures::{SinkExt as _, StreamExt as _};
    if socket.send(Message::text(text)).await.is_err() {
        return false;
    }
    matches!(tokio::time::timeout(PATIENCE, socket.next()).await, Ok(Some(Ok(message))) if message == Message::text(text))
}

/// One request over plain HTTP: to the provider.
///
/// # Errors
/// It is not there.
async fn plain(call: &Call) -> Result<Answer, String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(&*call.host).await.map_err(|e| e.to_string())?;
    let mut text = format!("{} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", call.method, call.target, call.host);
    for (name, value) in &call.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{}", call.body.len(), call.body));
    stream.write_all(text.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.map_err(|e| e.to_string())?;
    crate::harness::raw::parse(&received).into_iter().next().ok_or_else(|| "no answer".to_owned())
}

fn host_of(authority: &str) -> &str {
    authority.split(':').next().unwrap_or(authority)
}
