//! A load that never stops → what the agent still has when it is told to end, or nobody takes its spans.
//!
//! Needs Linux, root and `ip`, and says so where it has them not.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says what it saw")]
#![expect(clippy::disallowed_methods, reason = "the agent and its clients go by the real clock")]

mod laboratory;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use laboratory::web::{CONNECTIONS, Load, beside, metrics, python, serve};
use laboratory::{Agent, Namespace, Running, SERVER, attribute, exists, join, run, skip, wait_for};
use tempfile::TempDir;

#[test]
fn a_stop_in_mid_load_loses_nothing_that_was_complete() {
    stop_in_mid_load(Pace::Keeps);
}

/// As on a machine that has no time for the agent.
#[test]
fn a_stop_of_an_agent_that_is_behind_loses_nothing_that_was_complete() {
    stop_in_mid_load(Pace::Behind);
}

/// Whether the agent has seen what was captured when it is told to stop.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Pace {
    Keeps,
    Behind,
}

/// The client's log tells which requests were complete before the signal, and the server goes on after it.
fn stop_in_mid_load(pace: Pace) {
    let (Some(near), Some(far)) = (Namespace::new(), Namespace::new()) else { return };
    join(&near, &far);
    let folder = TempDir::new().unwrap();
    let _server = serve(&near, folder.path());
    let flags = ["--ring-bytes", "128MiB", "--queue-bytes", "256MiB"];
    let agent = Agent::start_with(&near, "server", folder.path(), &flags);
    let load = Load::start(&far, SERVER, "n", folder.path(), None);
    load.wait_for(1000);
    if pace == Pace::Behind {
        agent.signal("STOP");
        // More packets than the agent takes from the ring in one turn.
        load.wait_for(load.completed().len() + 3000);
    }
    let stopped = SystemTime::now();
    agent.signal("TERM");
    if pace == Pace::Behind {
        agent.signal("CONT");
    }
    let spans = agent.finish();
    let took = stopped.elapsed().unwrap();
    let ended = load.completed().len();
    load.wait_for(ended + 1);
    let completed = load.stop();
    let mut seen = BTreeSet::new();
    for span in &spans {
        let path = attribute(span, "url.path").and_then(|value| value["stringValue"].as_str()).unwrap();
        assert!(seen.insert(path), "{path} was reported twice");
    }
    let stopped = stopped.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let before: Vec<_> = completed.iter().filter(|request| request.at < stopped).collect();
    let missing: Vec<_> = before.iter().filter(|request| !seen.contains(&*request.path)).collect();
    let (count, few) = (missing.len(), missing.get(..5).unwrap_or(&missing));
    println!("{} requests before the signal, {} spans, {took:?}", before.len(), spans.len());
    assert!(missing.is_empty(), "of {} requests {count} are missing: {few:?}", before.len());
    // Three seconds to catch up and five to flush, and a slow machine.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

/// A destination that takes the connection and never says a word.
#[test]
fn capture_goes_on_while_the_destination_is_stuck_and_what_is_dropped_is_counted() {
    if !exists("curl") {
        skip("there is no curl");
        return;
    }
    let (Some(near), Some(far)) = (Namespace::new(), Namespace::new()) else { return };
    join(&near, &far);
    let folder = TempDir::new().unwrap();
    let _server = serve(&near, folder.path());
    let _stuck = stuck(&near);
    let destination = format!("http://127.0.0.1:{STUCK}");
    let flags = ["--export", "otlp", "--honeycomb-api-key", "key", "--honeycomb-api-endpoint", &destination];
    let limits = ["--queue-bytes", "512KiB", "--shutdown-timeout", "1s", "--ring-bytes", "128MiB"];
    let mut agent = Agent::start_with(&near, "server", folder.path(), &[&flags[..], &limits].concat());
    let load = Load::start(&far, SERVER, "n", folder.path(), None);
    let mut now = HashMap::new();
    wait_for("spans to be dropped", || {
        now = metrics(&near);
        dropped(&now) > 0
    });
    let (emitted, packets, memory) = (now["exchange_emitted"], now["packet_packets"], agent.memory());
    wait_for("a thousand exchanges more", || {
        now = metrics(&near);
        now["exchange_emitted"] > emitted + 1000
    });
    assert!(now["packet_packets"] > packets + 2000, "{now:?}");
    let completed = load.stop().len() as u64;
    wait_for("the sums to be right when all is counted", || {
        now = metrics(&near);
        now["exchange_emitted"] >= completed && is_conserved(&now)
    });
    let lost = dropped(&now);
    println!("{completed} requests, {lost} dropped, memory {memory} and then {}", agent.memory());
    assert!(now["exchange_emitted"] <= completed + CONNECTIONS as u64, "{now:?}");
    assert_eq!((now["export_spans_exported"], now["capture_dropped_by_kernel"]), (0, 0), "{now:?}");
    assert!(agent.memory() < memory + (16 << 20), "memory grew from {memory} to {} bytes", agent.memory());
    let begun = Instant::now();
    agent.signal("TERM");
    let status = agent.wait();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(1), "spans were not delivered");
    let at_the_end = statistics(&agent.messages());
    assert_eq!(at_the_end["export.exchanges_received"] + at_the_end["exchange.queue_dropped"], now["exchange_emitted"]);
    let reasons = at_the_end.iter().filter(|(name, _)| name.starts_with("export.spans_dropped."));
    assert_eq!(reasons.map(|(_, count)| count).sum::<u64>(), at_the_end["export.exchanges_received"]);
}

const STUCK: &str = "4999";

fn stuck(namespace: &Namespace) -> Running {
    let mut command = namespace.command(python());
    let server = Running::start(command.arg(beside("stuck.py")).arg(STUCK));
    wait_for("the destination to listen", || {
        !run(namespace.command("ss").args(["-Hltn", &format!("sport = :{STUCK}")])).stdout.is_empty()
    });
    server
}

fn dropped(now: &HashMap<String, u64>) -> u64 {
    now["export_spans_dropped"] + now["exchange_queue_dropped"]
}

/// Whether every request is accounted for at each step of its way; only at rest all steps are of one moment.
fn is_conserved(now: &HashMap<String, u64>) -> bool {
    let sum = |names: &[&str]| names.iter().map(|name| now[*name]).sum::<u64>();
    let views = ["export_views_waiting", "export_views_merged", "export_views_late"];
    let spans = ["export_spans_exported", "export_spans_sampled_out", "export_spans_dropped", "export_spans_waiting"];
    now["exchange_requests"] == sum(&["exchange_emitted", "exchange_open"])
        && now["exchange_open"] == 0
        && now["exchange_emitted"] == sum(&["exchange_queue_dropped", "export_exchanges_received"]) + sum(&views)
        && now["export_exchanges_received"] == sum(&spans)
        && now["export_views_waiting"] == 0
}

/// The table at the end.
fn statistics(messages: &str) -> HashMap<String, u64> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    messages.lines().filter_map(row).collect()
}
