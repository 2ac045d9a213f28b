//! The binary as its user meets it: exit codes, messages, and what is never printed.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop.pcap");

/// The binary, without the environment of whoever runs the tests.
fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_network-agent"));
    command.env_clear().env("NO_COLOR", "1").args(arguments).stdin(Stdio::null());
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn message(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_missing_key_says_how_to_set_it() {
    let output = agent(&[]).output().unwrap();
    assert_eq!(code(&output), 64);
    let message = message(&output);
    assert!(message.contains("HONEYCOMB_API_KEY") && message.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{message}");
}

#[test]
fn every_fault_is_listed_at_once_and_no_secret_is_shown() {
    let output = agent(&["--loss-grace", "5", "--export", "fax"])
        .env("AGENT_QUEUE_BYTES", "lots")
        .env("HONEYCOMB_API_KEY", "hunter2 hunter2")
        .output()
        .unwrap();
    let message = message(&output);
    assert_eq!(code(&output), 64);
    for part in [
        "--loss-grace = \"5\"",
        "--export = \"fax\"",
        "AGENT_QUEUE_BYTES = \"lots\"",
        "HONEYCOMB_API_KEY = \"********\"",
        "4 faults",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(!message.contains("hunter2"));
}

#[test]
fn an_unknown_flag_is_a_bad_configuration_and_help_is_not() {
    assert_eq!(code(&agent(&["--nope"]).output().unwrap()), 64);
    let help = agent(&["--help"]).output().unwrap();
    assert_eq!(code(&help), 0);
    assert!(printed(&help).contains("Exit codes"));
    let version = agent(&["--version"]).output().unwrap();
    assert_eq!((code(&version), printed(&version)), (0, format!("network-agent {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    let output = agent(&["--interface", "eth99", "--export", "none"]).output().unwrap();
    assert_eq!(code(&output), 69);
    assert!(message(&output).contains("eth99") || message(&output).contains("CAP_NET_RAW"), "{}", message(&output));
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "these are notes, no packets").unwrap();
    for (path, words) in [("/no/such/file.pcap", "No such file"), (text.to_str().unwrap(), "no capture file")] {
        let output = agent(&["--read", path, "--export", "none"]).output().unwrap();
        assert_eq!(code(&output), 65, "{path}");
        assert!(message(&output).contains(path) && message(&output).contains(words), "{}", message(&output));
    }
}

#[test]
fn a_destination_that_refuses_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let output = agent(&["--read", SHOP, "--export", "otlp", "--shutdown-timeout", "300ms"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .output()
        .unwrap();
    assert_eq!(code(&output), 1);
    assert!(message(&output).contains(&endpoint) && message(&output).contains("not exported"), "{}", message(&output));
}

#[test]
fn check_shows_the_configuration_without_its_secrets() {
    let output = agent(&["--check", "--read", SHOP, "--export", "json"])
        .env("OTEL_RESOURCE_ATTRIBUTES", "team=checkout")
        .output()
        .unwrap();
    let text = printed(&output);
    assert_eq!(code(&output), 0, "{text}");
    assert!(
        text.contains("team = checkout") && text.contains("source ok") && text.contains("destination ok"),
        "{text}"
    );
    let output = agent(&["--check", "--read", SHOP, "--export", "otlp"])
        .env("HONEYCOMB_API_KEY", "hunter2")
        .env("HONEYCOMB_API_ENDPOINT", "http://127.0.0.1:1")
        .output()
        .unwrap();
    let text = printed(&output) + &message(&output);
    assert!(text.contains("x-honeycomb-team: ********") && !text.contains("hunter2"), "{text}");
    assert_eq!(code(&output), 1);
}

#[test]
fn the_key_goes_to_no_other_endpoint() {
    let output = agent(&["--check", "--read", SHOP, "--export", "otlp"])
        .env("HONEYCOMB_API_KEY", "hunter2")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .output()
        .unwrap();
    assert!(!printed(&output).contains("x-honeycomb-team"), "{}", printed(&output));
}

#[test]
fn the_summary_counts_and_statistics_are_one_json_object() {
    let output = agent(&["--read", SHOP, "--export", "none", "--stats", "json"]).output().unwrap();
    assert_eq!(code(&output), 0);
    let message = message(&output);
    assert!(message.contains(" packets, "), "{message}");
    let json = message.lines().find(|line| line.starts_with('{')).unwrap();
    let counters: serde_json::Value = serde_json::from_str(json).unwrap();
    let count = |name: &str| counters.get(name).and_then(serde_json::Value::as_u64).unwrap();
    assert!(count("packet.packets") > 0);
    // The kubelet's probe.
    assert_eq!(count("export.exchanges_left_out.user_agent"), 1);
    assert_eq!(count("exchange.emitted"), count("export.spans_exported") + 1);
    assert_eq!(count("exchange.open"), 0);
}

#[test]
fn a_capture_is_read_with_the_names_of_its_cluster() {
    let names = "examples/shop-names.json";
    let output = agent(&["--read", SHOP, "--metadata", names, "--export", "pretty"]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", message(&output));
    let text = printed(&output);
    assert!(text.contains("  web-5d4f9c8b7-x2x4k"), "{text}");
    assert!(text.contains("→ inventory-5d4f9c8b7-qk7zp:8080"), "{text}");
    let output = agent(&["--read", SHOP, "--metadata", names, "--export", "json", "--span-layout", "workload"]);
    let text = printed(&{ output }.output().unwrap());
    for word in ["\"inventory\"", "k8s.deployment.name", "service.peer.name", "\"1.0.0\""] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let output = agent(&["--read", SHOP, "--metadata", SHOP, "--export", "json"]).output().unwrap();
    assert_eq!(code(&output), 65, "{}", message(&output));
}

#[test]
fn standard_input_is_read_like_a_file() {
    let from_file = agent(&["--read", SHOP, "--export", "json"]).output().unwrap();
    let from_pipe = agent(&["--read", "-", "--export", "json"]).stdin(fs::File::open(SHOP).unwrap()).output().unwrap();
    assert_eq!(code(&from_pipe), 0);
    assert!(!from_file.stdout.is_empty() && from_file.stdout == from_pipe.stdout);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = agent(&["--read", SHOP, "--export", "pretty"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_certificate_that_cannot_be_read_is_told_before_anything_is_captured() {
    for destination in ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE"] {
        let output = agent(&["--interface", "lo"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1")
            .env(destination, "/no/such/file.pem")
            .output()
            .unwrap();
        let message = message(&output);
        assert_eq!(code(&output), 64, "{message}");
        assert!(message.contains("/no/such/file.pem") && !message.contains("Capturing"), "{message}");
    }
}

/// Sends signals to an agent that reads a capture without an end, which ends when it has said that it stops: what it has
/// said, and its exit code.
fn signalled(signals: &str, before: &str) -> (String, Option<i32>) {
    let script = format!("{before} exec \"$0\" --read - --export none -v");
    // Whoever runs the tests may want them to outlive the terminal.
    let mut shell = Command::new("env");
    shell.args(["--default-signal=HUP", "sh", "-c", &script, env!("CARGO_BIN_EXE_network-agent")]).env_clear();
    shell.env("PATH", std::env::var_os("PATH").unwrap());
    let mut child = shell.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&fs::read(SHOP).unwrap()).unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said: String = lines.by_ref().take_while(|line| !line.contains("Reading")).collect();
    let kills = signals.split(' ').map(|signal| format!("kill -{signal} {}", child.id()));
    let kill = kills.collect::<Vec<_>>().join("; ");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    said.extend(lines.by_ref().take_while(|line| !line.contains("Stopping")));
    drop(input);
    said.extend(lines);
    (said, child.wait().unwrap().code())
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let (said, code) = signalled("TERM INT", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("second signal: stopping at once"), "{said}");
}

#[test]
fn the_end_of_a_terminal_is_a_stop_unless_it_is_to_be_outlived() {
    let (said, code) = signalled("HUP", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" packets, "), "{said}");
    let (said, code) = signalled("HUP TERM", "trap '' HUP;");
    assert_eq!(code, Some(0), "{said}");
}
