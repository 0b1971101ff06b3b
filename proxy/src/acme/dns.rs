//! Asks one name server (RFC 1035): addresses for http-01 and tls-alpn-01, TXT for dns-01. UDP, and TCP if the answer
//! did not fit. Aliases are followed inside of an answer, as a recursive server gives them. No cache: validation is
//! rare, and what it sees has to be new.
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// For one attempt; a recursive server may have to ask others.
const PATIENCE: Duration = Duration::from_secs(4);
/// Datagrams get lost.
const ATTEMPTS: usize = 2;
/// RFC 6891 section 6.2.5: what every path carries without fragments.
const MOST_UDP: usize = 1232;
/// Far more than a validation needs; a longer answer is somebody's game.
const MOST_TCP: usize = 16 * 1024;
/// Pointers followed in one name: a message has no honest use for more.
const MOST_POINTERS: usize = 16;
/// RFC 1034 section 3.6.2 discourages chains of aliases.
const MOST_ALIASES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    A = 1,
    Txt = 16,
    Aaaa = 28,
}

const CNAME: u16 = 5;
const IN: u16 = 1;

#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error("no name server is configured")]
    NoServer,
    #[error("the name server does not answer")]
    Silent,
    #[error("the name server answered with an error (code {0})")]
    Refused(u8),
    #[error("the name does not exist")]
    NoName,
    #[error("the name server's answer cannot be read")]
    Garbled,
}

impl From<io::Error> for DnsError {
    fn from(_: io::Error) -> Self {
        Self::Silent
    }
}

/// The system's first name server.
pub fn of_system() -> Option<SocketAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").ok()?;
    let mut servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    Some(SocketAddr::new(servers.find_map(|rest| rest.trim().parse().ok())?, 53))
}

/// Addresses of a host, IPv4 first.
///
/// # Errors
/// See [`DnsError`]; a name without addresses is `NoName`.
pub async fn addresses(server: SocketAddr, host: &str) -> Result<Vec<IpAddr>, DnsError> {
    let (four, six) = tokio::join!(ask(server, host, RecordType::A), ask(server, host, RecordType::Aaaa));
    // One kind is enough.
    let found = match (four, six) {
        (Ok(four), Ok(six)) => four.into_iter().chain(six).collect(),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => found,
        (Err(error), Err(_)) => return Err(error),
    };
    let address = |data: Vec<u8>| match <[u8; 4]>::try_from(data.as_slice()) {
        Ok(four) => Some(IpAddr::V4(Ipv4Addr::from(four))),
        Err(_) => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(data.as_slice()).ok()?))),
    };
    let found: Vec<IpAddr> = found.into_iter().filter_map(address).collect();
    if found.is_empty() { Err(DnsError::NoName) } else { Ok(found) }
}

/// Values of a name's TXT records, the strings of one joined.
///
/// # Errors
/// See [`DnsError`].
pub async fn txt(server: SocketAddr, name: &str) -> Result<Vec<Vec<u8>>, DnsError> {
    ask(server, name, RecordType::Txt).await?.iter().map(|data| joined(data).ok_or(DnsError::Garbled)).collect()
}

fn joined(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        value.extend_from_slice(text);
        data = rest;
    }
    Some(value)
}

/// The data of all records of this type.
async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Result<Vec<Vec<u8>>, DnsError> {
    let mut last = DnsError::Silent;
    for _ in 0..ATTEMPTS {
        match timeout(PATIENCE, attempt(server, name, kind)).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error @ (DnsError::NoName | DnsError::Refused(_)))) => return Err(error),
            Ok(Err(error)) => last = error,
            Err(_) => last = DnsError::Silent,
        }
    }
    Err(last)
}

async fn attempt(server: SocketAddr, name: &str, kind: RecordType) -> Result<Vec<Vec<u8>>, DnsError> {
    let question = question(rand::random(), name, kind).ok_or(DnsError::NoName)?;
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port and a number of its own for each question, and only this server's datagrams: RFC 5452.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = [0; MOST_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let message = buffer.get(..length).unwrap_or_default();
        // A datagram that does not belong to the question is somebody guessing: wait for the right one.
        let Some(answer) = Answer::to(&question, message) else { continue };
        if !answer.is_truncated() {
            return answer.records(name, kind);
        }
        break;
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(|_| DnsError::NoName)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&question).await?;
    let length = usize::from(stream.read_u16().await?);
    if length > MOST_TCP {
        return Err(DnsError::Garbled);
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Answer::to(&question, &message).ok_or(DnsError::Garbled)?.records(name, kind)
}

