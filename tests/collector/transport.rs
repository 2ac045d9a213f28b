//! Plaintext, TLS, mutual TLS, and every compression: each span of a capture arrives once.

use std::fs;

use serde_json::Value;

use crate::agent::{self, Outcome};
use crate::process::{Protocol, Setup, file};
use crate::received::{batches, contents, spans};

const SYNCHRONOUS: &str = "tests/collector/synchronous.yaml";
const TLS: &str = "tests/collector/tls.yaml";
const MUTUAL: &str = "tests/collector/mutual.yaml";

const HTTP: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");

/// Exports a sample to a Collector so configured; none where there is no Collector.
fn export(configurations: &[&str], scheme: &str, variables: &[(&str, &str)]) -> Option<(Setup, Outcome)> {
    let setup = Setup::new(configurations)?;
    let _collector = setup.start();
    let protocol = if variables.contains(&HTTP) { Protocol::Http } else { Protocol::Grpc };
    let endpoint = format!("{scheme}://{}", setup.address(protocol));
    let variables = [&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())][..], variables].concat();
    let outcome = agent::read(&sample(), &variables);
    Some((setup, outcome))
}

fn sample() -> Vec<u8> {
    fs::read(file("examples/shop.pcap")).unwrap()
}

/// The Collector has the spans that the agent prints, each once, with all that they say.
fn arrives(configurations: &[&str], scheme: &str, variables: &[(&str, &str)]) {
    let Some((setup, outcome)) = export(configurations, scheme, variables) else { return };
    outcome.is_well();
    let sorted = |spans: Vec<Value>| {
        let mut contents: Vec<_> = spans.iter().map(contents).collect();
        contents.sort();
        contents
    };
    let printed = sorted(agent::printed(&sample(), &[]));
    assert!(!printed.is_empty());
    assert_eq!(sorted(spans(&setup.output())), printed);
    assert_eq!(outcome.counter("export.spans_exported"), printed.len() as u64);
}

#[test]
fn plaintext_takes_every_span() {
    arrives(&[SYNCHRONOUS], "http", &[]);
}

#[test]
fn gzip_takes_every_span() {
    arrives(&[SYNCHRONOUS], "http", &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
}

#[test]
fn zstd_takes_every_span() {
    arrives(&[SYNCHRONOUS], "http", &[("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")]);
}

#[test]
fn http_takes_every_span() {
    arrives(&[SYNCHRONOUS], "http", &[HTTP]);
}

#[test]
fn http_with_gzip_takes_every_span() {
    arrives(&[SYNCHRONOUS], "http", &[HTTP, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
}

#[test]
fn http_with_zstd_takes_every_span() {
    arrives(&[SYNCHRONOUS], "http", &[HTTP, ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")]);
}

#[test]
fn tls_with_an_authority_of_its_own_takes_every_span() {
    let authority = file("tests/tls/ca.pem").display().to_string();
    let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.as_str()), HTTP];
    arrives(&[SYNCHRONOUS, TLS], "https", &variables[..1]);
    arrives(&[SYNCHRONOUS, TLS], "https", &variables);
}

#[test]
fn mutual_tls_takes_every_span() {
    let path = |name: &str| file("tests/tls").join(name).display().to_string();
    let (authority, certificate, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let variables = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key),
        HTTP,
    ];
    arrives(&[SYNCHRONOUS, TLS, MUTUAL], "https", &variables[..3]);
    arrives(&[SYNCHRONOUS, TLS, MUTUAL], "https", &variables);
}

#[test]
fn a_client_without_a_certificate_is_told_what_to_set() {
    let authority = file("tests/tls/ca.pem").display().to_string();
    let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.as_str()), ("AGENT_SHUTDOWN_TIMEOUT", "1s")];
    let Some((setup, outcome)) = export(&[SYNCHRONOUS, TLS, MUTUAL], "https", &variables) else { return };
    assert_eq!(outcome.code, Some(1), "{}", outcome.messages);
    assert!(outcome.messages.contains("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"), "{}", outcome.messages);
    assert_eq!(batches(&setup.output()), 0);
}

#[test]
fn an_authority_that_is_not_trusted_is_told_with_what_to_set() {
    let variables = [("AGENT_SHUTDOWN_TIMEOUT", "1s")];
    let Some((setup, outcome)) = export(&[SYNCHRONOUS, TLS], "https", &variables) else { return };
    assert_eq!(outcome.code, Some(1), "{}", outcome.messages);
    assert!(outcome.messages.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{}", outcome.messages);
    assert_eq!(batches(&setup.output()), 0);
}
