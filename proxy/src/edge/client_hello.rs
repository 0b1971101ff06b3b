//! Reads a ClientHello, however many records and packets it comes in, and says which server is asked for.
use rustls::server::{Accepted, Acceptor};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest ClientHello we buffer. Real ones are under 2 KiB, post-quantum key shares included; a message cut
/// into many records (Traefik CVE-2026-32305 fell for that) still ends here.
const MAX_CLIENT_HELLO: usize = 16 * 1024;

/// TLS alert `unrecognized_name`, fatal (RFC 6066 section 3), as a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];

#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    #[error("the client hung up before its ClientHello was complete")]
    Closed,
    #[error("ClientHello larger than {MAX_CLIENT_HELLO} bytes")]
    TooLarge,
    #[error("not a ClientHello we can read: {0}")]
    Invalid(rustls::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads until the ClientHello is complete. On an error that TLS has a word for, the alert has been sent.
///
/// # Errors
/// 1. the client hung up; 2. too large; 3. not TLS, or broken; 4. the socket failed.
pub async fn read<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S) -> Result<Accepted, HelloError> {
    let mut acceptor = Acceptor::default();
    let mut total = 0;
    let mut buffer = [0u8; 4096];
    loop {
        let n = io.read(&mut buffer).await?;
        if n == 0 {
            return Err(HelloError::Closed);
        }
        total += n;
        if total > MAX_CLIENT_HELLO {
            return Err(HelloError::TooLarge);
        }
        let mut unread = buffer.get(..n).unwrap_or_default();
        while !unread.is_empty() {
            acceptor.read_tls(&mut unread)?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut out = Vec::new();
                alert.write_all(&mut out)?;
                io.write_all(&out).await?;
                return Err(HelloError::Invalid(error));
            }
        }
    }
}

/// Refuses a name we do not serve.
pub async fn refuse_name<S: AsyncWrite + Unpin>(io: &mut S) {
    // The caller learns of it or does not: either way the connection ends here.
    let _ = io.write_all(&UNRECOGNIZED_NAME).await;
    let _ = io.shutdown().await;
}
