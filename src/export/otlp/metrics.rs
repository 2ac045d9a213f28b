//! The connections of spans, for the SDK's exporter of the agent's own metrics.

use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT as USER_AGENT_HEADER;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use opentelemetry_http::HttpError;

use super::OtlpConfig;
use super::connection::{HttpClient, USER_AGENT, http_client};
use super::http::fetch;
use super::tls::Certificates;
use crate::export::ExportError;

/// An HTTP client with our certificates and proxy, each request within a time.
#[derive(Debug)]
pub(crate) struct MetricsClient {
    client: HttpClient,
    timeout: Duration,
    /// The SDK asks from a thread of its own, which knows no runtime.
    runtime: tokio::runtime::Handle,
}

impl MetricsClient {
    /// A client that has not connected yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ExportError::Configuration`] when a file of certificates cannot be used.
    pub(crate) fn new(config: &OtlpConfig, timeout: Duration) -> Result<Self, ExportError> {
        let client = http_client(config, &Certificates::read(config)?)?;
        Ok(Self { client, timeout, runtime: tokio::runtime::Handle::current() })
    }
}

#[async_trait::async_trait]
impl opentelemetry_http::HttpClient for MetricsClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        let mut request = request.map(Full::new);
        // It is ours, and known by this name where its packets are seen.
        request.headers_mut().insert(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT));
        self.runtime.spawn(async move { tokio::time::timeout(timeout, fetch(&client, request)).await }).await??
    }
}
