//! Sends an answer of our own.
use super::context::Context;
use super::request_head::Unfit;
use super::response_head;
use crate::refusal;
use crate::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

/// Always true, for `request_filter`: the request is answered.
pub async fn send(session: &mut Session, ctx: &Context, response: Response) -> Result<bool> {
    let mut head = ResponseHeader::build(response.status, Some(response.headers.len() + 2))?;
    response_head::add_hsts(&mut head, ctx)?;
    for (name, value) in response.headers {
        head.append_header(name, value)?;
    }
    if response.close {
        session.set_keepalive(None);
    }
    let no_body = session.req_header().method == http::Method::HEAD || response.body.is_empty();
    if !response.trailers.is_empty() {
        return with_trailers(session, head, response.body, response.trailers).await;
    }
    if response.status != http::StatusCode::NO_CONTENT {
        head.insert_header(CONTENT_LENGTH, response.body.len())?;
    }
    session.write_response_header(Box::new(head), no_body).await?;
    if !no_body {
        session.write_response_body(Some(response.body), true).await?;
    }
    Ok(true)
}

/// Refuses what cannot be decided on.
pub async fn refuse(session: &mut Session, ctx: &mut Context, (reason, why): Unfit) -> Result<bool> {
    ctx.note.reason = Some(reason);
    send(session, ctx, refusal::bare(reason, why)).await
}

async fn with_trailers(session: &mut Session, head: ResponseHeader, body: Bytes, trailers: HeaderMap) -> Result<bool> {
    session.write_response_header(Box::new(head), false).await?;
    if !body.is_empty() {
        session.write_response_body(Some(body), false).await?;
    }
    session.as_downstream_mut().write_response_trailers(trailers).await?;
    Ok(true)
}
