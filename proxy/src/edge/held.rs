//! What the engine wrote and did not flush yet. The head of an answer and a short body leave as one TLS record and one
//! packet; without this each write would be both.
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Bytes that are kept; a longer write takes along what is held before it.
const MOST: usize = 4096;

/// Its owner lets go of it with each flush, before it waits for the client, and at the end.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
}

impl Held {
    /// Keeps these bytes, or passes them on with those before them. The number of bytes that were taken.
    pub fn poll_write(
        &mut self,
        mut io: Pin<&mut (impl AsyncWrite + ?Sized)>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.bytes.len() + bytes.len() <= MOST {
            if self.bytes.capacity() == 0 {
                self.bytes.reserve_exact(MOST);
            }
            self.bytes.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        while !self.bytes.is_empty() {
            let both = [IoSlice::new(&self.bytes), IoSlice::new(bytes)];
            let written = ready!(io.as_mut().poll_write_vectored(cx, &both))?;
            let further = written.saturating_sub(self.bytes.len());
            self.gone(written)?;
            if further > 0 {
                return Poll::Ready(Ok(further));
            }
        }
        io.poll_write(cx, bytes)
    }

    /// Passes on all that is held.
    pub fn poll_release(
        &mut self,
        mut io: Pin<&mut (impl AsyncWrite + ?Sized)>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let written = ready!(io.as_mut().poll_write(cx, &self.bytes))?;
            self.gone(written)?;
        }
        Poll::Ready(Ok(()))
    }

    /// A connection that says nothing keeps no buffer.
    fn gone(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if written >= self.bytes.len() {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..written);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt as _;

    /// Takes at most so many bytes at a time, and remembers in what pieces they came.
    struct Wire {
        at_once: usize,
        pieces: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Wire {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = &bytes[..bytes.len().min(self.at_once)];
            self.pieces.push(taken.to_vec());
            Poll::Ready(Ok(taken.len()))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let together: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            self.poll_write(cx, &together)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The pieces in which these writes leave, with a release at the end.
    async fn pieces(at_once: usize, writes: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut held, mut wire) = (Held::default(), Wire { at_once, pieces: Vec::new() });
        for write in writes {
            let mut left = *write;
            while !left.is_empty() {
                let taken = poll_fn(|cx| held.poll_write(Pin::new(&mut wire), cx, left)).await.unwrap();
                left = &left[taken..];
            }
        }
        poll_fn(|cx| held.poll_release(Pin::new(&mut wire), cx)).await.unwrap();
        assert_eq!(held.bytes.capacity(), 0, "nothing is kept");
        wire.flush().await.unwrap();
        wire.pieces
    }

    #[tokio::test]
    async fn short_writes_leave_as_one() {
        assert_eq!(pieces(usize::MAX, &[b"head", b"body"]).await, [b"headbody".to_vec()]);
    }

    #[tokio::test]
    async fn a_long_write_takes_along_what_is_held_and_none_is_copied_twice() {
        let long = vec![b'x'; MOST];
        let found = pieces(usize::MAX, &[b"head", &long, &long]).await;
        let lengths: Vec<usize> = found.iter().map(Vec::len).collect();
        // The last one is not longer than what is kept, and waits for the end.
        assert_eq!(lengths, [4 + MOST, MOST]);
    }

    #[tokio::test]
    async fn the_order_stays_whatever_the_wire_takes_at_a_time() {
        let long: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let writes: [&[u8]; 4] = [b"head", &long, b"more", &long];
        for at_once in [1, 3, 5000] {
            assert!(pieces(at_once, &writes).await.concat() == writes.concat(), "{at_once} at a time");
        }
    }

    #[tokio::test]
    async fn a_wire_that_takes_nothing_is_an_error_and_no_endless_loop() {
        let (mut held, mut wire) = (Held::default(), Wire { at_once: 0, pieces: Vec::new() });
        poll_fn(|cx| held.poll_write(Pin::new(&mut wire), cx, b"head")).await.unwrap();
        let error = poll_fn(|cx| held.poll_release(Pin::new(&mut wire), cx)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
