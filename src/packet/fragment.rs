//! Fragments of an IP datagram, in any order → the datagram's payload.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use etherparse::{IpNumber, ip_number};
use smallvec::SmallVec;

use super::captured::Captured;
use super::ip::{IpPayload, Origin};
use super::{Abandonment, DecoderLimits, Discard};
use crate::time::Timestamp;

/// How long after its first fragment a datagram may become whole. It is Linux' own time (`ipfrag_time`): the receiver
/// gives up then too. RFC 8200 §4.5 asks for 60 s, but IPv4 identifications come round faster (RFC 4963).
const REASSEMBLY_TIME: Duration = Duration::from_secs(30);

/// A packet so much older than what is held belongs to another time: files are joined, clocks are set. Packets of several
/// queues and interfaces come out of order by far less.
const BACKWARDS: Duration = Duration::from_secs(60);

/// No datagram is longer; stops offsets that would make one (the "ping of death").
const MAX_DATAGRAM: usize = 65_535;

/// Charged for each stored piece on top of its bytes, so that the bound on bytes holds for a flood of tiny pieces too.
const PIECE_OVERHEAD: usize = 64;

/// One fragment, borrowed from its packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    /// The fragment's bytes, and what it says of its datagram. `0 < body.length()`
    payload: IpPayload<'a>,
    identification: u32,
    /// Where the bytes lie in the datagram. `offset + payload.body.length() <= MAX_DATAGRAM`
    offset: usize,
    place: Place,
}

/// Where a fragment stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Others lie behind it.
    Before,
    /// It ends the datagram.
    Last,
}

impl<'a> Fragment<'a> {
    /// The fragment `payload`, `offset` bytes into its datagram; refused when no datagram can hold it.
    pub(super) fn new(
        payload: &IpPayload<'a>,
        identification: u32,
        offset: u16,
        more_fragments: bool,
    ) -> Result<Self, Discard> {
        let (offset, length) = (usize::from(offset), payload.body.length());
        let place = if more_fragments { Place::Before } else { Place::Last };
        // Offsets count in units of eight bytes, so only the last fragment can end between two (RFC 791 §3.2).
        let uneven = place == Place::Before && !length.is_multiple_of(8);
        if length == 0 || uneven || offset + length > MAX_DATAGRAM {
            return Err(Discard::Malformed);
        }
        Ok(Self { payload: *payload, identification, offset, place })
    }

    fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.payload.body.length()
    }

    fn key(&self, interface: u32) -> Key {
        let IpPayload { source, destination, protocol, .. } = self.payload;
        // In IPv6 only the first fragment's next header counts (RFC 8200 §4.5).
        let protocol = if source.is_ipv4() { protocol } else { ip_number::IPV6_FRAG };
        Key { source, destination, identification: self.identification, protocol, interface }
    }
}

/// What the fragments of one datagram share. The interface keeps apart the views of a packet that is seen on its way
/// through several, which would otherwise complete each other and leave the second view's last fragment behind.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    protocol: IpNumber,
    interface: u32,
}

/// A datagram whose fragments have all come.
#[derive(Debug)]
pub(super) struct Datagram {
    protocol: IpNumber,
    /// The bytes up to the first one that the snap length cut.
    data: Vec<u8>,
    /// Bytes on the wire.
    length: usize,
}

impl Datagram {
    /// The payload between the addresses of `last`, the fragment that completed the datagram.
    pub(super) fn payload(&self, last: &Fragment<'_>) -> IpPayload<'_> {
        let IpPayload { source, destination, .. } = last.payload;
        let body = Captured::new(&self.data, self.length);
        IpPayload { source, destination, protocol: self.protocol, origin: Origin::Fragments, body }
    }
}

/// The datagrams under reassembly.
#[derive(Debug)]
pub(super) struct Fragments {
    limits: DecoderLimits,
    /// `sets.len() <= limits.fragment_sets`
    sets: BTreeMap<Key, Set>,
    /// The key of every set, by its serial number.
    by_age: BTreeMap<u64, Key>,
    /// Serial number of the next set.
    next_serial: u64,
    /// What all sets are charged. `bytes <= limits.fragment_bytes`
    bytes: usize,
    /// When the oldest set becomes too old.
    deadline: Option<Timestamp>,
    /// Datagrams given up, in the order of [`Abandonment::ALL`].
    abandoned: [u64; Abandonment::ALL.len()],
}

impl Fragments {
    /// No datagram under reassembly.
    pub(super) const fn new(limits: DecoderLimits) -> Self {
        Self {
            limits,
            sets: BTreeMap::new(),
            by_age: BTreeMap::new(),
            next_serial: 0,
            bytes: 0,
            deadline: None,
            abandoned: [0; Abandonment::ALL.len()],
        }
    }

