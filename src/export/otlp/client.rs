//! Batches of OTLP bytes → a server, and its answers → accepted, retry or refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::connection::{CONNECT_TIMEOUT, endpoint, http_client};
use super::explain::Destination;
use super::generated::opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
use super::grpc::GrpcTransport;
use super::http::{HttpFailure, HttpTransport};
use super::retry::{Verdict, classify, classify_answer, is_of_transport};
use super::tls::Certificates;
use super::{Compression, OtlpConfig, Protocol, honeycomb, split};
use crate::export::batch::Batch;
use crate::export::{Accepted, ExportError, Exporter, Failure};

/// Sends batches to an OTLP server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct OtlpExporter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: OtlpConfig,
    destination: Destination,
    transport: Transport,
    /// As they were read last.
    certificates: Mutex<Certificates>,
    /// Why they could not be read again, as it was told last.
    unread: Mutex<Option<String>>,
    /// The server does not know zstd.
    without_zstd: AtomicBool,
    timeout: Option<Duration>,
}

#[derive(Debug)]
enum Transport {
    Grpc(Box<GrpcTransport>),
    Http(Box<HttpTransport>),
}

/// Why one attempt was in vain.
#[derive(Debug)]
struct Unsent {
    verdict: Verdict,
    reason: String,
    /// The server said nothing: the connection may be dead, or need other certificates by now.
    by_transport: bool,
}

