//! Endpoint, certificates and headers → a connection that can be made, and what is sent on it.

use std::path::Path;
use std::time::Duration;

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::OtlpConfig;
use crate::export::ExportError;

/// How long a connection may take to come about when attempts have no time limit.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection's settings.
pub(crate) fn endpoint(config: &OtlpConfig) -> Result<Endpoint, ExportError> {
    let timeout = if config.timeout.is_zero() { CONNECT_TIMEOUT } else { config.timeout };
    let endpoint = Endpoint::from(config.endpoint.clone())
        .user_agent(concat!("network-agent/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| ExportError::Configuration(error.to_string()))?
        .connect_timeout(timeout)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        // Only while a call is open: servers close connections of clients that ping for no reason.
        .http2_keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(false);
    if config.endpoint.scheme_str() == Some("http") { Ok(endpoint) } else { with_tls(endpoint, config) }
}

/// Trusts the system's authorities, or those compiled in where the system has none, and those of the configuration.
fn with_tls(endpoint: Endpoint, config: &OtlpConfig) -> Result<Endpoint, ExportError> {
    let mut tls = ClientTlsConfig::new();
    if let Some(path) = &config.certificate {
        let pem = read_pem(path, "OTEL_EXPORTER_OTLP_CERTIFICATE", "CERTIFICATE-----")?;
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    if let Some((certificate, key)) = &config.client_identity {
        let certificate = read_pem(certificate, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "CERTIFICATE-----")?;
        let key = read_pem(key, "OTEL_EXPORTER_OTLP_CLIENT_KEY", "PRIVATE KEY-----")?;
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    endpoint
        .clone()
        .tls_config(tls.clone().with_native_roots())
        // An image without certificates has no native ones, and tonic takes that for an error.
        .or_else(|_| endpoint.tls_config(tls.with_webpki_roots()))
        .map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            ExportError::Configuration(format!(
                "TLS cannot be set up: {cause}; check OTEL_EXPORTER_OTLP_CERTIFICATE, \
                 OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY"
            ))
        })
}

/// The file, if it holds at least one section that ends with `label`: others are passed over in silence later.
fn read_pem(path: &Path, variable: &str, label: &str) -> Result<Vec<u8>, ExportError> {
    let path_text = path.display();
    let pem = std::fs::read(path)
        .map_err(|error| ExportError::Configuration(format!("{variable}={path_text} cannot be read: {error}")))?;
    if String::from_utf8_lossy(&pem).contains(label) {
        Ok(pem)
    } else {
        let wanted = label.trim_end_matches('-').to_lowercase();
        Err(ExportError::Configuration(format!("{variable}={path_text} holds no {wanted} in PEM form")))
    }
}

/// What is sent with every request.
pub(crate) fn metadata(config: &OtlpConfig) -> Result<MetadataMap, ExportError> {
    let mut metadata = MetadataMap::with_capacity(config.headers.len());
    for (name, value) in &config.headers {
        let key = AsciiMetadataKey::from_bytes(name.as_bytes()).map_err(|_| {
            ExportError::Configuration(format!(
                "the header name {name:?} cannot be sent as gRPC metadata: check OTEL_EXPORTER_OTLP_HEADERS"
            ))
        })?;
        let mut value = AsciiMetadataValue::try_from(value.reveal()).map_err(|_| {
            ExportError::Configuration(format!(
                "the value of the header {name} holds characters that cannot be sent: check HONEYCOMB_API_KEY / \
                 OTEL_EXPORTER_OTLP_HEADERS"
            ))
        })?;
        value.set_sensitive(true);
        metadata.insert(key, value);
    }
    Ok(metadata)
}
