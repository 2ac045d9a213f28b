//! Spans → an OTLP/gRPC server in this process, over real sockets, and its answers back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod destinations;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use destinations::{batch, config, pem, refused, retried, tls_file};
use network_agent::export::otlp::{Compression, OtlpConfig, OtlpExporter, Secret};
use network_agent::export::{
    Accepted, BatchConfig, ExportConfig, ExportError, Exporter as _, Failure, MergeConfig, OutputConfig, WhenFull,
    check,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// How the server answers one call.
enum Answer {
    Partial(i64, &'static str),
    Status(Status),
    Never,
}

/// A server of OTLP that answers as scripted, then accepts, and shows what it got.
struct Collector {
    address: SocketAddr,
    received: mpsc::UnboundedReceiver<(MetadataMap, ExportTraceServiceRequest)>,
}

struct Service {
    script: Mutex<VecDeque<Answer>>,
    received: mpsc::UnboundedSender<(MetadataMap, ExportTraceServiceRequest)>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.received.send((metadata, message)).unwrap();
        let answer = self.script.lock().unwrap().pop_front();
        let partial_success = match answer {
            None => None,
            Some(Answer::Partial(rejected_spans, message)) => {
                Some(ExportTracePartialSuccess { rejected_spans, error_message: message.to_owned() })
            }
            Some(Answer::Status(status)) => return Err(status),
            Some(Answer::Never) => std::future::pending().await,
        };
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

impl Collector {
    async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::start_with(script, Server::builder(), &[CompressionEncoding::Gzip, CompressionEncoding::Zstd], 0).await
    }

    async fn start_with(
        script: impl IntoIterator<Item = Answer>,
        mut server: Server,
        compressions: &[CompressionEncoding],
        port: u16,
    ) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test receives as much as it sends")]
        let (sender, received) = mpsc::unbounded_channel();
        let service = Service { script: Mutex::new(script.into_iter().collect()), received: sender };
        let mut service = TraceServiceServer::new(service);
        for compression in compressions {
            service = service.accept_compressed(*compression);
        }
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = server.add_service(service);
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, received }
    }

    fn config(&self) -> OtlpConfig {
        config(&format!("http://{}", self.address))
    }
}

async fn export(config: &OtlpConfig) -> Result<Accepted, Failure> {
    OtlpExporter::new(config).unwrap().export(batch(&["/a", "/b"])).await
}

#[tokio::test]
async fn the_server_receives_what_was_sent() {
    let mut collector = Collector::start([]).await;
    assert_eq!(export(&collector.config()).await.unwrap(), Accepted::default());

    let (_, request) = collector.received.recv().await.unwrap();
    let resource_spans = &request.resource_spans[0];
    assert_eq!(resource_spans.schema_url, "https://opentelemetry.io/schemas/1.44.0");
    assert_eq!(resource_spans.resource.as_ref().unwrap().attributes[0].key, "service.name");
    let scope_spans = &resource_spans.scope_spans[0];
    assert_eq!(scope_spans.schema_url, "https://opentelemetry.io/schemas/1.44.0");
    assert_eq!(scope_spans.scope.as_ref().unwrap().name, "network-agent");
    assert_eq!(scope_spans.spans.len(), 2);
    let span = &scope_spans.spans[1];
    assert_eq!((&span.trace_id[..], &span.span_id[..]), (&b"0123456789abcdef"[..], &b"01234567"[..]));
    assert_eq!((&span.parent_span_id[..], span.flags), (&b"parent!!"[..], 0x301));
    assert_eq!((span.name.as_str(), span.kind, span.trace_state.as_str()), ("GET", 3, "vendor=1"));
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 12_300_000);
    assert_eq!((span.status.as_ref().unwrap().code, span.dropped_attributes_count), (2, 3));
    let value = span.attributes[0].value.as_ref().unwrap().value.as_ref().unwrap();
    assert_eq!(*value, any_value::Value::StringValue("/b".to_owned()));
}

/// The whole program: a capture file in, spans at a server, each once, in batches as set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_read_arrives_at_the_server() {
    let mut collector = Collector::start([Answer::Status(Status::unavailable("not yet"))]).await;
    let endpoint = format!("http://{}", collector.address);
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_network-agent"))
        .env_clear()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
        .args(["--read", concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop.pcap"), "--export", "otlp"])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut ids = Vec::new();
    let mut sizes = Vec::new();
    while let Ok((metadata, request)) = collector.received.try_recv() {
        assert_eq!(metadata.get("x-team").unwrap(), "shop");
        let spans = &request.resource_spans[0].scope_spans[0].spans;
        sizes.push(spans.len());
        ids.extend(spans.iter().map(|span| span.span_id.clone()));
    }
    // The first batch was refused once and came again.
    assert_eq!(sizes, [5, 5, 5]);
    let mut distinct = ids.split_off(5);
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 10);
}

