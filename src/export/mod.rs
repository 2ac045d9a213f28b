//! `Span` → OTLP, JSON lines, text.

use std::time::Duration;

pub mod otlp;

/// Where spans go and how they are batched.
#[derive(Clone, Debug)]
pub struct ExportConfig {
    /// The destination.
    pub output: OutputConfig,
    /// When a batch is closed and what may wait.
    pub batch: BatchConfig,
    /// `AGENT_SHUTDOWN_TIMEOUT`: how long the last flush may take.
    pub shutdown_timeout: Duration,
}

/// A destination.
#[derive(Clone, Debug)]
pub enum OutputConfig {
    /// An OTLP/gRPC server.
    Otlp(otlp::OtlpConfig),
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
    /// What happens beyond `queue_bytes`.
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
