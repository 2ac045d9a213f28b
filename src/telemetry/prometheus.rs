//! Counters → the Prometheus text format, version 0.0.4.

use std::fmt::Write;

use super::statistics::{Meaning, Row, Statistics};
use crate::export::ExportSnapshot;
use crate::worker::WorkerSnapshot;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric with its samples: labels and value.
struct Family {
    name: String,
    words: &'static str,
    kind: &'static str,
    samples: Vec<(String, u64)>,
}

/// All counters, those of the workers with a label that tells which.
pub fn render(workers: &[WorkerSnapshot], export: ExportSnapshot) -> String {
    let mut families: Vec<Family> = Vec::new();
    for (number, worker) in workers.iter().enumerate() {
        let statistics = Statistics { worker: *worker, export };
        for row in statistics.worker_rows() {
            // The queue is one for all workers.
            if row.name != "exchange.queue_dropped" {
                add(&mut families, &row, &format!("worker=\"{number}\""));
            } else if number == 0 {
                add(&mut families, &row, "");
            }
        }
    }
    let statistics = Statistics { worker: WorkerSnapshot::default(), export };
    for row in statistics.export_rows() {
        add(&mut families, &row, "");
    }
    let mut text = String::new();
    for family in &families {
        family.write(&mut text);
    }
    write_process(&mut text);
    text
}

fn add(families: &mut Vec<Family>, row: &Row, label: &str) {
    // What comes after the second dot is a reason.
    let mut parts = row.name.splitn(3, '.');
    let (layer, what, reason) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let (suffix, kind) = if row.meaning == Meaning::Gauge { ("", "gauge") } else { ("_total", "counter") };
    let name = format!("network_agent_{layer}_{what}{suffix}");
    let reason = reason.map(|reason| format!("reason=\"{reason}\""));
    let labels: Vec<&str> = [label].into_iter().chain(reason.as_deref()).filter(|label| !label.is_empty()).collect();
    let sample = (labels.join(","), row.value);
    match families.iter_mut().find(|family| family.name == name) {
        Some(family) => family.samples.push(sample),
        None => families.push(Family { name, words: row.words, kind, samples: vec![sample] }),
    }
}

impl Family {
    fn write(&self, text: &mut String) {
        let Self { name, words, kind, samples } = self;
        // A reason has words of its own, which are not those of all.
        let words = words.replace('\\', "\\\\");
        let _ = writeln!(text, "# HELP {name} {words}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
}

/// What the system says of the process (proc(5)), by the names that Prometheus' own clients use.
fn write_process(text: &mut String) {
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(
        text,
        "# HELP network_agent_build_info the version that runs\n# TYPE network_agent_build_info gauge\n\
         network_agent_build_info{{version=\"{version}\"}} 1"
    );
    let resident = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes * 1024)
    });
    let descriptors = std::fs::read_dir("/proc/self/fd").ok().map(|list| list.count() as u64);
    let gauges = [
        ("process_resident_memory_bytes", "resident memory", resident),
        ("process_open_fds", "open file descriptors", descriptors),
    ];
    for (name, words, value) in gauges {
        if let Some(value) = value {
            let _ = writeln!(text, "# HELP {name} {words}\n# TYPE {name} gauge\n{name} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn worker(packets: u64) -> WorkerSnapshot {
        let mut snapshot = WorkerSnapshot::default();
        snapshot.counters.packet.packets = packets;
        snapshot.counters.packet.discards = std::array::from_fn(|place| place as u64 + packets);
        snapshot.exchanges_dropped = 9;
        snapshot
    }

    /// Every sample by its name and labels, read as strictly as the format is written down.
    fn read(text: &str) -> HashMap<String, f64> {
        let (mut types, mut samples, mut current) = (HashSet::new(), HashMap::new(), String::new());
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge"].contains(&kind), "{line}");
                assert!(types.insert(name.to_owned()), "{name} has its type twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                name.clone_into(&mut current);
            } else if !line.starts_with("# HELP ") {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                assert_eq!(name, current, "samples stand below their type");
                assert!(
                    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                    "{line}"
                );
                assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} twice");
            }
        }
        samples
    }

    #[test]
    fn the_text_reads_back_as_what_was_counted() {
        let export = ExportSnapshot { spans_exported: 5, ..ExportSnapshot::default() };
        let samples = read(&render(&[worker(3), worker(4)], export));
        let of = |series: &str| samples.get(series).copied();
        assert_eq!(of("network_agent_packet_packets_total{worker=\"0\"}"), Some(3.0));
        assert_eq!(of("network_agent_packet_packets_total{worker=\"1\"}"), Some(4.0));
        assert_eq!(of("network_agent_export_spans_exported_total"), Some(5.0));
        assert_eq!(of("network_agent_exchange_queue_dropped_total"), Some(9.0), "the queue counts once");
        assert_eq!(of("network_agent_export_spans_dropped_total{reason=\"queue_full\"}"), Some(0.0));
        assert!(of("network_agent_tcp_active{worker=\"1\"}").is_some());
        assert!(of("process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6));
        let not_tcp = of("network_agent_packet_discarded_total{worker=\"1\",reason=\"not_tcp\"}");
        assert!(not_tcp.is_some_and(|count| count >= 4.0));
    }
}
