//! The agent's own metrics at an OTLP/gRPC server: what was counted, by whom, and where it is told.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod destinations;
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use destinations::web::Web;
use network_agent::capture::{MemorySource, OwnedPacket, PacketSource};
use network_agent::config::{Config, ConfigError, Terminal};
use network_agent::export::{self, Destination, ExportCounters, Spans, WhenFull};
use network_agent::http::KeptFields;
use network_agent::metadata::NoAddresses;
use network_agent::pipeline::PipelineConfig;
use network_agent::span::{NoNames, SpanBuilder};
use network_agent::telemetry::metrics::{Metrics, MetricsConfig, MetricsDestination};
use network_agent::worker::{Crew, ExchangeReceiver, Stop, Watch, exchange_queue};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, NumberDataPoint};
use prost::Message as _;
use support::{Conversation, Frame};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

type Received = (MetadataMap, ExportMetricsServiceRequest);

struct Service {
    received: mpsc::UnboundedSender<Received>,
    refuses: bool,
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.received.send((metadata, message)).unwrap();
        if self.refuses {
            Err(Status::unimplemented("no metrics here"))
        } else {
            Ok(Response::new(ExportMetricsServiceResponse::default()))
        }
    }
}

async fn serve(refuses: bool) -> (SocketAddr, mpsc::UnboundedReceiver<Received>) {
    #[expect(clippy::disallowed_methods, reason = "a test receives as much as it sends")]
    let (sender, received) = mpsc::unbounded_channel();
    let service =
        MetricsServiceServer::new(Service { received: sender, refuses }).accept_compressed(CompressionEncoding::Gzip);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    (address, received)
}

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment =
        |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
    Config::load(["network-agent".into()], environment, Terminal::No)
}

/// What the agent is told, on top of a destination for all signals.
fn configuration(address: SocketAddr, more: &[(&str, &str)]) -> MetricsConfig {
    let endpoint = format!("http://{address}");
    let given = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_METRIC_EXPORT_INTERVAL", "50")];
    load(&[&given, more].concat()).unwrap().metrics.unwrap()
}

fn packets(frames: &[Frame]) -> Vec<OwnedPacket> {
    let packet = |frame: &Frame| OwnedPacket {
        at: network_agent::time::Timestamp::from_nanos(frame.at),
        data: frame.data.clone(),
        wire_length: frame.wire_length,
        link: frame.link,
        interface: frame.interface,
    };
    frames.iter().map(packet).collect()
}

fn start(config: &MetricsConfig, workers: Watch, counters: &Arc<ExportCounters>) -> Metrics {
    Metrics::start(MetricsDestination::open(config).unwrap(), workers, counters)
}

/// Two workers; the first sees two exchanges, the second one.
async fn crew() -> (Crew, ExchangeReceiver) {
    let (request, response) = ("GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 204 N\r\n\r\n");
    let talk = |client: &str| Conversation::between(client, "10.1.0.80:80").handshake();
    let once = talk("10.1.0.9:41000").client("GET /b HTTP/1.1\r\n\r\n").server(response);
    let twice = talk("10.1.0.7:41000").client(request).server(response).client(request).server(response);
    let sources: Vec<Box<dyn PacketSource>> =
        [twice, once].map(|it| Box::new(MemorySource::new(packets(&it.frames))) as Box<dyn PacketSource>).into();
    let (sender, receiver) = exchange_queue(1 << 20, WhenFull::Drop);
    let mut crew = Crew::start(sources, PipelineConfig::default(), &KeptFields::All, sender, &Stop::default()).unwrap();
    crew.finished().await.result.unwrap();
    (crew, receiver)
}

/// Takes all exchanges and sends them nowhere.
async fn export_all(receiver: ExchangeReceiver, counters: &Arc<ExportCounters>) {
    let config = load(&[("AGENT_EXPORT", "none")]).unwrap();
    let spans = Spans {
        builder: SpanBuilder::new(config.spans),
        local: Arc::new(NoAddresses),
        names: Arc::new(NoNames),
        resource: config.resource,
        identity: Vec::new(),
    };
    let (_stop, stopped) = watch::channel(false);
    let destination = Destination::open(&config.export.output).unwrap();
    export::run(receiver, spans, destination, None, config.export, counters.clone(), stopped).await.unwrap();
}

fn number(point: &NumberDataPoint) -> f64 {
    match point.value {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        Some(Value::AsInt(number)) => number as f64,
        Some(Value::AsDouble(number)) => number,
        None => panic!("a point without a value"),
    }
}

