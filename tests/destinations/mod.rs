//! Batches to send, and servers of OTLP/HTTP and proxies that do as they are told.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part of this")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed step is a failed test")]

pub mod authority;
pub mod proxy;
pub mod web;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use network_agent::export::otlp::{Compression, OtlpConfig, OtlpFormat, Protocol};
use network_agent::export::{Accepted, Batch, Failure, Format as _};
use network_agent::span::{Attribute, Resource, Span, SpanKind, Status as SpanStatus, Value};
use network_agent::time::Timestamp;

pub fn config(endpoint: &str) -> OtlpConfig {
    OtlpConfig {
        endpoint: endpoint.parse().unwrap(),
        headers: Vec::new(),
        compression: Compression::None,
        timeout: Duration::from_secs(10),
        certificate: None,
        client_identity: None,
        concurrency: 1,
        protocol: Protocol::Grpc,
        proxy: None,
    }
}

pub fn text(key: &'static str, value: &str) -> Attribute<'static> {
    Attribute { key: key.into(), value: Value::String(value.to_owned().into()) }
}

pub fn span(path: &str) -> Span<'static> {
    Span {
        name: "GET".into(),
        kind: SpanKind::Client,
        trace_id: *b"0123456789abcdef",
        span_id: *b"01234567",
        parent: Some(*b"parent!!"),
        trace_state: "vendor=1".into(),
        flags: 0x301,
        start: Timestamp::from_nanos(1_700_000_000_000_000_000),
        end: Timestamp::from_nanos(1_700_000_000_012_300_000),
        status: SpanStatus::Error,
        attributes: vec![
            text("url.path", path),
            Attribute { key: "http.response.status_code".into(), value: Value::Int(503) },
        ],
        dropped_attributes: 3,
        resource: None,
        in_transit: false,
    }
}

pub fn batch(paths: &[&str]) -> Batch {
    let resource = Resource { attributes: vec![text("service.name", "shop")] };
    let mut format = OtlpFormat::new(&resource);
    let mut buffer = Vec::new();
    format.begin(&mut buffer);
    for path in paths {
        format.append(&span(path).into(), &mut buffer);
    }
    let start = format.finish(&mut buffer);
    Batch { bytes: Bytes::from(buffer).slice(start..), spans: paths.len() as u64, ..Batch::default() }
}

/// The sentence of a failure that is to be retried.
pub fn retried(result: Result<Accepted, Failure>) -> (String, Option<Duration>) {
    match result {
        Err(Failure::Retry { reason, wait }) => (reason, wait),
        other => panic!("expected a retry, got {other:?}"),
    }
}

/// The sentence of a failure that is final.
pub fn refused(result: Result<Accepted, Failure>) -> String {
    match result {
        Err(Failure::Refused { reason }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub fn tls_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

pub fn pem(name: &str) -> Vec<u8> {
    std::fs::read(tls_file(name)).unwrap()
}
