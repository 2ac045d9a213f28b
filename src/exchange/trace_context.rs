//! A request's header lines → the trace it belongs to: W3C `traceparent` and `tracestate`, or B3.

use std::borrow::Cow;

use crate::http::RequestHead;
use crate::http::field_name::{TRACEPARENT, TRACESTATE, X_B3_FLAGS, X_B3_SAMPLED, X_B3_SPAN_ID, X_B3_TRACE_ID};

/// A format of trace context.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Propagator {
    /// W3C `traceparent` and `tracestate`.
    TraceContext,
    /// B3 in one header, `b3`.
    B3,
    /// B3 in several headers, `X-B3-…`.
    B3Multi,
}

/// The caller's span, as a request carries it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceContext<'a> {
    /// Never all zero.
    pub trace_id: [u8; 16],
    /// The caller's span; never all zero.
    pub span_id: [u8; 8],
    /// W3C trace flags; bit 0 is the sampled flag.
    pub flags: u8,
    /// `tracestate`, all lines joined; empty when there is none, or none that is valid.
    pub trace_state: Cow<'a, str>,
}

impl<'a> TraceContext<'a> {
    /// The context that `head` carries in the first of `formats` that is present and valid.
    pub fn of(head: &'a RequestHead, formats: &[Propagator]) -> Option<Self> {
        formats.iter().find_map(|format| match format {
            // Mostly so.
            Propagator::TraceContext if head.lacks(TRACEPARENT) => None,
            Propagator::TraceContext => w3c(head),
            Propagator::B3 => head.header("b3").and_then(b3_single),
            Propagator::B3Multi => b3_multi(head),
        })
    }

    /// Whether the caller records its span.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// W3C Trace Context, level 1 §3.2: `version "-" trace-id "-" parent-id "-" trace-flags`.
#[inline(never)]
fn w3c(head: &RequestHead) -> Option<TraceContext<'_>> {
    let mut lines = head.lines(TRACEPARENT);
    let value = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    let version = hex::<1>(value.get(..2)?)?;
    let dashes = [2, 35, 52].into_iter().all(|place| value.get(place) == Some(&b'-'));
    let ends = match value.get(55..) {
        Some([]) => true,
        // A later version may say more, after another dash.
        Some([b'-', ..]) => version != [0],
        _ => false,
    };
    if version == [0xff] || !dashes || !ends {
        return None;
    }
    let trace_id = not_zero(hex::<16>(value.get(3..35)?)?)?;
    let span_id = not_zero(hex::<8>(value.get(36..52)?)?)?;
    let [flags] = hex::<1>(value.get(53..55)?)?;
    Some(TraceContext { trace_id, span_id, flags, trace_state: trace_state(head) })
}

/// All `tracestate` lines joined (§3.3.1.1); at most 512 characters are worth passing on (§3.3.1.5).
fn trace_state(head: &RequestHead) -> Cow<'_, str> {
    let mut state = Cow::Borrowed("");
    for value in head.lines(TRACESTATE) {
        let printable = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        let Some(text) = std::str::from_utf8(value).ok().filter(|_| printable) else { return Cow::Borrowed("") };
        if text.is_empty() {
            continue;
        }
        if state.is_empty() {
            state = Cow::Borrowed(text);
        } else {
            state = Cow::Owned(format!("{state},{text}"));
        }
    }
    let members = state.split(',').filter(|member| !member.trim().is_empty());
    if state.len() > 512 || members.clone().count() > 32 || !members.into_iter().all(|member| member.contains('=')) {
        return Cow::Borrowed("");
    }
    state
}

/// `{trace id}-{span id}[-{sampling}[-{parent}]]`; a value that only says `0` or `1` names no trace.
#[inline(never)]
fn b3_single(value: &[u8]) -> Option<TraceContext<'static>> {
    let mut parts = value.split(|byte| *byte == b'-');
    let trace_id = b3_trace_id(parts.next()?)?;
    let span_id = not_zero(hex::<8>(&parts.next()?.to_ascii_lowercase())?)?;
    let sampled = parts.next().is_none_or(|state| matches!(state, b"1" | b"d" | b"true"));
    Some(TraceContext { trace_id, span_id, flags: u8::from(sampled), trace_state: Cow::Borrowed("") })
}

