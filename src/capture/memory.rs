//! Packets in memory → `RawPacket`, for tests and measurements.

use std::time::Duration;

use super::{CaptureError, CaptureStatistics, PacketSource, Received};
use crate::packet::{LinkType, RawPacket};
use crate::time::Timestamp;

/// Packets handed over by one call of [`PacketSource::receive`].
const BATCH: usize = 1024;

/// A packet with bytes of its own; the fields are those of [`RawPacket`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnedPacket {
    /// When it was captured.
    pub at: Timestamp,
    /// The captured bytes.
    pub data: Vec<u8>,
    /// Bytes on the wire.
    pub wire_length: u32,
    /// How `data` begins.
    pub link: LinkType,
    /// Which interface saw it.
    pub interface: u32,
}

impl OwnedPacket {
    /// The packet as sources give it.
    pub fn as_raw(&self) -> RawPacket<'_> {
        RawPacket {
            at: self.at,
            data: &self.data,
            wire_length: self.wire_length,
            link: self.link,
            interface: self.interface,
        }
    }
}

impl From<&RawPacket<'_>> for OwnedPacket {
    fn from(packet: &RawPacket<'_>) -> Self {
        Self {
            at: packet.at,
            data: packet.data.to_vec(),
            wire_length: packet.wire_length,
            link: packet.link,
            interface: packet.interface,
        }
    }
}

/// Gives the packets of a list in their order, then ends.
#[derive(Clone, Debug)]
pub struct MemorySource {
    packets: Vec<OwnedPacket>,
    next: usize,
}

impl MemorySource {
    /// A source of `packets`.
    pub const fn new(packets: Vec<OwnedPacket>) -> Self {
        Self { packets, next: 0 }
    }
}

impl PacketSource for MemorySource {
    fn receive(&mut self, _wait: Duration, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        let batch = self.packets.iter().skip(self.next).take(BATCH);
        let count = batch.map(|packet| handle(&packet.as_raw())).count();
        self.next += count;
        Ok(if count == 0 { Received::End } else { Received::Packets(count) })
    }

    fn statistics(&mut self) -> CaptureStatistics {
        let received = u64::try_from(self.next).unwrap_or(u64::MAX);
        CaptureStatistics { received, ..CaptureStatistics::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u8) -> OwnedPacket {
        let at = Timestamp::from_nanos(u64::from(number));
        OwnedPacket { at, data: vec![number], wire_length: 1, link: LinkType::Raw, interface: 0 }
    }

    #[test]
    fn packets_come_in_order_and_bounded_batches_before_the_end() {
        let packets: Vec<OwnedPacket> = (0..=255).cycle().take(BATCH + 1).map(packet).collect();
        let mut source = MemorySource::new(packets.clone());
        let mut seen = Vec::new();
        let mut handle = |packet: &RawPacket<'_>| seen.push(OwnedPacket::from(packet));
        assert_eq!(source.receive(Duration::ZERO, &mut handle).unwrap(), Received::Packets(BATCH));
        assert_eq!(source.receive(Duration::ZERO, &mut handle).unwrap(), Received::Packets(1));
        assert_eq!(source.receive(Duration::ZERO, &mut handle).unwrap(), Received::End);
        assert_eq!(seen, packets);
        assert_eq!(source.statistics().received, u64::try_from(BATCH + 1).unwrap());
    }
}
