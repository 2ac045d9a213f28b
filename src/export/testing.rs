//! Spans and batches for the tests of this folder.

use std::borrow::Cow;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use smallvec::SmallVec;

use crate::export::batch::Format;
use crate::span::{Attribute, Resource, Span, SpanKind, Status, Value};
use crate::time::Timestamp;

/// The bytes of one batch of `spans`.
pub(crate) fn encode_batch<'a, 'b: 'a>(
    mut format: impl Format,
    spans: impl IntoIterator<Item = &'a Span<'b>>,
) -> Bytes {
    let mut buffer = Vec::new();
    format.begin(&mut buffer);
    for span in spans {
        format.append(&span.clone().into(), &mut buffer);
    }
    let start = format.finish(&mut buffer);
    Bytes::from(buffer).slice(start..)
}

/// An attribute.
pub(crate) fn attribute<'a>(key: &'a str, value: impl Into<Cow<'a, str>>) -> Attribute<'a> {
    Attribute { key: key.into(), value: Value::String(value.into()) }
}

/// An attribute that is a number.
pub(crate) fn number(key: &str, value: i64) -> Attribute<'_> {
    Attribute { key: key.into(), value: Value::Int(value) }
}

/// A span of a plain exchange, answered with 200 after 12.3 ms.
pub(crate) fn get_span<'a>(method: &'a str, path: &'a str) -> Span<'a> {
    let start = Timestamp::from_nanos(1_700_000_000_123_456_789);
    Span {
        name: method.into(),
        kind: SpanKind::Server,
        trace_id: *b"0123456789abcdef",
        span_id: *b"01234567",
        parent: None,
        trace_state: "".into(),
        flags: 0x101,
        start,
        end: start.saturating_add(std::time::Duration::from_micros(12_300)),
        status: Status::Unset,
        attributes: vec![
            attribute("http.request.method", method),
            number("http.response.status_code", 200),
            attribute("url.path", path),
            attribute("server.address", "inventory.shop"),
            number("server.port", 80),
            attribute("source.address", "10.244.0.4"),
            number("source.port", 58188),
            attribute("destination.address", "10.96.0.10"),
            number("destination.port", 80),
            number("http.request.size", 128),
            number("http.response.size", 20_480),
        ],
        dropped_attributes: 0,
        resource: None,
        in_transit: false,
    }
}

/// Text with everything that must be escaped somewhere.
fn any_text() -> impl Strategy<Value = Cow<'static, str>> {
    prop_oneof![any::<String>(), "[ -~]{0,40}", "[\\x00-\\x1f\"\\\\\u{2028}é→]{0,8}", "[a-z]{120,300}"]
        .prop_map(Cow::Owned)
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        any_text().prop_map(Value::String),
        any::<i64>().prop_map(Value::Int),
        (0_i64..300).prop_map(Value::Int),
        prop_oneof![
            any::<f64>(),
            Just(f64::NAN),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(-0.0),
            Just(f64::MIN_POSITIVE),
        ]
        .prop_map(Value::Double),
        any::<bool>().prop_map(Value::Bool),
        vec(any_text(), 0..4).prop_map(|texts| Value::Strings(SmallVec::from_vec(texts))),
    ]
}

fn any_attribute() -> impl Strategy<Value = Attribute<'static>> {
    (any_text(), any_value()).prop_map(|(key, value)| Attribute { key, value })
}

/// Any resource.
pub(crate) fn any_resource() -> impl Strategy<Value = Resource> {
    vec(any_attribute(), 0..6).prop_map(|attributes| Resource { attributes })
}

/// Any span, also such as the agent never makes.
pub(crate) fn any_span() -> impl Strategy<Value = Span<'static>> {
    let ids = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<Option<[u8; 8]>>());
    let times = (prop_oneof![Just(0), any::<u64>()], any::<u64>());
    let kind = prop_oneof![Just(SpanKind::Server), Just(SpanKind::Client)];
    let status = prop_oneof![Just(Status::Unset), Just(Status::Error)];
    let flags = prop_oneof![Just(0), Just(0x301), any::<u32>()];
    let dropped = prop_oneof![Just(0), any::<u32>()];
    let texts = (any_text(), any_text());
    (ids, times, kind, status, flags, dropped, texts, vec(any_attribute(), 0..30)).prop_map(
        |((trace_id, span_id, parent), (start, end), kind, status, flags, dropped, (name, trace_state), attributes)| {
            Span {
                name,
                kind,
                trace_id,
                span_id,
                parent,
                trace_state,
                flags,
                start: Timestamp::from_nanos(start),
                end: Timestamp::from_nanos(end),
                status,
                attributes,
                dropped_attributes: dropped,
                resource: None,
                in_transit: false,
            }
        },
    )
}
