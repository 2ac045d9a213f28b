//! `Segment` → `StreamEvent`: both directions of every connection in stream order, every byte once.

use std::net::SocketAddr;
use std::time::Duration;

use crate::packet::SequenceNumber;
use crate::time::Timestamp;

mod bulk;
mod connection;
mod half;
mod holders;
mod key;
mod pending;
mod plain;
mod recency;
mod slots;
mod table;

pub use bulk::Bulk;
pub use recency::{TableClass, TableSummary};
pub use table::{ConnectionTable, Overflow, TcpCounters, TcpLimits};

/// One of the two directions of a connection: from the endpoint that sorts lower, or to it.
/// Which of them carries requests is for the bytes to tell.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// From the lower endpoint to the higher.
    Up,
    /// From the higher endpoint to the lower.
    Down,
}

impl Direction {
    /// The other direction.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// What happened next in one direction of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamEvent<'a> {
    /// The next bytes in order, at least one; valid only for this call.
    Data(&'a [u8], Mark),
    /// Bytes that the capture did not show; the stream goes on after them.
    Gap(u64, Mark),
    /// Bytes of a part that the layer above does not read ([`StreamHandler::unread`]) and the source has left out.
    LeftOut(u64, Mark),
    /// FIN, and every byte before it was delivered or reported as a gap.
    End(Timestamp),
}

/// Where and when an event stands. For a gap: of the packet or the timer that made the loss certain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mark {
    /// Capture time of the packet that carried the bytes.
    pub at: Timestamp,
    /// Sequence number of the event's first byte.
    pub sequence: SequenceNumber,
    /// What the sender had received from its peer when it sent the packet.
    pub acknowledgement: Option<SequenceNumber>,
    /// The interface that saw the packet.
    pub interface: u32,
}

/// Why no more events will come for a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finish {
    /// Both directions ended with FIN.
    Closed(Timestamp),
    /// A reset.
    Reset(Timestamp),
    /// Nothing was seen for the whole of its timeout.
    Idle,
    /// The table was full, and this was the least valuable entry.
    Evicted,
    /// The same addresses and ports began a new connection.
    Replaced,
    /// The capture ended.
    CaptureEnded,
}

/// What is known of a connection beside its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flow {
    /// The endpoint that sorts lower.
    pub low: SocketAddr,
    /// The endpoint that sorts higher.
    pub high: SocketAddr,
    /// SYN to the acknowledgement that ended the handshake, when it was captured.
    pub handshake_rtt: Option<Duration>,
    /// Segments sent again so far, by either side.
    pub retransmits: u32,
    /// Whether its beginning was captured.
    pub origin: Origin,
    /// What was before its first packet, where that does not begin it.
    pub past: Past,
    /// The direction of who opened it, where the handshake was captured.
    pub opener: Option<Direction>,
    /// The number of the first byte of each direction, upwards first, where its SYN was captured.
    pub beginnings: [Option<SequenceNumber>; 2],
    /// While a direction ends: whether its sender has acknowledged bytes of the other that are still to come here, if ever.
    pub ends_ahead: bool,
}

/// How the capture came to a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// With its SYN: the first bytes are the first bytes.
    Begun,
    /// In the middle.
    Joined,
}

/// Whether something may have been under way on a connection when its first packet was captured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Past {
    /// The capture had been going on for long, and had not shown it: it was silent.
    Silent,
    /// The capture is too young to tell.
    Unknown,
}

impl Flow {
    /// Who sends in `direction`.
    pub const fn source(&self, direction: Direction) -> SocketAddr {
        match direction {
            Direction::Up => self.low,
            Direction::Down => self.high,
        }
    }

    pub(crate) fn note_beginning(&mut self, direction: Direction, first: SequenceNumber) {
        let [up, down] = &mut self.beginnings;
        let beginning = match direction {
            Direction::Up => up,
            Direction::Down => down,
        };
        beginning.get_or_insert(first);
    }

    /// The number of the first byte in `direction`, where its SYN was captured.
    pub const fn beginning(&self, direction: Direction) -> Option<SequenceNumber> {
        let [up, down] = self.beginnings;
        match direction {
            Direction::Up => up,
            Direction::Down => down,
        }
    }
}

/// What the layer above makes of a connection; decides what it costs and how long it is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// Not known yet.
    Undecided,
    /// Something is open that would be lost with the entry.
    Busy,
    /// Worth following, nothing open.
    Quiet,
    /// No more events are wanted, until the connection begins anew.
    None,
}

/// The layer above.
pub trait StreamHandler {
    /// What it keeps for each connection.
    type State;

    /// Bytes that `state` has allocated; must cost little, it is asked with every segment.
    fn heap_bytes(state: &Self::State) -> usize;

    /// How many of the next bytes of `direction` are only counted, whatever they are; must cost little.
    fn unread(_: &Self::State, _direction: Direction) -> u64 {
        0
    }

    /// Whether `state` wants [`Self::overdue`] in a while; must cost little.
    fn waits(_: &Self::State) -> bool {
        false
    }

    /// Time has come to `now`, and nothing else has come.
    fn overdue(&mut self, _: &mut Self::State, _: &Flow, _now: Timestamp, interest: Interest) -> Interest {
        interest
    }

    /// State of a connection that begins now.
    fn begin(&mut self) -> Self::State;

    /// Takes one event.
    fn event(&mut self, state: &mut Self::State, flow: &Flow, direction: Direction, event: StreamEvent<'_>)
    -> Interest;

    /// The connection is over; called once for every state that was still wanted.
    fn finish(&mut self, state: Self::State, flow: &Flow, finish: Finish);
}
