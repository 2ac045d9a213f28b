//! Paths of 16 KiB, headers of 1 MiB, bytes that are no UTF-8 → what a real Collector takes of them.

use crate::agent;
use crate::process::{Protocol, Setup};
use crate::received::{spans, text};
use crate::support::Conversation;
use crate::support::files::pcap;

const SYNCHRONOUS: &str = "tests/collector/synchronous.yaml";

/// Exports the exchange of one request, and gives back the one span that the Collector wrote.
fn received(request: &[u8], variables: &[(&str, &str)]) -> Option<serde_json::Value> {
    let setup = Setup::new(&[SYNCHRONOUS])?;
    let _collector = setup.start();
    let endpoint = setup.endpoint(Protocol::Grpc);
    let conversation = Conversation::new().handshake().client(request);
    let conversation = conversation.server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").close();
    let variables = [&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())][..], variables].concat();
    let outcome = agent::read(&pcap(&conversation.frames), &variables);
    outcome.is_well();
    assert_eq!(outcome.counter("export.spans_exported"), 1, "{}", outcome.messages);
    let mut spans = spans(&setup.output());
    assert_eq!(spans.len(), 1);
    spans.pop()
}

#[test]
fn a_path_of_16_kib_arrives_whole() {
    let path = format!("/{}", "p".repeat(16 * 1024));
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let Some(span) = received(request.as_bytes(), &[]) else { return };
    assert_eq!(text(&span, "url.path"), Some(path.as_str()));
}

#[test]
fn a_header_of_1_mib_arrives_as_far_as_a_backend_takes_it() {
    let request =
        format!("GET / HTTP/1.1\r\nHost: shop.example\r\nX-Large: {}\r\nX-After: 1\r\n\r\n", "l".repeat(1 << 20));
    let variables = [("HTTP_HEADERS", "X-Large,X-After"), ("AGENT_MAX_HEAD_BYTES", "2MiB")];
    let Some(span) = received(request.as_bytes(), &variables) else { return };
    let lines = |name: &str| crate::laboratory::attribute(&span, name).unwrap()["arrayValue"]["values"].clone();
    let large = lines("http.request.header.x-large");
    assert_eq!(large[0]["stringValue"].as_str().map(str::len), Some(65_535));
    assert_eq!(lines("http.request.header.x-after")[0]["stringValue"], "1");
}

#[test]
fn a_header_of_1_mib_beyond_the_bound_of_a_head_costs_no_other_exchange() {
    let Some(setup) = Setup::new(&[SYNCHRONOUS]) else { return };
    let _collector = setup.start();
    let endpoint = setup.endpoint(Protocol::Grpc);
    let large = format!("GET /large HTTP/1.1\r\nHost: shop.example\r\nX-Large: {}\r\n\r\n", "l".repeat(1 << 20));
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut frames = Conversation::new().handshake().client(large).server(response).close().frames;
    let other = Conversation::between("10.1.0.8:41000", "10.1.0.80:80").handshake();
    frames.extend(other.client("GET /other HTTP/1.1\r\nHost: h\r\n\r\n").server(response).close().frames);
    frames.sort_by_key(|frame| frame.at);
    let outcome = agent::read(&pcap(&frames), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    outcome.is_well();
    let spans = spans(&setup.output());
    assert!(spans.iter().any(|span| text(span, "url.path") == Some("/other")), "{spans:?}");
    let dropped: u64 = ["queue_full", "refused", "rejected", "shutdown"]
        .iter()
        .map(|reason| outcome.counter(&format!("export.spans_dropped.{reason}")))
        .sum();
    assert_eq!((outcome.counter("export.spans_exported"), dropped), (spans.len() as u64, 0));
}

#[test]
fn bytes_that_are_no_utf_8_arrive_as_text() {
    let request = b"GET /caf\xe9/\xff\xfe HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: \xc3\x28 agent\r\n\r\n";
    let Some(span) = received(request, &[]) else { return };
    let path = text(&span, "url.path").unwrap();
    assert!(path.starts_with("/caf"), "{path}");
    assert!(text(&span, "user_agent.original").unwrap().ends_with("( agent"), "{span}");
}
