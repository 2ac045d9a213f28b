//! What befalls spans → lines in the log, each kind at most once a minute, and the task's last word.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::export::counters::{DropReason, ExportCounters};
use crate::export::{Accepted, ExportError};

/// Remembers what was said when, and what will have to be said at the end.
#[derive(Debug, Default)]
pub(super) struct Journal {
    rejected: Limit,
    refused: Limit,
    failing: Limit,
    full: Limit,
    spool_full: Limit,
    spool: Limit,
    /// The spool fails, and that was said.
    spool_fails: bool,
    /// Why the destination could not be reached, until it is reached again.
    failure: Option<String>,
    /// Why a batch was last refused or some of its spans rejected.
    refusal: Option<String>,
}

impl Journal {
    /// A batch was taken, perhaps not whole.
    pub(super) fn acknowledged(&mut self, accepted: &Accepted) {
        if self.failure.take().is_some() {
            info!("spans are exported again");
            self.failing = Limit::default();
        }
        if accepted.message.is_empty() {
            return;
        }
        let message = &accepted.message;
        if let Some(rejected) = self.rejected.pass(accepted.rejected) {
            warn!(rejected, "{message}");
        }
        if accepted.rejected > 0 {
            self.refusal = Some(message.clone());
        }
    }

    /// A batch was refused for good.
    pub(super) fn refused(&mut self, spans: u64, reason: String) {
        if let Some(spans) = self.refused.pass(spans) {
            warn!(spans, "spans were refused: {reason}");
        }
        self.failure = None;
        self.refusal = Some(reason);
    }

    /// A call failed and will be made again.
    pub(super) fn failed(&mut self, reason: String) {
        if self.failing.pass(0).is_some() {
            warn!("spans wait to be exported: {reason}");
        }
        self.failure = Some(reason);
    }

    /// Spans were lost because too much waited.
    pub(super) fn queue_full(&mut self, spans: u64) {
        if let Some(spans) = self.full.pass(spans) {
            let why = self.failure.as_deref().unwrap_or("the destination is slower than the traffic");
            warn!(
                spans,
                "the oldest spans were dropped, AGENT_QUEUE_BYTES (or OTEL_BSP_MAX_QUEUE_SIZE) are used up: {why}"
            );
        }
    }

    /// Spans on the disk were lost.
    pub(super) fn lost_on_disk(&mut self, spans: u64) {
        if let Some(spans) = self.spool_full.pass(spans) {
            let why = self.failure.as_deref().unwrap_or("the destination is slower than the traffic");
            warn!(spans, "the oldest spans in the spool were dropped, AGENT_SPOOL_BYTES are used up: {why}");
        }
    }

    /// The spool could be written, or could not.
    pub(super) fn spool(&mut self, error: Option<&std::io::Error>) {
        match error {
            Some(error) if !self.spool_fails && self.spool.pass(0).is_some() => {
                self.spool_fails = true;
                warn!("the spool cannot be written: {error}; spans wait in memory alone until it can");
            }
            None if self.spool_fails => {
                self.spool_fails = false;
                info!("the spool can be written again");
            }
            _ => {}
        }
    }

    /// Spans stay in the spool.
    pub(super) fn left_in_spool(&self, spans: u64) {
        let why = self.failure.as_deref().unwrap_or("the destination did not take them in time");
        warn!(spans, "spans wait in the spool for the next run: {why}");
    }

    /// Everything went out that will. A finite source must be told when the destination did not want some of it; an
    /// agent that was stopped has said so in its log for as long as it ran.
    pub(super) fn verdict(self, counters: &ExportCounters, stopped: bool) -> Result<(), ExportError> {
        let counted = counters.snapshot();
        let spans = counted.dropped(DropReason::Rejected) + counted.dropped(DropReason::Refused);
        match self.refusal {
            Some(reason) if spans > 0 && !stopped => Err(ExportError::Undelivered { spans, reason }),
            _ => Ok(()),
        }
    }

    /// `spans` did not go out in time.
    pub(super) fn undelivered(self, spans: u64, waited: Duration) -> ExportError {
        let reason = self.failure.or(self.refusal).unwrap_or_else(|| {
            format!("the destination did not take them within {} s (AGENT_SHUTDOWN_TIMEOUT)", waited.as_secs_f64())
        });
        ExportError::Undelivered { spans, reason }
    }
}

/// Lets one line of a kind through a minute, with the sum of what the lines in between would have said.
#[derive(Debug, Default)]
struct Limit {
    last: Option<Instant>,
    held_back: u64,
}

impl Limit {
    fn pass(&mut self, amount: u64) -> Option<u64> {
        const INTERVAL: Duration = Duration::from_secs(60);
        let now = Instant::now();
        self.held_back += amount;
        if self.last.is_some_and(|last| now < last + INTERVAL) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kind_is_said_once_a_minute_with_the_sum_of_what_was_held_back() {
        let mut limit = Limit::default();
        assert_eq!(limit.pass(1), Some(1));
        assert_eq!(limit.pass(2), None);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(limit.pass(3), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(limit.pass(4), Some(9));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_word_is_why_the_destination_failed() {
        let mut journal = Journal::default();
        journal.failed("nobody there".to_owned());
        let error = journal.undelivered(3, Duration::from_secs(5));
        assert_eq!(error.to_string(), "3 spans were not exported: nobody there");
    }
}
