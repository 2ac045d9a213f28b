//! `Span` → OTLP bytes, and many of them → one `ExportTraceServiceRequest`, without a message in between.
//!
//! A span is written in one pass where its length need not be known yet, and then copied behind the others.
//! Fields stand in the order of their numbers, defaults are left out: the bytes are those that `prost` writes.

use prost::encoding::{self, WireType, encode_varint, encoded_len_varint};

use super::key_values::{KeyValues, delimited_key};
use super::memory::Memory;
use super::scratch::Scratch;
use crate::export::batch::Format;
use crate::span::{Attribute, Draft, Resource, SCHEMA_URL, SCOPE_NAME, Status};

/// Writes one `ExportTraceServiceRequest` a batch: one resource, one scope, its spans.
#[derive(Clone, Debug)]
pub struct OtlpFormat {
    /// `ResourceSpans.resource` and `.schema_url`.
    resource: Vec<u8>,
    /// `ScopeSpans.scope` and `.schema_url`.
    scope: Vec<u8>,
    spans: SpanEncoder,
}

impl OtlpFormat {
    /// Spans of this resource.
    pub fn new(resource: &Resource) -> Self {
        Self { resource: resource_fields(resource), scope: scope_fields(&[]), spans: SpanEncoder::default() }
    }

    /// Room for everything that stands before the spans: both prefixes, each behind a key and a length.
    fn headroom(&self) -> usize {
        const KEY_AND_LENGTH: usize = 11;
        2 * KEY_AND_LENGTH + self.resource.len() + self.scope.len()
    }

    /// What stands before `spans` bytes of spans; their lengths decide it.
    fn prefix(&self, spans: usize) -> Vec<u8> {
        let scope_spans = self.scope.len() + spans;
        let resource_spans = self.resource.len() + delimited_length(2, scope_spans);
        let mut prefix = Vec::with_capacity(self.headroom());
        delimited(1, resource_spans, &mut prefix);
        prefix.extend_from_slice(&self.resource);
        delimited(2, scope_spans, &mut prefix);
        prefix.extend_from_slice(&self.scope);
        prefix
    }
}

impl Format for OtlpFormat {
    fn begin(&mut self, buffer: &mut Vec<u8>) {
        buffer.resize(self.headroom(), 0);
    }

    fn append(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>) {
        self.spans.append(span, buffer);
    }

    /// The lengths are known only now, so the prefix is written backwards from the first span.
    fn finish(&mut self, buffer: &mut Vec<u8>) -> usize {
        let headroom = self.headroom();
        let prefix = self.prefix(buffer.len().saturating_sub(headroom));
        let start = headroom.saturating_sub(prefix.len());
        if let Some(room) = buffer.get_mut(start..headroom) {
            room.copy_from_slice(&prefix);
        }
        start
    }
}

/// Writes spans one after the other.
#[derive(Clone, Debug, Default)]
pub struct SpanEncoder {
    scratch: Scratch,
    memory: Memory,
}

impl SpanEncoder {
    /// Appends `span` as an element of `ScopeSpans.spans`, with its key and length. Beside what attributes have to be put together of, it allocates only to grow its
    /// buffers.
    pub fn append(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>) {
        self.scratch.clear();
        encode_fields(span, &mut self.scratch, &mut self.memory);
        bytes(2, self.scratch.bytes(), buffer);
    }
}

fn encode_fields(draft: &Draft<'_>, out: &mut Scratch, memory: &mut Memory) {
    let span = draft.span();
    out.reserve();
    out.put_all([&[delimited_key(1), 16], &span.trace_id, &[delimited_key(2), 8], &span.span_id]);
    text_field(3, &span.trace_state, out);
    if let Some(parent) = &span.parent {
        out.put_all([&[delimited_key(4), 8], parent]);
    }
    text_field(5, &span.name, out);
    out.put_all([&[6 << 3 | WireType::Varint as u8, span.kind as u8]]);
    time(7, span.start.as_nanos(), out);
    time(8, span.end.as_nanos(), out);
    let dropped_attributes = draft.attributes(&mut KeyValues::<9> { out, memory: Some(memory) });
    if dropped_attributes != 0 {
        out.put(&[10 << 3 | WireType::Varint as u8]);
        out.varint(dropped_attributes.into());
    }
    if span.status != Status::Unset {
        out.delimited(15, &[3 << 3 | WireType::Varint as u8, span.status as u8]);
    }
    if span.flags != 0 {
        // Field 16, whose key is the first of two bytes.
        let [a, b, c, d] = span.flags.to_le_bytes();
        out.put_all([&[0x80 | WireType::ThirtyTwoBit as u8, 1, a, b, c, d]]);
    }
}

