//! `Span` → OTLP bytes → a gRPC server.

use std::path::PathBuf;
use std::time::Duration;

mod client;
mod connection;
mod encode;
mod explain;
#[rustfmt::skip]
#[expect(
    missing_docs,
    clippy::doc_markdown,
    reason = "prost documents messages and fields, not the modules of the packages, and writes its own comments"
)]
pub mod generated;
mod retry;

pub use client::OtlpExporter;
pub(crate) use connection::{endpoint, metadata};
pub use encode::{OtlpFormat, encode_span};
pub(super) use retry::Backoff;

/// An OTLP/gRPC destination.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// Scheme, host and port: `http` is plaintext, `https` is TLS.
    pub endpoint: http::Uri,
    /// Metadata sent with every request, names in lower case.
    pub headers: Vec<(String, Secret)>,
    /// How requests are compressed.
    pub compression: Compression,
    /// How long one attempt may take; zero is without limit.
    pub timeout: Duration,
    /// PEM file with further certificate authorities.
    pub certificate: Option<PathBuf>,
    /// PEM files with the client's certificate and key, for mutual TLS.
    pub client_identity: Option<(PathBuf, PathBuf)>,
    /// Unary calls in flight at most.
    pub concurrency: usize,
}

/// Compression of requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// A value that is never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `value` from being printed.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, to be sent and for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("********")
    }
}
