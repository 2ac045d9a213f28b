//! Files of certificates → what a connection trusts and shows.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::OtlpConfig;
use crate::export::ExportError;

/// What the files hold, in PEM form.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Certificates {
    /// Further authorities.
    authorities: Option<Vec<u8>>,
    /// The client's certificate and key.
    identity: Option<(Vec<u8>, super::Secret)>,
}

impl Certificates {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// [`ExportError::Configuration`] with the variable that names a file which cannot be used.
    pub(super) fn read(config: &OtlpConfig) -> Result<Self, ExportError> {
        let authorities = match &config.certificate {
            Some(path) => Some(read_pem(path, "OTEL_EXPORTER_OTLP_CERTIFICATE", "CERTIFICATE-----")?),
            None => None,
        };
        let identity = match &config.client_identity {
            Some((certificate, key)) => {
                let certificate = read_pem(certificate, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "CERTIFICATE-----")?;
                let key = read_pem(key, "OTEL_EXPORTER_OTLP_CLIENT_KEY", "PRIVATE KEY-----")?;
                Some((certificate, super::Secret::new(String::from_utf8_lossy(&key))))
            }
            None => None,
        };
        Ok(Self { authorities, identity })
    }

    /// Trusts the system's authorities, or those compiled in where the system has none, and those of the configuration.
    pub(super) fn secure(&self, endpoint: Endpoint) -> Result<Endpoint, ExportError> {
        let mut tls = ClientTlsConfig::new();
        if let Some(pem) = &self.authorities {
            tls = tls.ca_certificate(Certificate::from_pem(pem));
        }
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(certificate, key.reveal()));
        }
        endpoint
            .clone()
            .tls_config(tls.clone().with_native_roots())
            // An image without certificates has no native ones, and tonic takes that for an error.
            .or_else(|_| endpoint.tls_config(tls.with_webpki_roots()))
            .map_err(|error| {
                let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                unusable(&cause)
            })
    }

    /// The same for HTTP.
    pub(super) fn client_config(&self) -> Result<ClientConfig, ExportError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for authority in CertificateDer::pem_slice_iter(self.authorities.as_deref().unwrap_or_default()) {
            let authority = authority.map_err(|error| unusable(&error.to_string()))?;
            roots.add(authority).map_err(|error| unusable(&error.to_string()))?;
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error.to_string()))?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| unusable(&error.to_string()))?;
        let key =
            PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(|error| unusable(&error.to_string()))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error.to_string()))
    }
}

fn unusable(cause: &str) -> ExportError {
    ExportError::Configuration(format!(
        "TLS cannot be set up: {cause}; check OTEL_EXPORTER_OTLP_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and \
         OTEL_EXPORTER_OTLP_CLIENT_KEY"
    ))
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
