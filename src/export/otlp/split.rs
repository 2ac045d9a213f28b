//! A batch that is too large for its destination → two that are half as large.

use prost::Message as _;

use super::generated::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use super::generated::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans};
use crate::export::batch::Batch;

/// The first and the second half of the spans, in their order, under the same resources and scopes; `None` when there is
/// only one span, or the bytes are no OTLP.
pub(super) fn halves(batch: &Batch) -> Option<[Batch; 2]> {
    let whole = ExportTraceServiceRequest::decode(batch.bytes.clone()).ok()?;
    let spans: usize = scopes(&whole).map(|scope| scope.spans.len()).sum();
    if spans < 2 {
        return None;
    }
    let middle = spans / 2;
    let first = part(&whole, 0, middle);
    let second = part(&whole, middle, spans);
    let batch = |request: &ExportTraceServiceRequest, spans: usize| Batch {
        bytes: request.encode_to_vec().into(),
        spans: spans as u64,
        ..batch.clone()
    };
    Some([batch(&first, middle), batch(&second, spans - middle)])
}

fn scopes(request: &ExportTraceServiceRequest) -> impl Iterator<Item = &ScopeSpans> {
    request.resource_spans.iter().flat_map(|resource| &resource.scope_spans)
}

/// The spans from number `from` to `to`, and nothing that has none of them.
fn part(whole: &ExportTraceServiceRequest, from: usize, to: usize) -> ExportTraceServiceRequest {
    let mut number = 0;
    let resource_spans = whole.resource_spans.iter().filter_map(|resource| {
        let scope_spans: Vec<ScopeSpans> = resource
            .scope_spans
            .iter()
            .filter_map(|scope| {
                let begin = number;
                number += scope.spans.len();
                let wanted = from.saturating_sub(begin)..to.saturating_sub(begin).min(scope.spans.len());
                let spans = scope.spans.get(wanted).unwrap_or_default().to_vec();
                (!spans.is_empty()).then(|| ScopeSpans { spans, ..scope.clone() })
            })
            .collect();
        (!scope_spans.is_empty()).then(|| ResourceSpans { scope_spans, ..resource.clone() })
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::otlp::generated::opentelemetry::proto::trace::v1::Span;

    /// Resources, their scopes, and how many spans each has; names are running numbers.
    fn request(shape: &[&[usize]]) -> ExportTraceServiceRequest {
        let mut number = 0;
        let resource_spans = shape.iter().enumerate().map(|(index, scopes)| ResourceSpans {
            schema_url: format!("resource {index}"),
            scope_spans: scopes
                .iter()
                .map(|spans| ScopeSpans {
                    schema_url: format!("scope of {index}"),
                    spans: (0..*spans)
                        .map(|_| {
                            number += 1;
                            Span { name: number.to_string(), ..Span::default() }
                        })
                        .collect(),
                    ..ScopeSpans::default()
                })
                .collect(),
            ..ResourceSpans::default()
        });
        ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
    }

    fn batch(request: &ExportTraceServiceRequest) -> Batch {
        let spans = scopes(request).map(|scope| scope.spans.len() as u64).sum();
        Batch { bytes: request.encode_to_vec().into(), spans, attempts: 3, ..Batch::default() }
    }

    /// Every span with what it is under.
    fn rows(bytes: &bytes::Bytes) -> Vec<(String, String, String)> {
        let request = ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
        let rows = request.resource_spans.iter().flat_map(|resource| {
            resource.scope_spans.iter().flat_map(|scope| {
                let row = |span: &Span| (resource.schema_url.clone(), scope.schema_url.clone(), span.name.clone());
                scope.spans.iter().map(row)
            })
        });
        rows.collect()
    }

    #[test]
    fn two_halves_are_the_whole_whatever_its_shape() {
        for shape in
            [&[&[2][..]][..], &[&[5]], &[&[1, 1]], &[&[3], &[1, 2], &[4]], &[&[0, 7], &[], &[1]], &[&[1], &[1], &[1]]]
        {
            let whole = batch(&request(shape));
            let [first, second] = halves(&whole).unwrap();
            assert_eq!(rows(&first.bytes).len() as u64, first.spans);
            assert_eq!(rows(&second.bytes).len() as u64, second.spans);
            assert!(second.spans - first.spans <= 1, "{shape:?}");
            assert_eq!([rows(&first.bytes), rows(&second.bytes)].concat(), rows(&whole.bytes));
            assert_eq!((first.attempts, second.attempts), (3, 3));
        }
    }

    #[test]
    fn one_span_is_not_cut() {
        assert_eq!(halves(&batch(&request(&[&[1]]))), None);
        assert_eq!(halves(&batch(&request(&[]))), None);
        assert_eq!(halves(&Batch { bytes: bytes::Bytes::from_static(b"no OTLP"), ..Batch::default() }), None);
    }
}
