//! The records of a pcap file → `RawPacket`.
//!
//! Format: draft-ietf-opsawg-pcap. Read here rather than through libpcap because that refuses packets above 256 KiB
//! (BIG TCP makes them), cannot read compressed files, and cannot stop waiting for a pipe.

use super::MAX_PACKET;
use super::endian::Endian;
use super::input::{Input, Stop};
use crate::capture::words::unsupported_link;
use crate::packet::{LinkType, RawPacket};
use crate::time::Timestamp;

const FILE_HEADER: usize = 24;
/// Bytes of a record's times and lengths, with which every one begins.
const FIELDS: usize = 16;

/// What the file header says about all records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pcap {
    endian: Endian,
    link: LinkType,
    /// Nanoseconds in a unit of the second time field.
    fraction: u64,
    /// Bytes of a record before its packet.
    header: usize,
    lengths: Lengths,
}

/// Where a record's two lengths stand. Files written before 1998 have them the other way round.
#[derive(Clone, Copy, Debug)]
enum Lengths {
    CapturedFirst,
    WireFirst,
    /// Version 2.3 was written both ways: the smaller is the captured length.
    Either,
}

impl Pcap {
    /// Whether a file that begins so is of this format.
    pub(super) fn recognises(magic: [u8; 4]) -> bool {
        Variant::of(magic).is_some()
    }

    /// Reads the file header.
    pub(super) fn begin(input: &mut Input) -> Result<Self, Stop> {
        let new = match input.peek(FILE_HEADER) {
            Ok(header) => Self::parse(header).map_err(Stop::Refused)?,
            Err(Stop::Cut) => {
                let found = input.buffered();
                let reason = format!("it is cut inside its header, {found} of {FILE_HEADER} bytes are there");
                return Err(Stop::Refused(reason));
            }
            Err(other) => return Err(other),
        };
        input.take(FILE_HEADER)?;
        Ok(new)
    }

    fn parse(header: &[u8]) -> Result<Self, String> {
        let magic = header.first_chunk().copied().unwrap_or_default();
        let Some(Variant { endian, fraction, header: record }) = Variant::of(magic) else {
            return Err("it has no pcap magic number".to_owned());
        };
        let lengths = match (endian.u16(header, 4), endian.u16(header, 6)) {
            (2, 0..3) => Lengths::WireFirst,
            (2, 3) => Lengths::Either,
            (2, _) => Lengths::CapturedFirst,
            (major, minor) => return Err(format!("it is of pcap version {major}.{minor}; 2.0 to 2.4 are understood")),
        };
        // The upper bits tell the length of a frame check sequence, which the packet's own lengths leave out anyway.
        let code = endian.u32(header, 20) & 0x03ff_ffff;
        let Some(link) = LinkType::from_code(code) else {
            return Err(unsupported_link(code));
        };
        Ok(Self { endian, link, fraction, header: record, lengths })
    }

    /// How every packet of the file begins.
    pub(super) const fn link(&self) -> LinkType {
        self.link
    }

    /// The next packet.
    pub(super) fn next<'a>(&self, input: &'a mut Input) -> Result<RawPacket<'a>, Stop> {
        let header = input.peek(self.header)?.first_chunk::<FIELDS>().ok_or(Stop::Cut)?;
        let field = |at| self.endian.u32(header, at);
        let (seconds, fraction, first, second) = (field(0), field(4), field(8), field(12));
        let (captured, wire) = match self.lengths {
            Lengths::CapturedFirst => (first, second),
            Lengths::WireFirst => (second, first),
            Lengths::Either => (first.min(second), first.max(second)),
        };
        if captured > MAX_PACKET {
            return Err(Stop::Damaged(format!("a packet of {captured} bytes cannot be")));
        }
        let at = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.fraction;
        let record = input.take(self.header + captured as usize)?;
        Ok(RawPacket {
            at: Timestamp::from_nanos(at),
            data: record.get(self.header..).unwrap_or_default(),
            wire_length: wire.max(captured),
            link: self.link,
            interface: 0,
        })
    }
}

/// What a magic number stands for.
struct Variant {
    endian: Endian,
    fraction: u64,
    header: usize,
}

impl Variant {
    fn of(magic: [u8; 4]) -> Option<Self> {
        let as_written = |endian, number| match number {
            0xa1b2_c3d4 => Some(Self { endian, fraction: 1000, header: 16 }),
            0xa1b2_3c4d => Some(Self { endian, fraction: 1, header: 16 }),
            // Alexey Kuznetsov's format: eight more bytes a record, with the interface and the protocol.
            0xa1b2_cd34 => Some(Self { endian, fraction: 1000, header: 24 }),
            _ => None,
        };
        as_written(Endian::Little, u32::from_le_bytes(magic))
            .or_else(|| as_written(Endian::Big, u32::from_be_bytes(magic)))
    }
}
