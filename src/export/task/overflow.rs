//! Batches that memory cannot hold → the disk, or lost and counted.

use tokio::time::Instant;

use super::{Desk, Format, Report, SpanSource, Task};
use crate::export::batch::Batch;
use crate::export::counters::{DropReason, Made};
use crate::export::spool::Spool;
use crate::export::{Exporter, WhenFull};

impl<S: SpanSource, F: Format, E: Exporter> Task<S, F, E> {
    /// The same task with a spool; what an earlier run has left there is sent first.
    pub(in crate::export) fn with_spool(mut self, spool: Option<Spool>) -> Self {
        let Some(spool) = spool else { return self };
        self.counters.recovered(spool.unread_spans());
        self.counters.spool_bytes(spool.bytes());
        self.desk = Some(Desk::new(spool, self.when_full, self.waiting.budget()));
        self
    }

    /// The oldest batch, from wherever it is; none while the oldest is still on the disk.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        match &self.desk {
            Some(desk) if desk.has_older() => self.waiting.take_first(),
            _ => self.waiting.take(),
        }
    }

    /// Gives the disk what it has to do.
    pub(super) fn drive_disk(&mut self) {
        // While the destination is left alone nothing more is taken into memory for it.
        let idle = self.exporter.concurrency().saturating_sub(self.waiting.first());
        let wanted = if self.paused_until.is_none() { idle } else { 0 };
        if let Some(desk) = &mut self.desk {
            desk.drive(wanted);
        }
    }

    /// Brings what waits in memory within its budget: to the disk where there is one, and else the oldest are lost.
    pub(super) fn relieve(&mut self) {
        if let Some(desk) = &mut self.desk {
            while let Some(batch) = self.waiting.pop_for_disk(|bytes| desk.takes(bytes)) {
                desk.store(batch);
            }
        }
        if self.when_full == WhenFull::Drop {
            while let Some(batch) = self.waiting.pop_excess() {
                self.counters.dropped(DropReason::QueueFull, batch.spans);
                self.journal.queue_full(batch.spans);
            }
        }
    }

    /// The disk has done something.
    pub(super) fn take_report(&mut self, report: Report) {
        self.count_report(&report);
        for batch in report.failed.into_iter().rev() {
            self.waiting.put_unwritten(batch);
        }
        for batch in report.read {
            self.waiting.put_read(batch);
        }
        self.relieve();
        self.count_bytes();
    }

    /// Bytes in memory: those that wait, those in flight, and those on their way to the disk.
    pub(super) fn count_bytes(&self) {
        let to_disk = self.desk.as_ref().map_or(0, Desk::to_store_bytes);
        self.counters.waiting_bytes(self.waiting.bytes() + to_disk);
    }

    fn count_report(&mut self, report: &Report) {
        self.counters.stored(report.stored);
        self.counters.read(report.read.iter().map(|batch| batch.spans).sum());
        if let Some(bytes) = report.bytes {
            self.counters.spool_bytes(bytes);
        }
        if report.lost > 0 {
            self.journal.lost_on_disk(report.lost);
        }
        self.counters.lost_on_disk(report.lost + report.damaged);
        if report.oversized > 0 {
            self.counters.dropped(DropReason::Spool, report.oversized);
            self.journal.lost_on_disk(report.oversized);
        }
        if report.stored > 0 || report.error.is_some() {
            self.journal.spool(report.error.as_ref());
        }
    }

    /// The batch need not be kept any longer.
    pub(super) fn forget_on_disk(&mut self, batch: &Batch) {
        if let (Some(desk), Some(position)) = (&mut self.desk, batch.spooled) {
            desk.done(position);
        }
    }

    /// With a spool nothing is lost at the end: everything that waits stays there for the next run. A disk that hangs is not
    /// waited for longer than the destination was.
    pub(super) async fn leave_to_disk(&mut self) {
        let Some(desk) = self.desk.take() else { return };
        self.calls.abort_all();
        while let Some(items) = self.received_already().await {
            self.counters.received(items as u64);
            self.encode_all();
        }
        self.counters.received(self.source.release() as u64);
        self.encode_all();
        if let Some(batch) = self.batcher.close() {
            self.counters.batch_closed();
            self.waiting.push(batch);
        }
        let mut first: Vec<Batch> = self.in_flight.drain(..).map(|(_, batch)| batch).collect();
        first.extend(std::iter::from_fn(|| self.waiting.take_first()));
        let others: Vec<Batch> = std::iter::from_fn(|| self.waiting.take()).collect();
        let spans: u64 = first.iter().chain(&others).map(|batch| batch.spans).sum();
        let Ok(reports) = tokio::time::timeout(self.shutdown_timeout, desk.close(first, others)).await else {
            // What was on the disk is there still, but nobody can tell how much that is.
            self.counters.dropped(DropReason::Shutdown, spans);
            self.journal.spool(Some(&std::io::Error::from(std::io::ErrorKind::TimedOut)));
            return;
        };
        for report in reports {
            self.count_report(&report);
            self.counters.left_on_disk(report.kept);
            for batch in report.failed {
                self.waiting.push(batch);
            }
        }
        let left = self.counters.snapshot().spans_spooled;
        if left > 0 {
            self.journal.left_in_spool(left);
        }
    }

    /// Makes spans of everything that came, whatever it takes: there is no time after this.
    fn encode_all(&mut self) {
        let (now, mut made) = (Instant::now(), Made::default());
        while self.source.ready() > 0 {
            for batch in self.encode_one(now, &mut made) {
                self.counters.batch_closed();
                self.waiting.push(batch);
            }
        }
        self.counters.made(made);
    }
}
