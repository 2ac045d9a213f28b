//! The files of `otel-collector-config/`, each started as its README says.

use std::fs;

use crate::agent;
use crate::laboratory::wait_for;
use crate::process::{Protocol, Setup, file};
use crate::received::{batches, count, ids};
use crate::stream::{ids as sent, steady};

const LAPTOP: &str = "otel-collector-config/laptop.yaml";
const GATEWAY: &str = "otel-collector-config/gateway.yaml";
const CLUSTER: &str = "otel-collector-config/cluster-gateway.yaml";
const SYNCHRONOUS: &str = "tests/collector/synchronous.yaml";

/// A gateway whose Honeycomb is another Collector.
fn gateway() -> Option<(Setup, Setup)> {
    let honeycomb = Setup::new(&[SYNCHRONOUS])?;
    let mut gateway = Setup::new(&[GATEWAY])?;
    gateway.set("HONEYCOMB_API_ENDPOINT", honeycomb.address(Protocol::Grpc));
    gateway.set("HONEYCOMB_INSECURE", "true");
    gateway.set("HONEYCOMB_API_KEY", "hcaik_of_the_gateway");
    Some((gateway, honeycomb))
}

#[test]
fn the_collector_finds_no_fault_in_any_of_them() {
    for configurations in [&[LAPTOP][..], &[GATEWAY], &[GATEWAY, CLUSTER]] {
        let Some(setup) = Setup::new(configurations) else { return };
        assert_eq!(setup.validate(), "", "{configurations:?}");
    }
}

#[test]
fn a_laptops_collector_prints_every_span_and_writes_it() {
    let Some(setup) = Setup::new(&[LAPTOP]) else { return };
    let _collector = setup.start();
    let endpoint = setup.endpoint(Protocol::Grpc);
    let capture = fs::read(file("examples/shop.pcap")).unwrap();
    let outcome = agent::read(&capture, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    outcome.is_well();
    let exported = usize::try_from(outcome.counter("export.spans_exported")).unwrap();
    wait_for("the file to hold every span", || ids(&setup.output()).len() == exported);
    let messages = setup.messages();
    assert_eq!(messages.matches("-> network_agent.exchange.id: ").count(), exported, "{messages}");
}

#[test]
fn a_gateway_passes_on_what_comes() {
    let Some((gateway, honeycomb)) = gateway() else { return };
    let (_honeycomb, _gateway) = (honeycomb.start(), gateway.start());
    let endpoint = gateway.endpoint(Protocol::Grpc);
    let frames = steady(5000);
    let capture = crate::support::files::pcap(&frames);
    let outcome = agent::read(&capture, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    outcome.is_well();
    assert_eq!(outcome.counter("export.spans_exported"), 5000);
    wait_for("every span at the next server", || ids(&honeycomb.output()).len() >= 5000);
    let received = ids(&honeycomb.output());
    assert_eq!(count(&received), count(&sent(&frames)));
}

/// Killed with a backlog, and again while it sends that: what it has acknowledged comes out.
#[test]
fn a_gateway_keeps_what_it_acknowledged_while_honeycomb_is_away_and_when_it_is_killed() {
    let Some((gateway, honeycomb)) = gateway() else { return };
    let endpoint = gateway.endpoint(Protocol::Grpc);
    let frames = steady(20_000);
    let capture = crate::support::files::pcap(&frames);
    let killed = gateway.start();
    let outcome = agent::read(&capture, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    outcome.is_well();
    assert_eq!(outcome.counter("export.spans_exported"), 20_000);
    drop(killed);
    let killed = gateway.start();
    let _honeycomb = honeycomb.start();
    wait_for("the backlog to go out", || batches(&honeycomb.output()) > 0);
    drop(killed);
    let _gateway = gateway.start();
    let sent = sent(&frames);
    wait_for("every span at the next server", || {
        let received = ids(&honeycomb.output());
        received.len() >= sent.len() && count(&received).len() == sent.len()
    });
    let received = ids(&honeycomb.output());
    assert_eq!(count(&received).len(), count(&sent).len());
    println!("{} spans, {} sent twice after the kill", sent.len(), received.len() - sent.len());
}
