//! A Collector that is away for long → what the agent keeps, what it drops and counts, and what arrives afterwards.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::agent::counter;
use crate::laboratory::web::metrics;
use crate::laboratory::{Agent, Running, wait_for};
use crate::live::Place;
use crate::received::{count, ids, ids_by_batch};
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

/// The places among the sent of the first of each batch, in the order in which the batches were written.
fn places_of_batches(path: &Path, sent: &[String]) -> Vec<usize> {
    let places: HashMap<&str, usize> = sent.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
    let first = |batch: Vec<String>| batch.iter().map(|id| places[id.as_str()]).min().unwrap();
    ids_by_batch(path).into_iter().map(first).collect()
}

/// Everything arrives, once.
fn assert_all_arrived(path: &Path, sent: &[String]) {
    let received = ids(path);
    let counts = count(&received);
    let missing: Vec<usize> = (0..sent.len()).filter(|place| !counts.contains_key(sent[*place].as_str())).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {:?}", missing.len(), sent.len(), missing.first());
    assert_eq!(received.len(), sent.len(), "none comes twice");
}

#[test]
fn with_a_spool_everything_arrives_in_order_and_memory_is_flat() {
    let Some(place) = Place::new(SYNCHRONOUS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let variables = [("AGENT_SPOOL_DIRECTORY", spool.to_str().unwrap())];
    let agent = place.agent(folder.path(), &variables, &["--queue-bytes", "8MiB"]);
    let (frames, _collector, memory) = stream_through_an_outage(&place, &agent);
    let sent = sent(&frames);
    place.wait_for_exported(sent.len() as u64);
    let said = agent.stop_and_tell();
    assert_all_arrived(&place.setup.output(), &sent);
    let places = places_of_batches(&place.setup.output(), &sent);
    assert!(places.is_sorted(), "{places:?}");
    let (stored, exported) = (counter(&said, "export.spans_stored"), counter(&said, "export.spans_exported"));
    println!("{} sent, {stored} of them by the spool; memory {} and then {}", sent.len(), memory.early, memory.late);
    assert!(stored > 0, "the queue was to be too small");
    assert_eq!((exported, counter(&said, "export.spans_spooled")), (sent.len() as u64, 0), "{said}");
    assert!(memory.late < memory.early + (8 << 20), "{} and then {}", memory.early, memory.late);
}

/// Ended by a user while nobody takes spans, and started again.
#[test]
fn what_a_stopped_agent_has_left_in_the_spool_goes_out_with_the_next_run() {
    let Some(place) = Place::new(SYNCHRONOUS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let variables = [("AGENT_SPOOL_DIRECTORY", spool.to_str().unwrap())];
    let flags = ["--queue-bytes", "1MiB", "--shutdown-timeout", "1s"];
    let mut agent = place.agent(folder.path(), &variables, &flags);
    let (mut injector, input) = place.injector();
    let (frames, ()) = streaming(RATE, input, |pace| {
        wait_for("more exchanges than memory holds", || pace.written() >= 5 * RATE);
    });
    wait_for("the injector to end", || injector.has_ended());
    agent.signal("TERM");
    agent.wait();
    let first = agent.messages();
    let stored = counter(&first, "export.spans_spooled");
    let _collector = place.setup.start();
    let agent = place.agent(&folder.path().join("next"), &variables, &flags);
    let sent = sent(&frames);
    place.wait_for_exported(sent.len() as u64);
    let second = agent.stop_and_tell();
    assert_eq!(stored, sent.len() as u64, "{first}");
    assert_eq!(counter(&second, "export.spans_recovered"), stored, "{second}");
    assert_all_arrived(&place.setup.output(), &sent);
    let places = places_of_batches(&place.setup.output(), &sent);
    assert!(places.is_sorted(), "{places:?}");
}

/// Killed while nobody takes spans: what was in memory alone is lost, and what was in the spool is not.
#[test]
fn what_a_killed_agent_has_written_to_the_spool_goes_out_with_the_next_run() {
    let Some(place) = Place::new(SYNCHRONOUS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let variables = [("AGENT_SPOOL_DIRECTORY", spool.to_str().unwrap())];
    let agent = place.agent(folder.path(), &variables, &["--queue-bytes", "1MiB"]);
    let (mut injector, input) = place.injector();
    let mut stored = 0;
    // In mid-write, as far as that can be arranged: the stream goes on.
    let (frames, ()) = streaming(RATE, input, |_| {
        wait_for("many spans in the spool", || {
            stored = metrics(&place.near)["export_spans_stored"];
            stored > 8000
        });
        drop(agent);
    });
    wait_for("the injector to end", || injector.has_ended());
    let _collector = place.setup.start();
    let agent = place.agent(&folder.path().join("next"), &variables, &[]);
    place.wait_for_exported(stored);
    let said = agent.stop_and_tell();
    let (sent, received) = (sent(&frames), ids(&place.setup.output()));
    println!("{stored} in the spool when it was asked last, {} received", received.len());
    assert_eq!(counter(&said, "export.spans_recovered"), received.len() as u64, "{said}");
    let distinct: BTreeSet<&String> = received.iter().collect();
    assert_eq!(distinct.len(), received.len(), "none comes twice");
    let places = places_of_batches(&place.setup.output(), &sent);
    assert!(places.is_sorted(), "{places:?}");
    // Of the older ones nothing is missing but the batch that was under way, which memory alone had.
    let newest = received.iter().filter_map(|id| sent.iter().position(|sent| sent == id)).max().unwrap();
    let missing = newest + 1 - received.len();
    assert!(missing <= 512, "{missing} older ones are missing");
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
    let oldest = counter(&said, "export.spans_dropped.queue_full");
    // On a machine that leaves the agent no time, some found no room before they were spans.
    let newer = counter(&said, "exchange.queue_dropped");
    let dropped = oldest + newer;
    println!("{} sent, {} missing, {oldest} and {newer} dropped as counted", sent.len(), missing.len());
    assert!(!missing.is_empty(), "the queue was to be too small");
    assert_eq!(missing.len() as u64, dropped, "{said}");
    assert_eq!(counter(&said, "export.spans_exported") + dropped, sent.len() as u64, "{said}");
    assert!(counts.values().all(|times| *times == 1), "none came twice");
    // The oldest, but for the batch that was under way when the queue was full.
    let beyond = missing.iter().filter(|place| **place >= missing.len()).count();
    assert!(beyond as u64 <= 512 + newer, "{beyond} of the missing are not of the oldest");
    println!("memory {} and then {}", memory.early, memory.late);
    assert!(memory.late < memory.early + (8 << 20), "{} and then {}", memory.early, memory.late);
}