#[tokio::test]
async fn headers_and_the_agents_name_go_with_every_call() {
    let mut collector = Collector::start([]).await;
    let headers = vec![("x-honeycomb-team".to_owned(), Secret::new("hcaik_123"))];
    export(&OtlpConfig { headers, ..collector.config() }).await.unwrap();
    let (metadata, _) = collector.received.recv().await.unwrap();
    assert_eq!(metadata.get("x-honeycomb-team").unwrap(), "hcaik_123");
    let agent = metadata.get("user-agent").unwrap().to_str().unwrap();
    assert!(agent.starts_with(concat!("network-agent/", env!("CARGO_PKG_VERSION"))), "{agent}");
}

#[tokio::test]
async fn gzip_and_zstd_compress_requests() {
    for (compression, encoding) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let mut collector = Collector::start([]).await;
        export(&OtlpConfig { compression, ..collector.config() }).await.unwrap();
        let (metadata, request) = collector.received.recv().await.unwrap();
        assert_eq!(metadata.get("grpc-encoding").unwrap(), encoding);
        assert_eq!(request.resource_spans[0].scope_spans[0].spans.len(), 2);
    }
}

#[tokio::test]
async fn a_compression_that_the_server_does_not_know_is_refused_with_the_variable_that_sets_it() {
    let collector = Collector::start_with([], Server::builder(), &[], 0).await;
    let reason = refused(export(&OtlpConfig { compression: Compression::Zstd, ..collector.config() }).await);
    assert!(reason.contains("OTEL_EXPORTER_OTLP_COMPRESSION"), "{reason}");
}

