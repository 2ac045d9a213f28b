//! An interface or a capture file → `RawPacket`.

use std::path::PathBuf;
use std::time::Duration;

use crate::packet::RawPacket;
use crate::tcp::Bulk;
use crate::time::Timestamp;

mod fault;
mod file;
mod filter;

mod live;
mod memory;
mod system;
mod words;

pub use fault::{FaultInjector, Faults};
pub use file::{FileSource, size};
pub use filter::default_filter;
pub use live::{LiveSource, filter_fault};
pub use memory::{MemorySource, OwnedPacket};

/// Opens the source that `config` names: one part of it for each worker that there is to be.
///
/// # Errors
/// Whatever keeps it from giving packets, as far as that can be told before the first of them.
pub fn open(config: &SourceConfig) -> Result<Vec<Box<dyn PacketSource>>, CaptureError> {
    Ok(match config {
        SourceConfig::File(file) => vec![Box::new(FileSource::open(file)?)],
        SourceConfig::Live(live) => {
            let boxed = |source| -> Box<dyn PacketSource> { Box::new(source) };
            LiveSource::open(live)?.into_iter().map(boxed).collect()
        }
    })
}

/// Somewhere packets come from. The source is also the clock.
pub trait PacketSource: Send {
    /// Waits at most `wait` for packets and hands each to `handle`, in order of capture; borrowed from the
    /// source's buffer, valid only for that call. Returns after a bounded number of packets.
    fn receive(&mut self, wait: Duration, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError>;

    /// What the source itself has counted since it was opened.
    fn statistics(&mut self) -> CaptureStatistics;

    /// Bytes of the file that have been read, as [`size`] counts them; `None` when there is no file.
    fn position(&self) -> Option<u64> {
        None
    }

    /// Names the streams whose payload is not read, in place of those named before. Where it costs less, a source gives the
    /// beginning of their packets only, and their lengths; it may do nothing.
    ///
    /// # Errors
    /// [`CaptureError::Failed`]: the source is of no use any more.
    fn leave_out(&mut self, _bulk: &[Bulk]) -> Result<(), CaptureError> {
        Ok(())
    }

    /// How long a packet that is captured now may stay unseen: who stops waits so much longer for the last ones.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// What one wait on a source gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// So many packets, at least one.
    Packets(usize),
    /// Nothing within the wait; `at` is the source's present time and drives the timers.
    Idle {
        /// Present time on the clock that stamps the packets.
        at: Timestamp,
    },
    /// The source is exhausted: a file's end.
    End,
}

/// Packets as the kernel counted them, since the source was opened (never reset, differences are the reader's affair).
/// Of a file: what was handed over, and the losses that a pcapng file itself reports.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CaptureStatistics {
    /// Packets that passed the filter.
    pub received: u64,
    /// Packets lost because the ring was full.
    pub dropped_by_kernel: u64,
    /// Packets lost by the interface.
    pub dropped_by_interface: u64,
}

impl CaptureStatistics {
    /// The sums of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            received: self.received.saturating_add(other.received),
            dropped_by_kernel: self.dropped_by_kernel.saturating_add(other.dropped_by_kernel),
            dropped_by_interface: self.dropped_by_interface.saturating_add(other.dropped_by_interface),
        }
    }
}

/// Where packets shall come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SourceConfig {
    /// `--read`: a capture file.
    File(FileConfig),
    /// Live capture.
    Live(LiveConfig),
}

/// A capture file, pcap or pcapng.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileConfig {
    /// `None` is standard input.
    pub path: Option<PathBuf>,
    /// A BPF expression; packets that do not match are skipped.
    pub filter: Option<String>,
}

/// Live capture through libpcap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveConfig {
    /// Interface names and patterns; `any` is all of them.
    pub interfaces: Vec<String>,
    /// Names and patterns of those that are left out.
    pub without: Vec<String>,
    /// How many share the capture.
    pub workers: usize,
    /// BPF expression; the caller's default never breaks reassembly.
    pub filter: String,
    /// Bytes kept of a packet.
    pub snap_length: u32,
    /// Bytes of the kernel's rings: divided among the workers, 2 MiB each at least.
    pub ring_bytes: u32,
    /// `AGENT_PROMISCUOUS`.
    pub promiscuous: bool,
}

/// A source cannot be opened, or failed. The message says what is wrong, with the value, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CaptureError {
    /// Not there, or not readable.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file as the user named it.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// Readable, but no capture, or one of a kind that the agent cannot read.
    #[error("{path}: {reason}")]
    NotACapture {
        /// The file as the user named it.
        path: String,
        /// What was found, and what would be understood.
        reason: String,
    },
    /// The process may not capture.
    #[error("{0}")]
    NotPermitted(String),
    /// No interface of this name, or one that cannot be captured.
    #[error("{0}")]
    Interface(String),
    /// The BPF expression does not compile.
    #[error("the filter {filter:?} does not compile: {reason}")]
    Filter {
        /// The expression.
        filter: String,
        /// libpcap's words.
        reason: String,
    },
    /// Capture broke off.
    #[error("capture failed: {0}")]
    Failed(String),
}
