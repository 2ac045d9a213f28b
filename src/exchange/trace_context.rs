//! Trace context a request carries: W3C `traceparent`/`tracestate`, and B3.
