//! The agent → a server that keeps Honeycomb's rules: headers, limits, and what is said and counted when it refuses.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step is a failed test")]
#![expect(unreachable_pub, reason = "the modules are of one test")]

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
#[path = "../laboratory/mod.rs"]
mod laboratory;

mod run;
mod secrets;
mod server;

use run::{counter, export, run, words};
use server::{Honeycomb, Mood};
use support::Conversation;
use support::files::pcap;

/// Spans of the sample, without the probe among its exchanges.
const SPANS: u64 = 10;
const KEY: &str = "hcaik_01hqk4k20cjeh63wca8vva5stw70nft6m5n8wr8f5mjx3762s8269j50wc";
const CLASSIC: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn an_environments_key_goes_with_every_call_and_names_no_dataset() {
    let honeycomb = Honeycomb::start(KEY, Mood::Takes).await;
    let variables = [("HONEYCOMB_API_KEY", KEY), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")];
    let output = export(&["--honeycomb-api-endpoint", &honeycomb.endpoint()], &variables).await;
    assert!(output.status.success(), "{}", words(&output));
    let log = honeycomb.log();
    assert_eq!(log.calls, vec![(Some(KEY.to_owned()), None); 3]);
    assert_eq!((log.spans.len() as u64, counter(&output, "export.spans_exported")), (SPANS, SPANS));
    assert_eq!(log.violations, Vec::<String>::new());
}

#[tokio::test]
async fn a_classic_key_goes_with_its_dataset() {
    let honeycomb = Honeycomb::start(CLASSIC, Mood::Takes).await;
    let endpoint = honeycomb.endpoint();
    let variables = [("HONEYCOMB_API_KEY", CLASSIC), ("HONEYCOMB_API_ENDPOINT", &endpoint)];
    for (flags, dataset) in [(&[][..], "hny-network-agent"), (&["--honeycomb-dataset", "shop"], "shop")] {
        let output = export(flags, &variables).await;
        assert!(output.status.success(), "{}", words(&output));
        let log = honeycomb.log();
        assert_eq!(log.calls, [(Some(CLASSIC.to_owned()), Some(dataset.to_owned()))]);
        assert_eq!(log.spans.len() as u64, SPANS);
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_told_with_what_to_check_and_its_spans_are_counted() {
    let honeycomb = Honeycomb::start(KEY, Mood::Takes).await;
    let endpoint = honeycomb.endpoint();
    let other = "hcaik_of_another_team";
    let variables = [("HONEYCOMB_API_KEY", other), ("HONEYCOMB_API_ENDPOINT", &endpoint)];
    let output = export(&[], &variables).await;
    let words = words(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    let told = format!(
        "{endpoint} does not accept the credentials (\"unknown API key - check your credentials\"): check \
         HONEYCOMB_API_KEY"
    );
    assert!(words.contains(&told), "{words}");
    assert!(words.contains("10 spans were not exported"), "{words}");
    assert!(!words.contains(other), "{words}");
    assert_eq!(counter(&output, "export.spans_dropped.refused"), SPANS);
    assert_eq!(counter(&output, "export.spans_exported"), 0);
    assert_eq!(honeycomb.log().calls.len(), 1, "it is not asked again");
}

#[tokio::test]
async fn a_key_that_is_not_there_is_told() {
    let honeycomb = Honeycomb::start(KEY, Mood::Takes).await;
    let output = export(&["--honeycomb-api-endpoint", &honeycomb.endpoint()], &[]).await;
    let words = words(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("missing 'x-honeycomb-team' header"), "{words}");
    assert!(words.contains("HONEYCOMB_API_KEY"), "{words}");
    assert_eq!(counter(&output, "export.spans_dropped.refused"), SPANS);
}

#[tokio::test]
async fn a_key_goes_to_honeycombs_endpoint_only() {
    let other = Honeycomb::start(KEY, Mood::Takes).await;
    let endpoint = other.endpoint();
    let output = export(&[], &[("HONEYCOMB_API_KEY", KEY), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(other.log().calls, [(None, None)]);
}

#[tokio::test]
async fn a_header_of_the_users_own_is_the_key() {
    let honeycomb = Honeycomb::start(KEY, Mood::Takes).await;
    let (endpoint, header) = (honeycomb.endpoint(), format!("x-honeycomb-team={KEY}"));
    let variables = [
        ("HONEYCOMB_API_KEY", "hcaik_of_another_team"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", &header),
    ];
    let output = export(&[], &variables).await;
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(honeycomb.log().spans.len() as u64, SPANS);
}

/// A head of 18 MB, every header of which is to be reported, between two ordinary requests.
#[tokio::test]
async fn a_span_keeps_to_what_honeycomb_takes_whatever_was_sent() {
    let honeycomb = Honeycomb::start(KEY, Mood::Takes).await;
    let names: Vec<String> = (0..300).map(|number| format!("x-{number}")).collect();
    let headers: Vec<String> = names.iter().map(|name| format!("{name}: {}\r\n", "v".repeat(60_000))).collect();
    let headers = headers.concat();
    let path = "p".repeat(200_000);
    let large = format!("GET /{path} HTTP/1.1\r\nHost: shop.example\r\n{headers}\r\n");
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let small = "GET /small HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    let mut conversation = Conversation::new().handshake();
    for request in [small, &large, small] {
        conversation = conversation.client(request).server(response);
    }
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("large.pcap");
    std::fs::write(&capture, pcap(&conversation.close().frames)).unwrap();
    let (endpoint, wanted) = (honeycomb.endpoint(), names.join(","));
    let arguments = ["--read", capture.to_str().unwrap(), "--export", "otlp", "--stats", "json"];
    let variables = [
        ("HONEYCOMB_API_KEY", KEY),
        ("HONEYCOMB_API_ENDPOINT", &endpoint),
        ("HTTP_HEADERS", &wanted),
        ("AGENT_MAX_HEAD_BYTES", "32MiB"),
        ("AGENT_SHUTDOWN_TIMEOUT", "30s"),
    ];
    let output = run(&arguments, &variables).await;
    assert!(output.status.success(), "{}", words(&output));
    let log = honeycomb.log();
    assert_eq!(log.violations, Vec::<String>::new());
    assert_eq!(counter(&output, "export.spans_exported"), 3);
    assert_eq!(log.spans.len(), 3);
    assert!(log.largest < 15_000_000, "{}", log.largest);
    let left_out: Vec<bool> = log.spans.iter().map(|span| span.dropped_attributes_count > 0).collect();
    assert_eq!(left_out, [false, true, false], "what was left out is told");
}
