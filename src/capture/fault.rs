//! `RawPacket` → `RawPacket`, as a bad network or a busy kernel would have delivered it; for tests.

use std::collections::VecDeque;
use std::time::Duration;

use super::memory::OwnedPacket;
use super::{CaptureError, CaptureStatistics, PacketSource, Received};
use crate::packet::RawPacket;
use crate::time::Timestamp;

/// What shall go wrong. Rates are in per mille of the packets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Faults {
    /// The same seed does the same to the same packets.
    pub seed: u64,
    /// Packets that are lost.
    pub drop: u16,
    /// Packets that come twice.
    pub duplicate: u16,
    /// Packets that come late, with the time at which they come.
    pub reorder: u16,
    /// A late packet lets at most so many others pass.
    pub window: u16,
    /// Packets are cut to so many bytes.
    pub snap_length: Option<u32>,
}

/// Gives the packets of another source with [`Faults`].
#[derive(Debug)]
pub struct FaultInjector<S> {
    source: S,
    mill: Mill,
}

impl<S: PacketSource> FaultInjector<S> {
    /// Does to the packets of `source` what `faults` says.
    pub const fn new(source: S, faults: Faults) -> Self {
        let mill =
            Mill { faults, random: SplitMix64(faults.seed), late: VecDeque::new(), last: Timestamp::from_nanos(0) };
        Self { source, mill }
    }
}

impl<S: PacketSource> PacketSource for FaultInjector<S> {
    fn receive(&mut self, wait: Duration, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        loop {
            let mut count = 0;
            let mut counted = |packet: &RawPacket<'_>| {
                count += 1;
                handle(packet);
            };
            let mill = &mut self.mill;
            let received = self.source.receive(wait, &mut |packet| mill.take(packet, &mut counted))?;
            if !matches!(received, Received::Packets(_)) {
                // Nothing will pass the late ones any more.
                mill.release_all(&mut counted);
            }
            match received {
                _ if count > 0 => return Ok(Received::Packets(count)),
                Received::Packets(_) => {}
                other => return Ok(other),
            }
        }
    }

    fn statistics(&mut self) -> CaptureStatistics {
        self.source.statistics()
    }

    fn position(&self) -> Option<u64> {
        self.source.position()
    }
}

#[derive(Debug)]
struct Mill {
    faults: Faults,
    random: SplitMix64,
    /// Packets held back, each with the number of packets that shall still pass it.
    late: VecDeque<(u16, OwnedPacket)>,
    last: Timestamp,
}

