//! Loads of known content → what a packet, an exchange and a connection cost, beside the floors and the targets.
//!
//! `--json FILE` writes the numbers, `--loads` measures no tables of many connections, `--once` does all the work and measures
//! each stage once, for a build with a profile to learn from.
#![allow(missing_docs, reason = "nobody uses it from outside")]
#![allow(unreachable_pub, reason = "as in the tests")]
#![expect(clippy::print_stdout, reason = "what it is for")]
#![expect(clippy::expect_used, reason = "a measurement that fails ends")]
#![expect(clippy::cast_precision_loss, reason = "no number is as large")]

mod measure;
mod passes;
mod report;
mod scale;
mod traffic;

use network_agent::telemetry::allocations::{self, CountingAllocator};

use passes::Costs;
use report::{Target, each};
use scale::Size;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Of each stage; the best counts.
const RUNS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().position(|argument| argument == "--json").and_then(|place| arguments.get(place + 1));
    let wants_scale = !arguments.iter().any(|argument| argument == "--loads");
    let runs = if arguments.iter().any(|argument| argument == "--once") { 1 } else { RUNS };
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut costs: Vec<Costs> = traffic::all().map(|load| passes::measure(&load, runs, folder.path())).collect();
    // Workers before anything is counted: counting is shared by threads.
    let workers = if wants_scale { scale::workers() } else { Vec::new() };
    allocations::count();
    for (cost, load) in costs.iter_mut().zip(traffic::all()) {
        cost.calls = passes::count(&load, folder.path());
    }
    report::print_costs(&costs);
    let sizes = if wants_scale { scale::sizes() } else { Vec::new() };
    report::print_scale(&sizes, &workers);
    let targets = targets(&costs, &sizes);
    report::print_targets(&targets);
    if let Some(path) = json {
        let text = report::json(&costs, &sizes, &workers, &targets).to_string();
        std::fs::write(path, text).expect("the file for the numbers can be written");
    }
}

/// What is aimed at, with what was measured. Each part of the agent adds its own.
fn targets(costs: &[Costs], sizes: &[Size]) -> Vec<Target> {
    let load = |name: &str| costs.iter().find(|one| one.name == name);
    let mut targets = Vec::new();
    if let Some(small) = load("keep-alive, small") {
        // Without it a run has failed.
        let whole = small.on_one_core.map_or(f64::INFINITY, |process| each(process.time, small.exchanges) / 1000.0);
        targets.push(Target::at_most("keep-alive: the whole program, on one core", whole, 1.2, "µs an exchange"));
        targets.push(Target::at_most(
            "keep-alive: one thread, to encoded spans",
            each(small.encoded, small.exchanges) / 1000.0,
            1.2,
            "µs an exchange",
        ));
        let encoding = small.encoded.saturating_sub(small.core);
        targets.push(Target::at_least(
            "export: spans made and encoded by one thread",
            1e9 / each(encoding, small.exchanges).max(1.0),
            300_000.0,
            "spans a second",
        ));
    }
    if let Some(bulk) = load("bulk bodies") {
        targets.push(Target::at_most(
            "bulk: the core, of the time to read the file",
            each(bulk.core, bulk.reading),
            2.0,
            "times",
        ));
    }
    if let Some(many) = sizes.iter().find(|size| size.connections == 100_000) {
        targets.push(Target::at_most("memory: a connection, exchange open", many.open as f64, 1228.0, "bytes"));
        targets.push(Target::at_most("memory: a connection, idle", many.idle as f64, 200.0, "bytes"));
    }
    targets
}
