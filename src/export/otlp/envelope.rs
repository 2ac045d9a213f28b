//! Encoded spans of many resources → one `ExportTraceServiceRequest`.

use super::encode::{SpanEncoder, delimited, delimited_length, resource_fields, scope_fields};
use crate::export::grouped::{Envelope, Group};
use crate::span::{Attribute, Draft, Resource};

/// Writes a `ResourceSpans` for each resource, with one scope: the agent.
#[derive(Clone, Debug)]
pub(crate) struct OtlpEnvelope {
    /// `ScopeSpans.scope` and `.schema_url`.
    scope: Vec<u8>,
    spans: SpanEncoder,
}

impl OtlpEnvelope {
    /// `identity` is what the agent says of itself.
    pub(crate) fn new(identity: &[Attribute<'_>]) -> Self {
        Self { scope: scope_fields(identity), spans: SpanEncoder::default() }
    }
}

impl Envelope for OtlpEnvelope {
    fn span(&mut self, span: &Draft<'_>, buffer: &mut Vec<u8>) {
        self.spans.append(span, buffer);
    }

    fn resource(&self, resource: &Resource) -> Vec<u8> {
        resource_fields(resource)
    }

    fn overhead(&self) -> usize {
        const KEY_AND_LENGTH: usize = 11;
        2 * KEY_AND_LENGTH + self.scope.len()
    }

    fn message(&self, groups: &[Group], buffer: &mut Vec<u8>) {
        for group in groups {
            let scope_spans = self.scope.len() + group.length();
            delimited(1, group.resource.len() + delimited_length(2, scope_spans), buffer);
            buffer.extend_from_slice(&group.resource);
            delimited(2, scope_spans, buffer);
            buffer.extend_from_slice(&self.scope);
            for span in &group.spans {
                buffer.extend_from_within(span.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::export::grouped::Grouped;
    use crate::export::json::JsonEnvelope;
    use crate::export::otlp::generated::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
    use crate::export::otlp::{OtlpFormat, generated};
    use crate::export::testing::{any_resource, any_span, attribute, encode_batch};
    use crate::span::Span;

    /// What a format that knows one resource says of each group alone, put together.
    fn expected(groups: &[(Resource, Vec<Span<'_>>)], identity: &Attribute<'static>) -> ExportTraceServiceRequest {
        let mut whole = ExportTraceServiceRequest::default();
        for (resource, spans) in groups.iter().filter(|(_, spans)| !spans.is_empty()) {
            let bytes = encode_batch(OtlpFormat::new(resource), spans);
            whole.resource_spans.extend(ExportTraceServiceRequest::decode(bytes).unwrap().resource_spans);
        }
        let crate::span::Value::String(text) = &identity.value else { unreachable!() };
        for scope in whole.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans) {
            use generated::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
            let value = AnyValue { value: Some(Value::StringValue(text.to_string())) };
            let attribute = KeyValue { key: identity.key.to_string(), value: Some(value) };
            scope.scope.as_mut().unwrap().attributes.push(attribute);
        }
        whole
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn each_resource_stands_once_before_its_spans(
            resources in proptest::collection::vec(any_resource(), 1..4),
            spans in proptest::collection::vec((any_span(), 0..4_usize), 1..12),
        ) {
            let identity = attribute("meta.agent.pod.name", "agent");
            let shared: Vec<Arc<Resource>> = resources.iter().cloned().map(Arc::new).collect();
            let mut groups: Vec<(Resource, Vec<Span<'_>>)> = Vec::new();
            let mut order = Vec::new();
            let mut all = Vec::new();
            for (span, place) in spans {
                let place = place % shared.len();
                // Those of the first name none: it is the agent's own.
                let resource = (place > 0).then(|| shared[place].clone());
                let position = order.iter().position(|known| *known == place).unwrap_or_else(|| {
                    order.push(place);
                    groups.push((resources[place].clone(), Vec::new()));
                    order.len() - 1
                });
                groups[position].1.push(span.clone());
                all.push(Span { resource, ..span });
            }
            let own = resources[0].clone();
            let envelope = OtlpEnvelope::new(std::slice::from_ref(&identity));
            let bytes = encode_batch(Grouped::new(envelope, own.clone()), &all);
            let decoded = ExportTraceServiceRequest::decode(bytes).unwrap();
            // Compared as bytes, because NaN is not equal to itself.
            prop_assert_eq!(decoded.encode_to_vec(), expected(&groups, &identity).encode_to_vec());

            let envelope = JsonEnvelope::new(std::slice::from_ref(&identity));
            let line = encode_batch(Grouped::new(envelope, own), &all);
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let numbers = |value: &serde_json::Value| -> Vec<usize> {
                let resources = value["resourceSpans"].as_array().unwrap();
                resources.iter().map(|one| one["scopeSpans"][0]["spans"].as_array().unwrap().len()).collect()
            };
            prop_assert_eq!(numbers(&value), groups.iter().map(|(_, spans)| spans.len()).collect::<Vec<_>>());
            prop_assert_eq!(
                &value["resourceSpans"][0]["scopeSpans"][0]["scope"]["attributes"][0]["value"]["stringValue"], "agent");
        }
    }
}
