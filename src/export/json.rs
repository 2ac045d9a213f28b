//! `Span` → OTLP/JSON, one `ExportTraceServiceRequest` a line, as the Collector's file exporter writes and reads it.
//!
//! The mapping is protobuf's JSON with OTLP's exceptions: ids in hexadecimal, enumerations as numbers. 64-bit integers
//! are strings, doubles that JSON has no number for are `"NaN"`, `"Infinity"`, `"-Infinity"`; empty fields are left out.

use std::io::Write as _;

use crate::export::batch::Format;
use crate::export::grouped::{Envelope, Group};
use crate::span::{Attribute, Draft, Resource, SCHEMA_URL, SCOPE_NAME, Span, Status, Value};

/// Writes one line a batch.
#[derive(Clone, Debug)]
pub struct JsonFormat {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl JsonFormat {
    /// Spans of this resource.
    pub fn new(resource: &Resource) -> Self {
        let mut head = br#"{"resourceSpans":[{"resource":{"#.to_vec();
        attributes(&resource.attributes, &mut head);
        head.extend_from_slice(br#"},"scopeSpans":[{"scope":{"name":"#);
        string(SCOPE_NAME, &mut head);
        head.extend_from_slice(br#","version":"#);
        string(env!("CARGO_PKG_VERSION"), &mut head);
        head.extend_from_slice(br#"},"spans":["#);

        let mut tail = br#"],"schemaUrl":"#.to_vec();
        string(SCHEMA_URL, &mut tail);
        tail.extend_from_slice(br#"}],"schemaUrl":"#);
        string(SCHEMA_URL, &mut tail);
        tail.extend_from_slice(b"}]}\n");
        Self { head, tail }
    }
}

impl Format for JsonFormat {
    fn begin(&mut self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.head);
    }

    fn append(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>) {
        if buffer.len() > self.head.len() {
            buffer.push(b',');
        }
        span_object(&span.to_span(), buffer);
    }

    fn finish(&mut self, buffer: &mut Vec<u8>) -> usize {
        buffer.extend_from_slice(&self.tail);
        0
    }

    fn tail_length(&self) -> usize {
        self.tail.len()
    }
}

/// Writes lines in which each of many resources stands before its spans.
#[derive(Clone, Debug)]
pub(super) struct JsonEnvelope {
    /// The scope, up to its spans.
    scope: Vec<u8>,
    tail: Vec<u8>,
}

impl JsonEnvelope {
    /// `identity` is what the agent says of itself.
    pub(super) fn new(identity: &[Attribute<'_>]) -> Self {
        let mut scope = br#"},"scopeSpans":[{"scope":{"name":"#.to_vec();
        string(SCOPE_NAME, &mut scope);
        scope.extend_from_slice(br#","version":"#);
        string(env!("CARGO_PKG_VERSION"), &mut scope);
        if !identity.is_empty() {
            scope.push(b',');
            attributes(identity, &mut scope);
        }
        scope.extend_from_slice(br#"},"spans":["#);
        let mut tail = br#"],"schemaUrl":"#.to_vec();
        string(SCHEMA_URL, &mut tail);
        tail.extend_from_slice(br#"}],"schemaUrl":"#);
        string(SCHEMA_URL, &mut tail);
        tail.push(b'}');
        Self { scope, tail }
    }
}

impl Envelope for JsonEnvelope {
    fn span(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>) {
        span_object(&span.to_span(), buffer);
        // Between two spans; the last one's is left out.
        buffer.push(b',');
    }

    fn resource(&self, resource: &Resource) -> Vec<u8> {
        let mut head = br#"{"resource":{"#.to_vec();
        attributes(&resource.attributes, &mut head);
        head
    }

    fn overhead(&self) -> usize {
        r#"{"resourceSpans":[]},"#.len() + self.scope.len() + self.tail.len()
    }

    fn message(&self, groups: &[Group], buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(br#"{"resourceSpans":["#);
        for (index, group) in groups.iter().enumerate() {
            separate(index, buffer);
            buffer.extend_from_slice(&group.resource);
            buffer.extend_from_slice(&self.scope);
            for span in &group.spans {
                buffer.extend_from_within(span.clone());
            }
            buffer.pop();
            buffer.extend_from_slice(&self.tail);
        }
        buffer.extend_from_slice(b"]}\n");
    }
}

fn span_object(span: &Span<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"traceId":"#);
    hex(&span.trace_id, out);
    out.extend_from_slice(br#","spanId":"#);
    hex(&span.span_id, out);
    if !span.trace_state.is_empty() {
        out.extend_from_slice(br#","traceState":"#);
        string(&span.trace_state, out);
    }
    if let Some(parent) = &span.parent {
        out.extend_from_slice(br#","parentSpanId":"#);
        hex(parent, out);
    }
    if span.flags != 0 {
        formatted(format_args!(r#","flags":{}"#, span.flags), out);
    }
    if !span.name.is_empty() {
        out.extend_from_slice(br#","name":"#);
        string(&span.name, out);
    }
    formatted(format_args!(r#","kind":{}"#, span.kind as i32), out);
    time("startTimeUnixNano", span.start.as_nanos(), out);
    time("endTimeUnixNano", span.end.as_nanos(), out);
    if !span.attributes.is_empty() {
        out.push(b',');
        attributes(&span.attributes, out);
    }
    if span.dropped_attributes != 0 {
        formatted(format_args!(r#","droppedAttributesCount":{}"#, span.dropped_attributes), out);
    }
    match span.status {
        Status::Unset => out.extend_from_slice(br#","status":{}}"#),
        Status::Error => formatted(format_args!(r#","status":{{"code":{}}}}}"#, span.status as i32), out),
    }
}

/// `"attributes":[…]`, or nothing.
fn attributes(attributes: &[Attribute<'_>], out: &mut Vec<u8>) {
    if attributes.is_empty() {
        return;
    }
    out.extend_from_slice(br#""attributes":["#);
    for (index, attribute) in attributes.iter().enumerate() {
        separate(index, out);
        out.extend_from_slice(br#"{"key":"#);
        string(&attribute.key, out);
        out.extend_from_slice(br#","value":"#);
        value(&attribute.value, out);
        out.push(b'}');
    }
    out.push(b']');
}

/// An `AnyValue`.
fn value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => string_value(text, out),
        Value::Int(number) => formatted(format_args!(r#"{{"intValue":"{number}"}}"#), out),
        Value::Double(number) => double_value(*number, out),
        Value::Bool(truth) => formatted(format_args!(r#"{{"boolValue":{truth}}}"#), out),
        Value::Strings(texts) => {
            out.extend_from_slice(br#"{"arrayValue":{"values":["#);
            for (index, text) in texts.iter().enumerate() {
                separate(index, out);
                string_value(text, out);
            }
            out.extend_from_slice(b"]}}");
        }
    }
}

fn string_value(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"stringValue":"#);
    string(text, out);
    out.push(b'}');
}

fn double_value(number: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"doubleValue":"#);
    if number.is_nan() {
        out.extend_from_slice(br#""NaN""#);
    } else if number.is_infinite() {
        out.extend_from_slice(if number.is_sign_positive() { br#""Infinity""# } else { br#""-Infinity""# });
    } else {
        // Writing into memory does not fail.
        let _ = serde_json::to_writer(&mut *out, &number);
    }
    out.push(b'}');
}

/// A time as a quoted integer after its key; left out when zero, as the default is.
fn time(key: &str, nanos: u64, out: &mut Vec<u8>) {
    if nanos != 0 {
        formatted(format_args!(r#","{key}":"{nanos}""#), out);
    }
}

/// Bytes in hexadecimal, quoted.
fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const fn digit(half: u8) -> u8 {
        if half < 10 { b'0' + half } else { b'a' + half - 10 }
    }
    out.push(b'"');
    for byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    out.push(b'"');
}

/// Text, quoted and escaped (RFC 8259 §7).
fn string(text: &str, out: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

fn formatted(text: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::export::otlp::generated::opentelemetry::proto as ours;
    use crate::export::otlp::{OtlpFormat, generated};
    use crate::export::testing::{any_resource, any_span, encode_batch, get_span};
    use generated::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value as Any};

    /// OTLP/JSON of a decoded message, built as a tree.
    fn expected(request: &ours::collector::trace::v1::ExportTraceServiceRequest) -> Json {
        let resource_spans = &request.resource_spans[0];
        let scope_spans = &resource_spans.scope_spans[0];
        let scope = scope_spans.scope.as_ref().unwrap();
        let mut resource = json!({});
        put(&mut resource, "attributes", attributes_tree(&resource_spans.resource.as_ref().unwrap().attributes));
        json!({"resourceSpans": [{
            "resource": resource,
            "scopeSpans": [{
                "scope": {"name": scope.name, "version": scope.version},
                "spans": scope_spans.spans.iter().map(span_tree).collect::<Vec<_>>(),
                "schemaUrl": scope_spans.schema_url,
            }],
            "schemaUrl": resource_spans.schema_url,
        }]})
    }

    fn span_tree(span: &ours::trace::v1::Span) -> Json {
        let number_or_nothing = |number: u32| if number == 0 { Json::Null } else { json!(number) };
        let time = |nanos: u64| if nanos == 0 { Json::Null } else { json!(nanos.to_string()) };
        let code = span.status.as_ref().map_or(0, |status| status.code);
        let mut tree = json!({"kind": span.kind});
        put(&mut tree, "status", if code == 0 { json!({}) } else { json!({"code": code}) });
        put(&mut tree, "traceId", hex_text(&span.trace_id));
        put(&mut tree, "spanId", hex_text(&span.span_id));
        put(&mut tree, "parentSpanId", hex_text(&span.parent_span_id));
        put(&mut tree, "traceState", text_or_nothing(&span.trace_state));
        put(&mut tree, "name", text_or_nothing(&span.name));
        put(&mut tree, "flags", number_or_nothing(span.flags));
        put(&mut tree, "droppedAttributesCount", number_or_nothing(span.dropped_attributes_count));
        put(&mut tree, "startTimeUnixNano", time(span.start_time_unix_nano));
        put(&mut tree, "endTimeUnixNano", time(span.end_time_unix_nano));
        put(&mut tree, "attributes", attributes_tree(&span.attributes));
        tree
    }

    fn put(tree: &mut Json, key: &str, value: Json) {
        if value != Json::Null {
            tree[key] = value;
        }
    }

    fn text_or_nothing(text: &str) -> Json {
        if text.is_empty() { Json::Null } else { json!(text) }
    }

    fn hex_text(bytes: &[u8]) -> Json {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        text_or_nothing(&digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect::<String>())
    }

    fn attributes_tree(attributes: &[KeyValue]) -> Json {
        if attributes.is_empty() {
            return Json::Null;
        }
        let pairs = attributes.iter().map(|pair| json!({"key": pair.key, "value": any_tree(pair.value.as_ref())}));
        Json::Array(pairs.collect())
    }

    fn any_tree(value: Option<&AnyValue>) -> Json {
        match value.and_then(|value| value.value.as_ref()).unwrap() {
            Any::StringValue(text) => json!({"stringValue": text}),
            Any::BoolValue(truth) => json!({"boolValue": truth}),
            Any::IntValue(number) => json!({"intValue": number.to_string()}),
            Any::DoubleValue(number) if number.is_nan() => json!({"doubleValue": "NaN"}),
            Any::DoubleValue(number) if *number == f64::INFINITY => json!({"doubleValue": "Infinity"}),
            Any::DoubleValue(number) if *number == f64::NEG_INFINITY => json!({"doubleValue": "-Infinity"}),
            Any::DoubleValue(number) => json!({"doubleValue": read_back(*number)}),
            Any::ArrayValue(array) => {
                json!({"arrayValue": {"values": array.values.iter().map(|value| any_tree(Some(value))).collect::<Vec<_>>()}})
            }
            other => panic!("the agent writes no {other:?}"),
        }
    }

    /// `serde_json` reads some numbers an ulp off; both sides of a comparison must be.
    fn read_back(number: f64) -> Json {
        serde_json::from_str(&serde_json::to_string(&number).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn a_line_says_what_the_protobuf_batch_says(
            resource in any_resource(),
            spans in proptest::collection::vec(any_span(), 1..4),
        ) {
            let line = encode_batch(JsonFormat::new(&resource), &spans);
            let protobuf = encode_batch(OtlpFormat::new(&resource), &spans);
            let request = ours::collector::trace::v1::ExportTraceServiceRequest::decode(protobuf).unwrap();
            prop_assert_eq!(line.split(|byte| *byte == b'\n').count(), 2, "one line and its end");
            prop_assert!(line.ends_with(b"\n"));
            let parsed: Json = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(parsed, expected(&request));
        }
    }

    #[test]
    fn a_span_reads_as_the_collector_writes_it() {
        let mut span = get_span("GET", "/a\"b");
        span.attributes.truncate(3);
        span.parent = Some([0xff; 8]);
        let line = encode_batch(JsonFormat::new(&Resource::default()), [&span]);
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            concat!(
                r#"{{"resourceSpans":[{{"resource":{{}},"scopeSpans":[{{"#,
                r#""scope":{{"name":"network-agent","version":"{}"}},"#,
                r#""spans":[{{"traceId":"30313233343536373839616263646566","spanId":"3031323334353637","#,
                r#""parentSpanId":"ffffffffffffffff","flags":257,"name":"GET","kind":2,"#,
                r#""startTimeUnixNano":"1700000000123456789","endTimeUnixNano":"1700000000135756789","#,
                r#""attributes":[{{"key":"http.request.method","value":{{"stringValue":"GET"}}}},"#,
                r#"{{"key":"http.response.status_code","value":{{"intValue":"200"}}}},"#,
                r#"{{"key":"url.path","value":{{"stringValue":"/a\"b"}}}}],"status":{{}}}}],"#,
                r#""schemaUrl":"https://opentelemetry.io/schemas/1.44.0"}}],"#,
                r#""schemaUrl":"https://opentelemetry.io/schemas/1.44.0"}}]}}"#,
                "\n"
            ),
            version
        );
        assert_eq!(String::from_utf8(line.to_vec()).unwrap(), expected);
    }
}
