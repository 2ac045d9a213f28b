//! What a running agent answers to probes and scrapers, over real sockets.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod laboratory;

use laboratory::{Agent, Namespace, exists, run, skip, wait_for};
use tempfile::TempDir;

const KEY: &str = "hcaik_s3cr3tk3yn0b0dym4ys33";

/// The status and the body of an answer.
fn ask(namespace: &Namespace, path: &str, options: &[&str]) -> (String, String) {
    let mut curl = namespace.command("curl");
    curl.args(["--silent", "--max-time", "20", "--noproxy", "*", "--write-out", "\n%{http_code}"]);
    curl.args(options).arg(format!("http://127.0.0.1:9464{path}"));
    let text = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

/// A namespace with an agent in it; none where they cannot be had.
fn agent(folder: &TempDir, flags: &[&str]) -> Option<(Namespace, Agent)> {
    if !exists("curl") {
        skip("there is no curl");
        return None;
    }
    let namespace = Namespace::new()?;
    let agent = Agent::start_with(&namespace, "lo", folder.path(), flags);
    Some((namespace, agent))
}

#[test]
fn a_running_agent_lives_is_ready_and_counts() {
    let folder = TempDir::new().unwrap();
    let Some((namespace, agent)) = agent(&folder, &["--workers", "2"]) else { return };
    wait_for("the agent to be ready", || ask(&namespace, "/readyz", &[]) == ("200".into(), "ok\n".into()));
    assert_eq!(ask(&namespace, "/livez", &[]), ("200".into(), "ok\n".into()));
    // The questions themselves are on loopback, and so are HTTP exchanges.
    let mut metrics = String::new();
    wait_for("the agent to count", || {
        metrics = ask(&namespace, "/metrics", &[]).1;
        let answered = |line: &str| line.starts_with("network_agent_exchange_emitted_total") && !line.ends_with(" 0");
        metrics.lines().any(answered)
    });
    for line in ["# TYPE network_agent_packet_packets_total counter", "# TYPE network_agent_tcp_active gauge"] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    for worker in ["worker=\"0\"", "worker=\"1\""] {
        assert!(metrics.contains(worker), "{metrics}");
    }
    let (status, headers) = ask(&namespace, "/metrics", &["--head"]);
    assert!(status == "200" && headers.contains("text/plain; version=0.0.4"), "{headers}");
    agent.stop();
}

#[test]
fn wrong_questions_are_answered_as_such() {
    let folder = TempDir::new().unwrap();
    let Some((namespace, agent)) = agent(&folder, &[]) else { return };
    wait_for("the agent to answer", || ask(&namespace, "/", &[]).0 == "200");
    assert_eq!(ask(&namespace, "/nothing", &[]).0, "404");
    assert_eq!(ask(&namespace, "/metrics", &["--request", "POST"]).0, "405");
    let long = format!("X-Long: {}", "x".repeat(100_000));
    assert_ne!(ask(&namespace, "/metrics", &["--header", &long]).0, "200");
    assert_eq!(ask(&namespace, "/livez", &[]).0, "200", "it answers still");
    agent.stop();
}

#[test]
fn the_key_is_in_no_answer_and_an_unreachable_destination_is_told() {
    let folder = TempDir::new().unwrap();
    let flags = ["--export", "otlp", "--honeycomb-api-key", KEY, "--honeycomb-api-endpoint", "http://127.0.0.1:9"];
    let Some((namespace, agent)) = agent(&folder, &flags) else { return };
    wait_for("the agent to tell why spans wait", || {
        let (status, words) = ask(&namespace, "/readyz", &[]);
        status == "503" && words.contains("spans wait to be exported")
    });
    for path in ["/", "/livez", "/readyz", "/metrics", "/config"] {
        let (_, body) = ask(&namespace, path, &[]);
        assert!(!body.contains(KEY), "{path} shows the key");
    }
    assert!(ask(&namespace, "/config", &[]).1.contains("********"));
    drop(agent);
}

#[test]
fn a_port_that_is_taken_is_told_and_capture_goes_on() {
    let folder = TempDir::new().unwrap();
    let Some((namespace, agent)) = agent(&folder, &[]) else { return };
    let other = TempDir::new().unwrap();
    wait_for("the first agent to answer", || ask(&namespace, "/livez", &[]).0 == "200");
    let second = Agent::start(&namespace, "lo", other.path());
    wait_for("the second agent to tell", || {
        let messages = std::fs::read_to_string(other.path().join("messages")).unwrap();
        messages.contains("set AGENT_ADMIN_ADDRESS")
    });
    run(namespace.command("curl").args(["--silent", "--output", "/dev/null", "http://127.0.0.1:9464/livez"]));
    assert!(!second.stop().is_empty(), "it has seen the probe");
    agent.stop();
}

#[test]
fn the_filter_leaves_out_the_destinations_of_spans_and_of_metrics() {
    let folder = TempDir::new().unwrap();
    let Some((namespace, agent)) = agent_to(&folder) else { return };
    let (_, config) = ask(&namespace, "/config", &[]);
    for address in ["127.0.0.2 and tcp dst port 4999", "127.0.0.3 and tcp src port 4998"] {
        assert!(config.contains(address), "{address} is not in {config}");
    }
    drop(agent);
}

/// An agent whose spans go to one server and whose metrics go to another.
fn agent_to(folder: &TempDir) -> Option<(Namespace, Agent)> {
    if !exists("curl") {
        skip("there is no curl");
        return None;
    }
    let namespace = Namespace::new()?;
    let program = [
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.2:4999",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://127.0.0.3:4998",
        env!("CARGO_BIN_EXE_network-agent"),
    ];
    let agent = Agent::start_as(&namespace, &program, "lo", folder.path(), &["--export", "otlp"]);
    Some((namespace, agent))
}
