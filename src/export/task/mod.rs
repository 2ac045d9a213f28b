//! Exchanges → spans → batches → a destination that may be slow, refuse, or be away for a while.
//!
//! ```text
//! source ─▶ hand-over ─▶ open batch ─▶ waiting batches ─▶ in flight ─▶ acknowledged, rejected or refused
//!                                           ▲                  │
//!                                           └── to be retried ─┘   pause with growing back-off
//! ```
//!
//! With a spool, the oldest of the waiting batches go to the disk when memory is used up, and come back before the others.
//! A failure that may pass pauses the whole destination, not one batch: an outage is met with one attempt at a time
//! and everything that fits waits. Invariant: a span that was received is in exactly one of these places.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::export::batch::{Batch, Batcher, Format, WaitingBatches};
use crate::export::counters::{DropReason, ExportCounters, Made};
use crate::export::journal::Journal;
use crate::export::otlp::Backoff;
use crate::export::spool::{Desk, Report};
use crate::export::{Accepted, ExportConfig, ExportError, Exporter, Failure, WhenFull};
use crate::span::Draft;

mod overflow;

/// Exchanges that are counted at once, at most: whoever reads the counters meanwhile finds them uneven by no more.
const COUNTED_AT_ONCE: u64 = 128;

/// Where a task takes its spans from: items, of each of which some spans are made, where it stands.
pub(super) trait SpanSource: Send {
    /// Waits for more items to make spans of, and says how many, at least one; `None` when there will be no more. Nothing is
    /// lost when the future is dropped.
    fn receive(&mut self) -> impl Future<Output = Option<usize>> + Send;

    /// How many items are there to make spans of.
    fn ready(&self) -> usize;