impl OtlpExporter {
    /// An exporter that has not connected yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ExportError::Configuration`] when a file of certificates cannot be used or a header cannot be sent.
    pub fn new(config: &OtlpConfig) -> Result<Self, ExportError> {
        let certificates = Certificates::read(config)?;
        let transport = match config.protocol {
            Protocol::Grpc => Transport::Grpc(Box::new(GrpcTransport::new(config, &certificates)?)),
            Protocol::HttpProtobuf => Transport::Http(Box::new(HttpTransport::new(config, &certificates)?)),
        };
        let shared = Shared {
            destination: Destination::new(config),
            transport,
            certificates: Mutex::new(certificates),
            unread: Mutex::default(),
            without_zstd: AtomicBool::new(false),
            timeout: (!config.timeout.is_zero()).then_some(config.timeout),
            config: config.clone(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Sends a batch without spans, and says what took it: the whole way is tried, from the proxy to the key.
    ///
    /// # Errors
    ///
    /// [`ExportError::Unreachable`] with the reason and the remedy.
    pub async fn check(&self) -> Result<String, ExportError> {
        let Shared { destination, config, .. } = &*self.shared;
        let timeout = Some(self.shared.timeout.unwrap_or(CONNECT_TIMEOUT));
        self.attempt(Bytes::new(), Compression::None, timeout)
            .await
            .map_err(|unsent| ExportError::Unreachable(unsent.reason))?;
        let how = match (config.is_tls(), config.protocol) {
            (false, Protocol::Grpc) => "plaintext",
            (true, Protocol::Grpc) => "TLS, HTTP/2",
            (false, Protocol::HttpProtobuf) => "plaintext, http/protobuf",
            (true, Protocol::HttpProtobuf) => "TLS, http/protobuf",
        };
        let reached = format!("reached {} ({how})", destination.endpoint());
        match self.ask_about_key().await {
            None => Ok(reached),
            Some(Ok(owner)) => Ok(format!("{reached}; {owner}")),
            Some(Err(reason)) => Err(ExportError::Unreachable(reason)),
        }
    }

    /// Asks Honeycomb whose the key is, if it is Honeycomb that spans go to. A sentence either way; `None` when nobody can
    /// tell, be it that there is no answer.
    pub async fn ask_about_key(&self) -> Option<Result<String, String>> {
        let Shared { config, destination, certificates, .. } = &*self.shared;
        let certificates = certificates.lock().unwrap_or_else(PoisonError::into_inner).clone();
        honeycomb::ask_about_key(config, destination, &certificates).await
    }

    /// Sends once.
    async fn attempt(
        &self,
        bytes: Bytes,
        compression: Compression,
        timeout: Option<Duration>,
    ) -> Result<ExportTraceServiceResponse, Unsent> {
        let call = self.call(bytes, compression);
        let Some(timeout) = timeout else { return call.await };
        tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            Err(Unsent {
                verdict: Verdict::Retry { wait: None },
                reason: self.shared.destination.explain_timeout(timeout.as_secs_f64()),
                by_transport: true,
            })
        })
    }

    async fn call(&self, bytes: Bytes, compression: Compression) -> Result<ExportTraceServiceResponse, Unsent> {
        let destination = &self.shared.destination;
        match &self.shared.transport {
            Transport::Grpc(grpc) => grpc.send(bytes, compression).await.map_err(|status| Unsent {
                verdict: classify(&status),
                reason: destination.explain_status(&status),
                by_transport: is_of_transport(&status),
            }),
            Transport::Http(http) => http.send(bytes, compression).await.map_err(|failure| match failure {
                HttpFailure::Answer(answer) => Unsent {
                    verdict: classify_answer(&answer),
                    reason: destination.explain_http_answer(&answer),
                    by_transport: false,
                },
                HttpFailure::Transport(error) => Unsent {
                    verdict: Verdict::Retry { wait: None },
                    reason: destination.explain_transport(&*error),
                    by_transport: true,
                },
            }),
        }
    }

    fn compression(&self) -> Compression {
        match self.shared.config.compression {
            Compression::Zstd if self.shared.without_zstd.load(Ordering::Relaxed) => Compression::Gzip,
            compression => compression,
        }
    }

    /// Leaves the connection to those who still wait on it. One that is silent may be dead without a word, and its
    /// name may have another address by now; TCP alone takes a quarter of an hour to notice. Certificates may have been
    /// renewed on the disk; while they cannot be used the ones from before are.
    fn reconnect(&self) {
        let Shared { config, certificates, transport, destination, unread, .. } = &*self.shared;
        let mut known = certificates.lock().unwrap_or_else(PoisonError::into_inner);
        let read = Certificates::read(config);
        let fault = read.as_ref().err().map(ToString::to_string);
        let mut told = unread.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.is_some() && *told != fault {
            let fault = fault.clone().unwrap_or_default();
            tracing::warn!("{fault}; connections to {} are tried with what it held before.", destination.endpoint());
        }
        *told = fault;
        let read = read.ok().filter(|read| *read != *known);
        match transport {
            Transport::Grpc(grpc) => {
                let changed = read.as_ref().and_then(|read| endpoint(config, read).ok());
                if let (Some(read), true) = (read, changed.is_some()) {
                    *known = read;
                }
                grpc.renew(changed);
            }
            Transport::Http(http) => {
                let usable = read.and_then(|read| Some((http_client(config, &read).ok()?, read)));
                if let Some((client, read)) = usable {
                    *known = read;
                    http.renew(client);
                } else if let Ok(client) = http_client(config, &known) {
                    http.renew(client);
                }
            }
        }
    }
}

impl Exporter for OtlpExporter {
    async fn export(&self, batch: Batch) -> Result<Accepted, Failure> {
        let compression = self.compression();
        let mut sent = self.attempt(batch.bytes.clone(), compression, self.shared.timeout).await;
        if compression == Compression::Zstd && matches!(&sent, Err(unsent) if unsent.verdict == Verdict::Unknown) {
            // It may be the compression that the server does not know.
            sent = self.attempt(batch.bytes.clone(), Compression::Gzip, self.shared.timeout).await;
            if sent.is_ok() && !self.shared.without_zstd.swap(true, Ordering::Relaxed) {
                tracing::warn!("{} does not take zstd: gzip from now on.", self.shared.destination.endpoint());
            }
        }
        match sent {
            Ok(response) => Ok(accepted(response, batch.spans, &self.shared.destination)),
            Err(Unsent { verdict, reason, by_transport }) => {
                if by_transport {
                    self.reconnect();
                }
                Err(match verdict {
                    Verdict::Retry { wait } => Failure::Retry { reason, wait },
                    Verdict::TooLarge => Failure::TooLarge { reason },
                    Verdict::Refuse | Verdict::Unknown => Failure::Refused { reason },
                })
            }
        }
    }

    fn concurrency(&self) -> usize {
        self.shared.config.concurrency.max(1)
    }

    fn halves(&self, batch: &Batch) -> Option<[Batch; 2]> {
        split::halves(batch)
    }
}

fn accepted(response: ExportTraceServiceResponse, sent: u64, destination: &Destination) -> Accepted {
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(sent);
    if rejected == 0 && partial.error_message.is_empty() {
        return Accepted::default();
    }
    let said = destination.quote(&partial.error_message);
    let message = if rejected == 0 {
        format!("{} took all spans with a warning{said}", destination.endpoint())
    } else {
        format!("{} took a batch but not all of its spans{said}", destination.endpoint())
    };
    Accepted { rejected, message }
}
