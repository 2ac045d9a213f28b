//! The spool, beside the task that exports: the disk is written and read on a thread of its own, one piece of work at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Position, Spool};
use crate::export::WhenFull;
use crate::export::batch::Batch;

/// What has come of one piece of work.
#[derive(Debug, Default)]
pub(in crate::export) struct Report {
    /// Spans that are on the disk now.
    pub(in crate::export) stored: u64,
    /// Batches that could not be stored, in their order, and why.
    pub(in crate::export) failed: Vec<Batch>,
    /// Why.
    pub(in crate::export) error: Option<io::Error>,
    /// Spans on the disk that were lost to make room.
    pub(in crate::export) lost: u64,
    /// Spans on the disk that were lost with a damaged file.
    pub(in crate::export) damaged: u64,
    /// Spans of batches that are larger than the spool.
    pub(in crate::export) oversized: u64,
    /// Spans that the disk had all the time, and that are to be read again.
    pub(in crate::export) kept: u64,
    /// Batches that were read.
    pub(in crate::export) read: Vec<Batch>,
    /// Bytes of the files, where it was looked.
    pub(in crate::export) bytes: Option<u64>,
    is_read: bool,
    /// Bytes that can be stored before anything is lost.
    room: u64,
}

/// One spool at work.
#[derive(Debug)]
pub(in crate::export) struct Desk {
    spool: Arc<Mutex<Spool>>,
    when_full: WhenFull,
    to_store: VecDeque<Batch>,
    to_store_bytes: usize,
    done: Vec<Position>,
    work: JoinSet<Report>,
    /// Something on the disk was not read yet, as far as the last report tells.
    has_unread: bool,
    /// Bytes that can be stored before anything is lost, likewise.
    room: u64,
    /// Bytes that may wait to be written: a slow disk must not take the memory that it is there to save.
    most_writing: usize,
    /// The disk failed; it is not tried again before this.
    broken_until: Option<Instant>,
}

impl Desk {
    /// A burst must find room before the disk can begin.
    const LEAST_WRITING: usize = 8 << 20;
    /// The most that may wait to be written, whatever may wait in memory.
    const MOST_WRITING: usize = 16 << 20;
    /// How long a disk that failed is left alone.
    const AFTER_FAILURE: Duration = Duration::from_secs(30);

    pub(in crate::export) fn new(spool: Spool, when_full: WhenFull, queue_bytes: usize) -> Self {
        Self {
            when_full,
            to_store: VecDeque::new(),
            to_store_bytes: 0,
            done: Vec::new(),
            work: JoinSet::new(),
            has_unread: !spool.is_read(),
            room: spool.room(),
            most_writing: queue_bytes.clamp(Self::LEAST_WRITING, Self::MOST_WRITING),
            broken_until: None,
            spool: Arc::new(Mutex::new(spool)),
        }
    }

    /// Whether a batch of so many bytes may be handed in. A source that can wait does so rather than lose what is old.
    pub(in crate::export) fn takes(&self, bytes: usize) -> bool {
        self.is_usable()
            && (self.to_store_bytes == 0 || self.to_store_bytes + bytes <= self.most_writing)
            && (self.when_full == WhenFull::Drop || Spool::most_cost(self.to_store_bytes + bytes) <= self.room)
    }

    /// Bytes on their way to the disk.
    pub(in crate::export) fn to_store_bytes(&self) -> usize {
        self.to_store_bytes
    }

