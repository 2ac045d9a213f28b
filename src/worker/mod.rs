//! A source and a pipeline → a bounded queue of `Exchange`s, on a thread of its own.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::capture::{CaptureError, CaptureStatistics, PacketSource, Received};
use crate::pipeline::{Pipeline, PipelineCounters, TableSummary};
use crate::time::Timestamp;

mod crew;
mod queue;
#[cfg(test)]
mod tests;

pub use crew::{Crew, Watch};
pub use queue::{Chunk, Dropped, ExchangeReceiver, ExchangeSender, Receiver, Sender, exchange_queue};

/// The longest wait for packets; bounds the time until a stop is noticed.
const WAIT: Duration = Duration::from_millis(100);
/// How long exchanges are held back at most, that many go to who exports at once.
const GATHER: Duration = Duration::from_millis(5);
/// The shortest time between two snapshots; the kernel is asked for its counters no oftener.
const PUBLISH: Duration = Duration::from_millis(250);

/// The longest that a worker goes on after a stop, to see what was captured before it.
const CATCH_UP: Duration = Duration::from_secs(3);

/// A flag that is set once and tells all who hold it to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Tells everyone to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far a worker has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WorkerSnapshot {
    /// What the pipeline has counted.
    pub counters: PipelineCounters,
    /// What the table of connections holds.
    pub table: TableSummary,
    /// What the source has counted.
    pub capture: CaptureStatistics,
    /// Bytes of the file that have been read ([`PacketSource::position`]).
    pub position: Option<u64>,
    /// Exchanges dropped by the worker's queue, which counts for all workers that share it.
    pub exchanges_dropped: u64,
    /// When this was written; the worker lived then.
    pub published: Option<Instant>,
}

/// How a worker ended.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// The last counters.
    pub snapshot: WorkerSnapshot,
    /// Whether the source came to its end or was stopped, or what broke it.
    pub result: Result<(), CaptureError>,
}

/// Starts a thread called `name` that reads `source` until it ends, fails or `stop` is set, then finishes the pipeline
/// and gives its end of the queue back. After a stop it sees what was captured before, for three seconds at most, and waits
/// a tenth of a second for room in the queue.
///
/// # Errors
/// When the system refuses another thread.
pub fn start(
    name: &str,
    source: Box<dyn PacketSource>,
    pipeline: Pipeline,
    mut sender: ExchangeSender,
    stop: Stop,
) -> io::Result<WorkerHandle> {
    sender.heed(stop.clone());
    #[expect(clippy::disallowed_methods, reason = "who watches wants to know whether the worker lives")]
    let begun = WorkerSnapshot { published: Some(Instant::now()), ..WorkerSnapshot::default() };
    let snapshot = Arc::new(Mutex::new(begun));
    let (report, reported) = oneshot::channel();
    let dropped = sender.dropped();
    #[expect(clippy::disallowed_methods, reason = "how long exchanges are held back is a matter of the real clock")]
    let told = Instant::now();
    let latest = Timestamp::default();
    let worker = Worker { source, pipeline, sender, stop, dropped, snapshot: snapshot.clone(), latest, told };
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody may be left who wants to know.
        let _ = report.send(worker.run());
    })?;
    Ok(WorkerHandle { name: name.to_owned(), snapshot, state: Progress::Running(reported) })
}

/// A running worker, or one that has ended. Dropping it does not stop the worker.
#[derive(Debug)]
pub struct WorkerHandle {
    name: String,
    snapshot: Arc<Mutex<WorkerSnapshot>>,
    state: Progress,
}

#[derive(Debug)]
enum Progress {
    Running(oneshot::Receiver<WorkerReport>),
    Ended(Box<WorkerReport>),
}

