//! A Collector killed again and again under a steady stream → every exchange arrives, none more than twice.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::agent::{self, counter};
use crate::laboratory::{Running, run, wait_for};
use crate::live::Place;
use crate::process::{Protocol, Setup};
use crate::received::{batches, count, ids};
use crate::stream::{Pace, ids as sent, streaming};
use crate::support::Frame;

const SYNCHRONOUS: &str = "tests/collector/synchronous.yaml";
const RATE: u64 = 5000;
const KILLS: usize = 10;

/// Kills the Collector and starts it again, each time when it has taken some batches: what was sent first after a start
/// has been acknowledged by then, and no batch can lose its acknowledgement twice. Every second time it has a batch that
/// it has not answered.
fn kill_and_restart(setup: &Setup, pace: &Pace) -> Running {
    let mut collector = setup.start();
    for number in 0..KILLS {
        let before = batches(&setup.output());
        wait_for("the Collector to take some batches", || batches(&setup.output()) >= before + 3);
        if number % 2 == 0 {
            signal(&collector, "STOP");
            let written = pace.written();
            // More than a batch holds.
            wait_for("a batch to be under way", || pace.written() > written + 2 * 512);
        }
        // With a signal that leaves it no time for anything.
        drop(collector);
        collector = setup.start();
    }
    collector
}

fn signal(running: &Running, signal: &str) {
    run(Command::new("kill").args(["-s", signal, &running.child.id().to_string()]));
}

/// What was sent has arrived: each once, or twice when its acknowledgement was lost.
fn assert_none_is_missing(frames: &[Frame], output: &Path) {
    let (sent, received) = (sent(frames), ids(output));
    let (expected, counts) = (count(&sent), count(&received));
    assert_eq!(expected.len(), sent.len(), "ids are distinct");
    let missing: Vec<_> = sent.iter().filter(|id| !counts.contains_key(id.as_str())).collect();
    assert!(
        missing.is_empty(),
        "{} of {} are missing: {:?}",
        missing.len(),
        sent.len(),
        &missing[..missing.len().min(5)]
    );
    assert_eq!(counts.len(), expected.len(), "nothing came that was not sent");
    let most = counts.values().max().unwrap();
    assert!(*most <= 2, "one came {most} times");
    let twice = received.len() - sent.len();
    assert!(twice <= KILLS * 512, "{twice} came twice");
    println!("{} exchanges sent, each received, {twice} twice", sent.len());
}

#[test]
fn a_collector_killed_ten_times_under_5000_exchanges_a_second_misses_none() {
    killed(Protocol::Grpc);
}

#[test]
fn a_collector_killed_ten_times_that_takes_http_misses_none() {
    killed(Protocol::Http);
}

fn killed(protocol: Protocol) {
    let Some(setup) = Setup::new(&[SYNCHRONOUS]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let messages = folder.path().join("messages");
    let (endpoint, name) = (setup.endpoint(protocol), protocol.name());
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", name)];
    let mut command = agent::command(&variables);
    command.args(["--export", "otlp", "--read", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut agent = Running::start(command.stderr(File::create(&messages).unwrap()));
    let begun = Instant::now();
    let input = agent.child.stdin.take().unwrap();
    let (frames, _collector) = streaming(RATE, input, |pace| kill_and_restart(&setup, pace));
    wait_for("the agent to end", || agent.has_ended());
    let said = fs::read_to_string(&messages).unwrap();
    assert!(agent.child.wait().unwrap().success(), "{said}");
    let took = begun.elapsed();
    assert_none_is_missing(&frames, &setup.output());
    assert_eq!(counter(&said, "export.spans_exported"), sent(&frames).len() as u64);
    println!("{KILLS} kills in {took:?}, {} retries", counter(&said, "export.retries"));
}

/// Live, where spans that find no room are dropped.
#[test]
fn a_collector_killed_ten_times_under_live_traffic_misses_none() {
    let Some(place) = Place::new(SYNCHRONOUS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let agent = place.agent(folder.path(), &[], &[]);
    let (mut injector, input) = place.injector();
    let (frames, _collector) = streaming(RATE, input, |pace| kill_and_restart(&place.setup, pace));
    wait_for("the injector to end", || injector.has_ended());
    let sent = sent(&frames);
    wait_for("the newest exchange", || ids(&place.setup.output()).contains(sent.last().unwrap()));
    let said = agent.stop_and_tell();
    assert_eq!(counter(&said, "capture.dropped_by_kernel"), 0, "{said}");
    assert_none_is_missing(&frames, &place.setup.output());
    assert_eq!(counter(&said, "export.spans_exported"), sent.len() as u64);
}
