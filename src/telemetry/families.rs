//! Counters of all workers and of the export side → families: one metric each, with its samples.

use super::statistics::{Meaning, Row, Statistics};
use crate::export::ExportSnapshot;
use crate::worker::WorkerSnapshot;

/// A metric: what is counted, for each worker and each reason.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// Its layer and itself, with a dot between: `packet.segments`.
    pub(super) name: String,
    pub(super) words: &'static str,
    pub(super) meaning: Meaning,
    pub(super) samples: Vec<Sample>,
}

/// One number of a family.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Sample {
    /// Which worker counted it; none where all share what is counted.
    pub(super) worker: Option<usize>,
    pub(super) reason: Option<String>,
    pub(super) value: u64,
}

impl Family {
    /// Whether it counts bytes.
    pub(super) fn is_bytes(&self) -> bool {
        ["bytes", "memory", "memory_peak"].iter().any(|unit| self.name.ends_with(unit))
    }
}

/// All families, in the order of `--stats`.
pub(super) fn families(workers: &[WorkerSnapshot], export: &ExportSnapshot) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for (number, worker) in workers.iter().enumerate() {
        for row in (Statistics { worker: *worker, export: *export }).worker_rows() {
            // The queue is one for all workers.
            if row.name != "exchange.queue_dropped" {
                add(&mut families, row, Some(number));
            } else if number == 0 {
                add(&mut families, row, None);
            }
        }
    }
    for row in (Statistics { worker: WorkerSnapshot::default(), export: *export }).export_rows() {
        add(&mut families, row, None);
    }
    families
}

fn add(families: &mut Vec<Family>, row: Row, worker: Option<usize>) {
    let Row { name, value, words, meaning } = row;
    // What comes after the second dot is a reason.
    let mut parts = name.splitn(3, '.');
    let (layer, what) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (name, reason) = (format!("{layer}.{what}"), parts.next().map(str::to_owned));
    // A reason has words of its own, which are not those of all.
    let words = match name.as_str() {
        "export.spans_dropped" => "spans dropped",
        "export.exchanges_left_out" => "exchanges that are not observed",
        "packet.abandoned_datagrams" => "datagrams whose fragments never came together",
        "tcp.pending_overflows" => "holes given up early",
        _ => words,
    };
    let sample = Sample { worker, reason, value };
    match families.iter_mut().find(|family| family.name == name) {
        Some(family) => family.samples.push(sample),
        None => families.push(Family { name, words, meaning, samples: vec![sample] }),
    }
}
