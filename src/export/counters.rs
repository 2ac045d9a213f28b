//! What the export side has counted, for `--stats` and metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;

use crate::export::merge::MergeCounts;
use crate::metadata::{MetadataSnapshot, MetadataStatus};
use crate::span::LeftOut;

/// Why a span was not exported.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(usize)]
pub enum DropReason {
    /// The destination was slower than the traffic, and the bytes that may wait were used up.
    QueueFull,
    /// The destination took the batch without this span (OTLP partial success).
    Rejected,
    /// The destination refused the batch for good.
    Refused,
    /// The agent ended before the destination had taken it.
    Shutdown,
    /// It waited on the disk, and newer ones needed its place, or its file was damaged.
    Spool,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 5] = [Self::QueueFull, Self::Rejected, Self::Refused, Self::Shutdown, Self::Spool];

    /// The reason as a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
            Self::Spool => "spool",
        }
    }
}

/// Counters of one export task, to be read while it runs.
#[derive(Debug, Default)]
pub struct ExportCounters {
    received: AtomicU64,
    exported: AtomicU64,
    sampled_out: AtomicU64,
    in_transit: AtomicU64,
    elsewhere: AtomicU64,
    left_out: [AtomicU64; LeftOut::ALL.len()],
    second: AtomicU64,
    unnamed: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    recovered: AtomicU64,
    spooled: AtomicU64,
    spooled_bytes: AtomicU64,
    stored: AtomicU64,
    in_flight: AtomicU64,
    held: AtomicU64,
    merged: AtomicU64,
    late: AtomicU64,
    early: AtomicU64,
    batches: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    /// Why spans wait, while they do.
    obstacle: Mutex<Option<String>>,
    /// Takes the time of every batch; none when nobody asks.
    operations: OnceLock<(Histogram<f64>, Vec<KeyValue>)>,
    /// The watches of Kubernetes; none where there is none.
    metadata: OnceLock<Arc<MetadataStatus>>,
}

/// What [`ExportCounters`] said at one moment.
///
/// Invariants, whenever the task rests: `exchanges_received + spans_second + spans_recovered == spans_exported +
/// Σ spans_dropped + spans_sampled_out + exchanges_elsewhere + Σ exchanges_left_out + spans_waiting + spans_spooled`; what
/// was taken from the queue is `exchanges_received + views_merged + views_late + views_waiting`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExportSnapshot {
    /// Exchanges waiting for another view of the same.
    pub views_waiting: u64,
    /// Further views of an exchange that became part of it.
    pub views_merged: u64,
    /// Further views of an exchange that came when it had gone on, and were dropped.
    pub views_late: u64,
    /// Exchanges that went on before their time because too many waited for another view.
    pub views_early: u64,
    /// Exchanges to be made into spans, each once whatever the number of its views.
    pub exchanges_received: u64,
    /// Spans that the destination acknowledged.
    pub spans_exported: u64,
    /// Exchanges that the sampler turned down.
    pub spans_sampled_out: u64,
    /// Spans of exchanges that neither began nor ended on this machine.
    pub spans_in_transit: u64,
    /// Exchanges between other nodes, which report them.
    pub exchanges_elsewhere: u64,
    /// Exchanges that are not observed, by [`LeftOut`] in the order of [`LeftOut::ALL`].
    pub exchanges_left_out: [u64; LeftOut::ALL.len()],
    /// Second spans, of exchanges of which both sides are reported.
    pub spans_second: u64,
    /// Workloads that were given the agent's own `service.name`, because there were too many names.
    pub workloads_unnamed: u64,
    /// How the watches of Kubernetes fare.
    pub metadata: MetadataSnapshot,
    /// Spans lost, by [`DropReason`] in the order of [`DropReason::ALL`].
    pub spans_dropped: [u64; DropReason::ALL.len()],
    /// Spans between the queue and the destination's answer, in memory.
    pub spans_waiting: u64,
    /// Spans that an earlier run has left in the spool.
    pub spans_recovered: u64,
    /// Spans that wait in the spool and not in memory.
    pub spans_spooled: u64,
    /// Spans that were written to the spool, since the start.
    pub spans_stored: u64,
    /// Bytes of the spool's files.
    pub spool_bytes: u64,
    /// Spans in calls that are open: a part of those that wait.
    pub spans_in_flight: u64,
    /// Bytes of closed batches that wait or are in flight.
    pub waiting_bytes: u64,
    /// Batches closed.
    pub batches: u64,
    /// Calls made, or writes.
    pub requests: u64,
    /// Of the requests: those that sent a batch again.
    pub retries: u64,
    /// Bytes of batches that the destination acknowledged, before compression.
    pub bytes: u64,
}

