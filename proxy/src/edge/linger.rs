//! The last moments of a connection, RFC 9112 section 9.6. Our side is closed; what the client still says is taken and
//! thrown away, so that it reads what we said last: whoever is reset while it sends never does.
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long it may go on talking.
const LONGEST: Duration = Duration::from_secs(10);
/// How long it may say nothing, and still not close its side.
const SILENCE: Duration = Duration::from_secs(2);

/// Begins when nothing more comes from us.
#[derive(Debug)]
pub struct Linger {
    end: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Linger {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { end: now + LONGEST, timer: Box::pin(sleep_until(now + SILENCE)) }
    }

    /// Until the client has closed its side too, or had its time. Whether it listened or not: the connection ends then.
    pub fn poll(&mut self, mut socket: Pin<&mut impl AsyncRead>, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0u8; 2048];
        while self.timer.as_mut().poll(cx).is_pending() {
            let mut scrap = ReadBuf::new(&mut scrap);
            let read = ready!(socket.as_mut().poll_read(cx, &mut scrap));
            if read.is_err() || scrap.filled().is_empty() {
                break;
            }
            self.timer.as_mut().reset(self.end.min(Instant::now() + SILENCE));
        }
        Poll::Ready(())
    }
}

pub async fn linger(socket: &mut (impl AsyncRead + Unpin)) {
    let mut lingers = Linger::new();
    poll_fn(|cx| lingers.poll(Pin::new(socket), cx)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_client_or_when_its_time_is_over() {
        let begin = Instant::now();
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let talks = async {
            theirs.write_all(&[0; 100_000]).await.unwrap();
            drop(theirs);
        };
        tokio::join!(linger(&mut ours), talks);
        assert_eq!(begin.elapsed(), Duration::ZERO, "it said what it had to say");

        let (mut ours, _silent) = tokio::io::duplex(64);
        linger(&mut ours).await;
        assert_eq!(begin.elapsed(), SILENCE);

        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let talks = tokio::spawn(async move {
            while theirs.write_all(&[0]).await.is_ok() {
                tokio::time::sleep(SILENCE / 2).await
            }
        });
        let begin = Instant::now();
        linger(&mut ours).await;
        assert_eq!(begin.elapsed(), LONGEST);
        drop(ours);
        talks.await.unwrap();
    }
}
