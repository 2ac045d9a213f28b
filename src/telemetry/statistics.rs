//! Counters → the line at the end, and with `--stats` the table or the JSON object of all of them.

use std::fmt::Write;

use crate::config::StatsFormat;
use crate::export::{DropReason, ExportSnapshot};
use crate::packet::{Abandonment, Discard};
use crate::span::LeftOut;
use crate::tcp::Overflow;
use crate::worker::WorkerSnapshot;

/// Everything that was counted, from the packets to the spans.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Packets to exchanges.
    pub worker: WorkerSnapshot,
    /// Exchanges to spans.
    pub export: ExportSnapshot,
}

impl Statistics {
    /// What was lost since `before`, in words with the setting that helps; `None` when nothing was.
    pub fn losses_since(&self, before: &Self) -> Option<String> {
        let before = before.rows();
        let rows = self.rows();
        let lost: Vec<String> = rows
            .iter()
            .zip(&before)
            .filter(|(now, _)| now.meaning == Meaning::Loss)
            .map(|(now, then)| (now.value.saturating_sub(then.value), now.words))
            .filter(|(count, _)| *count > 0)
            .map(|(count, words)| format!("{count} {words}"))
            .collect();
        (!lost.is_empty()).then(|| lost.join(", "))
    }

    /// One line: what came in, what went out, and what was lost on the way and why.
    pub fn summary(&self) -> String {
        let counters = &self.worker.counters;
        let mut line = format!(
            "{} packets, {} connections, {} exchanges, {} spans",
            counters.packet.packets, counters.tcp.connections, counters.exchange.emitted, self.export.spans_exported
        );
        let losses: Vec<String> = self
            .rows()
            .into_iter()
            .filter(|row| row.meaning == Meaning::Loss && row.value > 0)
            .map(|row| format!("{} {}", row.value, row.words))
            .collect();
        if !losses.is_empty() {
            let _ = write!(line, "; {}", losses.join(", "));
        }
        line
    }

