//! Which header fields spans are made of; the others need not be kept.

use super::SpanSettings;
use crate::exchange::trace_context::Propagator;
use crate::http::KeptFields;

/// What is read of every request, beside its trace context: for the target, the client before all proxies, and the selection.
const REQUEST: [&str; 6] = ["host", "forwarded", "x-forwarded-for", "x-forwarded-proto", "user-agent", "content-type"];

impl SpanSettings {
    /// The header fields that a [`SpanBuilder`](super::SpanBuilder) with these settings reads.
    pub fn fields(&self) -> KeptFields {
        let wanted = || self.headers.iter().map(String::as_str);
        let context = self.propagators.iter().flat_map(|format| context(*format));
        KeptFields::these(REQUEST.into_iter().chain(context.copied()).chain(wanted()), wanted())
    }
}

/// Where a format of trace context stands.
const fn context(format: Propagator) -> &'static [&'static str] {
    match format {
        Propagator::TraceContext => &["traceparent", "tracestate"],
        Propagator::B3 => &["b3"],
        Propagator::B3Multi => &["x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"],
    }
}
