//! `Span` → OTLP, JSON lines, text.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::exchange::{Exchange, Parcel};
use crate::span::{Attribute, Draft, EndpointLookup, Layout, LocalAddresses, Made, Resource, SpanBuilder};
use crate::worker::ExchangeReceiver;

mod arrivals;
mod batch;
mod buffers;
mod chains;
mod counters;
mod grouped;
mod journal;
mod json;
mod merge;
pub mod otlp;
mod output;
mod pretty;
mod spool;
mod task;
mod terminal;
#[cfg(test)]
mod testing;

pub use batch::{Batch, Format};
pub use counters::{DropReason, ExportCounters, ExportSnapshot};
pub use json::JsonFormat;
pub use merge::MergeConfig;
pub use pretty::PrettyFormat;
pub use spool::{Position, Spool, SpoolConfig};

use grouped::Grouped;
use json::JsonEnvelope;
use merge::Merger;
use otlp::{OtlpEnvelope, OtlpExporter, OtlpFormat};
use output::{NullExporter, WriterExporter};
use task::{SpanSource, Task};

/// How long an exchange that somebody watches for may wait for its other views.
const SOON: Duration = Duration::from_millis(100);

/// Where spans go and how they are batched.
#[derive(Clone, Debug)]
pub struct ExportConfig {
    /// The destination.
    pub output: OutputConfig,
    /// When a batch is closed and what may wait.
    pub batch: BatchConfig,
    /// How long an exchange waits for its other views.
    pub merge: MergeConfig,
    /// Where what memory cannot hold waits, if anywhere.
    pub spool: Option<SpoolConfig>,
    /// `AGENT_SHUTDOWN_TIMEOUT`: how long the last flush may take.
    pub shutdown_timeout: Duration,
}

/// A destination.
#[derive(Clone, Debug)]
pub enum OutputConfig {
    /// An OTLP server.
    Otlp(Box<otlp::OtlpConfig>),
    /// OTLP/JSON on standard output, one `ExportTraceServiceRequest` a line.
    Json,
    /// One aligned line an exchange on standard output; coloured when that is a terminal and `NO_COLOR` is not set.
    Pretty,
    /// Spans are built and encoded, then dropped; for measuring.
    None,
}

/// When a batch is closed and what may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BatchConfig {
    /// Spans in a batch at most (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
    pub max_spans: usize,
    /// Bytes of a batch at most, before compression.
    pub max_bytes: usize,
    /// Age at which a batch is sent though it is not full (`OTEL_BSP_SCHEDULE_DELAY`).
    pub delay: Duration,
    /// Bytes that may wait to be sent (`AGENT_QUEUE_BYTES`).
    pub queue_bytes: usize,
    /// Spans that may wait to be sent (`OTEL_BSP_MAX_QUEUE_SIZE`); as many as `queue_bytes` hold when there is none.
    pub queue_spans: Option<usize>,
    /// What happens beyond either.
    pub when_full: WhenFull,
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenFull {
    /// Drops and counts: live traffic does not wait.
    Drop,
    /// Makes the producer wait: a file does.
    Wait,
}

/// How spans are made of exchanges, and whose they are.
pub struct Spans {
    /// Makes them.
    pub builder: SpanBuilder,
    /// Tells which side of an exchange is on this machine.
    pub local: Arc<dyn LocalAddresses + Send + Sync>,
    /// Knows what stands behind addresses.
    pub names: Arc<dyn EndpointLookup + Send + Sync>,
    /// What they have in common, but for those that have a resource of their own.
    pub resource: Resource,
    /// What the agent says of itself in the scope, where the resource speaks of another.
    pub identity: Vec<Attribute<'static>>,
}

/// Sends batches. Clones send to the same destination, at the same time as far as [`Self::concurrency`] allows.
pub trait Exporter: Clone + Send + Sync + 'static {
    /// Makes one attempt to send `batch`; when and how often to try again is the caller's business.
    fn export(&self, batch: Batch) -> impl Future<Output = Result<Accepted, Failure>> + Send;

    /// Attempts that may be open at once, at least 1. More than one gives up their order.
    fn concurrency(&self) -> usize {
        1
    }

    /// A batch that the destination calls too large, in two parts; `None` when it cannot be cut.
    fn halves(&self, _batch: &Batch) -> Option<[Batch; 2]> {
        None
    }
}

/// The destination took a batch, though perhaps not every span of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Accepted {
    /// Spans that it did not take and never will.
    pub rejected: u64,
    /// What it said about that, or a warning; empty when it had nothing to say.
    pub message: String,
}