/// What exchanges were made into, to be counted for many at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    /// All of them.
    exchanges: u64,
    /// Exchanges that gave no span.
    none: u64,
    /// Spans beside the first of an exchange.
    second: u64,
}

impl Made {
    /// An exchange was made into so many spans.
    pub(super) fn add(&mut self, spans: u64) {
        self.exchanges += 1;
        match spans.checked_sub(1) {
            Some(second) => self.second += second,
            None => self.none += 1,
        }
    }

    /// How many exchanges that were.
    pub(super) const fn exchanges(&self) -> u64 {
        self.exchanges
    }
}

impl ExportSnapshot {
    /// Spans lost for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.spans_dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Exchanges that are not observed, for `reason`.
    pub fn left_out(&self, reason: LeftOut) -> u64 {
        self.exchanges_left_out.get(reason as usize).copied().unwrap_or(0)
    }

    /// Spans lost for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.spans_dropped.iter().sum()
    }
}

impl ExportCounters {
    /// Why spans do not go out, if they do not.
    pub fn obstacle(&self) -> Option<String> {
        self.obstacle.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn obstructed(&self, by: Option<String>) {
        let mut obstacle = self.obstacle.lock().unwrap_or_else(PoisonError::into_inner);
        if *obstacle != by {
            *obstacle = by;
        }
    }

    /// From now on what `status` says is told, too.
    pub fn tell_of(&self, status: Arc<MetadataStatus>) {
        let _ = self.metadata.set(status);
    }

    /// From now on `histogram` takes the seconds from the first attempt to send a batch to the last answer, each with
    /// `attributes`.
    pub fn measure_operations(&self, histogram: Histogram<f64>, attributes: Vec<KeyValue>) {
        let _ = self.operations.set((histogram, attributes));
    }

    pub(super) fn operation(&self, time: Duration, error: Option<&'static str>) {
        if let Some((histogram, attributes)) = self.operations.get() {
            let error = error.map(|error| KeyValue::new("error.type", error));
            let attributes: Vec<KeyValue> = attributes.iter().cloned().chain(error).collect();
            histogram.record(time.as_secs_f64(), &attributes);
        }
    }

    /// What they say now.
    pub fn snapshot(&self) -> ExportSnapshot {
        ExportSnapshot {
            views_waiting: load(&self.held),
            views_merged: load(&self.merged),
            views_late: load(&self.late),
            views_early: load(&self.early),
            exchanges_received: load(&self.received),
            spans_exported: load(&self.exported),
            spans_sampled_out: load(&self.sampled_out),
            spans_in_transit: load(&self.in_transit),
            exchanges_elsewhere: load(&self.elsewhere),
            exchanges_left_out: std::array::from_fn(|reason| self.left_out.get(reason).map_or(0, load)),
            spans_second: load(&self.second),
            workloads_unnamed: load(&self.unnamed),
            metadata: self.metadata.get().map(|status| status.snapshot()).unwrap_or_default(),
            spans_dropped: std::array::from_fn(|reason| self.dropped.get(reason).map_or(0, load)),
            spans_waiting: load(&self.waiting),
            spans_recovered: load(&self.recovered),
            spans_spooled: load(&self.spooled),
            spans_stored: load(&self.stored),
            spool_bytes: load(&self.spooled_bytes),
            spans_in_flight: load(&self.in_flight),
            waiting_bytes: load(&self.waiting_bytes),
            batches: load(&self.batches),
            requests: load(&self.requests),
            retries: load(&self.retries),
            bytes: load(&self.bytes),
        }
    }

    pub(super) fn received(&self, exchanges: u64) {
        add(&self.received, exchanges);
        add(&self.waiting, exchanges);
    }

    pub(super) fn views(&self, waiting: usize, counts: MergeCounts) {
        self.held.store(waiting as u64, Ordering::Relaxed);
        add(&self.merged, counts.merged);
        add(&self.late, counts.late);
        add(&self.early, counts.early);
    }

    /// Exchanges were made into spans. Of what gave none, why is counted elsewhere.
    pub(super) fn made(&self, made: Made) {
        if made.none > 0 {
            self.waiting.fetch_sub(made.none, Ordering::Relaxed);
        }
        if made.second > 0 {
            add(&self.waiting, made.second);
            add(&self.second, made.second);
        }
    }

    pub(super) fn sampled_out(&self) {
        add(&self.sampled_out, 1);
    }

    pub(super) fn unnamed(&self, workloads: u64) {
        self.unnamed.store(workloads, Ordering::Relaxed);
    }

    pub(super) fn elsewhere(&self) {
        add(&self.elsewhere, 1);
    }

    pub(super) fn left_out(&self, reason: LeftOut) {
        if let Some(count) = self.left_out.get(reason as usize) {
            add(count, 1);
        }
    }

    pub(super) fn in_transit(&self) {
        add(&self.in_transit, 1);
    }

    pub(super) fn exported(&self, spans: u64, bytes: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        add(&self.exported, spans);
        add(&self.bytes, bytes as u64);
    }

    pub(super) fn dropped(&self, reason: DropReason, spans: u64) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        if let Some(count) = self.dropped.get(reason as usize) {
            add(count, spans);
        }
    }

