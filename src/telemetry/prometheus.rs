//! Counters → the Prometheus text format, version 0.0.4.

use std::fmt::Write;

use super::families::{Family, Sample, families};
use super::process::Process;
use super::statistics::Meaning;
use crate::export::ExportSnapshot;
use crate::worker::WorkerSnapshot;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All counters, those of the workers with a label that tells which.
pub fn render(workers: &[WorkerSnapshot], export: &ExportSnapshot) -> String {
    let mut text = String::new();
    for family in families(workers, export) {
        write_family(&family, &mut text);
    }
    write_process(Process::now(), &mut text);
    text
}

fn write_family(family: &Family, text: &mut String) {
    let (suffix, kind) = if family.meaning == Meaning::Gauge { ("", "gauge") } else { ("_total", "counter") };
    let name = format!("network_agent_{}{suffix}", family.name.replace('.', "_"));
    write_head(&name, family.words, kind, text);
    for Sample { worker, reason, value } in &family.samples {
        let worker = worker.map(|worker| format!("worker=\"{worker}\""));
        let reason = reason.as_ref().map(|reason| format!("reason=\"{reason}\""));
        let labels = worker.into_iter().chain(reason).collect::<Vec<_>>().join(",");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

fn write_head(name: &str, words: &str, kind: &str, text: &mut String) {
    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", words.replace('\\', "\\\\"));
}

/// The process, by the names that Prometheus' own clients use.
fn write_process(process: Process, text: &mut String) {
    write_head("network_agent_build_info", "the version that runs", "gauge", text);
    let _ = writeln!(text, "network_agent_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    let times = process.user_time.zip(process.system_time);
    let rows = [
        (
            "process_cpu_seconds_total",
            "CPU time",
            "counter",
            times.map(|(user, system)| format!("{:.2}", user + system)),
        ),
        ("process_resident_memory_bytes", "resident memory", "gauge", process.resident_memory.map(|it| it.to_string())),
        ("process_open_fds", "open file descriptors", "gauge", process.open_descriptors.map(|it| it.to_string())),
        ("process_threads", "threads", "gauge", process.threads.map(|it| it.to_string())),
    ];
    for (name, words, kind, value) in rows {
        if let Some(value) = value {
            write_head(name, words, kind, text);
            let _ = writeln!(text, "{name} {value}");
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
        let samples = read(&render(&[worker(3), worker(4)], &export));
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