    /// All counters, by name.
    pub fn report(&self, format: StatsFormat) -> String {
        let rows = self.rows();
        match format {
            StatsFormat::Json => {
                let object = rows.into_iter().map(|row| (row.name, row.value.into())).collect();
                serde_json::Value::Object(object).to_string()
            }
            StatsFormat::Table => {
                let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
                let lines = rows.iter().map(|row| format!("{:width$}  {:>12}  {}", row.name, row.value, row.words));
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = self.worker_rows();
        rows.extend(self.export_rows());
        rows
    }

    /// What each worker counts for itself.
    pub(super) fn worker_rows(&self) -> Vec<Row> {
        let mut rows = self.packet_rows();
        rows.extend(self.stream_rows());
        rows.extend(self.exchange_rows());
        rows
    }

    fn packet_rows(&self) -> Vec<Row> {
        let (capture, packet) = (&self.worker.capture, &self.worker.counters.packet);
        let mut rows = vec![
            Row::count("capture.received", capture.received, "packets that passed the kernel's filter"),
            Row::loss(
                "capture.dropped_by_kernel",
                capture.dropped_by_kernel,
                "packets dropped by the kernel: enlarge AGENT_RING_BYTES",
            ),
            Row::loss("capture.dropped_by_interface", capture.dropped_by_interface, "packets dropped by the interface"),
            Row::count("packet.packets", packet.packets, "packets read"),
            Row::count("packet.wire_bytes", packet.wire_bytes, "bytes of the packets on the wire"),
            Row::count("packet.segments", packet.segments, "TCP segments among the packets"),
        ];
        for reason in Discard::ALL {
            let name = format!("packet.discarded.{}", reason.label());
            rows.push(Row::count(name, packet.discarded(reason), "packets that gave no segment"));
        }
        for reason in Abandonment::ALL {
            let name = format!("packet.abandoned_datagrams.{}", reason.label());
            rows.push(Row::loss(name, packet.abandoned(reason), words_for_abandonment(reason)));
        }
        rows
    }

    fn stream_rows(&self) -> Vec<Row> {
        let (tcp, http) = (&self.worker.counters.tcp, &self.worker.counters.http);
        let mut rows = vec![
            Row::count("tcp.connections", tcp.connections, "connections"),
            Row::gauge("tcp.active", tcp.active, "connections known now"),
            Row::loss("tcp.evicted", tcp.evicted, "connections forgotten: raise AGENT_MAX_CONNECTIONS"),
            Row::loss("tcp.shed", tcp.shed, "connections forgotten for want of memory: raise AGENT_MAX_MEMORY"),
            Row::gauge("tcp.memory", tcp.memory, "bytes of memory that connections take"),
            Row::gauge("tcp.memory_peak", tcp.memory_peak, "the most that they have taken"),
            Row::count("tcp.bytes", tcp.bytes, "bytes delivered in order"),
            Row::count(
                "tcp.left_out_bytes",
                tcp.left_out_bytes,
                "bytes of long bodies left in the kernel: only counted",
            ),
            Row::count("tcp.gaps", tcp.gaps, "gaps of bytes that were not captured"),
            Row::loss("tcp.missing_bytes", tcp.missing_bytes, "bytes not captured"),
            Row::count("tcp.retransmits", tcp.retransmits, "segments sent again"),
            Row::count("tcp.duplicates", tcp.duplicates, "packets seen on another interface before"),
            Row::count("tcp.out_of_order", tcp.out_of_order, "segments that came before their time"),
            Row::count("tcp.bytes_after_end", tcp.bytes_after_end, "bytes beyond the end of their stream"),
            Row::count("tcp.ignored_resets", tcp.ignored_resets, "resets far from the window"),
            Row::count(
                "tcp.ignored_acknowledgements",
                tcp.ignored_acknowledgements,
                "acknowledgements of bytes that nobody is known to have sent",
            ),
            Row::count("tcp.unknown_connection", tcp.unknown_connection, "empty segments of unknown connections"),
        ];
        for bound in Overflow::ALL {
            let name = format!("tcp.pending_overflows.{}", bound.label());
            rows.push(Row::loss(name, tcp.overflows(bound), words_for_overflow(bound)));
        }
        rows.extend([
            Row::count("http.requests", http.requests, "request heads"),
            Row::count("http.responses", http.responses, "final response heads"),
            Row::count("http.interim_responses", http.interim_responses, "interim response heads"),
            Row::count(
                "http.opaque_connections",
                http.opaque_connections,
                "connections that are not HTTP/1, or no longer",
            ),
            Row::count("http.preambles", http.preambles, "connections that begin with a PROXY header or SOCKS"),
            Row::count("http.http2_connections", http.http2_connections, "connections that are HTTP/2"),
            Row::loss("http.malformed_heads", http.malformed_heads, "heads that could not be read"),
            Row::loss("http.oversized_heads", http.oversized_heads, "heads too long: raise AGENT_MAX_HEAD_BYTES"),
            Row::count("http.skipped_bytes", http.skipped_bytes, "bytes skipped in search of a message"),
        ]);
        rows
    }

    fn exchange_rows(&self) -> Vec<Row> {
        let exchange = &self.worker.counters.exchange;
        vec![
            Row::count("exchange.requests", exchange.requests, "requests"),
            Row::count("exchange.emitted", exchange.emitted, "requests reported"),
            Row::gauge("exchange.open", exchange.open, "requests still open"),
            Row::count("exchange.unanswered", exchange.unanswered, "reported without a response"),
            Row::loss("exchange.incomplete", exchange.incomplete, "exchanges incomplete in the capture"),
            Row::loss(
                "exchange.unmatched_responses",
                exchange.unmatched_responses,
                "responses whose request was not seen",
            ),
            Row::count(
                "exchange.unproven_requests",
                exchange.unproven_requests,
                "what looked like a request after a loss and was not proven to be one",
            ),
            Row::loss("exchange.overflows", exchange.overflows, "requests given up: raise AGENT_MAX_OPEN_EXCHANGES"),
            Row::loss(
                "exchange.queue_dropped",
                self.worker.exchanges_dropped,
                "exchanges dropped before export: raise AGENT_QUEUE_BYTES",
            ),
        ]
    }

    pub(super) fn export_rows(&self) -> Vec<Row> {
        let export = &self.export;
        let mut rows = vec![
            Row::gauge("export.views_waiting", export.views_waiting, "exchanges waiting for another view"),
            Row::count("export.views_merged", export.views_merged, "further views that became part of an exchange"),
            Row::loss("export.views_late", export.views_late, "views that came too late: raise AGENT_MERGE_WINDOW"),
            Row::count(
                "export.views_early",
                export.views_early,
                "exchanges that did not wait: raise AGENT_MERGE_BYTES",
            ),
            Row::count("export.exchanges_received", export.exchanges_received, "exchanges taken for export"),
            Row::count("export.spans_exported", export.spans_exported, "spans exported"),
            Row::count("export.spans_sampled_out", export.spans_sampled_out, "exchanges not sampled"),
            Row::count(
                "export.spans_in_transit",
                export.spans_in_transit,
                "spans of which neither end is on this machine: name its networks in AGENT_LOCAL_NETWORKS",
            ),
            Row::count(
                "export.exchanges_elsewhere",
                export.exchanges_elsewhere,
                "exchanges between other nodes, which report them",
            ),
            Row::count("export.spans_second", export.spans_second, "second spans, of exchanges with both ends here"),
            Row::count(
                "export.workloads_unnamed",
                export.workloads_unnamed,
                "workloads with the agent's own service.name, because there are more than 200 names",
            ),
            Row::gauge("export.spans_waiting", export.spans_waiting, "spans waiting"),
            Row::gauge("export.spans_in_flight", export.spans_in_flight, "spans sent and not answered yet"),
            Row::gauge("export.waiting_bytes", export.waiting_bytes, "bytes of batches that wait"),
        ];
        rows.extend([
            Row::count("export.spans_recovered", export.spans_recovered, "spans that an earlier run left in the spool"),
            Row::count("export.spans_stored", export.spans_stored, "spans written to the spool"),
            Row::gauge("export.spans_spooled", export.spans_spooled, "spans waiting in the spool"),
            Row::gauge("export.spool_bytes", export.spool_bytes, "bytes of the spool's files"),
        ]);
        for reason in LeftOut::ALL {
            let name = format!("export.exchanges_left_out.{}", reason.label());
            rows.push(Row::count(name, export.left_out(reason), words_for_left_out(reason)));
        }
        for reason in DropReason::ALL {
            let name = format!("export.spans_dropped.{}", reason.label());
            rows.push(Row::loss(name, export.dropped(reason), words_for(reason)));
        }
        rows.extend([
            Row::count("export.batches", export.batches, "batches"),
            Row::count("export.requests", export.requests, "attempts to send a batch"),
            Row::count("export.retries", export.retries, "attempts that were not the first for their batch"),
            Row::count("export.bytes", export.bytes, "bytes sent, before compression"),
        ]);
        rows.extend(self.metadata_rows());
        rows
    }

    fn metadata_rows(&self) -> [Row; 6] {
        let metadata = &self.export.metadata;
        [
            Row::gauge("metadata.pods", metadata.pods, "pods known by name"),
            Row::gauge("metadata.services", metadata.services, "services known by name"),
            Row::gauge("metadata.nodes", metadata.nodes, "nodes known by name"),
            Row::count("metadata.lists", metadata.lists, "lists read from the API server of Kubernetes"),
            Row::count("metadata.events", metadata.events, "objects that lists and watches told"),
            Row::count("metadata.errors", metadata.errors, "requests to the API server that failed, to be made again"),
        ]
    }
}

const fn words_for(reason: DropReason) -> &'static str {
    match reason {
        DropReason::QueueFull => "spans dropped while waiting: raise AGENT_QUEUE_BYTES",
        DropReason::Rejected => "spans rejected by the destination",
        DropReason::Refused => "spans refused by the destination",
        DropReason::Shutdown => "spans not sent when the agent ended",
        DropReason::Spool => "spans lost in the spool: raise AGENT_SPOOL_BYTES",
    }
}

const fn words_for_left_out(reason: LeftOut) -> &'static str {
    match reason {
        LeftOut::Namespace => "exchanges left out by AGENT_INCLUDE_NAMESPACES or AGENT_EXCLUDE_NAMESPACES",
        LeftOut::PodLabel => "exchanges left out by AGENT_INCLUDE_POD_LABELS or AGENT_EXCLUDE_POD_LABELS",
        LeftOut::Port => "exchanges left out by AGENT_INCLUDE_PORTS or AGENT_EXCLUDE_PORTS",
        LeftOut::Path => "exchanges left out by AGENT_INCLUDE_PATHS or AGENT_EXCLUDE_PATHS",
        LeftOut::UserAgent => "exchanges left out by AGENT_INCLUDE_USER_AGENTS or AGENT_EXCLUDE_USER_AGENTS",
        LeftOut::Annotation => "exchanges of pods whose annotation asks for it",
        LeftOut::Telemetry => "exports of telemetry: AGENT_INCLUDE_TELEMETRY reports them",
    }
}

