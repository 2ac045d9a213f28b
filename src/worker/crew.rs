//! The sources of one capture → workers, one for each, that start and stop together.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{ExchangeSender, Stop, WorkerHandle, WorkerReport, WorkerSnapshot, start};
use crate::capture::PacketSource;
use crate::http::KeptFields;
use crate::pipeline::{Pipeline, PipelineConfig};

/// All workers.
#[derive(Debug)]
pub struct Crew {
    workers: Vec<WorkerHandle>,
}

/// The workers' counters, to be read while they run.
#[derive(Clone, Debug)]
pub struct Watch(Vec<Arc<Mutex<WorkerSnapshot>>>);

impl Watch {
    /// How far each worker has come.
    pub fn all(&self) -> Vec<WorkerSnapshot> {
        self.0.iter().map(|snapshot| *snapshot.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// How far they have come together.
    pub fn sum(&self) -> WorkerSnapshot {
        sum(self.all())
    }

    /// Which worker has not turned for `limit`, in words.
    pub fn stuck(&self, limit: Duration) -> Option<String> {
        let stuck = |snapshot: &WorkerSnapshot| snapshot.published.is_none_or(|at| at.elapsed() > limit);
        let worker = self.all().iter().position(stuck)?;
        Some(format!("worker-{worker} has not captured for {} s", limit.as_secs()))
    }
}

impl Crew {
    /// The counters of all.
    pub fn watch(&self) -> Watch {
        Watch(self.workers.iter().map(|worker| worker.snapshot.clone()).collect())
    }

    /// Starts a worker for each of `sources`; they share the bounds of `config` and the queue behind `sender`, and keep
    /// `fields` of heads.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub fn start(
        sources: Vec<Box<dyn PacketSource>>,
        config: PipelineConfig,
        fields: &KeptFields,
        sender: ExchangeSender,
        stop: &Stop,
    ) -> io::Result<Self> {
        let share = config.share(sources.len());
        let mut workers = Vec::new();
        for (number, source) in sources.into_iter().enumerate() {
            let pipeline = Pipeline::new(share).keeping(fields.clone());
            let name = format!("worker-{number}");
            workers.push(start(&name, source, pipeline, sender.clone(), stop.clone())?);
        }
        // The queue ends when all have given back their ends of it.
        drop(sender);
        Ok(Self { workers })
    }

    /// Waits until all have ended, and all they found is in the queue; when one fails the others stop, too. May be cancelled
    /// and called again.
    pub async fn finished(&mut self) -> WorkerReport {
        let mut result = Ok(());
        let mut snapshots = Vec::new();
        for worker in &mut self.workers {
            let report = worker.finished().await;
            snapshots.push(report.snapshot);
            result = result.and(report.result);
        }
        WorkerReport { snapshot: sum(snapshots), result }
    }
}

/// The counts of all; what the shared queue has dropped counts once.
fn sum(snapshots: Vec<WorkerSnapshot>) -> WorkerSnapshot {
    let mut all = WorkerSnapshot::default();
    for one in snapshots {
        all.counters += one.counters;
        all.table += one.table;
        all.capture = all.capture.plus(one.capture);
        all.position = all.position.max(one.position);
        all.exchanges_dropped = all.exchanges_dropped.max(one.exchanges_dropped);
    }
    all
}