    /// Makes the spans of the first of them, if it gives any, and counts why it gives none.
    fn spans(&mut self, take: &mut dyn FnMut(&Draft<'_>));

    /// Is done with the first of them.
    fn pass(&mut self);

    /// Nothing is waited for any longer: what was received is there to make spans of. How many more items that makes.
    fn release(&mut self) -> usize {
        0
    }
}

/// What ends the waiting of a task.
enum Event {
    /// The agent is asked to stop.
    Stop,
    /// The time for the last flush has run out.
    GiveUp,
    /// A call has ended.
    Answer(Result<(task::Id, Result<Accepted, Failure>), JoinError>),
    /// The destination may be tried again.
    Resume,
    /// The open batch is old enough, or memory for one was not used for a while.
    Due,
    /// The disk was written or read.
    Disk(Report),
    /// New items, or the end of them.
    Received(Option<usize>),
    /// More spans can be made of what is there.
    More,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Items come.
    Running,
    /// There will be no more; patience ends when nothing is answered for the shutdown timeout.
    Flushing,
}

/// One source, one destination; see the module.
pub(super) struct Task<S: SpanSource, F, E> {
    /// What is ready there and not made into spans yet is so because nothing more may wait, or because a batch was just filled.
    source: S,
    batcher: Batcher<F>,
    waiting: WaitingBatches,
    desk: Option<Desk>,
    exporter: E,
    calls: JoinSet<Result<Accepted, Failure>>,
    /// The batches of `calls`.
    in_flight: Vec<(task::Id, Batch)>,
    backoff: Backoff,
    /// Nothing is sent before this.
    paused_until: Option<Instant>,
    when_full: WhenFull,
    shutdown_timeout: Duration,
    phase: Phase,
    /// Set by the request to stop: the end of the last flush, whatever happens.
    deadline: Option<Instant>,
    /// When the destination last settled a batch.
    last_answer: Instant,
    counters: Arc<ExportCounters>,
    journal: Journal,
}

impl<S: SpanSource, F: Format, E: Exporter> Task<S, F, E> {
    pub(super) fn new(source: S, format: F, exporter: E, config: &ExportConfig, counters: Arc<ExportCounters>) -> Self {
        Self {
            source,
            batcher: Batcher::new(format, &config.batch),
            waiting: WaitingBatches::new(config.batch.queue_bytes, config.batch.queue_spans),
            desk: None,
            exporter,
            calls: JoinSet::new(),
            in_flight: Vec::new(),
            backoff: Backoff::new(),
            paused_until: None,
            when_full: config.batch.when_full,
            shutdown_timeout: config.shutdown_timeout,
            phase: Phase::Running,
            deadline: None,
            last_answer: Instant::now(),
            counters,
            journal: Journal::default(),
        }
    }

    /// Runs until the source has ended and everything has gone out, or until it is time to give up.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), ExportError> {
        if let Some(opening) = self.batcher.opening() {
            self.waiting.push(opening);
        }
        loop {
            self.encode();
            self.send();
            self.drive_disk();
            if self.phase == Phase::Flushing && self.is_empty() {
                return self.journal.verdict(&self.counters, self.deadline.is_some());
            }
            match self.next_event(&mut stop).await {
                Event::Stop => self.stop(),
                Event::GiveUp => return self.give_up().await,
                Event::Answer(answer) => match self.settle(answer) {
                    Ok(()) => {}
                    Err(Ended::OutputClosed) => {
                        self.drop_everything().await;
                        return Ok(());
                    }
                    Err(Ended::Output(error)) => {
                        self.drop_everything().await;
                        return Err(ExportError::Output(error));
                    }
                },
                Event::Resume => self.paused_until = None,
                Event::Due => self.close_batch(),
                Event::Disk(report) => self.take_report(report),
                Event::Received(Some(items)) => {
                    self.counters.received(items as u64);
                    // A source that always has more must not keep the calls from running.
                    task::yield_now().await;
                }
                Event::Received(None) => self.end_of_source(),
                Event::More => {}
            }
        }
    }

    async fn next_event(&mut self, stop: &mut watch::Receiver<bool>) -> Event {
        let give_up = self.give_up_at();
        let due = self.batcher.wake();
        let resume = self.paused_until.filter(|_| !self.waiting.is_empty());
        let listening = self.phase == Phase::Running && self.source.ready() == 0 && self.may_take();
        tokio::select! {
            biased;
            () = stopped(stop), if self.deadline.is_none() => Event::Stop,
            () = at(give_up), if give_up.is_some() => Event::GiveUp,
            Some(answer) = self.calls.join_next_with_id(), if !self.calls.is_empty() => Event::Answer(answer),
            () = at(resume), if resume.is_some() => Event::Resume,
            () = at(due), if due.is_some() => Event::Due,
            report = disk(&mut self.desk) => Event::Disk(report),
            items = self.source.receive(), if listening => Event::Received(items),
            // What is closed goes out first, and is answered where that takes no time.
            () = task::yield_now(), if self.source.ready() > 0 && self.may_take() => Event::More,
        }
    }

    /// Whether more spans may be made: live traffic never waits, a file does.
    fn may_take(&self) -> bool {
        self.when_full == WhenFull::Drop || self.waiting.has_room()
    }

    /// Makes spans of what was handed over, until a batch is full: of much that comes at once, batches shall not pile up.
    fn encode(&mut self) {
        let now = Instant::now();
        let mut made = Made::default();
        let mut is_full = false;
        while !is_full && self.may_take() && self.source.ready() > 0 {
            let closed = self.encode_one(now, &mut made);
            is_full = !closed.is_empty();
            closed.into_iter().for_each(|batch| self.enqueue(batch));
        }
        self.counters.made(made);
        let nothing_follows = self.phase == Phase::Flushing && self.source.ready() == 0;
        if nothing_follows || self.batcher.due().is_some_and(|due| due <= now) {
            self.close_batch();
        }
    }

    /// Makes the spans of the first item, and gives the batches that this closes: what was made is counted before they go on.
    fn encode_one(&mut self, now: Instant, made: &mut Made) -> SmallVec<[Batch; 2]> {
        let (mut spans, mut closed) = (0, SmallVec::new());
        self.source.spans(&mut |span| {
            spans += 1;
            closed.extend(self.batcher.add(span, now));
        });
        self.source.pass();
        made.add(spans);
        if !closed.is_empty() || made.exchanges() >= COUNTED_AT_ONCE {
            self.counters.made(std::mem::take(made));
        }
        closed
    }

    fn close_batch(&mut self) {
        if let Some(batch) = self.batcher.close() {
            self.enqueue(batch);
        }
    }

    /// Puts a batch behind the others; what no longer fits is lost, the oldest first.
    fn enqueue(&mut self, batch: Batch) {
        self.counters.batch_closed();
        self.waiting.push(batch);
        // Room that a free call gives is used before anything is thrown away.
        self.send();
        self.relieve();
        self.count_bytes();
    }

    /// Starts as many calls as may be open.
    fn send(&mut self) {
        if self.paused_until.is_some() {
            return;
        }
        while self.in_flight.len() < self.exporter.concurrency() {
            let Some(mut batch) = self.next_batch() else { break };
            batch.begun.get_or_insert_with(Instant::now);
            self.counters.request();
            if batch.attempts > 0 {
                self.counters.retry();
            }
            let (exporter, sent) = (self.exporter.clone(), batch.clone());
            let call = self.calls.spawn(async move { exporter.export(sent).await });
            self.in_flight.push((call.id(), batch));
        }
        self.count_in_flight();
    }

    fn count_in_flight(&self) {
        self.counters.in_flight(self.in_flight.iter().map(|(_, batch)| batch.spans).sum());
    }

    /// A call has ended: its batch is done with, or waits again.
    fn settle(&mut self, answer: Result<(task::Id, Result<Accepted, Failure>), JoinError>) -> Result<(), Ended> {
        let (id, result) = match answer {
            Ok(answer) => answer,
            Err(error) => (error.id(), Err(Failure::Refused { reason: format!("the answer cannot be read: {error}") })),
        };
        let Some(index) = self.in_flight.iter().position(|(found, _)| *found == id) else { return Ok(()) };
        let (_, batch) = self.in_flight.swap_remove(index);
        self.count_in_flight();
        match result {
            Ok(accepted) => self.acknowledged(batch, &accepted),
            Err(Failure::Retry { reason, wait }) => self.retry(batch, reason, wait),
            Err(Failure::Refused { reason }) => self.refused(&batch, reason),
            Err(Failure::TooLarge { reason }) => self.too_large(&batch, reason),
            Err(Failure::Closed) => {
                self.lose(&batch, DropReason::Shutdown);
                return Err(Ended::OutputClosed);
            }
            Err(Failure::Output(error)) => {
                self.lose(&batch, DropReason::Refused);
                return Err(Ended::Output(error));
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, batch: Batch, accepted: &Accepted) {
        self.ended(&batch, (accepted.rejected > 0).then_some(DropReason::Rejected));
        self.backoff.reset();
        self.batcher.grow();
        self.waiting.release(&batch);
        self.forget_on_disk(&batch);
        self.count_bytes();
        let rejected = accepted.rejected.min(batch.spans);
        self.counters.exported(batch.spans - rejected, batch.bytes.len());
        self.counters.dropped(DropReason::Rejected, rejected);
        self.counters.obstructed(None);
        self.journal.acknowledged(accepted);
        self.batcher.take_back(batch.bytes, self.last_answer);
    }

    fn refused(&mut self, batch: &Batch, reason: String) {
        self.forget_on_disk(batch);
        self.ended(batch, Some(DropReason::Refused));
        self.lose(batch, DropReason::Refused);
        self.counters.obstructed(Some(format!("spans are refused: {reason}")));
        self.journal.refused(batch.spans, reason);
    }

    /// Sends the batch in two parts, and makes the next ones smaller.
    fn too_large(&mut self, batch: &Batch, reason: String) {
        let Some([first, second]) = self.exporter.halves(batch) else {
            self.refused(batch, reason);
            return;
        };
        self.last_answer = Instant::now();
        self.batcher.shrink(first.bytes.len().max(second.bytes.len()));
        self.waiting.release(batch);
        // The disk knows whole batches only.
        self.forget_on_disk(batch);
        for half in [second, first] {
            self.waiting.put_before(Batch { spooled: None, ..half });
        }
        self.counters.batch_closed();
        self.count_bytes();
    }

    /// The destination has said its last word on a batch.
    fn ended(&mut self, batch: &Batch, error: Option<DropReason>) {
        let now = Instant::now();
        self.last_answer = now;
        let time = batch.begun.map(|begun| now.duration_since(begun)).unwrap_or_default();
        self.counters.operation(time, error.map(DropReason::label));
    }

    /// Puts the batch back and pauses. Calls that were open when the pause began bring no news: they do not lengthen
    /// it, unless the server asks for more.
    fn retry(&mut self, mut batch: Batch, reason: String, asked: Option<Duration>) {
        let now = Instant::now();
        batch.attempts += 1;
        self.waiting.put_back(batch);
        let until = match self.paused_until {
            None => now + self.backoff.wait(asked),
            Some(until) => until.max(now + asked.unwrap_or_default().min(Backoff::LONGEST_ASKED)),
        };
        self.paused_until = Some(until);
        self.counters.obstructed(Some(format!("spans wait to be exported: {reason}")));
        self.journal.failed(reason);
    }

    fn lose(&mut self, batch: &Batch, reason: DropReason) {
        self.waiting.release(batch);
        self.count_bytes();
        self.counters.dropped(reason, batch.spans);
    }

    fn stop(&mut self) {
        self.deadline = Some(Instant::now() + self.shutdown_timeout);
        self.try_again_at_once();
    }

    fn end_of_source(&mut self) {
        self.phase = Phase::Flushing;
        self.last_answer = Instant::now();
        self.try_again_at_once();
    }

    /// The time that is left may be shorter than a pause.
    fn try_again_at_once(&mut self) {
        self.paused_until = None;
        self.backoff.reset();
    }

    fn give_up_at(&self) -> Option<Instant> {
        let patience = (self.phase == Phase::Flushing).then(|| self.last_answer + self.shutdown_timeout);
        match (self.deadline, patience) {
            (Some(deadline), Some(patience)) => Some(deadline.min(patience)),
            (deadline, patience) => deadline.or(patience),
        }
    }

    fn is_empty(&self) -> bool {
        self.source.ready() == 0
            && self.batcher.due().is_none()
            && self.waiting.is_empty()
            && self.in_flight.is_empty()
            && !self.desk.as_ref().is_some_and(Desk::has_older)
    }

    async fn give_up(mut self) -> Result<(), ExportError> {
        self.leave_to_disk().await;
        match self.drop_everything().await {
            0 => Ok(()),
            lost => Err(self.journal.undelivered(lost, self.shutdown_timeout)),
        }
    }

    /// Counts everything that has not gone out as lost, also what the source still holds. A call that is open may
    /// have been heard; what was not acknowledged counts as lost.
    async fn drop_everything(&mut self) -> u64 {
        self.calls.abort_all();
        if let Some(batch) = self.batcher.close() {
            self.counters.batch_closed();
            self.waiting.push(batch);
        }
        let mut spans: u64 = self.in_flight.drain(..).map(|(_, batch)| batch.spans).sum();
        while let Some(batch) = self.waiting.take() {
            spans += batch.spans;
        }
        while let Some(items) = self.received_already().await {
            self.counters.received(items as u64);
        }
        self.counters.received(self.source.release() as u64);
        while self.source.ready() > 0 {
            self.source.pass();
            spans += 1;
        }
        self.counters.dropped(DropReason::Shutdown, spans);
        self.counters.in_flight(0);
        self.counters.waiting_bytes(0);
        spans
    }

    /// What the source gives without waiting.
    async fn received_already(&mut self) -> Option<usize> {
        if self.phase == Phase::Flushing {
            return None;
        }
        tokio::select! {
            biased;
            items = self.source.receive() => items,
            () = std::future::ready(()) => None,
        }
    }
}

/// The end of the disk's work; for ever when there is none.
async fn disk(desk: &mut Option<Desk>) -> Report {
    match desk {
        Some(desk) => desk.finished().await,
        None => std::future::pending().await,
    }
}

/// Why a task ends before its source.
enum Ended {
    OutputClosed,
    Output(std::io::Error),
}

/// Until the agent is asked to stop; for ever when nobody is left to ask.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Until `at`; for ever when there is none.
async fn at(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
