//! The agent → a Collector → a second Collector: an acknowledgement means that the last one has it.

use crate::agent;
use crate::laboratory::wait_for;
use crate::process::{Protocol, Setup};
use crate::received::{count, ids};
use crate::stream::{ids as sent, steady};
use crate::support::files::pcap;

const SYNCHRONOUS: &str = "tests/collector/synchronous.yaml";
const RELAY: &str = "tests/collector/relay.yaml";

#[test]
fn a_relay_takes_every_span_to_the_next_server_once() {
    let Some(last) = Setup::new(&[SYNCHRONOUS]) else { return };
    let Some(mut relay) = Setup::new(&[SYNCHRONOUS, RELAY]) else { return };
    relay.set("NEXT", last.address(Protocol::Grpc));
    let (_last, _relay) = (last.start(), relay.start());
    let frames = steady(4000);
    let endpoint = relay.endpoint(Protocol::Grpc);
    let outcome = agent::read(&pcap(&frames), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    outcome.is_well();
    // Acknowledged is written: nothing is waited for.
    assert_eq!(count(&ids(&last.output())), count(&sent(&frames)));
}

#[test]
fn a_server_behind_the_relay_that_comes_late_is_waited_for() {
    let Some(last) = Setup::new(&[SYNCHRONOUS]) else { return };
    let Some(mut relay) = Setup::new(&[SYNCHRONOUS, RELAY]) else { return };
    relay.set("NEXT", last.address(Protocol::Grpc));
    let _relay = relay.start();
    let frames = steady(2000);
    let capture = pcap(&frames);
    let endpoint = relay.endpoint(Protocol::Grpc);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("AGENT_SHUTDOWN_TIMEOUT", "60s".to_owned())];
    let outcome = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            agent::read(&capture, &variables)
        });
        wait_for("the relay to find nobody", || relay.messages().contains("connection refused"));
        let _last = last.start();
        reader.join().unwrap()
    });
    outcome.is_well();
    let received = ids(&last.output());
    assert_eq!(count(&received).len(), sent(&frames).len(), "none is missing");
}
