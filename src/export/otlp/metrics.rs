//! The connections of spans, for the SDK's exporter of the agent's own metrics.

use std::sync::{Mutex, PoisonError};
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
    config: OtlpConfig,
    client: Mutex<HttpClient>,
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
        let client = Mutex::new(http_client(config, &Certificates::read(config)?)?);
        Ok(Self { config: config.clone(), client, timeout, runtime: tokio::runtime::Handle::current() })
    }

    fn client(&self) -> HttpClient {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connection may be dead, and certificates may have been renewed on the disk.
    fn renew(&self) {
        let read = Certificates::read(&self.config).and_then(|certificates| http_client(&self.config, &certificates));
        if let Ok(client) = read {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
        }
    }
}

#[async_trait::async_trait]
impl opentelemetry_http::HttpClient for MetricsClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, timeout) = (self.client(), self.timeout);
        let mut request = request.map(Full::new);
        // It is ours, and known by this name where its packets are seen.
        request.headers_mut().insert(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT));
        let sent =
            self.runtime.spawn(async move { tokio::time::timeout(timeout, fetch(&client, request)).await }).await;
        if !matches!(sent, Ok(Ok(Ok(_)))) {
            self.renew();
        }
        sent??
    }
}
