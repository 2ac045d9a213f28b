//! Batches that memory cannot hold → the disk, or lost and counted.

use super::{Desk, Format, Report, SpanSource, Task};
use crate::export::batch::Batch;
use crate::export::counters::DropReason;
use crate::export::spool::Spool;
use crate::export::{Exporter, WhenFull};

impl<S: SpanSource, F: Format, E: Exporter> Task<S, F, E> {
    /// The same task with a spool; what an earlier run has left there is sent first.
    pub(in crate::export) fn with_spool(mut self, spool: Option<Spool>) -> Self {
        let Some(spool) = spool else { return self };
        self.counters.recovered(spool.unread_spans());
        self.counters.spool_bytes(spool.bytes());
        self.desk = Some(Desk::new(spool, self.when_full));
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
        let wanted = self.exporter.concurrency().saturating_sub(self.waiting.first());
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
                self.forget_on_disk(&batch);
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
        self.counters.waiting_bytes(self.waiting.bytes());
    }

    fn count_report(&mut self, report: &Report) {
        self.counters.stored(report.stored);
        self.counters.read(report.read.iter().map(|batch| batch.spans).sum());
        self.counters.spool_bytes(report.bytes);
        if report.lost > 0 {
            self.counters.lost_on_disk(report.lost);
            self.journal.lost_on_disk(report.lost);
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

    /// With a spool nothing is lost at the end: everything that waits stays there for the next run.
    pub(super) async fn leave_to_disk(&mut self) {
        let Some(desk) = self.desk.take() else { return };
        self.calls.abort_all();
        while let Some(items) = self.received_already().await {
            self.counters.received(items.len() as u64);
            self.encode_all(items);
        }
        let held = self.source.held();
        self.counters.received(held.len() as u64);
        self.encode_all(held);
        if let Some(batch) = self.batcher.close() {
            self.counters.batch_closed();
            self.waiting.push(batch);
        }
        let mut batches: Vec<Batch> = self.in_flight.drain(..).map(|(_, batch)| batch).collect();
        batches.extend(std::iter::from_fn(|| self.waiting.take()));
        // What the disk has already is not written again.
        let (kept, mut new): (Vec<Batch>, Vec<Batch>) = batches.into_iter().partition(|batch| batch.spooled.is_some());
        self.counters.left_on_disk(kept.iter().map(|batch| batch.spans).sum());
        if !desk.is_usable() {
            for batch in std::mem::take(&mut new) {
                self.waiting.push(batch);
            }
        }
        for report in desk.close(new).await {
            self.count_report(&report);
            self.counters.left_on_disk(report.read.iter().map(|batch| batch.spans).sum());
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
    fn encode_all(&mut self, items: Vec<S::Item>) {
        let before = std::mem::replace(&mut self.hand_over, Vec::new().into_iter());
        let now = tokio::time::Instant::now();
        for item in before.chain(items) {
            let (mut spans, mut closed) = (0, Vec::new());
            self.source.spans(&item, &mut |span| {
                spans += 1;
                closed.extend(self.batcher.add(span, now));
            });
            self.counters.made(spans);
            for batch in closed {
                self.counters.batch_closed();
                self.waiting.push(batch);
            }
        }
    }
}
