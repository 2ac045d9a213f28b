//! A Collector that is away for long → what the agent keeps, what it drops and counts, and what arrives afterwards.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::agent::counter;
use crate::laboratory::{Agent, Running, wait_for};
use crate::live::Place;
use crate::received::{count, ids};
use crate::stream::{ids as sent, streaming};
use crate::support::Frame;

const SYNCHRONOUS: &str = "tests/collector/synchronous.yaml";
const RATE: u64 = 2000;

/// How long the Collector is away.
fn outage() -> Duration {
    let seconds = std::env::var("NETWORK_AGENT_OUTAGE_SECONDS").ok().map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// Streams for as long as the outage is, then starts the Collector and streams a little longer.
fn stream_through_an_outage(place: &Place, agent: &Agent) -> (Vec<Frame>, Running, Memory) {
    let (mut injector, input) = place.injector();
    let mut memory = Memory::default();
    let (frames, collector) = streaming(RATE, input, |pace| {
        let begun = Instant::now();
        wait_for("the first exchanges", || pace.written() > RATE);
        while begun.elapsed() < outage() {
            memory.look(agent, begun.elapsed());
            let next = pace.written() + RATE;
            wait_for("the stream to go on", || pace.written() >= next);
        }
        let collector = place.setup.start();
        let next = pace.written() + 2 * RATE;
        wait_for("the stream to go on", || pace.written() >= next);
        collector
    });
    wait_for("the injector to end", || injector.has_ended());
    (frames, collector, memory)
}

/// The agent's memory in the second and the last quarter of an outage.
#[derive(Default)]
struct Memory {
    early: u64,
    late: u64,
}

impl Memory {
    fn look(&mut self, agent: &Agent, elapsed: Duration) {
        let now = agent.memory();
        if elapsed < outage() / 2 {
            self.early = self.early.max(now);
        } else {
            self.late = self.late.max(now);
        }
    }
}

#[test]
fn without_a_spool_exactly_the_oldest_are_missing_and_counted() {
    let Some(place) = Place::new(SYNCHRONOUS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let agent = place.agent(folder.path(), &[], &["--queue-bytes", "8MiB"]);
    let (frames, _collector, memory) = stream_through_an_outage(&place, &agent);
    let sent = sent(&frames);
    let last = sent.last().unwrap();
    wait_for("the newest exchange", || ids(&place.setup.output()).contains(last));
    let said = agent.stop_and_tell();
    let received = ids(&place.setup.output());
    let counts = count(&received);
    let missing: BTreeSet<usize> =
        (0..sent.len()).filter(|place| !counts.contains_key(sent[*place].as_str())).collect();
    let dropped = counter(&said, "export.spans_dropped.queue_full");
    println!("{} sent, {} missing, {dropped} dropped as counted", sent.len(), missing.len());
    assert!(!missing.is_empty(), "the queue was to be too small");
    assert_eq!(missing.len() as u64, dropped, "{said}");
    assert_eq!(counter(&said, "export.spans_exported") + dropped, sent.len() as u64, "{said}");
    assert!(counts.values().all(|times| *times == 1), "none came twice");
    // The oldest, but for the batch that was under way when the queue was full.
    let beyond = missing.iter().filter(|place| **place >= missing.len()).count();
    assert!(beyond <= 512, "{beyond} of the missing are not of the oldest");
    println!("memory {} and then {}", memory.early, memory.late);
    assert!(memory.late < memory.early + (8 << 20), "{} and then {}", memory.early, memory.late);
}
