//! The blocks of a pcapng file → `RawPacket`.
//!
//! Format: draft-ietf-opsawg-pcapng (sections are named by it). Read here because libpcap fails at a second link type
//! in one file, and parsers found elsewhere lack binary time resolutions, big-endian time offsets or the obsolete
//! packet block.

use std::collections::BTreeMap;

use super::MAX_PACKET;
use super::clock::Clock;
use super::endian::Endian;
use super::input::{Input, Stop};
use crate::capture::CaptureStatistics;
use crate::capture::words::{link_name, unsupported_link};
use crate::packet::{LinkType, RawPacket};
use crate::time::Timestamp;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// A block's type and length before its body, and the length again behind it.
const FRAME: usize = 12;
/// Bytes of a block held at once: a packet, its header and its options. Stops a length made up to take memory.
const MAX_HELD: u32 = MAX_PACKET + (64 << 10);
/// Interfaces of a section; stops a file of nothing but interfaces.
const MAX_INTERFACES: usize = 1 << 16;

/// What is known of the present section.
#[derive(Debug)]
pub(super) struct PcapNg {
    endian: Endian,
    interfaces: Vec<Interface>,
    /// Time of the last packet, for packets without one of their own.
    last: Timestamp,
    /// Losses told in sections that are over.
    past: CaptureStatistics,
    /// Packets passed over, by the number of their link type.
    passed_over: BTreeMap<u32, u64>,
    /// Packets of interfaces that were never described.
    undescribed: u64,
    /// Whether any interface had a link type that the agent can read.
    readable: bool,
    /// The first link type that it cannot.
    unreadable: Option<u32>,
}

#[derive(Debug)]
struct Interface {
    code: u32,
    link: Option<LinkType>,
    snap_length: u32,
    clock: Clock,
    statistics: CaptureStatistics,
}

/// Where the packet stands in a packet block, and what its header says.
struct Header {
    interface: u32,
    at: Option<u64>,
    captured: u32,
    wire: u32,
    /// Bytes of the block before the packet.
    length: usize,
}

impl PcapNg {
    /// Whether a file that begins so is of this format.
    pub(super) fn recognises(magic: [u8; 4]) -> bool {
        u32::from_be_bytes(magic) == SECTION_HEADER
    }

    /// Reads the first section header.
    pub(super) fn begin(input: &mut Input) -> Result<Self, Stop> {
        let mut new = Self {
            endian: Endian::Little,
            interfaces: Vec::new(),
            last: Timestamp::default(),
            past: CaptureStatistics::default(),
            passed_over: BTreeMap::new(),
            undescribed: 0,
            readable: false,
            unreadable: None,
        };
        match new.next(input).map(|_| ()) {
            Ok(()) => Ok(new),
            Err(Stop::Damaged(reason)) => Err(Stop::Refused(format!("its section header is damaged: {reason}"))),
            Err(Stop::Cut) => {
                let found = input.buffered();
                Err(Stop::Refused(format!("it is cut inside its section header, {found} bytes are there")))
            }
            Err(other) => Err(other),
        }
    }