/// The destination did not take a batch.
#[derive(Debug)]
pub enum Failure {
    /// It may yet: the same batch is to be sent again.
    Retry {
        /// What is wrong and what to do, in one sentence.
        reason: String,
        /// The time that the destination asked to be left alone.
        wait: Option<Duration>,
    },
    /// It is too large for it, and may be taken in parts.
    TooLarge {
        /// What is wrong and what to do, in one sentence.
        reason: String,
    },
    /// It never will.
    Refused {
        /// What is wrong and what to do, in one sentence.
        reason: String,
    },
    /// Nobody reads any more, and that is nobody's fault.
    Closed,
    /// The output cannot be written.
    Output(std::io::Error),
}

/// Why exporting cannot begin, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A setting cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// The destination does not answer as it should.
    #[error("{0}")]
    Unreachable(String),
    /// Some spans did not reach the destination.
    #[error("{spans} {} not exported: {reason}", if *.spans == 1 { "span was" } else { "spans were" })]
    Undelivered {
        /// How many.
        spans: u64,
        /// Why.
        reason: String,
    },
    /// Standard output cannot be written, for another reason than that its reader is gone.
    #[error("standard output cannot be written: {0}")]
    Output(#[source] std::io::Error),
}

/// A destination with all that it needs of this machine, such as its certificates; not connected yet.
#[derive(Debug)]
pub enum Destination {
    /// [`OutputConfig::Otlp`].
    Otlp(OtlpExporter),
    /// [`OutputConfig::Json`].
    Json,
    /// [`OutputConfig::Pretty`].
    Pretty,
    /// [`OutputConfig::None`].
    None,
}

impl Destination {
    /// Reads what the configuration names. Must be called within a tokio runtime, and while files can still be read: root
    /// without capabilities reads no other user's.
    ///
    /// # Errors
    ///
    /// [`ExportError::Configuration`] when a file of certificates cannot be used or a header cannot be sent.
    pub fn open(config: &OutputConfig) -> Result<Self, ExportError> {
        Ok(match config {
            OutputConfig::Otlp(otlp) => Self::Otlp(OtlpExporter::new(otlp)?),
            OutputConfig::Json => Self::Json,
            OutputConfig::Pretty => Self::Pretty,
            OutputConfig::None => Self::None,
        })
    }

    /// Asks Honeycomb once whose the key is, beside everything else; a refusal is an error in the log and an obstacle
    /// until spans are taken. Must be called within a tokio runtime.
    pub fn check_key(&self, counters: Arc<ExportCounters>) {
        let Self::Otlp(exporter) = self else { return };
        let exporter = exporter.clone();
        tokio::spawn(async move {
            match exporter.ask_about_key().await {
                None => {}
                Some(Ok(owner)) => tracing::info!("Honeycomb says that {owner}."),
                Some(Err(reason)) => {
                    tracing::error!("{reason}.");
                    counters.obstructed(Some(reason));
                }
            }
        });
    }
}

/// Exports what comes out of `queue` to `destination` until it is closed and everything has gone out. What memory cannot
/// hold waits in `spool`, if there is one, and so does what did not go out in time.
///
/// When `stop` turns true, [`ExportConfig::shutdown_timeout`] is all the time that is left. When the queue ends by
/// itself, as that of a file does, patience ends only when so much time has passed without an answer.
/// Must be called within a tokio runtime with time and IO.
///
/// # Errors
///
/// [`ExportError::Undelivered`] when spans could not be sent
/// in time, or when the queue ended by itself and the destination did not want some of its spans;
/// [`ExportError::Output`]. That the reader of standard output has gone is no error.
pub async fn run(
    queue: ExchangeReceiver,
    spans: Spans,
    destination: Destination,
    spool: Option<Spool>,
    config: ExportConfig,
    counters: Arc<ExportCounters>,
    stop: watch::Receiver<bool>,
) -> Result<(), ExportError> {
    let mut merge = config.merge;
    if matches!(destination, Destination::Pretty) {
        // People see an exchange when it happens.
        merge.patience = merge.patience.map(|patience| patience.min(SOON));
    }
    let (layout, identity, own) = (spans.builder.layout(), spans.identity.clone(), spans.resource.clone());
    let merger = Merger::new(merge);
    let feed = Feed { queue, merger, spans, counters: counters.clone(), exchange: Exchange::empty().into() };
    let run = Run { feed, spool, config, counters, stop };
    match (destination, layout) {
        (Destination::Otlp(exporter), Layout::Agent) => run.with(OtlpFormat::new(&own), exporter).await,
        (Destination::Otlp(exporter), Layout::Workload) => {
            run.with(Grouped::new(OtlpEnvelope::new(&identity), own), exporter).await
        }
        (Destination::Json, Layout::Agent) => run.with(JsonFormat::new(&own), WriterExporter::standard_output()).await,
        (Destination::Json, Layout::Workload) => {
            let format = Grouped::new(JsonEnvelope::new(&identity), own);
            run.with(format, WriterExporter::standard_output()).await
        }
        (Destination::Pretty, _) => {
            let batch = BatchConfig { delay: Duration::ZERO, ..run.config.batch };
            let run = Run { config: ExportConfig { batch, ..run.config }, ..run };
            run.with(PrettyFormat::for_standard_output(), WriterExporter::standard_output()).await
        }
        (Destination::None, Layout::Agent) => run.with(OtlpFormat::new(&own), NullExporter).await,
        (Destination::None, Layout::Workload) => {
            run.with(Grouped::new(OtlpEnvelope::new(&identity), own), NullExporter).await
        }
    }
}