#[tokio::test]
async fn a_server_without_zstd_gets_gzip_and_nothing_is_lost() {
    let mut collector = Collector::start_with([], Server::builder(), &[CompressionEncoding::Gzip], 0).await;
    let exporter = OtlpExporter::new(&OtlpConfig { compression: Compression::Zstd, ..collector.config() }).unwrap();
    for _ in 0..2 {
        exporter.export(batch(&["/a", "/b"])).await.unwrap();
        let (metadata, request) = collector.received.recv().await.unwrap();
        assert_eq!(metadata.get("grpc-encoding").unwrap(), "gzip");
        assert_eq!(request.resource_spans[0].scope_spans[0].spans.len(), 2);
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_can_be_cut() {
    let refusal = Status::resource_exhausted("grpc: received message larger than max (5000000 vs. 4194304)");
    let mut collector = Collector::start([Answer::Status(refusal)]).await;
    let exporter = OtlpExporter::new(&collector.config()).unwrap();
    let whole = batch(&["/a", "/b", "/c"]);
    assert!(matches!(exporter.export(whole.clone()).await, Err(Failure::TooLarge { .. })));
    collector.received.recv().await.unwrap();
    for (half, spans) in exporter.halves(&whole).unwrap().into_iter().zip([1, 2]) {
        exporter.export(half).await.unwrap();
        let (_, request) = collector.received.recv().await.unwrap();
        assert_eq!(request.resource_spans[0].scope_spans[0].spans.len(), spans);
    }
}

#[tokio::test]
async fn an_unavailable_server_is_to_be_asked_again() {
    let collector = Collector::start([Answer::Status(Status::unavailable("overloaded"))]).await;
    let (reason, wait) = retried(export(&collector.config()).await);
    assert_eq!(reason, format!("http://{} is not available (\"overloaded\")", collector.address));
    assert_eq!(wait, None);
}

#[tokio::test]
async fn an_exhausted_server_is_asked_again_only_when_it_says_when() {
    let delay = Duration::from_secs(7);
    let with_info = Status::with_error_details(Code::ResourceExhausted, "", ErrorDetails::with_retry_info(Some(delay)));
    let without = Status::resource_exhausted("no more today");
    let collector = Collector::start([Answer::Status(with_info), Answer::Status(without)]).await;
    assert_eq!(retried(export(&collector.config()).await).1, Some(delay));
    assert!(refused(export(&collector.config()).await).contains("no more today"));
}

#[tokio::test]
async fn a_refused_key_is_final_and_never_repeated() {
    let collector = Collector::start([Answer::Status(Status::unauthenticated("unknown key hcaik_123"))]).await;
    let headers = vec![("x-honeycomb-team".to_owned(), Secret::new("hcaik_123"))];
    let reason = refused(export(&OtlpConfig { headers, ..collector.config() }).await);
    assert!(reason.ends_with("check HONEYCOMB_API_KEY / OTEL_EXPORTER_OTLP_HEADERS"), "{reason}");
    assert!(!reason.contains("hcaik_123"), "{reason}");
}

#[tokio::test]
async fn a_partial_success_says_how_many_spans_were_rejected_and_why() {
    let script = [Answer::Partial(1, "too old"), Answer::Partial(0, "mind the clock"), Answer::Partial(99, "")];
    let collector = Collector::start(script).await;
    let accepted = export(&collector.config()).await.unwrap();
    assert_eq!(accepted.rejected, 1);
    assert!(accepted.message.contains("\"too old\""), "{}", accepted.message);
    let warned = export(&collector.config()).await.unwrap();
    assert_eq!(warned.rejected, 0);
    assert!(warned.message.contains("\"mind the clock\""), "{}", warned.message);
    assert_eq!(export(&collector.config()).await.unwrap().rejected, 2, "no more than were sent");
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_asked_again_on_a_new_connection() {
    let mut collector = Collector::start([Answer::Never]).await;
    let config = OtlpConfig { timeout: Duration::from_millis(200), ..collector.config() };
    let exporter = OtlpExporter::new(&config).unwrap();
    let (reason, _) = retried(exporter.export(batch(&["/a"])).await);
    assert!(reason.contains("gave no answer within 0.2 s"), "{reason}");
    collector.received.recv().await.unwrap();
    exporter.export(batch(&["/a"])).await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_is_retried_and_names_endpoint_and_variable() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (reason, _) = retried(export(&config(&format!("http://{address}"))).await);
    assert_eq!(
        reason,
        format!(
            "nothing listens at http://{address} (connection refused): start an OTLP receiver there, or set \
             OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    );
}

#[tokio::test]
async fn a_host_without_an_address_is_retried_and_named() {
    let (reason, _) = retried(export(&config("http://no-such-host.invalid:4317")).await);
    assert!(reason.contains("http://no-such-host.invalid:4317"), "{reason}");
    assert!(reason.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{reason}");
}

#[tokio::test]
async fn a_server_that_was_restarted_is_found_again() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let collector = runtime.spawn(Collector::start([])).await.unwrap();
    let (config, port) = (collector.config(), collector.address.port());
    let exporter = OtlpExporter::new(&config).unwrap();
    exporter.export(batch(&["/a"])).await.unwrap();

    // With its runtime the server loses its socket and every connection.
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10))).await.unwrap();
    retried(exporter.export(batch(&["/b"])).await);

    let mut restarted = Collector::start_with([], Server::builder(), &[], port).await;
    exporter.export(batch(&["/b"])).await.unwrap();
    assert!(restarted.received.recv().await.is_some());
}

#[tokio::test]
async fn a_server_that_ages_its_connections_refuses_nothing() {
    let server = Server::builder().max_connection_age(Duration::from_millis(5));
    let mut collector = Collector::start_with([], server, &[], 0).await;
    let exporter = OtlpExporter::new(&collector.config()).unwrap();
    for _ in 0..300 {
        while let Err(failure) = exporter.export(batch(&["/a"])).await {
            retried(Err(failure));
        }
        collector.received.recv().await.unwrap();
    }
}

fn tls() -> ServerTlsConfig {
    ServerTlsConfig::new().identity(Identity::from_pem(pem("server.pem"), pem("server.key")))
}

async fn tls_collector(tls: ServerTlsConfig) -> Collector {
    let server = Server::builder().tls_config(tls).unwrap();
    Collector::start_with([], server, &[CompressionEncoding::Gzip], 0).await
}

fn tls_config(collector: &Collector) -> OtlpConfig {
    OtlpConfig {
        compression: Compression::Gzip,
        certificate: Some(tls_file("ca.pem")),
        ..config(&format!("https://localhost:{}", collector.address.port()))
    }
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_it_is_named() {
    let mut collector = tls_collector(tls()).await;
    export(&tls_config(&collector)).await.unwrap();
    assert!(collector.received.recv().await.is_some());
}

#[tokio::test]
async fn an_unknown_authority_is_explained() {
    let collector = tls_collector(tls()).await;
    let (reason, _) = retried(export(&OtlpConfig { certificate: None, ..tls_config(&collector) }).await);
    assert!(reason.contains("authority that is not trusted"), "{reason}");
    assert!(reason.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{reason}");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_explained() {
    let collector = tls_collector(tls()).await;
    let endpoint = format!("https://127.0.0.1:{}", collector.address.port()).parse().unwrap();
    let (reason, _) = retried(export(&OtlpConfig { endpoint, ..tls_config(&collector) }).await);
    assert!(reason.contains("is for another host"), "{reason}");
}

#[tokio::test]
async fn mutual_tls_shows_the_clients_certificate() {
    let mut collector = tls_collector(tls().client_ca_root(Certificate::from_pem(pem("ca.pem")))).await;
    let identity = Some((tls_file("client.pem"), tls_file("client.key")));
    export(&OtlpConfig { client_identity: identity, ..tls_config(&collector) }).await.unwrap();
    assert!(collector.received.recv().await.is_some());
}

#[tokio::test]
async fn a_missing_client_certificate_is_explained() {
    let collector = tls_collector(tls().client_ca_root(Certificate::from_pem(pem("ca.pem")))).await;
    let (reason, _) = retried(export(&tls_config(&collector)).await);
    assert!(reason.contains("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"), "{reason}");
}

#[tokio::test]
async fn tls_to_a_plaintext_server_is_explained() {
    let collector = Collector::start([]).await;
    let (reason, _) = retried(export(&tls_config(&collector)).await);
    assert!(reason.contains("does not speak TLS"), "{reason}");
}

#[tokio::test]
async fn plaintext_to_a_tls_server_is_retried_with_a_hint_at_the_scheme() {
    let collector = tls_collector(tls()).await;
    let (reason, _) = retried(export(&collector.config()).await);
    assert!(reason.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{reason}");
}

#[tokio::test]
async fn files_that_are_no_certificates_are_faults_of_the_configuration() {
    let cases = [
        (Some(tls_file("no-such-file")), "OTEL_EXPORTER_OTLP_CERTIFICATE="),
        (Some(tls_file("README.md")), "holds no certificate in PEM form"),
    ];
    for (certificate, expected) in cases {
        let error = OtlpExporter::new(&OtlpConfig { certificate, ..config("https://localhost:1") }).unwrap_err();
        assert!(matches!(error, ExportError::Configuration(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_a_fault_of_the_configuration_without_its_value() {
    let headers = vec![("x-honeycomb-team".to_owned(), Secret::new("key\nwith newline"))];
    let error = OtlpExporter::new(&OtlpConfig { headers, ..config("http://localhost:1") }).unwrap_err();
    assert!(matches!(error, ExportError::Configuration(_)));
    assert!(error.to_string().contains("x-honeycomb-team"), "{error}");
    assert!(!error.to_string().contains("with newline"), "{error}");
}

fn export_config(otlp: OtlpConfig) -> ExportConfig {
    ExportConfig {
        output: OutputConfig::Otlp(Box::new(otlp)),
        merge: MergeConfig { window: Duration::ZERO, max_bytes: 0, patience: None },
        batch: BatchConfig {
            max_spans: 512,
            max_bytes: 3 << 20,
            delay: Duration::from_secs(1),
            queue_bytes: 32 << 20,
            queue_spans: None,
            when_full: WhenFull::Drop,
        },
        spool: None,
        shutdown_timeout: Duration::from_secs(5),
    }
}

#[tokio::test]
async fn the_check_says_what_it_reached() {
    let plain = Collector::start([]).await;
    let reached = check(&export_config(plain.config())).await.unwrap();
    assert_eq!(reached, format!("reached http://{} (plaintext)", plain.address));

    let tls = tls_collector(tls()).await;
    let reached = check(&export_config(tls_config(&tls))).await.unwrap();
    assert_eq!(reached, format!("reached https://localhost:{} (TLS, HTTP/2)", tls.address.port()));
}

#[tokio::test]
async fn the_check_says_why_it_reached_nothing() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = check(&export_config(config(&format!("http://{address}")))).await.unwrap_err();
    assert!(matches!(error, ExportError::Unreachable(_)));
    assert!(error.to_string().starts_with(&format!("nothing listens at http://{address}")), "{error}");

    let untrusted = tls_collector(tls()).await;
    let error = check(&export_config(OtlpConfig { certificate: None, ..tls_config(&untrusted) })).await.unwrap_err();
    assert!(error.to_string().contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{error}");
}
