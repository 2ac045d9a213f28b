//! A Collector that has no memory for more → the agent keeps what it has, and loses nothing.

use std::process::Stdio;

use crate::agent::{self, counter};
use crate::laboratory::{Running, wait_for};
use crate::process::{Protocol, Setup};
use crate::received::{count, ids};
use crate::stream::{ids as sent, steady};
use crate::support::files::pcap;

const SYNCHRONOUS: &str = "tests/collector/synchronous.yaml";
const LIMITED: &str = "tests/collector/limited.yaml";

#[test]
fn what_a_memory_limiter_refuses_is_kept_until_it_is_taken() {
    refused_then_taken(Protocol::Grpc);
}

#[test]
fn what_a_memory_limiter_refuses_over_http_is_kept_until_it_is_taken() {
    refused_then_taken(Protocol::Http);
}

fn refused_then_taken(protocol: Protocol) {
    let Some(mut setup) = Setup::new(&[SYNCHRONOUS, LIMITED]) else { return };
    // Less than a Collector that idles.
    setup.set("MEMORY_LIMIT_MIB", "2");
    let refusing = setup.start();
    let folder = tempfile::tempdir().unwrap();
    let (capture, messages) = (folder.path().join("capture.pcap"), folder.path().join("messages"));
    let frames = steady(3000);
    std::fs::write(&capture, pcap(&frames)).unwrap();
    let endpoint = setup.endpoint(protocol);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.name()),
        ("AGENT_SHUTDOWN_TIMEOUT", "60s"),
    ];
    let mut command = agent::command(&variables);
    command.args(["--export", "otlp", "--read"]).arg(&capture).stdout(Stdio::null());
    let mut agent = Running::start(command.stderr(std::fs::File::create(&messages).unwrap()));
    let said = || std::fs::read_to_string(&messages).unwrap();
    wait_for("the agent to be refused", || said().contains("high memory usage"));
    assert_eq!(ids(&setup.output()).len(), 0);
    drop(refusing);
    setup.set("MEMORY_LIMIT_MIB", "500");
    let _taking = setup.start();
    wait_for("the agent to end", || agent.has_ended());
    assert!(agent.child.wait().unwrap().success(), "{}", said());
    assert_eq!(count(&ids(&setup.output())), count(&sent(&frames)));
    assert_eq!(counter(&said(), "export.spans_exported"), 3000);
    assert!(counter(&said(), "export.retries") > 0, "{}", said());
}