#[inline(never)]
fn b3_multi(head: &RequestHead) -> Option<TraceContext<'static>> {
    let trace_id = b3_trace_id(head.header(X_B3_TRACE_ID)?)?;
    let span_id = not_zero(hex::<8>(&head.header(X_B3_SPAN_ID)?.to_ascii_lowercase())?)?;
    let debug = head.header(X_B3_FLAGS) == Some(b"1");
    let sampled = head.header(X_B3_SAMPLED).is_none_or(|state| matches!(state, b"1" | b"true"));
    Some(TraceContext { trace_id, span_id, flags: u8::from(sampled || debug), trace_state: Cow::Borrowed("") })
}

/// 64-bit ids are padded with zeros to the left.
fn b3_trace_id(text: &[u8]) -> Option<[u8; 16]> {
    let text = text.to_ascii_lowercase();
    if text.len() == 16 {
        let low = hex::<8>(&text)?;
        let mut id = [0; 16];
        id.last_chunk_mut::<8>()?.copy_from_slice(&low);
        return not_zero(id);
    }
    not_zero(hex::<16>(&text)?)
}

/// Exactly `2 * N` lower-case hexadecimal digits.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
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

const fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        _ => None,
    }
}

fn not_zero<const N: usize>(id: [u8; N]) -> Option<[u8; N]> {
    (id != [0; N]).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn head(lines: &str) -> RequestHead {
        RequestHead::parse(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).unwrap()
    }

    fn w3c_is_valid(value: &str) -> bool {
        TraceContext::of(&head(&format!("traceparent: {value}\r\n")), &[Propagator::TraceContext]).is_some()
    }

    #[test]
    fn a_valid_traceparent_is_read() {
        let head = head(&format!("TraceParent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\nTracestate: b=2 , c=3\r\n"));
        let context = TraceContext::of(&head, &[Propagator::TraceContext]).unwrap();
        assert_eq!(context.trace_id[..2], [0x0a, 0xf7]);
        assert_eq!(context.span_id[7], 0x31);
        assert!(context.is_sampled());
        assert_eq!(context.trace_state, "a=1,b=2 , c=3");
    }

    #[test]
    fn versions_lengths_case_and_zeros_follow_the_recommendation() {
        assert!(w3c_is_valid(&format!("00-{TRACE}-{SPAN}-00")));
        assert!(w3c_is_valid(&format!("cc-{TRACE}-{SPAN}-01")));
        assert!(w3c_is_valid(&format!("cc-{TRACE}-{SPAN}-01-what the future brings")));
        for wrong in [
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            "nonsense".to_owned(),
            String::new(),
        ] {
            assert!(!w3c_is_valid(&wrong), "{wrong}");
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        let line = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
        assert_eq!(TraceContext::of(&head(&(line.clone() + &line)), &[Propagator::TraceContext]), None);
    }

    #[test]
    fn a_broken_tracestate_leaves_the_traceparent() {
        for state in ["no equals sign", &"k=v,".repeat(200), "a=\u{1}"] {
            let head = head(&format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: {state}\r\n"));
            assert_eq!(TraceContext::of(&head, &[Propagator::TraceContext]).unwrap().trace_state, "");
        }
    }

    #[test]
    fn b3_is_read_in_both_forms_and_in_the_order_asked_for() {
        let both = [Propagator::B3, Propagator::B3Multi];
        let single = head(&format!("b3: {TRACE}-{SPAN}-0-05e3ac9a4f6e3b90\r\n"));
        let context = TraceContext::of(&single, &both).unwrap();
        assert!(!context.is_sampled() && context.trace_id[0] == 0x0a);
        let multi = head(&format!("X-B3-TraceId: {SPAN}\r\nX-B3-SpanId: {SPAN}\r\nX-B3-Sampled: 1\r\n"));
        let context = TraceContext::of(&multi, &both).unwrap();
        assert!(context.is_sampled() && context.trace_id[..8] == [0; 8]);
        assert_eq!(TraceContext::of(&head("b3: 0\r\n"), &both), None);
        assert_eq!(TraceContext::of(&single, &[Propagator::TraceContext]), None);
    }
}
