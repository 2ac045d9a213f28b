//! `Span` → OTLP bytes → a server, over gRPC or HTTP.

use std::path::PathBuf;
use std::time::Duration;

mod client;
mod connection;
mod dial;
mod encode;
mod envelope;
mod explain;
#[rustfmt::skip]
#[expect(
    missing_docs,
    clippy::doc_markdown,
    reason = "prost documents messages and fields, not the modules of the packages, and writes its own comments"
)]
pub mod generated;
mod grpc;
mod honeycomb;
mod http;
mod key_values;
mod memory;
mod metrics;
mod retry;
mod scratch;
mod split;
mod tls;

pub use client::OtlpExporter;
pub(crate) use connection::{lazy_channel, metadata};
pub use dial::Proxy;
pub use encode::{OtlpFormat, SpanEncoder};
pub(super) use envelope::OtlpEnvelope;
pub(crate) use metrics::MetricsClient;
pub(super) use retry::Backoff;

/// An OTLP destination.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// `http` is plaintext, `https` is TLS. Of gRPC: scheme, host and port; of HTTP: the whole URL of the signal.
    pub endpoint: ::http::Uri,
    /// What is spoken with it.
    pub protocol: Protocol,
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
    /// Calls in flight at most.
    pub concurrency: usize,
    /// Opens the way to it, if it is not reached directly.
    pub proxy: Option<Proxy>,
}

impl OtlpConfig {
    /// Whether TLS is spoken with it.
    pub fn is_tls(&self) -> bool {
        self.endpoint.scheme_str() == Some("https")
    }

    /// The endpoint as it may be shown: without a user and without a query, which may hold a key.
    pub fn shown(&self) -> String {
        let authority = self.endpoint.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let scheme = self.endpoint.scheme_str().unwrap_or("https");
        format!("{scheme}://{host}{}", self.endpoint.path()).trim_end_matches('/').to_owned()
    }

    /// Whether it is Honeycomb.
    pub fn is_honeycomb(&self) -> bool {
        self.endpoint.host().is_some_and(is_honeycomb)
    }
}

/// Whether a host is Honeycomb's.
pub(crate) fn is_honeycomb(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "honeycomb.io" || host.ends_with(".honeycomb.io")
}

/// How OTLP is carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    HttpProtobuf,
}

impl Protocol {
    /// As `OTEL_EXPORTER_OTLP_PROTOCOL` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }
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
