//! An OTLP/gRPC server in this process that keeps Honeycomb's rules, and notes what breaks them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

/// What Honeycomb takes of a request, of a text, and how many fields of an event.
const MAX_REQUEST: usize = 15_000_000;
const MAX_TEXT: usize = 64 * 1024;
const MAX_FIELDS: usize = 2000;

/// How the server answers a key that it knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mood {
    Takes,
    /// Refuses with this code, and repeats the key.
    Echoes(Code),
    /// Takes the request but for one span, and repeats the key.
    EchoesInPartialSuccess,
}

/// What was sent to it.
#[derive(Debug, Default)]
pub struct Log {
    /// Of every call: `x-honeycomb-team`, `x-honeycomb-dataset`.
    pub calls: Vec<(Option<String>, Option<String>)>,
    /// Of what it took.
    pub spans: Vec<Span>,
    /// The largest request that it was sent, in bytes before compression.
    pub largest: usize,
    /// The texts that were longer than it takes, the events with too many fields.
    pub violations: Vec<String>,
}

/// The server, as long as its runtime lives.
#[derive(Clone)]
pub struct Honeycomb {
    pub address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

struct Service {
    /// The ingest key that it knows.
    key: String,
    mood: Mood,
    log: Arc<Mutex<Log>>,
}

impl Honeycomb {
    /// Starts one that knows `key`.
    pub async fn start(key: &str, mood: Mood) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let service = Service { key: key.to_owned(), mood, log: log.clone() };
        let service = TraceServiceServer::new(service)
            .max_decoding_message_size(MAX_REQUEST)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, log }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was sent; it forgets that.
    pub fn log(&self) -> Log {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let header = |name: &str| header(&metadata, name);
        let (team, dataset) = (header("x-honeycomb-team"), header("x-honeycomb-dataset"));
        let mut log = self.log.lock().unwrap();
        log.calls.push((team.clone(), dataset.clone()));
        log.largest = log.largest.max(message.encoded_len());
        let Some(team) = team else {
            return Err(Status::unauthenticated("missing 'x-honeycomb-team' header"));
        };
        if team != self.key {
            return Err(Status::unauthenticated("unknown API key - check your credentials"));
        }
        // A classic key names no environment, of which the services would be the datasets.
        if team.len() == 32 && dataset.is_none() {
            return Err(Status::invalid_argument("missing 'x-honeycomb-dataset' header"));
        }
        match self.mood {
            Mood::Echoes(code) => return Err(Status::new(code, format!("the key {team} was not liked"))),
            Mood::Takes | Mood::EchoesInPartialSuccess => log.take(message),
        }
        let partial_success = (self.mood == Mood::EchoesInPartialSuccess).then(|| ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: format!("the key {team} may send one span less"),
        });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

fn header(metadata: &MetadataMap, name: &str) -> Option<String> {
    Some(metadata.get(name)?.to_str().unwrap().to_owned())
}

impl Log {
    fn take(&mut self, request: ExportTraceServiceRequest) {
        for resource_spans in request.resource_spans {
            let shared = resource_spans.resource.map(|resource| resource.attributes).unwrap_or_default();
            for span in resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.judge(&span, &shared);
                self.spans.push(span);
            }
        }
    }

    fn judge(&mut self, span: &Span, shared: &[KeyValue]) {
        let fields: BTreeSet<&str> = shared.iter().chain(&span.attributes).map(|field| field.key.as_str()).collect();
        // What Honeycomb adds of the span itself: its name, ids, kind, times and status.
        if fields.len() + 20 > MAX_FIELDS {
            self.violations.push(format!("{} fields", fields.len()));
        }
        for field in shared.iter().chain(&span.attributes) {
            let longest = field.value.as_ref().map_or(0, longest);
            if longest > MAX_TEXT {
                self.violations.push(format!("{} has {longest} bytes", field.key));
            }
        }
    }
}

fn longest(value: &AnyValue) -> usize {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => text.len(),
        // As a list of texts is one text to Honeycomb.
        Some(any_value::Value::ArrayValue(list)) => list.values.iter().map(longest).max().unwrap_or(0),
        _ => 0,
    }
}
