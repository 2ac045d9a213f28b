//! Measurements → tables for people, and JSON for a comparison.

use serde_json::{Value, json};

use crate::passes::Costs;
use crate::scale::{Size, Workers};

/// A number that is aimed at.
pub struct Target {
    pub what: &'static str,
    pub measured: f64,
    /// Whether less than `aim` is wanted, or more.
    pub wanted: Wanted,
    pub aim: f64,
    pub unit: &'static str,
}

/// What is better.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Wanted {
    AtMost,
    AtLeast,
}

impl Target {
    /// Aims at `aim` or less.
    pub const fn at_most(what: &'static str, measured: f64, aim: f64, unit: &'static str) -> Self {
        Self { what, measured, wanted: Wanted::AtMost, aim, unit }
    }

    /// Aims at `aim` or more.
    pub const fn at_least(what: &'static str, measured: f64, aim: f64, unit: &'static str) -> Self {
        Self { what, measured, wanted: Wanted::AtLeast, aim, unit }
    }

    fn is_reached(&self) -> bool {
        match self.wanted {
            Wanted::AtMost => self.measured <= self.aim,
            Wanted::AtLeast => self.measured >= self.aim,
        }
    }
}

/// `total / count`, 0 for nothing.
pub fn each(total: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total as f64 / count as f64 }
}

/// The table of the loads.
pub fn print_costs(costs: &[Costs]) {
    println!("processor time of one thread: ns a packet | ns an exchange");
    println!("whole: µs an exchange of the program in all its threads, on all cores and on one, its peak memory");
    println!(
        "{:<24}{:>8} |{:>7}{:>9}{:>7}{:>9} |{:>9}{:>9} |{:>10} |{:>8}{:>9}{:>10}",
        "load",
        "packets",
        "read",
        "+decode",
        "core",
        "encoded",
        "core",
        "encoded",
        "alloc/exch",
        "whole",
        "on one",
        "peak"
    );
    for one in costs {
        let packet = |total| each(total, one.packets);
        let exchange = |total| each(total, one.exchanges);
        let (whole, peak) = one.process.map_or((0.0, 0), |process| (exchange(process.time) / 1000.0, process.peak));
        let on_one_core = one.on_one_core.map_or(0.0, |process| exchange(process.time) / 1000.0);
        println!(
            "{:<24}{:>8} |{:>7.0}{:>9.0}{:>7.0}{:>9.0} |{:>9.0}{:>9.0} |{:>4.1} {:>5.1} |{:>8.2}{:>9.2}{:>6} MiB",
            one.name,
            one.packets,
            packet(one.reading),
            packet(one.decoding),
            packet(one.core),
            packet(one.encoded),
            exchange(one.core),
            exchange(one.encoded),
            exchange(one.calls.0),
            exchange(one.calls.1),
            whole,
            on_one_core,
            peak / 1024,
        );
    }
}

/// The tables of scale.
pub fn print_scale(sizes: &[Size], workers: &[Workers]) {
    println!(
        "\n{:<14}{:>22}{:>24}{:>16}",
        "connections", "ns a packet, no data", "bytes, exchange open", "bytes, idle"
    );
    for size in sizes {
        println!("{:<14}{:>22}{:>24}{:>16}", size.connections, size.packet, size.open, size.idle);
    }
    println!("\n{:<14}{:>22}", "workers", "packets a second");
    for one in workers {
        println!("{:<14}{:>22.0}", one.workers, one.packets_per_second);
    }
}

/// The table of targets.
pub fn print_targets(targets: &[Target]) {
    println!("\n{:<52}{:>14}{:>16}", "target", "measured", "aim");
    for target in targets {
        let sign = if target.wanted == Wanted::AtMost { "≤" } else { "≥" };
        let reached = if target.is_reached() { "reached" } else { "not reached" };
        let (measured, aim, unit) = (target.measured, target.aim, target.unit);
        println!("{:<52}{measured:>14.2}{sign:>6} {aim:<9} {unit:<18} {reached}", target.what);
    }
}

/// All of it, by name.
pub fn json(costs: &[Costs], sizes: &[Size], workers: &[Workers], targets: &[Target]) -> Value {
    let loads = costs.iter().map(|one| {
        json!({
            "load": one.name,
            "packets": one.packets,
            "exchanges": one.exchanges,
            "reading_ns_per_packet": each(one.reading, one.packets),
            "decoding_ns_per_packet": each(one.decoding, one.packets),
            "core_ns_per_packet": each(one.core, one.packets),
            "encoded_ns_per_packet": each(one.encoded, one.packets),
            "core_ns_per_exchange": each(one.core, one.exchanges),
            "encoded_ns_per_exchange": each(one.encoded, one.exchanges),
            "core_allocations_per_exchange": each(one.calls.0, one.exchanges),
            "encoded_allocations_per_exchange": each(one.calls.1, one.exchanges),
            "whole_ns_per_exchange": one.process.map(|process| each(process.time, one.exchanges)),
            "on_one_core_ns_per_exchange": one.on_one_core.map(|process| each(process.time, one.exchanges)),
            "whole_ns_per_packet": one.process.map(|process| each(process.time, one.packets)),
            "peak_kib": one.process.map(|process| process.peak),
        })
    });
    let sizes = sizes.iter().map(|size| {
        json!({
            "connections": size.connections,
            "ns_per_packet": size.packet,
            "bytes_open": size.open,
            "bytes_idle": size.idle,
        })
    });
    let workers =
        workers.iter().map(|one| json!({"workers": one.workers, "packets_per_second": one.packets_per_second}));
    let targets = targets.iter().map(|target| {
        json!({"target": target.what, "measured": target.measured, "aim": target.aim, "reached": target.is_reached()})
    });
    json!({
        "loads": loads.collect::<Vec<_>>(),
        "sizes": sizes.collect::<Vec<_>>(),
        "workers": workers.collect::<Vec<_>>(),
        "targets": targets.collect::<Vec<_>>(),
    })
}
