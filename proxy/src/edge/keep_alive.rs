//! The requests of one connection, one after the other. Between two of them nothing is kept but the stream: the engine's
//! own loop would hold the future of a whole request and its buffers for a connection that says nothing for an hour.
use crate::edge::stream::GateStream;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream, ServerApp as _};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use std::sync::Arc;
use std::time::Duration;

/// Seconds, until the engine says otherwise with the first request.
const FIRST: u64 = 60;

/// Until either side has enough of it. `idle` is how long the next request may be awaited.
pub async fn serve<E: HttpServerApp + Send + Sync + 'static>(
    engine: &Arc<E>,
    stream: GateStream,
    idle: Duration,
    shutdown: &ShutdownWatch,
) {
    if stream.is_h2() {
        engine.process_new(Box::new(stream), shutdown).await;
        return;
    }
    let mut session = ServerSession::new_http1(Box::new(stream));
    session.set_keepalive((!*shutdown.borrow()).then_some(FIRST));
    let mut answered = engine.process_new_http(session, shutdown).await;
    while let Some((stream, settings)) = answered.map(ReusedHttpStream::consume) {
        let Some(stream) = with_next_request(stream, idle, shutdown).await else { return };
        let mut session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        answered = engine.process_new_http(session, shutdown).await;
    }
}

/// The stream, once there is something to read on it. None: nothing came in time, the client is gone, or the process
/// stops; then it is closed.
async fn with_next_request(stream: Stream, idle: Duration, shutdown: &ShutdownWatch) -> Option<Stream> {
    // It is ours: no engine wraps what it was given.
    let mut stream: Box<GateStream> = stream.into_any().downcast().ok()?;
    let mut shutdown = shutdown.clone();
    let said = tokio::select! {
        biased;
        said = tokio::time::timeout(idle, stream.has_more()) => matches!(said, Ok(Ok(true))),
        _ = shutdown.wait_for(|stops| *stops) => false,
    };
    said.then_some(stream as Stream)
}
