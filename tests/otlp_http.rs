//! Spans → an OTLP/HTTP server in this process, over real sockets, and its answers back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod destinations;

use std::time::Duration;

use destinations::authority::Authority;
use destinations::proxy::Proxy as TestProxy;
use destinations::web::{Answer, Received, Web, answer, taken};
use destinations::{batch, config, refused, retried};
use network_agent::export::otlp::{Compression, OtlpConfig, OtlpExporter, Protocol, Proxy, Secret};
use network_agent::export::{Accepted, Exporter as _, Failure};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

fn over_http(web: &Web) -> OtlpConfig {
    OtlpConfig { protocol: Protocol::HttpProtobuf, ..config(&format!("http://{}/v1/traces", web.address)) }
}

async fn export(config: &OtlpConfig) -> Result<Accepted, Failure> {
    OtlpExporter::new(config).unwrap().export(batch(&["/a", "/b"])).await
}

/// What becomes of a batch when the server answers so.
async fn when(answer: Answer) -> Result<Accepted, Failure> {
    let web = Web::scripted(vec![answer]).await;
    export(&over_http(&web)).await
}

/// The number of spans, decoded by somebody else's types.
fn spans(received: &Received) -> usize {
    let request = ExportTraceServiceRequest::decode(received.plain()).unwrap();
    request.resource_spans.iter().flat_map(|resource| &resource.scope_spans).map(|scope| scope.spans.len()).sum()
}

#[tokio::test]
async fn spans_are_posted_as_protobuf_with_headers_and_the_agents_name() {
    let mut web = Web::scripted(vec![]).await;
    let headers = vec![("x-honeycomb-team".to_owned(), Secret::new("hcaik_123"))];
    assert_eq!(export(&OtlpConfig { headers, ..over_http(&web) }).await.unwrap(), Accepted::default());
    let received = web.next().await;
    assert_eq!(received.line, "POST /v1/traces");
    assert_eq!(received.header("content-type"), "application/x-protobuf");
    assert_eq!(received.header("x-honeycomb-team"), "hcaik_123");
    assert!(received.header("user-agent").starts_with("network-agent/"));
    assert_eq!(spans(&received), 2);
}