    /// Datagrams given up so far, in the order of [`Abandonment::ALL`].
    pub(super) const fn abandoned(&self) -> [u64; Abandonment::ALL.len()] {
        self.abandoned
    }

    /// Gives up what is too old at `now`. Each datagram costs one look, when its time has come.
    #[inline]
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.deadline.is_some() {
            self.expire_some(now);
        }
    }

    fn expire_some(&mut self, now: Timestamp) {
        if self.deadline.is_some_and(|deadline| deadline.saturating_since(now) > REASSEMBLY_TIME + BACKWARDS) {
            self.go_back(now);
        }
        while self.deadline.is_some_and(|deadline| now >= deadline) && self.drop_oldest(Abandonment::Age) {}
    }

    /// Takes a fragment seen on `interface`; the datagram, if it completes one, else why the packet gave nothing.
    pub(super) fn add(&mut self, fragment: &Fragment<'_>, interface: u32, at: Timestamp) -> Result<Datagram, Discard> {
        let key = fragment.key(interface);
        let mut set = self.take(&key).unwrap_or_else(|| self.new_set(at));
        let outcome = set.add(fragment);
        match outcome {
            Outcome::Whole(datagram) => return Ok(datagram),
            Outcome::Contradicts => self.count_abandoned(Abandonment::Contradictory),
            Outcome::Held | Outcome::Dropped => {}
        }
        let found_room = self.put(key, set);
        if matches!(outcome, Outcome::Held) && found_room {
            Err(Discard::FragmentHeld)
        } else {
            Err(Discard::FragmentDropped)
        }
    }

    /// Time has gone back: what is from the future would never become too old, and would hide what does.
    fn go_back(&mut self, now: Timestamp) {
        for set in self.sets.values_mut() {
            set.started = set.started.min(now);
        }
        self.update_deadline();
    }

    fn new_set(&mut self, at: Timestamp) -> Set {
        let serial = self.next_serial;
        self.next_serial += 1;
        Set { serial, started: at, charge: 0, state: State::Collecting(Pieces::default()) }
    }

    fn take(&mut self, key: &Key) -> Option<Set> {
        let set = self.sets.remove(key)?;
        self.by_age.remove(&set.serial);
        self.bytes -= set.charge;
        self.update_deadline();
        Some(set)
    }

    /// Puts a set (back) in, at the cost of the oldest others; whether that made enough room.
    fn put(&mut self, key: Key, set: Set) -> bool {
        while let Some(bound) = self.overflow(&set) {
            if !self.drop_oldest(bound) {
                self.give_up(&set, bound);
                return false;
            }
        }
        self.bytes += set.charge;
        self.by_age.insert(set.serial, key);
        self.sets.insert(key, set);
        self.update_deadline();
        true
    }

    /// The bound that `set` would exceed.
    fn overflow(&self, set: &Set) -> Option<Abandonment> {
        if self.sets.len() >= self.limits.fragment_sets {
            return Some(Abandonment::Sets);
        }
        (self.bytes + set.charge > self.limits.fragment_bytes).then_some(Abandonment::Bytes)
    }

    fn drop_oldest(&mut self, reason: Abandonment) -> bool {
        let Some((_, key)) = self.by_age.pop_first() else { return false };
        if let Some(set) = self.take(&key) {
            self.give_up(&set, reason);
        }
        true
    }

    fn give_up(&mut self, set: &Set, reason: Abandonment) {
        // A contradictory datagram was counted when it was found to be one.
        if let State::Collecting(_) = set.state {
            self.count_abandoned(reason);
        }
    }