fn words(attributes: &[KeyValue]) -> String {
    let word = |pair: &KeyValue| match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => format!("{}={text}", pair.key),
        any_value::Value::IntValue(number) => format!("{}={number}", pair.key),
        other => panic!("{other:?}"),
    };
    let mut words: Vec<String> = attributes.iter().map(word).filter(|it| !it.starts_with("otel.component")).collect();
    words.sort();
    words.join(",")
}

fn metrics(request: &ExportMetricsServiceRequest) -> BTreeMap<String, Metric> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).map(|metric| (metric.name.clone(), metric.clone())).collect()
}

/// The points of a metric by their attributes in words.
fn points(metric: &Metric) -> BTreeMap<String, f64> {
    let points = match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => &sum.data_points,
        Data::Gauge(gauge) => &gauge.data_points,
        other => panic!("{other:?}"),
    };
    points.iter().map(|point| (words(&point.attributes), number(point))).collect()
}

fn of(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_counter_arrives_under_its_name_with_its_worker_and_reason() {
    let (address, mut received) = serve(false).await;
    let (crew, found) = crew().await;
    let counters = Arc::<ExportCounters>::default();
    let config = configuration(
        address,
        &[
            ("HONEYCOMB_STATS_DATASET", "my-stats"),
            ("ADDITIONAL_ATTRIBUTES", "team=a"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "2048"),
        ],
    );
    let metrics_of_agent = start(&config, crew.watch(), &counters);
    export_all(found, &counters).await;
    metrics_of_agent.stop(Duration::from_secs(5)).await;
    let mut last = None;
    while let Ok(one) = received.try_recv() {
        last = Some(one);
    }
    let (metadata, request) = last.unwrap();
    assert!(metadata.get("x-honeycomb-team").is_none());
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    let attributes = words(&resource.attributes);
    for expected in ["service.name=my-stats", "team=a", "telemetry.distro.name=network-agent"] {
        assert!(attributes.contains(expected), "{attributes}");
    }
    let metrics = metrics(&request);
    assert_eq!(points(&metrics["network_agent.exchange.emitted"]), of(&[("worker=0", 2.0), ("worker=1", 1.0)]));
    assert_eq!(points(&metrics["network_agent.exchange.queue_dropped"]), of(&[("", 0.0)]));
    assert_eq!(points(&metrics["network_agent.packet.packets"]), of(&[("worker=0", 7.0), ("worker=1", 5.0)]));
    let dropped = points(&metrics["network_agent.export.spans_dropped"]);
    assert_eq!(
        dropped.keys().cloned().collect::<Vec<_>>(),
        ["queue_full", "refused", "rejected", "shutdown", "spool"].map(|it| format!("reason={it}"))
    );
    assert_eq!(metrics["network_agent.packet.wire_bytes"].unit, "By");
    assert!(matches!(metrics["network_agent.tcp.active"].data, Some(Data::Gauge(_))));
    let Some(Data::Sum(sum)) = &metrics["network_agent.packet.packets"].data else { panic!("no sum") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == AggregationTemporality::Cumulative as i32);
    for name in [
        "otel.sdk.exporter.span.exported",
        "otel.sdk.exporter.span.inflight",
        "otel.sdk.processor.span.queue.size",
        "otel.sdk.processor.span.queue.capacity",
        "otel.sdk.processor.span.processed",
        "process.memory.usage",
        "process.cpu.time",
        "process.unix.file_descriptor.count",
    ] {
        assert!(!points(&metrics[name]).is_empty(), "{name}");
    }
    assert!(points(&metrics["process.memory.usage"])[""] > 1e6);
    let server = format!("server.address=127.0.0.1,server.port={}", address.port());
    assert_eq!(points(&metrics["otel.sdk.exporter.span.exported"]).get(&server), Some(&3.0));
    assert_eq!(points(&metrics["otel.sdk.processor.span.queue.capacity"]).get(""), Some(&2048.0));
    assert_eq!(points(&metrics["otel.sdk.processor.span.processed"]).get(""), Some(&3.0));
    let Some(Data::Histogram(time)) = &metrics["otel.sdk.exporter.operation.duration"].data else { panic!("no times") };
    assert_eq!(time.data_points.iter().map(|point| point.count).sum::<u64>(), 1, "one batch");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_go_over_http_with_headers_and_compression_as_spans_do() {
    for (compression, coding) in [("none", ""), ("gzip", "gzip"), ("zstd", "zstd")] {
        let mut web = Web::scripted(vec![]).await;
        let (crew, _receiver) = crew().await;
        let more = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=seven"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
        ];
        let config = configuration(web.address, &more);
        let metrics_of_agent = start(&config, crew.watch(), &Arc::<ExportCounters>::default());
        metrics_of_agent.stop(Duration::from_secs(5)).await;
        let request = web.next().await;
        assert_eq!((request.line.as_str(), request.header("x-tenant")), ("POST /v1/metrics", "seven"));
        assert_eq!(request.header("content-encoding"), coding);
        let message = ExportMetricsServiceRequest::decode(request.plain()).unwrap();
        assert!(metrics(&message).contains_key("network_agent.packet.packets"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_numbers_are_sent_at_the_end_whatever_the_interval() {
    let (address, mut received) = serve(false).await;
    let (crew, _receiver) = crew().await;
    let more = [
        ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-tenant=seven"),
    ];
    let endpoint = format!("http://{address}");
    let config = load(
        &[
            &[
                ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint.as_str()),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://192.0.2.1:4317"),
            ],
            &more[..],
        ]
        .concat(),
    );
    let metrics_of_agent = start(&config.unwrap().metrics.unwrap(), crew.watch(), &Arc::<ExportCounters>::default());
    metrics_of_agent.stop(Duration::from_secs(5)).await;
    let (metadata, request) = received.recv().await.unwrap();
    assert_eq!(metadata.get("x-tenant").unwrap(), "seven");
    let metrics = metrics(&request);
    let Some(Data::Sum(sum)) = &metrics["network_agent.packet.packets"].data else { panic!("no sum") };
    assert_eq!(sum.aggregation_temporality, AggregationTemporality::Delta as i32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_without_metrics_or_one_that_hangs_holds_nothing_up() {
    let (address, mut received) = serve(true).await;
    let (crew, _receiver) = crew().await;
    let counters = Arc::<ExportCounters>::default();
    let refused = start(&configuration(address, &[]), crew.watch(), &counters);
    received.recv().await.unwrap();
    received.recv().await.unwrap();
    refused.stop(Duration::from_secs(5)).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = start(&configuration(silent.local_addr().unwrap(), &[]), crew.watch(), &counters);
    // Its connection is made, and nothing is ever answered.
    silent.accept().await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), hangs.stop(Duration::from_millis(200))).await.unwrap();
}

#[test]
fn metrics_go_where_the_variables_say() {
    let key = ("HONEYCOMB_API_KEY", "hcaik_0123456789");
    let destination = |variables: &[(&str, &str)]| {
        let metrics = load(variables).unwrap().metrics?;
        let headers = metrics.destination.headers.iter().map(|(name, value)| format!("{name}={}", value.reveal()));
        Some((metrics.destination.endpoint.to_string(), headers.collect::<Vec<_>>().join(",")))
    };
    let (endpoint, headers) = destination(&[key]).unwrap();
    assert_eq!(endpoint, "https://api.honeycomb.io:443/");
    assert_eq!(headers, "x-honeycomb-team=hcaik_0123456789,x-honeycomb-dataset=hny-network-agent-stats");
    let (_, headers) = destination(&[key, ("HONEYCOMB_STATS_DATASET", "mine")]).unwrap();
    assert!(headers.ends_with("x-honeycomb-dataset=mine"), "{headers}");
    let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
    assert_eq!(destination(&[collector, key]).unwrap(), ("http://collector:4317/".to_owned(), String::new()));
    let traces_only = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://jaeger:4317");
    assert_eq!(destination(&[traces_only]), None, "a destination for traces alone gets no metrics");
    assert_eq!(destination(&[collector, ("OTEL_METRICS_EXPORTER", "none")]), None);
    assert_eq!(destination(&[collector, ("OTEL_SDK_DISABLED", "true")]), None);
    assert_eq!(destination(&[collector, ("AGENT_EXPORT", "json")]), None);
    let config = load(&[collector, ("OTEL_METRIC_EXPORT_INTERVAL", "0")]).unwrap();
    assert_eq!(config.metrics.unwrap().interval, Duration::from_secs(60));
    assert!(config.warnings.iter().any(|warning| warning.contains("OTEL_METRIC_EXPORT_INTERVAL")));
    // What both signals share is told once.
    let Err(ConfigError::Faults(faults)) = load(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://x")]) else { panic!("taken") };
    assert_eq!(faults.0.len(), 1);
}
