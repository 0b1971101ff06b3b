//! The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt), read from peers that are trusted to speak it.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first twelve bytes of version 2.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest version 1 line, CRLF included (section 2.1).
const MAX_V1_LINE: usize = 107;
/// Longest version 2 address block and TLVs we read; senders stay under 536 bytes (section 2.2).
const MAX_V2_LENGTH: usize = 2048;

#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("no PROXY header")]
    Missing,
    #[error("PROXY header too long")]
    TooLong,
    #[error("malformed PROXY header")]
    Malformed,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The original caller; `None` where the sender says so itself (`UNKNOWN`, `LOCAL`: a health check of its own).
///
/// # Errors
/// 1. no header; 2. longer than allowed; 3. malformed; 4. the socket failed.
pub async fn read<S: AsyncRead + Unpin>(io: &mut S) -> Result<Option<SocketAddr>, HeaderError> {
    // The shortest header of both versions has at least this many bytes ("PROXY UNKNOWN\r\n" has 15).
    let mut start = [0u8; 12];
    io.read_exact(&mut start).await?;
    if start == V2_SIGNATURE {
        return read_v2(io).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(HeaderError::Missing);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_V1_LINE {
            return Err(HeaderError::TooLong);
        }
        // Byte by byte: what follows the line is TLS and not ours to take.
        line.push(io.read_u8().await?);
    }
    parse_v1(&line)
}

fn parse_v1(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let text = std::str::from_utf8(line).ok().and_then(|t| t.strip_suffix("\r\n")).ok_or(HeaderError::Malformed)?;
    let mut words = text.split(' ').skip(1);
    let family = words.next().ok_or(HeaderError::Malformed)?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let mut address = || words.next().and_then(|w| w.parse::<IpAddr>().ok()).ok_or(HeaderError::Malformed);
    let (source, destination) = (address()?, address()?);
    let mut port = || words.next().and_then(|w| w.parse::<u16>().ok()).ok_or(HeaderError::Malformed);
    let (source_port, _) = (port()?, port()?);
    let right_family = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    if !right_family || words.next().is_some() {
        return Err(HeaderError::Malformed);
    }
    Ok(Some(SocketAddr::new(source, source_port)))
}

async fn read_v2<S: AsyncRead + Unpin>(io: &mut S) -> Result<Option<SocketAddr>, HeaderError> {
    let version_and_command = io.read_u8().await?;
    let family = io.read_u8().await?;
    let length = usize::from(io.read_u16().await?);
    if length > MAX_V2_LENGTH {
        return Err(HeaderError::TooLong);
    }
    let mut block = vec![0u8; length];
    io.read_exact(&mut block).await?;
    match version_and_command {
        0x20 => Ok(None), // LOCAL
        0x21 => parse_v2(family, &block),
        _ => Err(HeaderError::Malformed),
    }
}

fn parse_v2(family: u8, block: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    fn part<const N: usize>(block: &[u8], at: usize) -> Result<[u8; N], HeaderError> {
        block.get(at..at + N).and_then(|b| b.try_into().ok()).ok_or(HeaderError::Malformed)
    }
    match family {
        // TCP over IPv4: source, destination, source port, destination port (section 2.2).
        0x11 => {
            let source = Ipv4Addr::from(part::<4>(block, 0)?);
            let port = u16::from_be_bytes(part::<2>(block, 8)?);
            part::<2>(block, 10)?;
            Ok(Some(SocketAddr::new(source.into(), port)))
        }
        0x21 => {
            let source = Ipv6Addr::from(part::<16>(block, 0)?);
            let port = u16::from_be_bytes(part::<2>(block, 32)?);
            part::<2>(block, 34)?;
            Ok(Some(SocketAddr::new(source.into(), port)))
        }
        // UNSPEC, UDP and unix sockets say nothing about a TCP caller.
        _ => Err(HeaderError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8]) -> (Result<Option<SocketAddr>, HeaderError>, Vec<u8>) {
        let mut rest = bytes;
        let got = read(&mut rest).await;
        (got, rest.to_vec())
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        bytes.extend(block);
        bytes
    }

    #[tokio::test]
    async fn both_versions_name_the_caller_and_leave_what_follows() {
        let v4 = "192.0.2.7:5000".parse::<SocketAddr>().unwrap();
        let (got, rest) = read_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\nHELLO").await;
        assert_eq!((got.unwrap(), rest.as_slice()), (Some(v4), b"HELLO".as_slice()));
        let (got, _) = read_all(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n").await;
        assert_eq!(got.unwrap(), Some("[2001:db8::1]:1".parse().unwrap()));
        let mut bytes = v2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0x13, 0x88, 1, 187, 4, 0, 1, 9]);
        bytes.extend(b"HELLO");
        let (got, rest) = read_all(&bytes).await;
        assert_eq!((got.unwrap(), rest.as_slice()), (Some(v4), b"HELLO".as_slice()));
    }

    #[tokio::test]
    async fn a_sender_that_speaks_for_itself_names_nobody() {
        assert_eq!(read_all(b"PROXY UNKNOWN\r\n").await.0.unwrap(), None);
        assert_eq!(read_all(&v2(0x20, 0, &[])).await.0.unwrap(), None);
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 10.0.0.1 5000 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 5000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 443\r\n".to_vec(),
            [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(),
            b"PROXY TCP4 192.0.2.7".to_vec(),
            v2(0x21, 0x11, &[1, 2, 3]),
            v2(0x31, 0x11, &[0; 12]),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x11, &[0; 4000]),
        ] {
            assert!(read_all(&bytes).await.0.is_err(), "{bytes:?}");
        }
    }
}