    /// Spans were found in the spool.
    pub(super) fn recovered(&self, spans: u64) {
        add(&self.recovered, spans);
        add(&self.spooled, spans);
    }

    /// Spans are on the disk and no longer in memory.
    pub(super) fn stored(&self, spans: u64) {
        add(&self.stored, spans);
        self.left_on_disk(spans);
    }

    /// Spans are no longer in memory; the disk had them all the time.
    pub(super) fn left_on_disk(&self, spans: u64) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        add(&self.spooled, spans);
    }

    /// Spans were read from the disk.
    pub(super) fn read(&self, spans: u64) {
        self.spooled.fetch_sub(spans, Ordering::Relaxed);
        add(&self.waiting, spans);
    }

    /// Spans on the disk were lost.
    pub(super) fn lost_on_disk(&self, spans: u64) {
        if spans == 0 {
            return;
        }
        self.spooled.fetch_sub(spans, Ordering::Relaxed);
        if let Some(count) = self.dropped.get(DropReason::Spool as usize) {
            add(count, spans);
        }
    }

    pub(super) fn spool_bytes(&self, bytes: u64) {
        self.spooled_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn batch_closed(&self) {
        add(&self.batches, 1);
    }

    pub(super) fn request(&self) {
        add(&self.requests, 1);
    }

    pub(super) fn retry(&self) {
        add(&self.retries, 1);
    }

    pub(super) fn in_flight(&self, spans: u64) {
        self.in_flight.store(spans, Ordering::Relaxed);
    }

    pub(super) fn waiting_bytes(&self, bytes: usize) {
        self.waiting_bytes.store(bytes as u64, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_is_in_one_place() {
        let counters = ExportCounters::default();
        counters.received(12);
        counters.sampled_out();
        counters.elsewhere();
        counters.left_out(LeftOut::UserAgent);
        let mut made = Made::default();
        for spans in [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2] {
            made.add(spans);
        }
        counters.made(made);
        counters.exported(5, 500);
        counters.dropped(DropReason::Rejected, 1);
        counters.dropped(DropReason::Shutdown, 2);
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.spans_waiting, 2);
        assert_eq!(snapshot.dropped_total(), 3);
        assert_eq!(snapshot.dropped(DropReason::Shutdown), 2);
        assert_eq!(
            snapshot.exchanges_received + snapshot.spans_second,
            snapshot.spans_exported
                + snapshot.dropped_total()
                + snapshot.spans_sampled_out
                + snapshot.exchanges_elsewhere
                + snapshot.left_out(LeftOut::UserAgent)
                + snapshot.spans_waiting
        );
    }
}