/// All that exporting needs but a format and a destination.
struct Run {
    feed: Feed,
    spool: Option<Spool>,
    config: ExportConfig,
    counters: Arc<ExportCounters>,
    stop: watch::Receiver<bool>,
}

impl Run {
    async fn with(self, format: impl Format, exporter: impl Exporter) -> Result<(), ExportError> {
        let task = Task::new(self.feed, format, exporter, &self.config, self.counters);
        task.with_spool(self.spool).run(self.stop).await
    }
}

/// Tries what exporting needs, for `--check`: connects to an OTLP server, with the TLS handshake.
/// Returns one line that says what was reached.
///
/// # Errors
///
/// [`ExportError::Configuration`] or [`ExportError::Unreachable`], with what to do about it.
pub async fn check(config: &ExportConfig) -> Result<String, ExportError> {
    match &config.output {
        OutputConfig::Otlp(otlp) => OtlpExporter::new(otlp)?.check().await,
        OutputConfig::Json | OutputConfig::Pretty => Ok("spans go to standard output".to_owned()),
        OutputConfig::None => Ok("spans go nowhere".to_owned()),
    }
}

/// What a feed waits for.
enum News {
    Exchanges(Parcel),
    /// Some have waited long enough for other views.
    Due,
    /// There will be no more.
    End,
}

/// The queue of exchanges, as a source of spans: each exchange once, whatever the number of its views.
struct Feed {
    queue: ExchangeReceiver,
    merger: Merger,
    spans: Spans,
    counters: Arc<ExportCounters>,
    /// The one of which spans are made: memory that is used again.
    exchange: Box<Exchange>,
}

impl SpanSource for Feed {
    async fn receive(&mut self) -> Option<usize> {
        let before = self.merger.readies();
        loop {
            let due = self.merger.due();
            let news = tokio::select! {
                // What has come is looked at before anything goes on without it.
                biased;
                exchanges = self.queue.receive() => exchanges.map_or(News::End, News::Exchanges),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => News::Due,
            };
            let now = Instant::now();
            let is_over = matches!(news, News::End);
            match news {
                News::Exchanges(new) => self.merger.take(new, now),
                News::Due => {}
                News::End => self.merger.release_all(),
            }
            self.merger.release(now);
            self.counters.views(self.merger.len(), self.merger.counts());
            let more = self.merger.readies() - before;
            if is_over || more > 0 {
                return (more > 0).then_some(more);
            }
        }
    }

    fn ready(&self) -> usize {
        self.merger.readies()
    }

    fn release(&mut self) -> usize {
        let before = self.merger.readies();
        self.merger.release_all();
        self.counters.views(0, self.merger.counts());
        self.merger.readies() - before
    }

    fn pass(&mut self) {
        self.merger.pass();
    }

    fn spans(&mut self, take: &mut dyn FnMut(&Draft<'_>)) {
        let Some(packed) = self.merger.ready() else { return };
        packed.unpack(&mut self.exchange);
        let exchange = &self.exchange;
        let Spans { builder, local, names, .. } = &self.spans;
        let mut in_transit = false;
        let made = builder.drafts(exchange, &**local, &**names, &mut |span| {
            in_transit |= span.span().in_transit;
            take(span);
        });
        self.counters.unnamed(builder.unnamed());
        match made {
            Made::Spans(_) if in_transit && local.is_known() => self.counters.in_transit(),
            Made::Spans(_) => {}
            Made::SampledOut => self.counters.sampled_out(),
            Made::InTransit => self.counters.elsewhere(),
            Made::LeftOut(reason) => self.counters.left_out(reason),
        }
    }
}