impl WorkerHandle {
    /// How far the worker has come; a quarter of a second old at most while it is not waiting for the queue.
    pub fn snapshot(&self) -> WorkerSnapshot {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the worker has ended, and all it found is in the queue. Gives the same report every time; a worker
    /// that panicked counts as failed. May be cancelled and called again.
    pub async fn finished(&mut self) -> WorkerReport {
        let report = match &mut self.state {
            Progress::Ended(report) => return report.as_ref().clone(),
            Progress::Running(reported) => reported.await,
        };
        let report = report.unwrap_or_else(|_| WorkerReport {
            snapshot: self.snapshot(),
            result: Err(CaptureError::Failed(format!("{} panicked", self.name))),
        });
        self.state = Progress::Ended(Box::new(report.clone()));
        report
    }
}

/// What the thread owns.
struct Worker {
    source: Box<dyn PacketSource>,
    pipeline: Pipeline,
    sender: ExchangeSender,
    stop: Stop,
    dropped: Arc<Dropped>,
    snapshot: Arc<Mutex<WorkerSnapshot>>,
    /// Of the packets.
    latest: Timestamp,
    /// When exchanges were handed over last.
    told: Instant,
}

impl Worker {
    fn run(mut self) -> WorkerReport {
        let result = self.pump();
        if result.is_err() {
            // What the others would see is not all there is.
            self.stop.set();
        }
        self.pipeline.finish(&mut self.sender);
        self.sender.flush();
        WorkerReport { snapshot: self.publish(), result }
    }

    /// Moves packets into the pipeline and exchanges into the queue, until the source ends or `stop` is set and what
    /// was captured before has been seen.
    #[expect(clippy::disallowed_methods, reason = "when to publish and to end is a matter of the real clock")]
    fn pump(&mut self) -> Result<(), CaptureError> {
        let mut published = Instant::now();
        while !self.stop.is_set() {
            if self.turn(WAIT)? == Received::End {
                return Ok(());
            }
            let is_due = published.elapsed() >= PUBLISH;
            if is_due {
                published = Instant::now();
                self.publish();
                self.pipeline.renew_bulk();
            }
            if is_due || self.pipeline.has_new_bulk() {
                let bulk: SmallVec<[_; 16]> = self.pipeline.bulk().collect();
                self.source.leave_out(&bulk)?;
            }
        }
        self.catch_up()
    }

    /// Takes what was captured before the stop and is still in the source.
    #[expect(clippy::disallowed_methods, reason = "the time of the stop, to be compared with the packets'")]
    fn catch_up(&mut self) -> Result<(), CaptureError> {
        let delay = self.source.delay();
        if delay.is_zero() {
            return Ok(());
        }
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let stopped = Timestamp::from_nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX));
        let (begun, mut wait) = (Instant::now(), delay);
        // A source may have several buffers, of which the busiest shows its packets first.
        let is_behind = |latest: Timestamp| latest < stopped || begun.elapsed() < delay;
        while is_behind(self.latest) && begun.elapsed() < CATCH_UP && !wait.is_zero() {
            if let Received::Idle { .. } = self.turn(wait)? {
                wait = delay.saturating_sub(begun.elapsed());
            }
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "how long exchanges are held back is a matter of the real clock")]
    fn turn(&mut self, wait: Duration) -> Result<Received, CaptureError> {
        let wait = if self.sender.holds_back() { wait.min(GATHER) } else { wait };
        let received = self.source.receive(wait, &mut |packet| {
            self.latest = self.latest.max(packet.at);
            self.pipeline.handle_packet(packet, &mut self.sender);
        })?;
        if let Received::Idle { at } = received {
            self.pipeline.handle_timeout(at, &mut self.sender);
        }
        let now = Instant::now();
        if matches!(received, Received::Idle { .. }) || now.saturating_duration_since(self.told) >= GATHER {
            self.sender.flush();
            self.told = now;
        }
        Ok(received)
    }

    #[expect(clippy::disallowed_methods, reason = "who watches wants to know whether the worker lives")]
    fn publish(&mut self) -> WorkerSnapshot {
        let published = Instant::now();
        let now = WorkerSnapshot {
            counters: self.pipeline.counters(),
            table: self.pipeline.table(),
            capture: self.source.statistics(),
            position: self.source.position(),
            exchanges_dropped: self.dropped.items(),
            published: Some(published),
        };
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = now;
        now
    }
}