#[tokio::test]
async fn bodies_are_compressed_as_asked() {
    for (compression, coding) in [(Compression::None, ""), (Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let mut web = Web::scripted(vec![]).await;
        export(&OtlpConfig { compression, ..over_http(&web) }).await.unwrap();
        let received = web.next().await;
        assert_eq!((received.header("content-encoding"), spans(&received)), (coding, 2));
    }
}

#[tokio::test]
async fn a_server_without_zstd_gets_gzip_from_then_on() {
    for status in [400, 415] {
        let mut web = Web::start(None, move |_, received: &Received| {
            if received.header("content-encoding") == "zstd" { answer(status, &[], "zstd?") } else { taken() }
        })
        .await;
        let exporter = OtlpExporter::new(&OtlpConfig { compression: Compression::Zstd, ..over_http(&web) }).unwrap();
        exporter.export(batch(&["/a"])).await.unwrap();
        exporter.export(batch(&["/b"])).await.unwrap();
        let mut codings = Vec::new();
        for _ in 0..3 {
            codings.push(web.next().await.header("content-encoding").to_owned());
        }
        assert_eq!(codings, ["zstd", "gzip", "gzip"]);
    }
}

#[tokio::test]
async fn overload_and_outages_on_the_way_are_to_be_asked_again_when_the_server_says() {
    for status in [429, 502, 503, 504] {
        let (_, wait) = retried(when(answer(status, &[("retry-after", "7")], "")).await);
        assert_eq!(wait, Some(Duration::from_secs(7)), "{status}");
        let (_, wait) = retried(when(answer(status, &[], "")).await);
        assert_eq!(wait, None, "{status}");
    }
}

#[tokio::test]
async fn what_is_final_is_not_asked_again() {
    for status in [400, 401, 403, 404, 405, 500, 501, 505] {
        refused(when(answer(status, &[], "no")).await);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let reason = refused(when(answer(307, &[("location", "http://elsewhere/")], "")).await);
    assert!(reason.contains("http://elsewhere/"), "{reason}");
}

#[tokio::test]
async fn the_servers_words_are_read_from_its_status_message_or_its_text() {
    let status = tonic_types::Status { code: 3, message: "bad span".to_owned(), details: Vec::new() };
    let reason = refused(when(answer(400, &[PROTOBUF], status.encode_to_vec())).await);
    assert!(reason.ends_with("answered 400 Bad Request (\"bad span\")"), "{reason}");
    let reason = refused(when(answer(400, &[], "<html>\nno")).await);
    assert!(reason.ends_with("(\"<html> no\")"), "{reason}");
}

#[tokio::test]
async fn a_wrong_path_names_the_path_and_the_variables() {
    let reason = refused(when(answer(404, &[], "404 page not found")).await);
    for words in ["/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        assert!(reason.contains(words), "{reason}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_can_be_cut() {
    assert!(matches!(when(answer(413, &[], "")).await, Err(Failure::TooLarge { .. })));
}

#[tokio::test]
async fn a_partial_success_counts_what_was_rejected() {
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() };
    let response = ExportTraceServiceResponse { partial_success: Some(partial) };
    let accepted = when(answer(200, &[PROTOBUF], response.encode_to_vec())).await.unwrap();
    assert_eq!(accepted.rejected, 1);
    assert!(accepted.message.contains("\"too old\""), "{}", accepted.message);
}

#[tokio::test]
async fn an_answer_in_json_is_read_and_one_that_cannot_be_read_undoes_nothing() {
    let json = r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}"#;
    let accepted = when(answer(200, &[("content-type", "application/json; charset=utf-8")], json)).await.unwrap();
    assert_eq!(accepted.rejected, 1);
    let with_parameter = [("content-type", "application/x-protobuf; charset=utf-8")];
    let partial = ExportTracePartialSuccess { rejected_spans: 2, ..ExportTracePartialSuccess::default() };
    let response = ExportTraceServiceResponse { partial_success: Some(partial) };
    assert_eq!(when(answer(200, &with_parameter, response.encode_to_vec())).await.unwrap().rejected, 2);
    for (kind, body) in
        [("application/x-protobuf", "\u{1}\u{2}no protobuf"), ("application/json", "{"), ("text/plain", "ok")]
    {
        assert_eq!(when(answer(200, &[("content-type", kind)], body)).await.unwrap(), Accepted::default());
    }
}

#[tokio::test]
async fn a_page_to_log_in_is_no_answer_to_spans() {
    let (reason, _) = retried(when(answer(200, &[("content-type", "text/html")], "<html>log in")).await);
    assert!(reason.contains("a page, where OTLP answers with a message"), "{reason}");
}

#[tokio::test]
async fn a_silent_server_and_an_absent_one_are_asked_again() {
    let web = Web::scripted(vec![None]).await;
    let exporter = OtlpExporter::new(&OtlpConfig { timeout: Duration::from_millis(200), ..over_http(&web) }).unwrap();
    let (reason, _) = retried(exporter.export(batch(&["/a"])).await);
    assert!(reason.contains("gave no answer within 0.2 s"), "{reason}");
    exporter.export(batch(&["/a"])).await.unwrap();

    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let absent = OtlpConfig { protocol: Protocol::HttpProtobuf, ..config(&format!("http://{address}/v1/traces")) };
    let (reason, _) = retried(export(&absent).await);
    assert!(reason.starts_with(&format!("nothing listens at http://{address} ")), "{reason}");
}

#[tokio::test]
async fn a_connection_that_the_server_half_closes_or_breaks_off_is_made_again() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        for says in ["", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n12345"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let exporter =
                OtlpExporter::new(&OtlpConfig { protocol, ..config(&format!("http://{address}/v1/traces")) }).unwrap();
            let server = tokio::spawn(async move {
                for _ in 0..2 {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    // Reads on, says no more.
                    stream.write_all(says.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                }
            });
            for _ in 0..2 {
                retried(exporter.export(batch(&["/a"])).await);
            }
            server.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_machine_without_authorities_has_those_that_are_compiled_in() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_network-agent"))
            .env_clear()
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/nonexistent")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://{address}"))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .args(["--check", "--read", concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop.pcap"), "--export", "otlp"])
            .output()
            .await
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains(&format!("nothing listens at https://{address}")), "{said}");
    }
}

/// A TLS server, and the configuration that trusts it.
async fn behind_tls(authority: &Authority, folder: &tempfile::TempDir) -> (Web, OtlpConfig) {
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let web = Web::start(Some(authority.sign("otlp.example").acceptor()), |_, _| taken()).await;
    let config = OtlpConfig {
        protocol: Protocol::HttpProtobuf,
        certificate: Some(ca),
        ..config("https://otlp.example:443/v1/traces")
    };
    (web, config)
}

fn proxy(at: &TestProxy) -> Proxy {
    Proxy { uri: format!("http://{}", at.address).parse().unwrap(), authorization: None }
}

#[tokio::test]
async fn a_proxy_opens_the_way_and_sees_neither_key_nor_spans() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (mut web, config) = behind_tls(&authority, &folder).await;
    let mut opener = TestProxy::start(web.address, "200 Connection established").await;
    let authorization = Some("Basic bWU6c2VjcmV0".parse().unwrap());
    let headers = vec![("x-honeycomb-team".to_owned(), Secret::new("hcaik_123"))];
    let config = OtlpConfig { headers, proxy: Some(Proxy { authorization, ..proxy(&opener) }), ..config };
    export(&config).await.unwrap();
    assert_eq!(spans(&web.next().await), 2);
    let asked = opener.asked.recv().await.unwrap();
    assert!(asked.starts_with("CONNECT otlp.example:443 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"), "{asked}");
    assert!(!asked.contains("hcaik_123"));
}