impl Mill {
    fn take(&mut self, packet: &RawPacket<'_>, handle: &mut dyn FnMut(&RawPacket<'_>)) {
        self.last = packet.at;
        // Four numbers a packet whatever the rates are, so that changing one rate leaves the other choices alone.
        let [drop, duplicate, reorder, distance] = [(); 4].map(|()| self.random.next());
        if hit(drop, self.faults.drop) {
            return;
        }
        let packet = self.cut(packet);
        if hit(duplicate, self.faults.duplicate) {
            handle(&packet);
        }
        if self.faults.window > 0 && hit(reorder, self.faults.reorder) {
            let distance = 1 + distance % u64::from(self.faults.window);
            let distance = u16::try_from(distance).unwrap_or(self.faults.window);
            self.late.push_back((distance, OwnedPacket::from(&packet)));
        } else {
            handle(&packet);
            self.let_pass(handle);
        }
    }

    fn cut<'a>(&self, packet: &RawPacket<'a>) -> RawPacket<'a> {
        let length = self.faults.snap_length.map_or(usize::MAX, |length| length as usize);
        RawPacket { data: packet.data.get(..length).unwrap_or(packet.data), ..*packet }
    }

    /// One packet has passed those held back.
    fn let_pass(&mut self, handle: &mut dyn FnMut(&RawPacket<'_>)) {
        let at = self.last;
        self.late.retain_mut(|(distance, packet)| {
            *distance -= 1;
            if *distance == 0 {
                handle(&RawPacket { at, ..packet.as_raw() });
            }
            *distance > 0
        });
    }

    fn release_all(&mut self, handle: &mut dyn FnMut(&RawPacket<'_>)) {
        for (_, packet) in self.late.drain(..) {
            handle(&RawPacket { at: self.last, ..packet.as_raw() });
        }
    }
}

fn hit(number: u64, per_mille: u16) -> bool {
    number % 1000 < u64::from(per_mille)
}

/// Sebastiano Vigna's splitmix64: small, and the same everywhere.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemorySource;
    use super::*;
    use crate::packet::LinkType;

    fn packets(count: u32) -> Vec<OwnedPacket> {
        let packet = |number: u32| OwnedPacket {
            at: Timestamp::from_nanos(number.into()),
            data: number.to_be_bytes().to_vec(),
            wire_length: 4,
            link: LinkType::Raw,
            interface: 0,
        };
        (0..count).map(packet).collect()
    }

    fn run(count: u32, faults: Faults) -> Vec<OwnedPacket> {
        let mut source = FaultInjector::new(MemorySource::new(packets(count)), faults);
        let mut seen = Vec::new();
        loop {
            let before = seen.len();
            let received = source.receive(Duration::ZERO, &mut |packet| seen.push(packet.into())).unwrap();
            match received {
                Received::Packets(count) => assert_eq!(seen.len() - before, count),
                Received::Idle { .. } => panic!("memory is never idle"),
                Received::End => return seen,
            }
        }
    }

    fn numbers(packets: &[OwnedPacket]) -> Vec<u32> {
        packets.iter().map(|packet| u32::from_be_bytes(packet.data[..4].try_into().unwrap())).collect()
    }

    #[test]
    fn without_faults_nothing_changes() {
        assert_eq!(run(5000, Faults { seed: 1, ..Faults::default() }), packets(5000));
    }

    #[test]
    fn the_same_seed_does_the_same() {
        let faults = Faults { seed: 9, drop: 50, duplicate: 50, reorder: 50, window: 5, ..Faults::default() };
        assert_eq!(run(5000, faults), run(5000, faults));
        assert_ne!(run(5000, faults), run(5000, Faults { seed: 10, ..faults }));
    }

    #[test]
    fn packets_are_lost_at_the_rate_asked_for() {
        let left = run(10_000, Faults { seed: 3, drop: 100, ..Faults::default() }).len();
        assert!((8_800..9_200).contains(&left), "{left}");
        assert_eq!(run(3_000, Faults { drop: 1000, ..Faults::default() }), []);
    }

    #[test]
    fn duplicates_follow_their_originals() {
        let seen = numbers(&run(10_000, Faults { seed: 3, duplicate: 100, ..Faults::default() }));
        assert!((10_800..11_200).contains(&seen.len()), "{}", seen.len());
        assert!(seen.is_sorted());
    }

    #[test]
    fn late_packets_stay_within_the_window_and_none_is_lost() {
        let faults = Faults { seed: 3, reorder: 200, window: 8, ..Faults::default() };
        let seen = run(10_000, faults);
        assert!(seen.is_sorted_by_key(|packet| packet.at));
        let order = numbers(&seen);
        assert!(!order.is_sorted());
        for (place, number) in order.iter().enumerate() {
            // The window counts packets that are not late themselves; a fifth more are.
            assert!(place.abs_diff(*number as usize) <= 24, "{number} at {place}");
        }
        let mut sorted = order;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..10_000));
    }

    #[test]
    fn cut_packets_keep_their_length_on_the_wire() {
        let seen = run(2, Faults { snap_length: Some(3), ..Faults::default() });
        assert_eq!(seen[1].data, [0, 0, 0]);
        assert_eq!(seen[1].wire_length, 4);
    }
}
