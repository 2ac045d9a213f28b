//! What the table may hold, and what it has counted.

use std::time::Duration;

/// Bounds and times of the table. Every bound stops growth by hostile or broken input.
#[derive(Clone, Copy, Debug)]
pub struct TcpLimits {
    /// Connections known at once; stops SYN floods and scans.
    pub max_connections: usize,
    /// Bytes held out of order in one direction of one connection; stops a peer that leaves a hole open.
    pub max_pending_bytes: usize,
    /// Bytes held out of order by all connections; stops many such peers.
    pub max_total_pending_bytes: usize,
    /// Separate runs of bytes held in one direction; stops a flood of one-byte islands.
    pub max_pending_segments: usize,
    /// Memory of all connections; near it the least valuable are forgotten. Stops whatever the other bounds together allow.
    pub max_memory: usize,
    /// Idle time after which a connection with something open is given up.
    pub busy_timeout: Duration,
    /// Idle time after which any other connection is forgotten.
    pub idle_timeout: Duration,
    /// How long acknowledged bytes may still come before they count as lost by the capture.
    pub loss_grace: Duration,
}

/// A bound on what is held out of order.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(usize)]
pub enum Overflow {
    /// [`TcpLimits::max_pending_bytes`].
    Bytes,
    /// [`TcpLimits::max_pending_segments`].
    Segments,
    /// [`TcpLimits::max_total_pending_bytes`].
    Total,
}

impl Overflow {
    /// Every bound, in the order of the counters.
    pub const ALL: [Self; 3] = [Self::Bytes, Self::Segments, Self::Total];

    /// The bound as a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Segments => "segments",
            Self::Total => "total",
        }
    }
}

/// What the TCP layer has counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpCounters {
    /// Connections that got an entry in the table.
    pub connections: u64,
    /// Entries given back because the table was full.
    pub evicted: u64,
    /// Entries given back because memory was short.
    pub shed: u64,
    /// Bytes of memory that the connections take now.
    pub memory: u64,
    /// The most that they have taken.
    pub memory_peak: u64,
    /// Entries in the table now.
    pub active: u64,
    /// Payload bytes delivered in order.
    pub bytes: u64,
    /// Payload bytes that the capture never showed.
    pub missing_bytes: u64,
    /// Gaps those bytes made.
    pub gaps: u64,
    /// Payload bytes of long bodies that the source was told to leave out; their number is all that is wanted.
    pub left_out_bytes: u64,
    /// Segments that brought only bytes already seen.
    pub retransmits: u64,
    /// Copies of a packet already seen on another interface.
    pub duplicates: u64,
    /// Segments held because they came before their time.
    pub out_of_order: u64,
    /// Holes given up early, by the bound that was reached, in the order of [`Overflow::ALL`].
    pub pending_overflows: [u64; Overflow::ALL.len()],
    /// Bytes that came out of order and lie beyond the end of their stream.
    pub bytes_after_end: u64,
    /// Resets that were not believed, because their number is far from the window.
    pub ignored_resets: u64,
    /// Acknowledgements that were not believed: of another connection, or of bytes that nobody is known to have sent.
    pub ignored_acknowledgements: u64,
    /// Segments without payload for connections that are not known.
    pub unknown_connection: u64,
}

impl std::ops::AddAssign for TcpCounters {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.evicted += other.evicted;
        self.shed += other.shed;
        self.memory += other.memory;
        self.memory_peak += other.memory_peak;
        self.active += other.active;
        self.bytes += other.bytes;
        self.missing_bytes += other.missing_bytes;
        self.left_out_bytes += other.left_out_bytes;
        self.gaps += other.gaps;
        self.retransmits += other.retransmits;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        for (sum, count) in self.pending_overflows.iter_mut().zip(other.pending_overflows) {
            *sum += count;
        }
        self.bytes_after_end += other.bytes_after_end;
        self.ignored_resets += other.ignored_resets;
        self.ignored_acknowledgements += other.ignored_acknowledgements;
        self.unknown_connection += other.unknown_connection;
    }
}

impl TcpCounters {
    /// Holes given up early because of `bound`.
    pub fn overflows(&self, bound: Overflow) -> u64 {
        self.pending_overflows.get(bound as usize).copied().unwrap_or(0)
    }

    pub(in crate::tcp) fn count_overflow(&mut self, bound: Overflow) {
        if let Some(count) = self.pending_overflows.get_mut(bound as usize) {
            *count += 1;
        }
    }
}