const fn words_for_abandonment(reason: Abandonment) -> &'static str {
    match reason {
        Abandonment::Bytes => {
            "datagrams given up because fragments took too many bytes: raise AGENT_MAX_FRAGMENT_BYTES"
        }
        Abandonment::Sets => "datagrams given up because too many were in fragments: raise AGENT_MAX_FRAGMENT_SETS",
        Abandonment::Age => "datagrams whose fragments never came together",
        Abandonment::Contradictory => "datagrams whose fragments contradict each other",
    }
}

const fn words_for_overflow(bound: Overflow) -> &'static str {
    match bound {
        Overflow::Bytes => "holes given up in directions that held too many bytes: raise AGENT_MAX_PENDING_BYTES",
        Overflow::Segments => "holes given up in directions that held too many runs: raise AGENT_MAX_PENDING_SEGMENTS",
        Overflow::Total => "holes given up because all held too many bytes: raise AGENT_MAX_TOTAL_PENDING_BYTES",
    }
}

/// One counter.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its layer and itself, and perhaps a reason, with dots between.
    pub(super) name: String,
    pub(super) value: u64,
    pub(super) words: &'static str,
    pub(super) meaning: Meaning,
}

/// What a counter tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Meaning {
    /// Grows.
    Count,
    /// Grows, and something is lost with it.
    Loss,
    /// Stands at what it is now.
    Gauge,
}

impl Row {
    fn count(name: impl Into<String>, value: u64, words: &'static str) -> Self {
        Self { name: name.into(), value, words, meaning: Meaning::Count }
    }

    fn gauge(name: impl Into<String>, value: u64, words: &'static str) -> Self {
        Self { name: name.into(), value, words, meaning: Meaning::Gauge }
    }

    fn loss(name: impl Into<String>, value: u64, words: &'static str) -> Self {
        Self { name: name.into(), value, words, meaning: Meaning::Loss }
    }
}
