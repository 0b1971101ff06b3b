//! A body of zeros, made while it is sent: a gigabyte of it costs no memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

static CHUNK: [u8; 64 * 1024] = [0; 64 * 1024];

#[derive(Debug, Clone, Copy)]
pub struct Zeros {
    left: u64,
}

impl Zeros {
    pub fn new(bytes: u64) -> Self {
        Self { left: bytes }
    }
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.min(CHUNK.len() as u64);
        self.left -= length;
        let chunk = usize::try_from(length).ok().and_then(|length| CHUNK.get(..length));
        Poll::Ready(chunk.filter(|chunk| !chunk.is_empty()).map(|chunk| Ok(Frame::data(Bytes::from_static(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_body_has_the_length_that_was_asked_for() {
        for bytes in [0, 1, 65_536, 65_537, 1_000_000] {
            assert_eq!(Zeros::new(bytes).size_hint().exact(), Some(bytes));
            assert_eq!(Zeros::new(bytes).collect().await.unwrap().to_bytes().len() as u64, bytes);
        }
    }
}
