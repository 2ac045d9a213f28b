//! One libpcap handle → `RawPacket`.

use std::os::fd::{AsFd, BorrowedFd};

use pcap::{Active, Capture, Linktype, Packet, Precision};

use super::{GATHER, refusal};
use crate::capture::filter::filter_error;
use crate::capture::words::{reason, unsupported_link};
use crate::capture::{CaptureError, CaptureStatistics, LiveConfig, system};
use crate::packet::{LinkType, RawPacket};
use crate::time::Timestamp;

/// The name that stands for all interfaces.
pub(super) const ANY: &str = "any";
/// Linux cooked capture, version 2: says of each packet which interface saw it.
const SLL2: Linktype = Linktype(276);
/// Bytes of the smallest ring: eight of the kernel's blocks.
const SMALLEST_RING: usize = 2 << 20;

/// An interface that is being captured.
pub(super) struct Interface {
    name: String,
    /// The kernel's number for it; none for `any`, whose packets name theirs in their SLL2 header.
    index: Option<u32>,
    link: LinkType,
    capture: Capture<Active>,
    received: Carried,
    dropped_by_kernel: Carried,
    dropped_by_card: Carried,
}

impl Interface {
    /// Starts to capture, with `ring_bytes` of memory in the kernel.
    pub(super) fn open(name: &str, ring_bytes: usize, config: &LiveConfig) -> Result<Self, CaptureError> {
        let index = system::interface_index(name);
        if index.is_none() && name != ANY {
            return Err(refusal::no_such_interface(name));
        }
        let refused = |error: pcap::Error| refusal::of(name, &error);
        let mut capture = Capture::from_device(name)
            .map_err(refused)?
            .snaplen(i32::try_from(config.snap_length).unwrap_or(i32::MAX))
            .buffer_size(i32::try_from(ring_bytes.max(SMALLEST_RING)).unwrap_or(i32::MAX))
            .timeout(i32::try_from(GATHER.as_millis()).unwrap_or(i32::MAX))
            .precision(Precision::Nano)
            // There is no such mode for `any`, and libpcap would make an error of asking.
            .promisc(config.promiscuous && name != ANY)
            .open()
            .map_err(refused)?;
        if name == ANY {
            // A libpcap without it stays at version 1, which is read as well.
            let _ = capture.set_datalink(SLL2);
        }
        let code = u32::try_from(capture.get_datalink().0).unwrap_or(u32::MAX);
        let Some(link) = LinkType::from_code(code) else {
            let reason = unsupported_link(code);
            return Err(CaptureError::Interface(format!("interface {name} cannot be captured: {reason}")));
        };
        if !config.filter.is_empty() {
            capture.filter(&config.filter, true).map_err(|error| filter_error(&config.filter, &error))?;
        }
        let capture = capture.setnonblock().map_err(refused)?;
        let [received, dropped_by_kernel, dropped_by_card] = Default::default();
        Ok(Self {
            name: name.to_owned(),
            index: index.filter(|_| name != ANY),
            link,
            capture,
            received,
            dropped_by_kernel,
            dropped_by_card,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Hands over at most `limit` packets that are in the ring; an error says why there will be no more. An interface
    /// that goes down is none: packets come again when it is up.
    pub(super) fn take(&mut self, limit: usize, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<(), String> {
        let (link, interface) = (self.link, self.index.unwrap_or(0));
        let result = self.capture.dispatch(Some(limit), |packet| handle(&raw(&packet, link, interface)));
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

impl AsFd for Interface {
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

fn raw<'a>(packet: &Packet<'a>, link: LinkType, interface: u32) -> RawPacket<'a> {
    let seconds = u64::try_from(packet.header.ts.tv_sec).unwrap_or(0);
    // With nanosecond precision this field holds nanoseconds.
    let nanos = u64::try_from(packet.header.ts.tv_usec).unwrap_or(0);
    RawPacket {
        at: Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)),
        data: packet.data,
        wire_length: packet.header.len,
        link,
        interface,
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
