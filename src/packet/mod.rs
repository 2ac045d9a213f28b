//! `RawPacket` → `Segment`, or a counted `Discard`.

use std::net::SocketAddr;

use crate::time::Timestamp;

mod captured;
mod decoder;
mod fragment;
mod frame;
mod ip;
mod link;
mod plain;
mod sequence;
mod tcp;
mod tunnel;

pub use decoder::{Decoder, DecoderLimits};
pub use link::LinkType;
pub use sequence::SequenceNumber;

/// One captured link-layer frame, borrowed from the source's buffer.
#[derive(Clone, Copy, Debug)]
pub struct RawPacket<'a> {
    /// When the kernel (or the file) says it was captured.
    pub at: Timestamp,
    /// The captured bytes, starting with the link-layer header.
    pub data: &'a [u8],
    /// Bytes on the wire; more than `data.len()` when the snap length cut the packet.
    pub wire_length: u32,
    /// How `data` begins.
    pub link: LinkType,
    /// Which interface saw it: the kernel's index live, the interface number in a pcapng file, else 0.
    pub interface: u32,
}

/// A TCP segment, borrowed from the frame (or the reassembled datagram) that carried it.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// When the packet that completed it was captured.
    pub at: Timestamp,
    /// Which interface saw it, as in [`RawPacket::interface`].
    pub interface: u32,
    /// Sender; for a tunnelled packet the inner one.
    pub source: SocketAddr,
    /// Receiver; for a tunnelled packet the inner one.
    pub destination: SocketAddr,
    /// Sequence number of the first byte (of the SYN, when there is one).
    pub sequence: SequenceNumber,
    /// Acknowledgement number; meaningless unless [`TcpFlags::ACK`] is set.
    pub acknowledgement: SequenceNumber,
    /// Control bits.
    pub flags: TcpFlags,
    /// The captured part of the payload, without Ethernet padding.
    pub payload: &'a [u8],
    /// Bytes of payload on the wire; `payload.len() <= payload_length`, less when the snap length cut it.
    pub payload_length: u32,
}

/// The control bits of a TCP header (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where decoded segments go.
pub trait SegmentSink {
    /// Takes one segment; valid only for this call.
    fn segment(&mut self, segment: &Segment<'_>);
}

/// Why a packet gave no segment. `packets in = segments + discards by reason`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(usize)]
pub enum Discard {
    /// The link type is none that the agent can read.
    UnsupportedLink,
    /// Not IPv4 or IPv6 (ARP, LLDP, 802.3 length frames…).
    NotIp,
    /// IP, but neither TCP nor a tunnel.
    NotTcp,
    /// A header says what cannot be: lengths that contradict each other, an impossible version.
    Malformed,
    /// The snap length cut inside the headers.
    Truncated,
    /// A fragment that is kept until its datagram is whole.
    FragmentHeld,
    /// A fragment that repeats or contradicts another, or that found no room.
    FragmentDropped,
    /// Tunnels nested deeper than the bound; stops packets made to be unwrapped for ever.
    TunnelTooDeep,
}

impl Discard {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::UnsupportedLink,
        Self::NotIp,
        Self::NotTcp,
        Self::Malformed,
        Self::Truncated,
        Self::FragmentHeld,
        Self::FragmentDropped,
        Self::TunnelTooDeep,
    ];

    /// The reason as a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnsupportedLink => "unsupported_link",
            Self::NotIp => "not_ip",
            Self::NotTcp => "not_tcp",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::FragmentHeld => "fragment_held",
            Self::FragmentDropped => "fragment_dropped",
            Self::TunnelTooDeep => "tunnel_too_deep",
        }
    }
}

/// Why a datagram was given up before all its fragments had come.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(usize)]
pub enum Abandonment {
    /// It was the oldest, or found no room itself, when all fragments together took too many bytes.
    Bytes,
    /// It was the oldest when there were too many datagrams.
    Sets,
    /// The rest did not come in time.
    Age,
    /// Its fragments overlap where they must not.
    Contradictory,
}

impl Abandonment {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 4] = [Self::Bytes, Self::Sets, Self::Age, Self::Contradictory];

    /// The reason as a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Sets => "sets",
            Self::Age => "age",
            Self::Contradictory => "contradictory",
        }
    }
}

/// What the decoder has counted since it was made. Invariant: `packets == segments + Σ discards`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PacketCounters {
    /// Packets given to the decoder.
    pub packets: u64,
    /// Bytes of those packets on the wire.
    pub wire_bytes: u64,
    /// Packets that gave a TCP segment.
    pub segments: u64,
    /// Packets that gave none, by [`Discard`] in the order of [`Discard::ALL`].
    pub discards: [u64; Discard::ALL.len()],
    /// Datagrams that were given up before all fragments had come, by [`Abandonment`] in the order of
    /// [`Abandonment::ALL`]. Not part of the sum: their packets count as [`Discard::FragmentHeld`].
    pub abandoned_datagrams: [u64; Abandonment::ALL.len()],
}

impl std::ops::AddAssign for PacketCounters {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.wire_bytes += other.wire_bytes;
        self.segments += other.segments;
        for (sum, count) in self.discards.iter_mut().zip(other.discards) {
            *sum += count;
        }
        for (sum, count) in self.abandoned_datagrams.iter_mut().zip(other.abandoned_datagrams) {
            *sum += count;
        }
    }
}

impl PacketCounters {
    /// Packets discarded for `reason`.
    pub fn discarded(&self, reason: Discard) -> u64 {
        self.discards.get(reason as usize).copied().unwrap_or(0)
    }

    /// Datagrams given up for `reason`.
    pub fn abandoned(&self, reason: Abandonment) -> u64 {
        self.abandoned_datagrams.get(reason as usize).copied().unwrap_or(0)
    }

    /// Counts one packet discarded for `reason`.
    pub fn discard(&mut self, reason: Discard) {
        if let Some(count) = self.discards.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