    /// The next block's packet; `None` when it holds none that can be read.
    pub(super) fn next<'a>(&mut self, input: &'a mut Input) -> Result<Option<RawPacket<'a>>, Stop> {
        let start = input.peek(FRAME)?;
        if self.endian.u32(start, 0) == SECTION_HEADER {
            self.endian = byte_order(start)?;
        }
        let (kind, length) = (self.endian.u32(start, 0), self.endian.u32(start, 4));
        if length < 12 || length % 4 != 0 {
            return Err(Stop::Damaged(format!("a block of {length} bytes cannot be")));
        }
        if length > MAX_HELD {
            return self.long_block(kind, length, input).map(|()| None);
        }
        let block = input.take(length as usize)?;
        let repeated = self.endian.u32(block, block.len() - 4);
        if repeated != length {
            return Err(Stop::Damaged(format!("a block of {length} bytes says {repeated} at its end")));
        }
        match kind {
            SECTION_HEADER => self.section(block).map(|()| None),
            INTERFACE_DESCRIPTION => self.describe_interface(block).map(|()| None),
            INTERFACE_STATISTICS => {
                self.count_losses(block);
                Ok(None)
            }
            ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET => {
                let header = self.packet_header(kind, block)?;
                self.packet(&header, block)
            }
            _ => Ok(None),
        }
    }

    /// What the interfaces say that was lost before it came into the file.
    pub(super) fn losses(&self) -> CaptureStatistics {
        self.interfaces.iter().fold(self.past, |sum, interface| sum.plus(interface.statistics))
    }

    /// Packets passed over, in words for the user; `None` when all could be read.
    pub(super) fn passed_over(&self) -> Option<String> {
        let named = self.passed_over.iter().map(|(code, count)| format!("{count} of {}", link_name(*code)));
        let undescribed = (self.undescribed > 0).then(|| format!("{} of undescribed interfaces", self.undescribed));
        let parts: Vec<String> = named.take(8).chain(undescribed).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Why the whole file was of no use: it describes interfaces, and none of them can be read.
    pub(super) fn unreadable(&self) -> Option<String> {
        self.unreadable.filter(|_| !self.readable).map(unsupported_link)
    }

    /// A block that is not held: passed over, unless it has to be understood (§4: unknown blocks are skipped).
    fn long_block(&mut self, kind: u32, length: u32, input: &mut Input) -> Result<(), Stop> {
        let start = input.peek(FRAME)?;
        let interface = match kind {
            SECTION_HEADER | INTERFACE_DESCRIPTION => None,
            ENHANCED_PACKET => self.interfaces.get(self.endian.u32(start, 8) as usize),
            OBSOLETE_PACKET => self.interfaces.get(usize::from(self.endian.u16(start, 8))),
            SIMPLE_PACKET => self.interfaces.first(),
            _ => {
                input.skip(u64::from(length));
                return Ok(());
            }
        };
        let Some(Interface { code, link: None, .. }) = interface else {
            return Err(Stop::Damaged(format!("a block of {length} bytes is more than a packet can have")));
        };
        *self.passed_over.entry(*code).or_default() += 1;
        input.skip(u64::from(length));
        Ok(())
    }

    /// §4.1: a new section knows nothing of the interfaces before it.
    fn section(&mut self, block: &[u8]) -> Result<(), Stop> {
        let (major, minor) = (self.endian.u16(block, 12), self.endian.u16(block, 14));
        if block.len() < 28 || major != 1 {
            return Err(Stop::Damaged(format!(
                "a section of pcapng version {major}.{minor}; 1.0 to 1.2 are understood"
            )));
        }
        self.past = self.losses();
        self.interfaces.clear();
        Ok(())
    }

    /// §4.2
    fn describe_interface(&mut self, block: &[u8]) -> Result<(), Stop> {
        if block.len() < 20 || self.interfaces.len() == MAX_INTERFACES {
            return Err(Stop::Damaged("an interface description cannot be".to_owned()));
        }
        let code = u32::from(self.endian.u16(block, 8));
        let mut interface = Interface {
            code,
            link: LinkType::from_code(code),
            snap_length: self.endian.u32(block, 12),
            clock: Clock::default(),
            statistics: CaptureStatistics::default(),
        };
        for (option, value) in self.options(block, 16) {
            match (option, value) {
                (9, [resolution]) => interface.clock.set_resolution(*resolution),
                (14, seconds @ [_, _, _, _, _, _, _, _]) => {
                    interface.clock.set_offset(self.endian.u64(seconds, 0).cast_signed());
                }
                _ => {}
            }
        }
        match interface.link {
            Some(_) => self.readable = true,
            None => self.unreadable = self.unreadable.or(Some(code)),
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// §4.6: counters since the capture began, the last block of an interface holds.
    fn count_losses(&mut self, block: &[u8]) {
        let mut statistics = CaptureStatistics::default();
        for (option, value) in self.options(block, 20) {
            match (option, value.len()) {
                (5, 8) => statistics.dropped_by_interface = self.endian.u64(value, 0),
                (7, 8) => statistics.dropped_by_kernel = self.endian.u64(value, 0),
                _ => {}
            }
        }
        if let Some(interface) = self.interfaces.get_mut(self.endian.u32(block, 8) as usize) {
            interface.statistics = statistics;
        }
    }

    /// §4.3, §4.4 and appendix A: the enhanced, simple and obsolete packet block.
    fn packet_header(&self, kind: u32, block: &[u8]) -> Result<Header, Stop> {
        let field = |at| self.endian.u32(block, at);
        let ticks = u64::from(field(12)) << 32 | u64::from(field(16));
        let header = match kind {
            ENHANCED_PACKET => {
                Header { interface: field(8), at: Some(ticks), captured: field(20), wire: field(24), length: 28 }
            }
            OBSOLETE_PACKET => {
                let interface = u32::from(self.endian.u16(block, 8));
                Header { interface, at: Some(ticks), captured: field(20), wire: field(24), length: 28 }
            }
            _ => {
                let wire = field(8);
                let room = u32::try_from(block.len().saturating_sub(16)).unwrap_or(u32::MAX);
                let snap_length = self.interfaces.first().map_or(0, |interface| interface.snap_length);
                let bound = if snap_length == 0 { room } else { room.min(snap_length) };
                Header { interface: 0, at: None, captured: wire.min(bound), wire, length: 12 }
            }
        };
        match block.len().checked_sub(header.length + 4) {
            Some(room) if header.captured as usize <= room => Ok(header),
            _ => {
                let (captured, length) = (header.captured, block.len());
                Err(Stop::Damaged(format!("a packet of {captured} bytes is said to be in a block of {length}")))
            }
        }
    }

    fn packet<'a>(&mut self, header: &Header, block: &'a [u8]) -> Result<Option<RawPacket<'a>>, Stop> {
        let Some(interface) = self.interfaces.get(header.interface as usize) else {
            self.undescribed += 1;
            return Ok(None);
        };
        let Some(link) = interface.link else {
            *self.passed_over.entry(interface.code).or_default() += 1;
            return Ok(None);
        };
        if header.captured > MAX_PACKET {
            return Err(Stop::Damaged(format!("a packet of {} bytes cannot be", header.captured)));
        }
        if let Some(ticks) = header.at {
            self.last = interface.clock.at(ticks);
        }
        let end = header.length + header.captured as usize;
        Ok(Some(RawPacket {
            at: self.last,
            data: block.get(header.length..end).unwrap_or_default(),
            wire_length: header.wire.max(header.captured),
            link,
            interface: header.interface,
        }))
    }

    /// §3.5: code, length and value of each option from `start` to the end of the block or the first that is none.
    fn options<'a>(&self, block: &'a [u8], start: usize) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let endian = self.endian;
        let mut rest = block.get(start..block.len() - 4).unwrap_or_default();
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_at_checked(4)?;
            let (code, length) = (endian.u16(head, 0), usize::from(endian.u16(head, 2)));
            let value = tail.get(..length)?;
            rest = tail.get(length.next_multiple_of(4)..).unwrap_or_default();
            (code != 0).then_some((code, value))
        })
    }
}

/// §4.1: the byte order of a section, from the first twelve bytes of its header.
fn byte_order(start: &[u8]) -> Result<Endian, Stop> {
    match start.get(8..12) {
        Some([0x4d, 0x3c, 0x2b, 0x1a]) => Ok(Endian::Little),
        Some([0x1a, 0x2b, 0x3c, 0x4d]) => Ok(Endian::Big),
        _ => Err(Stop::Damaged("a section without a byte-order magic number".to_owned())),
    }
}