#[tokio::test]
async fn a_proxy_that_gives_no_way_is_named_with_what_it_wants() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (web, config) = behind_tls(&authority, &folder).await;
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        for (answer, words) in [
            ("407 Proxy Authentication Required", "it asks for a user and a password"),
            ("403 Forbidden", "it refuses"),
        ] {
            let closed = TestProxy::start(web.address, answer).await;
            let config = OtlpConfig { protocol, proxy: Some(proxy(&closed)), ..config.clone() };
            let (reason, _) = retried(export(&config).await);
            assert!(reason.contains(words) && reason.contains("HTTPS_PROXY"), "{reason}");
        }
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = Proxy { uri: format!("http://{nobody}").parse().unwrap(), authorization: None };
    let (reason, _) = retried(export(&OtlpConfig { proxy: Some(gone), ..config }).await);
    assert!(reason.contains(&format!("the proxy http://{nobody} gives no way")), "{reason}");
}

#[tokio::test]
async fn an_authority_that_is_renewed_on_the_disk_is_trusted_without_a_restart() {
    let (old, new, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let (mut web, config) = behind_tls(&new, &folder).await;
    std::fs::write(folder.path().join("ca.pem"), old.pem()).unwrap();
    let opener = TestProxy::start(web.address, "200 OK").await;
    let exporter = OtlpExporter::new(&OtlpConfig { proxy: Some(proxy(&opener)), ..config }).unwrap();
    let (reason, _) = retried(exporter.export(batch(&["/a"])).await);
    assert!(reason.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{reason}");
    std::fs::write(folder.path().join("ca.pem"), "half a file").unwrap();
    retried(exporter.export(batch(&["/a"])).await);
    std::fs::write(folder.path().join("ca.pem"), new.pem()).unwrap();
    retried(exporter.export(batch(&["/a"])).await);
    exporter.export(batch(&["/a"])).await.unwrap();
    web.next().await;
}

/// The whole program, with Honeycomb behind a proxy: what it says of a key that Honeycomb knows, or does not.
async fn with_key(auth: Answer) -> (String, Vec<String>) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let honeycomb = authority.sign("api.honeycomb.io").acceptor();
    let mut web = Web::start(
        Some(honeycomb),
        move |_, received| {
            if received.line == "GET /1/auth" { auth.clone() } else { taken() }
        },
    )
    .await;
    let opener = TestProxy::start(web.address, "200 OK").await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_network-agent"))
        .env_clear()
        .env("HONEYCOMB_API_KEY", "hcaik_0123456789")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca)
        .env("https_proxy", opener.address.to_string())
        .arg("--check")
        .args(["--read", concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop.pcap"), "--export", "otlp"])
        .output()
        .await
        .unwrap();
    let mut lines = Vec::new();
    while let Ok(received) = web.received.try_recv() {
        assert_eq!(received.header("x-honeycomb-team"), "hcaik_0123456789");
        lines.push(received.line);
    }
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honeycomb_is_asked_whose_the_key_is() {
    let body = r#"{"api_key_access":{"events":true},"team":{"slug":"shop"},"environment":{"slug":"prod"}}"#;
    let (said, lines) = with_key(answer(200, &[], body)).await;
    assert!(said.contains("the key is of team shop, environment prod"), "{said}");
    assert_eq!(lines, ["POST /v1/traces", "GET /1/auth"]);
    assert!(!said.contains("hcaik_0123456789"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_honeycomb_does_not_know_is_told_before_any_span() {
    let (said, _) = with_key(answer(401, &[], r#"{"error":"unknown API key"}"#)).await;
    assert!(said.contains("does not know the key: check HONEYCOMB_API_KEY"), "{said}");
}