    /// Whether the disk did not fail a short while ago.
    pub(in crate::export) fn is_usable(&self) -> bool {
        self.broken_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Stores `batch` when its turn comes.
    pub(in crate::export) fn store(&mut self, batch: Batch) {
        self.to_store_bytes += batch.bytes.len();
        self.to_store.push_back(batch);
    }

    /// The batch from `position` need not be kept any longer.
    pub(in crate::export) fn done(&mut self, position: Position) {
        self.done.push(position);
    }

    /// Whether something is there that is older than what waits in memory.
    pub(in crate::export) fn has_older(&self) -> bool {
        self.has_unread || !self.to_store.is_empty() || !self.work.is_empty()
    }

    /// Begins the next piece of work, if there is any and none goes on; up to `wanted` batches are read.
    pub(in crate::export) fn drive(&mut self, wanted: usize) {
        let wanted = if self.has_unread { wanted } else { 0 };
        if !self.work.is_empty() || (self.to_store.is_empty() && self.done.is_empty() && wanted == 0) {
            return;
        }
        let (spool, done) = (self.spool.clone(), std::mem::take(&mut self.done));
        let store = std::mem::take(&mut self.to_store);
        self.work.spawn_blocking(move || {
            work(&mut spool.lock().unwrap_or_else(PoisonError::into_inner), done, store, wanted)
        });
    }

    /// The end of the work that goes on; for ever when none does.
    pub(in crate::export) async fn finished(&mut self) -> Report {
        match self.work.join_next().await {
            Some(Ok(report)) => {
                self.to_store_bytes = self.to_store.iter().map(|batch| batch.bytes.len()).sum();
                self.has_unread = !report.is_read;
                self.room = report.room;
                if report.error.is_some() {
                    self.broken_until = Some(Instant::now() + Self::AFTER_FAILURE);
                } else if report.stored > 0 {
                    self.broken_until = None;
                }
                report
            }
            // It was given up: nothing in it can fail otherwise.
            Some(Err(_)) => Report::default(),
            None => std::future::pending().await,
        }
    }

    /// Finishes what goes on and leaves everything to the next run: `first` before what is on the disk, `others` behind it.
    /// Those that the disk has are not written again.
    pub(in crate::export) async fn close(mut self, first: Vec<Batch>, others: Vec<Batch>) -> Vec<Report> {
        let mut reports = Vec::new();
        if !self.work.is_empty() {
            let mut report = self.finished().await;
            self.to_store.extend(std::mem::take(&mut report.failed));
            self.to_store.extend(report.read.iter().cloned());
            reports.push(report);
        }
        let (kept, first): (Vec<Batch>, Vec<Batch>) = first.into_iter().partition(|batch| batch.spooled.is_some());
        self.has_unread |= !kept.is_empty();
        self.to_store.extend(kept);
        let (others, report) = self.write_first(first, others).await;
        reports.push(report);
        self.to_store.extend(others);
        // Those that are given back first cannot be lost unseen to those that are written.
        self.to_store.make_contiguous().sort_by_key(|batch| batch.spooled.is_none());
        self.drive(0);
        if !self.work.is_empty() {
            reports.push(self.finished().await);
        }
        let spool = self.spool.clone();
        let _ = tokio::task::spawn_blocking(move || spool.lock().unwrap_or_else(PoisonError::into_inner).sync()).await;
        reports
    }

    /// Writes `first` where it belongs; where that cannot be, it goes before `others`.
    async fn write_first(&self, first: Vec<Batch>, others: Vec<Batch>) -> (Vec<Batch>, Report) {
        let mut report = Report::default();
        if first.is_empty() || !self.has_unread {
            return ([first, others].concat(), report);
        }
        let (spool, batches) = (self.spool.clone(), first.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
            let written = spool.store_first(&batches);
            (written.is_ok(), spool.bytes())
        });
        match written.await {
            Ok((true, bytes)) => {
                report.stored = first.iter().map(|batch| batch.spans).sum();
                report.bytes = Some(bytes);
                (others, report)
            }
            _ => ([first, others].concat(), report),
        }
    }
}

fn work(spool: &mut Spool, done: Vec<Position>, store: VecDeque<Batch>, wanted: usize) -> Report {
    let mut report = Report::default();
    for position in done {
        spool.done(position);
    }
    for batch in store {
        keep(spool, batch, &mut report);
    }
    for _ in 0..wanted {
        let (damaged, batch) = spool.read();
        report.damaged += damaged;
        report.read.extend(batch);
    }
    report.bytes = Some(spool.bytes());
    report.is_read = spool.is_read();
    report.room = spool.room();
    report
}

fn keep(spool: &mut Spool, batch: Batch, report: &mut Report) {
    if batch.spooled.is_some_and(|position| spool.give_back(position, batch.spans)) {
        report.kept += batch.spans;
    } else if !spool.takes(batch.bytes.len()) {
        report.oversized += batch.spans;
    } else if report.error.is_some() {
        report.failed.push(batch);
    } else {
        let (lost, stored) = spool.store(&batch);
        report.lost += lost;
        match stored {
            Ok(()) => report.stored += batch.spans,
            Err(error) => {
                report.error = Some(error);
                report.failed.push(batch);
            }
        }
    }
}
