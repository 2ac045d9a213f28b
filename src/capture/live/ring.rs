//! One libpcap handle on all interfaces → `RawPacket`.

use std::os::fd::{AsFd, BorrowedFd};

use pcap::{Active, Capture, Linktype, Packet, Precision};

use super::program::Program;
use super::selection::{ANY, Choice};
use super::{GATHER, refusal};
use crate::capture::words::{reason, unsupported_link};
use crate::capture::{CaptureError, CaptureStatistics, LiveConfig, system};
use crate::packet::{LinkType, RawPacket};
use crate::tcp::Bulk;
use crate::time::Timestamp;

/// Linux cooked capture, version 2: says of each packet which interface saw it.
pub(super) const SLL2: Linktype = Linktype(276);
/// Bytes of the smallest ring: eight of the kernel's blocks.
const SMALLEST_RING: usize = 2 << 20;

/// Whose packets a ring takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// Those of the interfaces that it was told.
    Chosen,
    /// Those of all, because the kernel's filter cannot name so many.
    All,
}

/// A ring of the kernel's.
pub(super) struct Ring {
    link: LinkType,
    program: Program,
    capture: Capture<Active>,
    received: Carried,
    dropped_by_kernel: Carried,
    dropped_by_card: Carried,
}

/// Whether a filter found room in the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Attached {
    Yes,
    NoRoom,
}

impl Ring {
    /// Makes a ring for what passes `filter`, with `ring_bytes` of memory in the kernel; nothing does before
    /// [`Self::take_from`].
    pub(super) fn open(filter: &str, ring_bytes: usize, config: &LiveConfig) -> Result<Self, CaptureError> {
        let refused = |error: pcap::Error| refusal::of(&error);
        let mut capture = Capture::from_device(ANY)
            .map_err(refused)?
            .snaplen(i32::try_from(config.snap_length).unwrap_or(i32::MAX))
            .buffer_size(i32::try_from(ring_bytes.max(SMALLEST_RING)).unwrap_or(i32::MAX))
            .timeout(i32::try_from(GATHER.as_millis()).unwrap_or(i32::MAX))
            .precision(Precision::Nano)
            .open()
            .map_err(refused)?;
        // A libpcap without it stays at version 1, which is read as well.
        let _ = capture.set_datalink(SLL2);
        let datalink = capture.get_datalink();
        let code = u32::try_from(datalink.0).unwrap_or(u32::MAX);
        let Some(link) = LinkType::from_code(code) else {
            return Err(CaptureError::Interface(format!("capture is not possible: {}", unsupported_link(code))));
        };
        let program = Program::compile(filter, datalink, config.snap_length)?;
        let capture = capture.setnonblock().map_err(refused)?;
        let [received, dropped_by_kernel, dropped_by_card] = Default::default();
        let ring = Self { link, program, capture, received, dropped_by_kernel, dropped_by_card };
        ring.take_from(&Choice::Only(Vec::new()), &[])?;
        Ok(ring)
    }

    /// Takes the packets of `choice` from now on, of those of `bulk` only the beginning; none is lost meanwhile. Where the
    /// kernel has no room for all of that, it takes them whole, and where it has none for the names of so many interfaces,
    /// those of all.
    pub(super) fn take_from(&self, choice: &Choice, bulk: &[Bulk]) -> Result<Taken, CaptureError> {
        for (choice, bulk, taken) in [(choice, bulk, Taken::Chosen), (choice, &[], Taken::Chosen)] {
            if self.attach(choice, bulk)? == Attached::Yes {
                return Ok(taken);
            }
        }
        match self.attach(&Choice::All, &[])? {
            Attached::Yes => Ok(Taken::All),
            Attached::NoRoom => {
                let words = "the kernel has no room for the filter; raise net.core.optmem_max";
                Err(CaptureError::Failed(words.to_owned()))
            }
        }
    }

    /// Takes of the packets of `bulk` only the beginning from now on. Where the kernel has no room for that, all stays as it
    /// was.
    pub(super) fn shorten(&self, choice: &Choice, bulk: &[Bulk]) -> Result<(), CaptureError> {
        self.attach(choice, bulk).map(drop)
    }

    /// Puts one filter in the place of another, if the kernel has room for it.
    fn attach(&self, choice: &Choice, bulk: &[Bulk]) -> Result<Attached, CaptureError> {
        let Some(program) = self.program.on(choice, bulk) else { return Ok(Attached::NoRoom) };
        match system::attach_filter(self.capture.as_fd(), &program) {
            Ok(()) => Ok(Attached::Yes),
            // The filter of a socket counts against `net.core.optmem_max`, together with the one whose place it takes.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => Ok(Attached::NoRoom),
            Err(error) => Err(CaptureError::Failed(format!("the filter cannot be set: {error}"))),
        }
    }

    /// Shares the packets with the other rings of `group`, by connection; without a group, founds one. Gives the group.
    /// `joins_fragments`: the kernel puts those of IPv4 together.
    pub(super) fn share(&self, group: Option<u16>, joins_fragments: bool) -> Result<u16, CaptureError> {
        let failed = |error: std::io::Error| {
            CaptureError::Failed(format!("the workers cannot share the capture: {error}; set AGENT_WORKERS to 1"))
        };
        system::join_fanout(self.capture.as_fd(), group, joins_fragments).map_err(failed)
    }

    /// Hands over at most `limit` packets that are in the ring; an error says why there will be no more.
    pub(super) fn take(&mut self, limit: usize, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<(), String> {
        let link = self.link;
        let result = self.capture.dispatch(Some(limit), |packet| handle(&raw(&packet, link)));
        result.map(|_| ()).map_err(|error| reason(&error))
    }

    /// What the kernel has counted since the start.
    pub(super) fn statistics(&mut self) -> CaptureStatistics {
        if let Ok(now) = self.capture.stats() {
            self.received.carry(now.received);
            self.dropped_by_kernel.carry(now.dropped);
            self.dropped_by_card.carry(now.if_dropped);
        }
        CaptureStatistics {
            received: self.received.total,
            dropped_by_kernel: self.dropped_by_kernel.total,
            dropped_by_interface: self.dropped_by_card.total,
        }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

/// A counter of 32 bits that goes round, continued in 64.
#[derive(Default)]
struct Carried {
    last: u32,
    total: u64,
}

impl Carried {
    /// Takes the counter's present value; it must not go round twice between two calls.
    fn carry(&mut self, now: u32) {
        self.total += u64::from(now.wrapping_sub(self.last));
        self.last = now;
    }
}

fn raw<'a>(packet: &Packet<'a>, link: LinkType) -> RawPacket<'a> {
    let seconds = u64::try_from(packet.header.ts.tv_sec).unwrap_or(0);
    // With nanosecond precision this field holds nanoseconds.
    let nanos = u64::try_from(packet.header.ts.tv_usec).unwrap_or(0);
    RawPacket {
        at: Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)),
        data: packet.data,
        wire_length: packet.header.len,
        link,
        // The cooked header names it.
        interface: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_go_round_are_carried_on() {
        let mut counter = Carried::default();
        for now in [5, u32::MAX, 3, 3] {
            counter.carry(now);
        }
        assert_eq!(counter.total, (1 << 32) + 3);
    }
}