    fn count_abandoned(&mut self, reason: Abandonment) {
        if let Some(count) = self.abandoned.get_mut(reason as usize) {
            *count += 1;
        }
    }

    fn update_deadline(&mut self) {
        let oldest = self.by_age.first_key_value().and_then(|(_, key)| self.sets.get(key));
        self.deadline = oldest.map(|set| set.started.saturating_add(REASSEMBLY_TIME));
    }
}

/// One datagram under reassembly.
#[derive(Debug)]
struct Set {
    serial: u64,
    /// When its first fragment came.
    started: Timestamp,
    /// Bytes of memory it is charged.
    charge: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Collecting(Pieces),
    /// Kept until it is too old so that the rest of the datagram is refused as well (RFC 5722 §4).
    Contradictory,
}

#[derive(Debug)]
enum Outcome {
    /// It completed the datagram.
    Whole(Datagram),
    /// It is kept.
    Held,
    /// It is not.
    Dropped,
    /// It is not, and makes the whole datagram void.
    Contradicts,
}

impl Set {
    fn add(&mut self, fragment: &Fragment<'_>) -> Outcome {
        let State::Collecting(pieces) = &mut self.state else { return Outcome::Dropped };
        let range = fragment.range();
        let holes = pieces.holes(range.clone());
        if holes.is_empty() || !pieces.agree_on_length(range.end, fragment.place) {
            return Outcome::Dropped;
        }
        let overlaps = holes.first().is_some_and(|hole| *hole != range);
        if overlaps && fragment.payload.source.is_ipv6() {
            // Overlaps serve to slip past observers; the receiver drops the datagram (RFC 5722 §4, RFC 8200 §4.5).
            self.state = State::Contradictory;
            self.charge = 0;
            return Outcome::Contradicts;
        }
        for hole in holes {
            self.charge += pieces.fill(hole, fragment);
        }
        pieces.note(fragment);
        match pieces.whole() {
            Some(datagram) => Outcome::Whole(datagram),
            None => Outcome::Held,
        }
    }
}

/// What has come of one datagram.
#[derive(Debug, Default)]
struct Pieces {
    /// By offset in the datagram; no two overlap.
    by_offset: BTreeMap<usize, Piece>,
    /// Bytes of the datagram that the pieces cover.
    covered: usize,
    /// Bytes of the datagram, known from its last fragment. Every piece ends at or before it.
    total: Option<usize>,
    /// What the datagram begins with, known from its first fragment.
    protocol: Option<IpNumber>,
}

/// Part of a datagram.
#[derive(Debug)]
struct Piece {
    /// Bytes on the wire.
    length: usize,
    /// Bytes captured. `data.len() <= length`
    data: Box<[u8]>,
}

impl Pieces {
    /// The parts of `range` that no piece covers, in order.
    fn holes(&self, range: Range<usize>) -> SmallVec<[Range<usize>; 1]> {
        let before = self.by_offset.range(..range.start).next_back();
        let mut covered = before.map_or(range.start, |(offset, piece)| range.start.max(offset + piece.length));
        let mut holes = SmallVec::new();
        for (offset, piece) in self.by_offset.range(range.clone()) {
            if covered < *offset {
                holes.push(covered..*offset);
            }
            covered = offset + piece.length;
        }
        if covered < range.end {
            holes.push(covered..range.end);
        }
        holes
    }

    /// Whether a fragment that ends at `end` is possible with what is known of the datagram's length.
    fn agree_on_length(&self, end: usize, place: Place) -> bool {
        let furthest = self.by_offset.last_key_value().map_or(0, |(offset, piece)| offset + piece.length);
        match (place, self.total) {
            (Place::Last, Some(total)) => end == total,
            (Place::Last, None) => furthest <= end,
            (Place::Before, Some(total)) => end <= total,
            (Place::Before, None) => true,
        }
    }

    /// Fills a hole, so the first copy of a byte wins; the memory that costs.
    fn fill(&mut self, hole: Range<usize>, fragment: &Fragment<'_>) -> usize {
        let data = fragment.payload.body.data();
        let clamp = |at: usize| at.saturating_sub(fragment.offset).min(data.len());
        let data = Box::from(data.get(clamp(hole.start)..clamp(hole.end)).unwrap_or_default());
        let piece = Piece { length: hole.len(), data };
        let charge = piece.data.len() + PIECE_OVERHEAD;
        self.covered += piece.length;
        self.by_offset.insert(hole.start, piece);
        charge
    }

