//! Exchanges → spans, encoded and sent to a server in this process: spans a second of one core, allocations a span.
//!
//! What is measured runs in a thread of its own, with the processor's time of that thread; the server has others.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step is a failed run, and it prints its results"
)]
#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use network_agent::config::{Config, Terminal};
use network_agent::exchange::{Exchange, ExchangeSink};
use network_agent::export::{self, Destination, ExportCounters, Spans, WhenFull};
use network_agent::metadata::NoAddresses;
use network_agent::span::{NoNames, SpanBuilder};
use network_agent::telemetry::allocations::{self, Allocations, CountingAllocator};
use network_agent::worker::exchange_queue;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use support::{Conversation, Side};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const SPANS: u64 = 100_000;

/// Takes everything.
struct Service;

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn serve_grpc(listener: TcpListener) {
    let service = TraceServiceServer::new(Service)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd);
    Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
}

async fn serve_http(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
            request.into_body().collect().await?;
            Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::default()))
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// One of 1,000 exchanges as a browser makes them, over and over.
fn exchanges() -> Vec<Exchange> {
    let response = format!("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 200\r\n\r\n{}", "x".repeat(200));
    let mut conversation = Conversation::new().handshake();
    for number in 0..1000 {
        let request = format!(
            "GET /items/{number} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\
             Accept-Language: en\r\nCookie: a=b\r\nReferer: http://shop.example/\r\n\r\n"
        );
        conversation = conversation.client(request).server(&response).ack(Side::Client);
    }
    let (mut exchanges, _) = support::run(&conversation.frames);
    // The connection's last may be open still.
    exchanges.retain(|exchange| exchange.response.is_some());
    exchanges
}

/// What a run took.
struct Cost {
    wall: Duration,
    processor: Duration,
    allocations: u64,
    bytes: u64,
}

/// Exports `SPANS` with these settings, all of which wait in the queue when it begins.
fn export(exchanges: &[Exchange], variables: &[(&str, String)]) -> Cost {
    let environment =
        |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone());
    // As a file does: what finds no room waits. Nothing waits for other views.
    let arguments = ["network-agent", "--read", "bench.pcap", "--merge-window", "0s"];
    let config = Config::load(arguments.map(Into::into), environment, Terminal::No).unwrap();
    let (mut sender, receiver) = exchange_queue(1 << 30, WhenFull::Drop);
    for (exchange, number) in exchanges.iter().cycle().zip(1..=SPANS) {
        // With ids of its own, else it is another view of one that was before.
        let mut id = exchange.id;
        id.0[..8].copy_from_slice(&number.to_be_bytes());
        sender.accept(Exchange { id, request_key: number, ..exchange.clone() });
    }
    sender.flush();
    drop(sender);
    let measured = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let counters = Arc::<ExportCounters>::default();
        let (calls, began, processor) = (Allocations::now().calls(), Instant::now(), processor_time());
        runtime.block_on(async {
            let spans = Spans {
                builder: SpanBuilder::new(config.spans),
                local: Arc::new(NoAddresses),
                names: Arc::new(NoNames),
                resource: config.resource,
                identity: Vec::new(),
            };
            let destination = Destination::open(&config.export.output).unwrap();
            let (_stop, stopped) = watch::channel(false);
            export::run(receiver, spans, destination, None, config.export, counters.clone(), stopped).await.unwrap();
        });
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.spans_exported, SPANS);
        Cost {
            wall: began.elapsed(),
            processor: processor_time().saturating_sub(processor),
            allocations: Allocations::now().calls() - calls,
            bytes: snapshot.bytes,
        }
    });
    measured.join().unwrap()
}

/// What the processor gave this thread so far.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

fn listen(runtime: &tokio::runtime::Runtime) -> (TcpListener, SocketAddr) {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[expect(clippy::cast_precision_loss, reason = "numbers to look at")]
fn print(name: &str, cost: &Cost) {
    let spans = SPANS as f64;
    println!(
        "export, {name:24} {:>9.0} spans/s a core  {:>6.2} µs a span  {:>9.0} spans/s by the clock  {:>5.0} B a span",
        spans / cost.processor.as_secs_f64(),
        cost.processor.as_secs_f64() * 1e6 / spans,
        spans / cost.wall.as_secs_f64(),
        cost.bytes as f64 / spans,
    );
}

#[expect(clippy::cast_precision_loss, reason = "numbers to look at")]
fn main() {
    let exchanges = exchanges();
    let server = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ((grpc, grpc_at), (http, http_at)) = (listen(&server), listen(&server));
    server.spawn(serve_grpc(grpc));
    server.spawn(serve_http(http));
    let none = [("AGENT_EXPORT", "none".to_owned())];
    export(&exchanges, &none);
    let encoded = export(&exchanges, &none);
    print("encoded", &encoded);
    for (name, address) in [("grpc", grpc_at), ("http/protobuf", http_at)] {
        for compression in ["none", "gzip", "zstd"] {
            let variables = [
                ("AGENT_EXPORT", "otlp".to_owned()),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", name.to_owned()),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", compression.to_owned()),
            ];
            print(&format!("sent, {name}, {compression}"), &export(&exchanges, &variables));
        }
    }
    allocations::count();
    let counted = export(&exchanges, &none).allocations as f64 / SPANS as f64;
    println!("export, encoded: {counted:.3} allocations a span");
}
