//! A request is over: its metrics, its span, its line in the access log.
use super::context::Context;
use crate::audit::access::Access;
use crate::clock;
use crate::gate::Gate;
use crate::traces::{self, Span};
use pingora_proxy::Session;
use torhaus_authz::Name;

pub fn note(gate: &Gate, session: &mut Session, ctx: &Context) {
    let status = session.response_written().map_or(0, |response| response.status.as_u16());
    if session.as_downstream().as_http1().is_some() {
        match &ctx.connection {
            Some(connection) if session.is_body_done() => connection.progress.next_head(),
            // What is left of the body would count as the next head, or that head as body.
            _ => session.set_keepalive(None),
        }
    }
    let nowhere = || Name::from("-");
    let listener = ctx.connection.as_ref().map_or_else(nowhere, |connection| connection.listener.clone());
    let route = ctx.note.route.as_ref();
    let duration = ctx.started.elapsed();
    gate.route_metrics.of(&gate.metrics, &listener, route).answered(status, duration);
    if let (Some(snapshot), Some(trace)) = (&ctx.snapshot, ctx.trace.filter(|trace| trace.sampled))
        && let Some(traces) = &snapshot.traces
    {
        let head = session.req_header();
        let span = Span {
            context: trace,
            started: ctx.started,
            ended: ctx.started + duration,
            stages: ctx.note.stages.clone(),
            upstream_answered: ctx.upstream_answered.map(|after| ctx.started + after),
            method: traces::method(&head.method),
            version: head.version,
            status,
            listener: listener.clone(),
            route: route.cloned(),
            decision: ctx.note.decision.clone(),
            reason: ctx.note.reason,
        };
        traces.record(span, &gate.metrics.traces);
    }
    if !gate.access.is_on() {
        return;
    }
    let head = session.req_header();
    gate.access.log(&Access {
        time: clock::now(),
        listener: &listener,
        client: ctx.connection.as_ref().map(|connection| connection.client.ip()),
        method: head.method.as_str(),
        host: &ctx.host,
        path: head.uri.path(),
        status,
        bytes: u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX),
        duration,
        route: route.map(|name| &**name),
        identity: &ctx.note.identity,
        decision: ctx.note.decision.as_deref(),
        reason: ctx.note.reason,
        upstream: ctx.upstream_answered,
    });
}