/// RFC 1035 section 4.1, recursion desired. None: not a name.
fn question(id: u16, name: &str, kind: RecordType) -> Option<Vec<u8>> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&(kind as u16).to_be_bytes());
    message.extend_from_slice(&IN.to_be_bytes());
    Some(message)
}

/// A message that belongs to a question.
struct Answer<'a> {
    message: &'a [u8],
    /// Where the answers begin.
    body: usize,
}

impl<'a> Answer<'a> {
    /// None: it answers another question, or none.
    fn to(question: &[u8], message: &'a [u8]) -> Option<Self> {
        let same = |range: std::ops::Range<usize>| {
            let (asked, said) = (question.get(range.clone())?, message.get(range)?);
            Some(asked.eq_ignore_ascii_case(said))
        };
        let is_response = message.get(2)? & 0x80 != 0;
        let belongs = is_response && message.get(4..6)? == [0, 1] && same(0..2)? && same(12..question.len())?;
        belongs.then_some(Self { message, body: question.len() })
    }

    fn is_truncated(&self) -> bool {
        self.message.get(2).is_some_and(|flags| flags & 0x02 != 0)
    }

    fn records(&self, name: &str, kind: RecordType) -> Result<Vec<Vec<u8>>, DnsError> {
        match self.message.get(3).map(|flags| flags & 0x0f) {
            Some(0) => {}
            Some(3) => return Err(DnsError::NoName),
            code => return Err(DnsError::Refused(code.unwrap_or_default())),
        }
        let all = self.all().ok_or(DnsError::Garbled)?;
        let mut name = name.to_ascii_lowercase();
        for _ in 0..MOST_ALIASES {
            let alias = all.iter().find(|one| one.name == name && one.kind == CNAME);
            let Some(alias) = alias else { break };
            name = self.name(alias.at).ok_or(DnsError::Garbled)?.0;
        }
        let own = all.into_iter().filter(|one| one.name == name && one.kind == kind as u16);
        Ok(own.map(|one| one.data.to_vec()).collect())
    }

    fn all(&self) -> Option<Vec<Record<'a>>> {
        let count = u16::from_be_bytes(self.message.get(6..8)?.try_into().ok()?);
        let mut at = self.body;
        let mut records = Vec::new();
        for _ in 0..count {
            let (name, end) = self.name(at)?;
            let number = |from: usize| Some(u16::from_be_bytes(self.message.get(from..from + 2)?.try_into().ok()?));
            let (kind, class) = (number(end)?, number(end + 2)?);
            let (data_at, length) = (end + 10, usize::from(number(end + 8)?));
            let data = self.message.get(data_at..data_at + length)?;
            if class == IN {
                records.push(Record { name, kind, data, at: data_at });
            }
            at = data_at + length;
        }
        Some(records)
    }

    /// A name in lower case, and where what follows it begins.
    fn name(&self, from: usize) -> Option<(String, usize)> {
        let (mut at, mut end, mut pointers) = (from, None, 0);
        let mut name = String::new();
        loop {
            let length = usize::from(*self.message.get(at)?);
            if length & 0xc0 == 0xc0 {
                let low = usize::from(*self.message.get(at + 1)?);
                end = end.or(Some(at + 2));
                at = (length & 0x3f) << 8 | low;
                pointers += 1;
                if pointers > MOST_POINTERS {
                    return None;
                }
                continue;
            }
            if length == 0 {
                return Some((name, end.unwrap_or(at + 1)));
            }
            if length > 63 || name.len() > 253 {
                return None;
            }
            let label = self.message.get(at + 1..at + 1 + length)?;
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            at += 1 + length;
        }
    }
}

struct Record<'a> {
    name: String,
    kind: u16,
    data: &'a [u8],
    at: usize,
}
