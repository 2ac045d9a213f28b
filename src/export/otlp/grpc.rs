//! Batches of OTLP bytes → unary calls to a gRPC server, and its answers.

use std::sync::{Mutex, PoisonError};

use bytes::{BufMut as _, Bytes};
use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::connection::{endpoint, metadata};
use super::dial::Dial;
use super::generated::opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
use super::tls::Certificates;
use super::{Compression, OtlpConfig};
use crate::export::ExportError;

/// The method that takes spans.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A gRPC server.
#[derive(Debug)]
pub(super) struct GrpcTransport {
    endpoint: Mutex<Endpoint>,
    dial: Dial,
    /// Connects with the first call, and again when a connection is lost.
    channel: Mutex<Channel>,
    metadata: MetadataMap,
}

impl GrpcTransport {
    pub(super) fn new(config: &OtlpConfig, certificates: &Certificates) -> Result<Self, ExportError> {
        let (endpoint, dial) = (endpoint(config, certificates)?, Dial::new(config));
        Ok(Self {
            channel: Mutex::new(endpoint.connect_with_connector_lazy(dial.clone())),
            endpoint: Mutex::new(endpoint),
            dial,
            metadata: metadata(config)?,
        })
    }

    /// Sends a batch once.
    pub(super) async fn send(
        &self,
        bytes: Bytes,
        compression: Compression,
    ) -> Result<ExportTraceServiceResponse, Status> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut grpc = Grpc::new(channel)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        grpc = match compression {
            Compression::None => grpc,
            Compression::Gzip => grpc.send_compressed(CompressionEncoding::Gzip),
            Compression::Zstd => grpc.send_compressed(CompressionEncoding::Zstd),
        };
        let mut request = Request::new(Raw(bytes));
        *request.metadata_mut() = self.metadata.clone();
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        grpc.unary(request, PathAndQuery::from_static(EXPORT), RawCodec).await.map(tonic::Response::into_inner)
    }

    /// Leaves the connection to those who still wait on it; with other certificates, if there are any.
    pub(super) fn renew(&self, changed: Option<Endpoint>) {
        let mut endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = changed {
            *endpoint = changed;
        }
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) =
            endpoint.connect_with_connector_lazy(self.dial.clone());
    }
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
