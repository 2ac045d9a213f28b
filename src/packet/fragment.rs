//! Fragments of an IP datagram, in any order → the datagram's payload.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use etherparse::{IpNumber, ip_number};
use smallvec::SmallVec;

use super::captured::Captured;
use super::ip::{IpPayload, Origin};
use super::{DecoderLimits, Discard};
use crate::time::Timestamp;

/// How long after its first fragment a datagram may become whole. It is Linux' own time (`ipfrag_time`): the receiver
/// gives up then too. RFC 8200 §4.5 asks for 60 s, but IPv4 identifications come round faster (RFC 4963).
const REASSEMBLY_TIME: Duration = Duration::from_secs(30);

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
    /// Datagrams given up.
    abandoned: u64,
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
            abandoned: 0,
        }
    }

    /// Datagrams given up so far: too old, contradictory, or dropped because a bound was reached.
    pub(super) const fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Gives up what is too old at `now`. Each datagram costs one look, when its time has come.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while self.deadline.is_some_and(|deadline| now >= deadline) && self.drop_oldest() {}
    }

    /// Takes a fragment seen on `interface`; the datagram, if it completes one, else why the packet gave nothing.
    pub(super) fn add(&mut self, fragment: &Fragment<'_>, interface: u32, at: Timestamp) -> Result<Datagram, Discard> {
        let key = fragment.key(interface);
        let mut set = self.take(&key).unwrap_or_else(|| self.new_set(at));
        let outcome = set.add(fragment);
        match outcome {
            Outcome::Whole(datagram) => return Ok(datagram),
            Outcome::Contradicts => self.abandoned += 1,
            Outcome::Held | Outcome::Dropped => {}
        }
        let found_room = self.put(key, set);
        if matches!(outcome, Outcome::Held) && found_room {
            Err(Discard::FragmentHeld)
        } else {
            Err(Discard::FragmentDropped)
        }
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
        while self.sets.len() >= self.limits.fragment_sets || self.bytes + set.charge > self.limits.fragment_bytes {
            if !self.drop_oldest() {
                self.count_abandoned(&set);
                return false;
            }
        }
        self.bytes += set.charge;
        self.by_age.insert(set.serial, key);
        self.sets.insert(key, set);
        self.update_deadline();
        true
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, key)) = self.by_age.pop_first() else { return false };
        if let Some(set) = self.take(&key) {
            self.count_abandoned(&set);
        }
        true
    }

    fn count_abandoned(&mut self, set: &Set) {
        // A contradictory datagram was counted when it was found to be one.
        if let State::Collecting(_) = set.state {
            self.abandoned += 1;
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
