//! Endpoint and headers → a connection that can be made, and what is sent on it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use super::OtlpConfig;
use super::dial::Dial;
use super::tls::Certificates;
use crate::export::ExportError;

/// How long a connection may take to come about when attempts have no time limit.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the agent calls itself.
pub(super) const USER_AGENT: &str = concat!("network-agent/", env!("CARGO_PKG_VERSION"));

/// Connections for OTLP/HTTP.
pub(super) type HttpClient = Client<HttpsConnector<Dial>, Full<Bytes>>;

/// How long a connection may take to come about.
pub(super) fn connect_timeout(config: &OtlpConfig) -> Duration {
    if config.timeout.is_zero() { CONNECT_TIMEOUT } else { config.timeout }
}

/// A gRPC connection's settings.
pub(super) fn endpoint(config: &OtlpConfig, certificates: &Certificates) -> Result<Endpoint, ExportError> {
    let endpoint = Endpoint::from(config.endpoint.clone())
        .user_agent(USER_AGENT)
        .map_err(|error| ExportError::Configuration(error.to_string()))?
        .connect_timeout(connect_timeout(config))
        // Only while a call is open: servers close connections of clients that ping for no reason.
        .http2_keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(false);
    if config.is_tls() { certificates.secure(endpoint) } else { Ok(endpoint) }
}

/// A gRPC connection that comes about with the first call, each call within `timeout`. Must be called within a tokio
/// runtime.
pub(crate) fn lazy_channel(config: &OtlpConfig, timeout: Duration) -> Result<Channel, ExportError> {
    let endpoint = endpoint(config, &Certificates::read(config)?)?.timeout(timeout);
    Ok(endpoint.connect_with_connector_lazy(Dial::new(config)))
}

/// An HTTP client that connects when it has to, by HTTP/2 where the server offers it.
pub(super) fn http_client(config: &OtlpConfig, certificates: &Certificates) -> Result<HttpClient, ExportError> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(certificates.client_config()?)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(Dial::new(config));
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_max_idle_per_host(config.concurrency)
        .http2_keep_alive_interval(Duration::from_secs(60))
        .http2_keep_alive_timeout(Duration::from_secs(20))
        .build(connector))
}

/// What is sent with every call.
pub(crate) fn metadata(config: &OtlpConfig) -> Result<MetadataMap, ExportError> {
    headers(config).map(MetadataMap::from_headers)
}

/// What is sent with every request.
pub(super) fn headers(config: &OtlpConfig) -> Result<HeaderMap, ExportError> {
    let mut headers = HeaderMap::with_capacity(config.headers.len());
    for (name, value) in &config.headers {
        let key = HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| !name.as_str().ends_with("-bin"));
        let key = key.ok_or_else(|| {
            // What stands where a name does may be a token that was given without one.
            ExportError::Configuration(
                "a header name in OTEL_EXPORTER_OTLP_HEADERS cannot be sent: use name=value,… with names of letters, \
                 digits and - that do not end in -bin"
                    .to_owned(),
            )
        })?;
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| {
            ExportError::Configuration(format!(
                "the value of the header {name} holds characters that cannot be sent: check HONEYCOMB_API_KEY / \
                 OTEL_EXPORTER_OTLP_HEADERS"
            ))
        })?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}