    fn note(&mut self, fragment: &Fragment<'_>) {
        if fragment.offset == 0 && self.protocol.is_none() {
            self.protocol = Some(fragment.payload.protocol);
        }
        if fragment.place == Place::Last {
            self.total = Some(fragment.range().end);
        }
    }

    /// The datagram, once nothing is missing but what the snap length cut.
    fn whole(&self) -> Option<Datagram> {
        let length = self.total.filter(|total| *total == self.covered)?;
        let protocol = self.protocol?;
        let mut data = Vec::with_capacity(length);
        for piece in self.by_offset.values() {
            data.extend_from_slice(&piece.data);
            if piece.data.len() < piece.length {
                // Bytes behind the cut are of no use: a segment's payload has no holes.
                break;
            }
        }
        Some(Datagram { protocol, data, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::testing::*;
    use crate::packet::{Decoder, LinkType, RawPacket};

    /// The datagram of [`segment_v4`] in fragments of `size` bytes, as frames.
    fn fragments_v4(id: u16, size: usize) -> Vec<Vec<u8>> {
        let datagram = tcp(PAYLOAD);
        let frame = |(index, part): (usize, &[u8])| {
            let more = (index + 1) * size < datagram.len();
            ethernet(IPV4, &ipv4_fragment(id, index * size, more, TCP, part))
        };
        datagram.chunks(size).enumerate().map(frame).collect()
    }

    fn fragments_v6(id: u32, size: usize) -> Vec<Vec<u8>> {
        let datagram = tcp(PAYLOAD);
        let frame = |(index, part): (usize, &[u8])| {
            let more = (index + 1) * size < datagram.len();
            ethernet(IPV6, &ipv6_fragment(id, index * size, more, TCP, part))
        };
        datagram.chunks(size).enumerate().map(frame).collect()
    }

    fn limited(fragment_bytes: usize, fragment_sets: usize) -> Probe {
        Probe(Decoder::new(DecoderLimits { fragment_bytes, fragment_sets }))
    }

    #[test]
    fn fragments_are_put_together_in_any_order() {
        for (fragments, whole) in
            [(fragments_v4(1, 24), segment_v4(PAYLOAD)), (fragments_v6(1, 24), segment_v6(PAYLOAD))]
        {
            assert_eq!(fragments.len(), 3);
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let mut probe = Probe::default();
                let [first, second, third] = order.map(|index| probe.frame(&fragments[index]));
                assert_eq!(first, Err(Discard::FragmentHeld));
                assert_eq!(second, Err(Discard::FragmentHeld));
                assert_eq!(third, Ok(whole.clone()), "{order:?}");
            }
        }
    }

    #[test]
    fn a_datagram_has_the_time_of_the_packet_that_completed_it() {
        let fragments = fragments_v4(1, 48);
        let mut probe = Probe::default();
        assert_eq!(probe.frame_at(5, &fragments[1]), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame_at(9, &fragments[0]).map(|seen| seen.at), Ok(second(9)));
    }

    #[test]
    fn exact_duplicates_are_dropped() {
        for fragments in [fragments_v4(1, 48), fragments_v6(1, 48)] {
            let mut probe = Probe::default();
            assert_eq!(probe.frame(&fragments[0]), Err(Discard::FragmentHeld));
            assert_eq!(probe.frame(&fragments[0]), Err(Discard::FragmentDropped));
            assert!(probe.frame(&fragments[1]).is_ok());
        }
    }

    #[test]
    fn the_first_copy_of_an_overlapping_ipv4_byte_wins() {
        let datagram = tcp(PAYLOAD);
        let piece = |from: usize, to: usize| {
            ethernet(IPV4, &ipv4_fragment(1, from, to < datagram.len(), TCP, &datagram[from..to]))
        };
        let lie = ethernet(IPV4, &ipv4_fragment(1, 0, true, TCP, &[0xee; 64]));
        let mut probe = Probe::default();
        assert_eq!(probe.frame(&piece(8, 24)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&piece(0, 16)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&piece(32, 64)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&piece(24, 32)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&lie), Err(Discard::FragmentDropped));
        assert_eq!(probe.frame(&piece(56, datagram.len())), Ok(segment_v4(PAYLOAD)));
    }

    #[test]
    fn one_fragment_fills_several_ipv4_holes() {
        let datagram = tcp(PAYLOAD);
        let piece = |from: usize, to: usize| {
            ethernet(IPV4, &ipv4_fragment(1, from, to < datagram.len(), TCP, &datagram[from..to]))
        };
        let mut probe = Probe::default();
        assert_eq!(probe.frame(&piece(8, 16)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&piece(40, 56)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&piece(0, 64)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&piece(64, datagram.len())), Ok(segment_v4(PAYLOAD)));
    }

    #[test]
    fn an_overlap_voids_an_ipv6_datagram_with_all_that_is_still_to_come() {
        let datagram = tcp(PAYLOAD);
        let piece = |from: usize, to: usize| {
            ethernet(IPV6, &ipv6_fragment(1, from, to < datagram.len(), TCP, &datagram[from..to]))
        };
        let mut probe = Probe::default();
        assert_eq!(probe.frame(&piece(0, 24)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&piece(16, 48)), Err(Discard::FragmentDropped));
        assert_eq!(probe.0.counters().abandoned_datagrams, [0, 0, 0, 1]);
        assert_eq!(probe.frame(&piece(0, 24)), Err(Discard::FragmentDropped));
        assert_eq!(probe.frame(&piece(24, datagram.len())), Err(Discard::FragmentDropped));
        // Its number is free again when its time is over, and it is not counted twice.
        assert_eq!(probe.frame_at(31, &piece(0, 24)), Err(Discard::FragmentHeld));
        assert_eq!(probe.0.counters().abandoned_datagrams, [0, 0, 0, 1]);
    }

    #[test]
    fn fragments_that_contradict_the_length_are_dropped() {
        let frame = |offset: usize, more: bool, length: usize| {
            ethernet(IPV4, &ipv4_fragment(1, offset, more, TCP, &vec![0; length]))
        };
        let mut probe = Probe::default();
        assert_eq!(probe.frame(&frame(16, false, 8)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&frame(24, true, 8)), Err(Discard::FragmentDropped), "behind the end");
        assert_eq!(probe.frame(&frame(32, false, 8)), Err(Discard::FragmentDropped), "a second end");
        let mut probe = Probe::default();
        assert_eq!(probe.frame(&frame(16, true, 8)), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame(&frame(8, false, 8)), Err(Discard::FragmentDropped), "an end before what was seen");
    }

    #[test]
    fn impossible_fragments_are_malformed() {
        let frame = |offset: usize, more: bool, length: usize| {
            let v4 = decode_frame(&ethernet(IPV4, &ipv4_fragment(1, offset, more, TCP, &vec![0; length])));
            let v6 = decode_frame(&ethernet(IPV6, &ipv6_fragment(1, offset, more, TCP, &vec![0; length])));
            assert_eq!(v4, v6);
            v4
        };
        assert_eq!(frame(0, true, 12), Err(Discard::Malformed), "not a multiple of eight");
        assert_eq!(frame(8, false, 0), Err(Discard::Malformed), "empty");
        assert_eq!(frame(65_528, false, 8), Err(Discard::Malformed), "longer than a datagram can be");
        assert_eq!(frame(65_528, false, 7), Err(Discard::FragmentHeld));
    }

    #[test]
    fn an_atomic_fragment_is_a_whole_datagram() {
        let frame = ethernet(IPV6, &ipv6_fragment(1, 0, false, TCP, &tcp(PAYLOAD)));
        assert_eq!(decode_frame(&frame), Ok(segment_v6(PAYLOAD)));
    }

    #[test]
    fn extension_headers_may_stand_on_both_sides_of_the_fragment_header() {
        let options = |next: u8, body: &[u8]| [&[next, 0, 1, 4, 0, 0, 0, 0], body].concat();
        let datagram = options(TCP, &tcp(PAYLOAD));
        let mut probe = Probe::default();
        let mut piece = |from: usize, to: usize| {
            let header = fragment_header(1, from, to < datagram.len(), 60, &datagram[from..to]);
            probe.frame(&ethernet(IPV6, &ipv6(0, &options(FRAGMENT, &header))))
        };
        assert_eq!(piece(40, datagram.len()), Err(Discard::FragmentHeld));
        assert_eq!(piece(0, 40), Ok(segment_v6(PAYLOAD)));
    }

    #[test]
    fn fragments_of_fragments_are_malformed() {
        let inner = fragment_header(2, 0, true, TCP, &[0; 8]);
        let mut probe = Probe::default();
        assert_eq!(
            probe.frame(&ethernet(IPV6, &ipv6_fragment(1, 0, true, FRAGMENT, &inner[..8]))),
            Err(Discard::FragmentHeld)
        );
        assert_eq!(
            probe.frame(&ethernet(IPV6, &ipv6_fragment(1, 8, false, FRAGMENT, &inner[8..]))),
            Err(Discard::Malformed)
        );
    }

    #[test]
    fn datagrams_are_kept_apart_by_all_that_names_them() {
        let change = |at: usize| {
            let mut fragments = fragments_v4(1, 48);
            fragments[1][14 + at] ^= 0x40;
            let mut probe = Probe::default();
            (probe.frame(&fragments[0]), probe.frame(&fragments[1]))
        };
        let held = (Err(Discard::FragmentHeld), Err(Discard::FragmentHeld));
        for (at, name) in [(5, "identification"), (9, "protocol"), (15, "source"), (19, "destination")] {
            assert_eq!(change(at), held, "{name}");
        }
    }

    #[test]
    fn each_interface_has_its_own_view_of_a_datagram() {
        let fragments = fragments_v4(1, 48);
        let mut probe = Probe::default();
        let mut on = |interface: u32, frame: &[u8]| {
            let seen = probe.decode(&RawPacket { interface, ..packet(LinkType::Ethernet, frame) });
            seen.map(|seen| seen.interface)
        };
        assert_eq!(on(1, &fragments[0]), Err(Discard::FragmentHeld));
        assert_eq!(on(2, &fragments[0]), Err(Discard::FragmentHeld));
        assert_eq!(on(1, &fragments[1]), Ok(1));
        assert_eq!(on(2, &fragments[1]), Ok(2));
    }

    #[test]
    fn a_datagram_is_given_up_after_thirty_seconds_of_packet_time() {
        let fragments = fragments_v4(1, 48);
        let mut probe = Probe::default();
        assert_eq!(probe.frame_at(100, &fragments[0]), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame_at(129, &frame_v4(PAYLOAD)).map(|seen| seen.payload), Ok(PAYLOAD.to_vec()));
        assert_eq!(probe.0.counters().abandoned_datagrams, [0; 4]);
        assert_eq!(probe.frame_at(130, &fragments[1]), Err(Discard::FragmentHeld));
        assert_eq!(probe.0.counters().abandoned_datagrams, [0, 0, 1, 0]);
        assert!(probe.frame_at(159, &fragments[0]).is_ok());
    }

    #[test]
    fn any_packet_gives_back_what_has_become_too_old() {
        let mut probe = Probe::default();
        assert_eq!(probe.frame_at(100, &fragments_v4(1, 48)[0]), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame_at(130, &ethernet(0x0806, &[])), Err(Discard::NotIp));
        assert_eq!(probe.0.counters().abandoned_datagrams, [0, 0, 1, 0]);
    }

    #[test]
    fn time_that_runs_backwards_does_no_harm() {
        let fragments = fragments_v4(1, 48);
        let mut probe = Probe::default();
        assert_eq!(probe.frame_at(100, &fragments[0]), Err(Discard::FragmentHeld));
        assert!(probe.frame_at(0, &fragments[1]).is_ok());
    }

    #[test]
    fn a_datagram_from_before_time_went_back_grows_old_with_the_others() {
        let mut probe = Probe::default();
        assert_eq!(probe.frame_at(4000, &fragments_v4(1, 48)[0]), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame_at(4001, &fragments_v4(2, 48)[0]), Err(Discard::FragmentHeld));
        assert_eq!(probe.frame_at(400, &fragments_v4(3, 48)[0]), Err(Discard::FragmentHeld));
        assert!(probe.frame_at(401, &fragments_v4(2, 48)[1]).is_ok(), "the jump itself ends nothing");
        assert_eq!(probe.frame_at(429, &ethernet(0x0806, &[])), Err(Discard::NotIp));
        assert_eq!(probe.0.counters().abandoned_datagrams, [0; 4]);
        assert_eq!(probe.frame_at(430, &ethernet(0x0806, &[])), Err(Discard::NotIp));
        assert_eq!(probe.0.counters().abandoned_datagrams, [0, 0, 2, 0]);
    }

    #[test]
    fn the_oldest_datagram_goes_when_there_are_too_many() {
        let mut probe = limited(1 << 20, 2);
        for id in [1, 2, 3] {
            assert_eq!(probe.frame(&fragments_v4(id, 48)[0]), Err(Discard::FragmentHeld));
        }
        assert_eq!(probe.0.counters().abandoned_datagrams, [0, 1, 0, 0]);
        assert!(probe.frame(&fragments_v4(2, 48)[1]).is_ok());
        assert!(probe.frame(&fragments_v4(3, 48)[1]).is_ok());
        assert_eq!(probe.frame(&fragments_v4(1, 48)[1]), Err(Discard::FragmentHeld));
    }

    #[test]
    fn the_oldest_datagram_goes_when_there_are_too_many_bytes() {
        let mut probe = limited(2 * (48 + PIECE_OVERHEAD), 512);
        for id in [1, 2, 3] {
            assert_eq!(probe.frame(&fragments_v4(id, 48)[0]), Err(Discard::FragmentHeld));
        }
        assert_eq!(probe.0.counters().abandoned_datagrams, [1, 0, 0, 0]);
        assert!(probe.frame(&fragments_v4(2, 48)[1]).is_ok());
    }

    #[test]
    fn a_fragment_that_never_finds_room_is_dropped() {
        for (mut probe, abandoned) in [(limited(100, 512), [1, 0, 0, 0]), (limited(1 << 20, 0), [0, 1, 0, 0])] {
            assert_eq!(probe.frame(&fragments_v4(1, 48)[0]), Err(Discard::FragmentDropped));
            assert_eq!(probe.0.counters().abandoned_datagrams, abandoned);
        }
    }

    #[test]
    fn completed_datagrams_leave_nothing_behind() {
        let mut fragments = Fragments::new(DecoderLimits::default());
        let datagram = tcp(PAYLOAD);
        for id in 0..100 {
            let payload = |part| IpPayload {
                source: [10, 0, 0, 1].into(),
                destination: [10, 0, 0, 2].into(),
                protocol: ip_number::TCP,
                origin: Origin::Packet,
                body: Captured::new(part, 0),
            };
            let first = Fragment::new(&payload(&datagram[..48]), id, 0, true).unwrap();
            let last = Fragment::new(&payload(&datagram[48..]), id, 48, false).unwrap();
            assert_eq!(fragments.add(&last, 0, second(1)).err(), Some(Discard::FragmentHeld));
            assert!(fragments.add(&first, 0, second(1)).is_ok());
        }
        assert_eq!((fragments.bytes, fragments.sets.len(), fragments.by_age.len()), (0, 0, 0));
        assert_eq!((fragments.deadline, fragments.abandoned()), (None, [0; 4]));
    }

    #[test]
    fn a_cut_fragment_gives_the_bytes_before_the_cut_and_the_length_of_all() {
        let fragments = fragments_v4(1, 48);
        let whole = packet(LinkType::Ethernet, &fragments[0]);
        let cut = RawPacket { data: &fragments[0][..14 + 20 + 40], ..whole };
        let mut probe = Probe::default();
        assert_eq!(probe.decode(&cut), Err(Discard::FragmentHeld));
        let seen = probe.frame(&fragments[1]).unwrap();
        assert_eq!((seen.payload.as_slice(), seen.payload_length as usize), (&PAYLOAD[..40 - 32], PAYLOAD.len()));
    }
}
