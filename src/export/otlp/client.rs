//! Batches of OTLP bytes → unary calls to a gRPC server, and its answers → accepted, retry or refused.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::connection::{CONNECT_TIMEOUT, endpoint, metadata};
use super::explain::Destination;
use super::generated::opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
use super::retry::{Verdict, classify};
use super::{Compression, OtlpConfig};
use crate::export::batch::Batch;
use crate::export::{Accepted, ExportError, Exporter, Failure};

/// The method that takes spans.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Sends batches to an OTLP/gRPC server. Clones share its connection.
#[derive(Clone, Debug)]
pub struct OtlpExporter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    destination: Destination,
    endpoint: Endpoint,
    /// Connects with the first call, and again when a connection is lost.
    channel: Mutex<Channel>,
    metadata: MetadataMap,
    compression: Option<CompressionEncoding>,
    timeout: Option<Duration>,
    concurrency: usize,
}

impl OtlpExporter {
    /// An exporter that has not connected yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ExportError::Configuration`] when a file of certificates cannot be used or a header cannot be sent.
    pub fn new(config: &OtlpConfig) -> Result<Self, ExportError> {
        let endpoint = endpoint(config)?;
        let shared = Shared {
            destination: Destination::new(config),
            channel: Mutex::new(endpoint.connect_lazy()),
            endpoint,
            metadata: metadata(config)?,
            compression: match config.compression {
                Compression::None => None,
                Compression::Gzip => Some(CompressionEncoding::Gzip),
                Compression::Zstd => Some(CompressionEncoding::Zstd),
            },
            timeout: (!config.timeout.is_zero()).then_some(config.timeout),
            concurrency: config.concurrency.max(1),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Connects once, and says to what. A plaintext endpoint is reached when it accepts the connection, one with TLS
    /// when the handshake has succeeded both ways and HTTP/2 was agreed upon.
    ///
    /// # Errors
    ///
    /// [`ExportError::Unreachable`] with the reason and the remedy.
    pub async fn check(&self) -> Result<String, ExportError> {
        let Shared { destination, endpoint, timeout, .. } = &*self.shared;
        let timeout = timeout.unwrap_or(CONNECT_TIMEOUT);
        match tokio::time::timeout(timeout, endpoint.connect()).await {
            Ok(Ok(_channel)) => {
                let how = if destination.is_tls() { "TLS, HTTP/2" } else { "plaintext" };
                Ok(format!("reached {} ({how})", destination.endpoint()))
            }
            Ok(Err(error)) => Err(ExportError::Unreachable(destination.explain_transport(&error))),
            Err(_) => Err(ExportError::Unreachable(destination.explain_timeout(timeout.as_secs_f64()))),
        }
    }

    async fn call(&self, bytes: Bytes) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut grpc = Grpc::new(self.channel())
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        if let Some(compression) = self.shared.compression {
            grpc = grpc.send_compressed(compression);
        }
        let mut request = Request::new(Raw(bytes));
        *request.metadata_mut() = self.shared.metadata.clone();
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        grpc.unary(request, PathAndQuery::from_static(EXPORT), RawCodec).await
    }

    fn channel(&self) -> Channel {
        self.shared.channel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves the connection to those who still wait on it. One that is silent may be dead without a word, and its
    /// name may have another address by now; TCP alone takes a quarter of an hour to notice.
    fn reconnect(&self) {
        *self.shared.channel.lock().unwrap_or_else(PoisonError::into_inner) = self.shared.endpoint.connect_lazy();
    }
}

impl Exporter for OtlpExporter {
    async fn export(&self, batch: Batch) -> Result<Accepted, Failure> {
        let destination = &self.shared.destination;
        let call = self.call(batch.bytes);
        let answer = match self.shared.timeout {
            None => call.await,
            Some(timeout) => {
                let Ok(answer) = tokio::time::timeout(timeout, call).await else {
                    self.reconnect();
                    let reason = destination.explain_timeout(timeout.as_secs_f64());
                    return Err(Failure::Retry { reason, wait: None });
                };
                answer
            }
        };
        match answer {
            Ok(response) => Ok(accepted(response.into_inner(), batch.spans, destination)),
            Err(status) => {
                let reason = destination.explain_status(&status);
                Err(match classify(&status) {
                    Verdict::Retry { wait } => Failure::Retry { reason, wait },
                    Verdict::Refuse => Failure::Refused { reason },
                })
            }
        }
    }

    fn concurrency(&self) -> usize {
        self.shared.concurrency
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

/// A message that is encoded already.
#[derive(Debug)]
struct Raw(Bytes);

/// Sends [`Raw`] as it is, reads the service's response.
#[derive(Debug)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Raw;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Raw;
    type Error = Status;

    fn encode(&mut self, Raw(bytes): Raw, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(bytes.len());
        buffer.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        ExportTraceServiceResponse::decode(buffer)
            .map(Some)
            .map_err(|error| Status::internal(format!("the response is no OTLP message: {error}")))
    }
}
