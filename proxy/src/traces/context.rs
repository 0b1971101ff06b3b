//! W3C Trace Context: which trace a request is part of, as `traceparent` says it.
use crate::headers::Changes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What the tracing systems of a trace that is continued tell each other; passes as it is.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Section 3.2.2.5.1: the caller may have recorded it.
const SAMPLED: u8 = 1;

/// One request's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: [u8; 16],
    /// The caller's span, if its trace is continued.
    pub parent: Option<[u8; 8]>,
    /// Ours, and so the parent of the application's.
    pub span: [u8; 8],
    /// A span of it is sent.
    pub sampled: bool,
}

/// What a caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

impl TraceContext {
    /// A place in the caller's trace, or the first one of a new trace; of new ones a share is sampled.
    pub fn new(parent: Option<Parent>, share: f64) -> Self {
        let span = rand::random();
        match parent {
            Some(Parent { trace, span: caller, sampled }) => Self { trace, parent: Some(caller), span, sampled },
            None => Self { trace: rand::random(), parent: None, span, sampled: rand::random::<f64>() < share },
        }
    }

    /// What the application is told instead of what the client said.
    pub fn told(&self) -> Changes {
        let strange = self.parent.is_none().then_some(TRACESTATE);
        Changes {
            remove: strange.into_iter().collect(),
            replace: Some((TRACEPARENT, self.traceparent().into_iter().collect())),
        }
    }

    fn traceparent(&self) -> Option<HeaderValue> {
        let flags = if self.sampled { SAMPLED } else { 0 };
        HeaderValue::try_from(format!("00-{}-{}-{flags:02x}", Hex(&self.trace), Hex(&self.span))).ok()
    }
}

/// What a caller says of its trace; none if it is nothing that section 3.2.2 knows, or said twice.
pub fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut said = headers.get_all(TRACEPARENT).iter();
    match (said.next(), said.next()) {
        (Some(one), None) => parse(one.as_bytes()),
        _ => None,
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; of later versions what this one has in common with them.
fn parse(text: &[u8]) -> Option<Parent> {
    const LENGTH: usize = 55;
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split(|b| *b == b'-');
    let [version]: [u8; 1] = hex(parts.next()?)?;
    let (trace, span) = (hex(parts.next()?)?, hex(parts.next()?)?);
    let [flags]: [u8; 1] = hex(parts.next()?)?;
    let complete = parts.next().is_none() && (rest.is_empty() || version != 0 && rest.starts_with(b"-"));
    let nobody = trace == [0; 16] || span == [0; 8];
    (complete && version != 0xff && !nobody).then_some(Parent { trace, span, sampled: flags & SAMPLED != 0 })
}

/// Lower case only, as the specification asks.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Bytes as lower-case hex.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_continued_as_it_was_said_and_in_no_other_way() {
        let parent = parse(GOOD.as_bytes()).unwrap();
        let context = TraceContext::new(Some(parent), 0.0);
        assert!(context.sampled, "the caller decided, not the share");
        assert_eq!(context.parent, Some(parent.span));
        let told = context.traceparent().unwrap();
        assert_eq!(parse(told.as_bytes()).unwrap(), Parent { span: context.span, ..parent });
        assert_ne!(context.span, parent.span);

        let not = GOOD.replace("-01", "-00");
        assert!(!TraceContext::new(parse(not.as_bytes()), 1.0).sampled);
        // Section 4.3: other flags are not ours to know; later versions may add to the end.
        assert!(parse(GOOD.replace("-01", "-03").as_bytes()).unwrap().sampled);
        assert!(parse(format!("cc{}-more", &GOOD[2..]).as_bytes()).is_some());
    }

    #[test]
    fn what_is_no_traceparent_begins_a_new_trace() {
        for wrong in [
            String::new(),
            "00".into(),
            GOOD.to_uppercase(),
            GOOD.replace("00-", "ff-"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            format!("{GOOD}-more"),
            format!("cc{}x", &GOOD[2..]),
            format!("{GOOD} "),
            GOOD.replace('-', "_"),
            GOOD.replace("-01", "-0g"),
            GOOD.replace("c-b", "-cb"),
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
        let mut twice = HeaderMap::new();
        twice.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(parent(&twice).is_some());
        twice.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(parent(&twice).is_none());
    }

    #[test]
    fn a_share_of_the_new_traces_is_sampled() {
        let sampled = |share| (0..10_000).filter(|_| TraceContext::new(None, share).sampled).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        let some = sampled(0.1);
        assert!((700..1300).contains(&some), "{some}");
    }
}