fn text_field(tag: u8, text: &str, out: &mut Scratch) {
    if !text.is_empty() {
        out.delimited(tag, text.as_bytes());
    }
}

#[inline]
fn time(tag: u8, nanos: u64, out: &mut Scratch) {
    if nanos != 0 {
        out.put_all([&[tag << 3 | WireType::SixtyFourBit as u8], &nanos.to_le_bytes()]);
    }
}

/// All of `attributes`, each as field `TAG`.
fn key_values<const TAG: u8>(attributes: &[Attribute<'_>]) -> Scratch {
    let mut out = Scratch::default();
    KeyValues::<TAG> { out: &mut out, memory: None }.all(attributes);
    out
}

pub(super) fn resource_fields(resource: &Resource) -> Vec<u8> {
    let mut fields = Vec::new();
    bytes(1, key_values::<1>(&resource.attributes).bytes(), &mut fields);
    text(3, SCHEMA_URL, &mut fields);
    fields
}

/// The agent, and what it says of itself.
pub(super) fn scope_fields(identity: &[Attribute<'_>]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let attributes = key_values::<3>(identity);
    let mut fields = Vec::new();
    delimited(1, text_length(1, SCOPE_NAME) + text_length(2, version) + attributes.bytes().len(), &mut fields);
    text(1, SCOPE_NAME, &mut fields);
    text(2, version, &mut fields);
    fields.extend_from_slice(attributes.bytes());
    text(3, SCHEMA_URL, &mut fields);
    fields
}

/// Key and length of a length-delimited field. Keys mostly are one byte, and lengths one or two; these are written as such.
#[inline]
pub(super) fn delimited(tag: u32, length: usize, buffer: &mut Vec<u8>) {
    let key = (tag << 3) | WireType::LengthDelimited as u32;
    let [low, high, ..] = length.to_le_bytes();
    match (u8::try_from(key), length) {
        (Ok(key @ ..0x80), ..0x80) => buffer.extend_from_slice(&[key, low]),
        (Ok(key @ ..0x80), ..0x4000) => buffer.extend_from_slice(&[key, low | 0x80, high << 1 | low >> 7]),
        _ => {
            encode_varint(u64::from(key), buffer);
            encode_varint(length as u64, buffer);
        }
    }
}

/// Bytes of a length-delimited field with its key and length.
#[inline]
pub(super) fn delimited_length(tag: u32, length: usize) -> usize {
    let length_of_length = if length < 0x80 { 1 } else { encoded_len_varint(length as u64) };
    encoding::key_len(tag) + length_of_length + length
}

#[inline]
fn bytes(tag: u32, bytes: &[u8], buffer: &mut Vec<u8>) {
    delimited(tag, bytes.len(), buffer);
    buffer.extend_from_slice(bytes);
}

/// A text field; left out when empty, as the default is.
#[inline]
pub(super) fn text(tag: u32, text: &str, buffer: &mut Vec<u8>) {
    if !text.is_empty() {
        bytes(tag, text.as_bytes(), buffer);
    }
}

#[inline]
pub(super) fn text_length(tag: u32, text: &str) -> usize {
    if text.is_empty() { 0 } else { delimited_length(tag, text.len()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::export::otlp::generated::opentelemetry::proto as ours;
    use crate::export::testing::{any_resource, any_span, encode_batch};
    use crate::span::{Span, Value};

    /// The generated message that says the same as `span`.
    fn message(span: &Span<'_>) -> ours::trace::v1::Span {
        ours::trace::v1::Span {
            trace_id: span.trace_id.to_vec(),
            span_id: span.span_id.to_vec(),
            trace_state: span.trace_state.to_string(),
            parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
            flags: span.flags,
            name: span.name.to_string(),
            kind: span.kind as i32,
            start_time_unix_nano: span.start.as_nanos(),
            end_time_unix_nano: span.end.as_nanos(),
            attributes: attributes(&span.attributes),
            dropped_attributes_count: span.dropped_attributes,
            status: (span.status != Status::Unset)
                .then(|| ours::trace::v1::Status { message: String::new(), code: span.status as i32 }),
        }
    }

    fn attributes(attributes: &[Attribute<'_>]) -> Vec<ours::common::v1::KeyValue> {
        use ours::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value as Any};
        let text = |text: &str| Any::StringValue(text.to_owned());
        let value = |value: &Value<'_>| match value {
            Value::String(string) => text(string),
            Value::Int(number) => Any::IntValue(*number),
            Value::Double(number) => Any::DoubleValue(*number),
            Value::Bool(truth) => Any::BoolValue(*truth),
            Value::Strings(strings) => Any::ArrayValue(ArrayValue {
                values: strings.iter().map(|string| AnyValue { value: Some(text(string)) }).collect(),
            }),
        };
        attributes
            .iter()
            .map(|attribute| KeyValue {
                key: attribute.key.to_string(),
                value: Some(AnyValue { value: Some(value(&attribute.value)) }),
            })
            .collect()
    }

    /// The generated request that says the same as a batch of `spans`.
    fn request(resource: &Resource, spans: &[Span<'_>]) -> ours::collector::trace::v1::ExportTraceServiceRequest {
        ours::collector::trace::v1::ExportTraceServiceRequest {
            resource_spans: vec![ours::trace::v1::ResourceSpans {
                resource: Some(ours::resource::v1::Resource {
                    attributes: attributes(&resource.attributes),
                    dropped_attributes_count: 0,
                }),
                scope_spans: vec![ours::trace::v1::ScopeSpans {
                    scope: Some(ours::common::v1::InstrumentationScope {
                        name: SCOPE_NAME.to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        attributes: Vec::new(),
                        dropped_attributes_count: 0,
                    }),
                    spans: spans.iter().map(message).collect(),
                    schema_url: SCHEMA_URL.to_owned(),
                }],
                schema_url: SCHEMA_URL.to_owned(),
            }],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn a_span_is_the_same_bytes_that_prost_writes(span in any_span()) {
            let mut ours = Vec::new();
            SpanEncoder::default().append(&span.clone().into(), &mut ours);
            let mut expected = Vec::new();
            encoding::message::encode(2, &message(&span), &mut expected);
            prop_assert_eq!(ours, expected);
        }

        #[test]
        fn a_batch_decodes_to_every_field_of_its_spans(
            resource in any_resource(),
            spans in proptest::collection::vec(any_span(), 0..5),
        ) {
            let bytes = encode_batch(OtlpFormat::new(&resource), &spans);
            let decoded = ours::collector::trace::v1::ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
            let expected = request(&resource, &spans);
            // Compared as bytes, because NaN is not equal to itself.
            prop_assert_eq!(decoded.encode_to_vec(), expected.encode_to_vec());
            prop_assert_eq!(bytes.len(), expected.encoded_len());
        }

        #[test]
        fn the_opentelemetry_crate_reads_the_same_batch(
            resource in any_resource(),
            spans in proptest::collection::vec(any_span(), 0..5),
        ) {
            use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
            let bytes = encode_batch(OtlpFormat::new(&resource), &spans);
            let decoded = ExportTraceServiceRequest::decode(bytes).unwrap();
            // Unknown fields are lost in decoding, so equal bytes mean that it knew every one.
            prop_assert_eq!(decoded.encode_to_vec(), request(&resource, &spans).encode_to_vec());
        }
    }

    #[test]
    fn lengths_stay_right_where_they_grow_by_a_byte() {
        let resource = Resource::default();
        for count in [0, 1, 2, 60, 127, 128, 200, 1000] {
            let spans = vec![crate::export::testing::get_span("GET", "/"); count];
            let bytes = encode_batch(OtlpFormat::new(&resource), &spans);
            let decoded = ours::collector::trace::v1::ExportTraceServiceRequest::decode(bytes).unwrap();
            assert_eq!(decoded, request(&resource, &spans), "{count} spans");
        }
    }
}
