//! Segments whose payload nobody reads → the few streams that bring most of it.
//!
//! They are of connections that are not HTTP, or in the middle of a long body.
//!
//! What the capture copies of them is thrown away after a look at the table. A source that can leave bytes out at less cost
//! is told of these streams, and of how much of each: a part of its sequence numbers. So no packet is meant that holds the
//! end of a body, and hardly ever one of a later connection with the same addresses and ports, whose numbers are others.
//! Nothing that is reported depends on what the source makes of it.

use std::net::SocketAddr;

use super::Direction;
use crate::packet::{Segment, SequenceNumber};

/// Streams that are watched at once; they are looked through with every large segment of such connections.
const WATCHED: usize = 16;
/// Payloads below this are cheap to copy.
const LARGE: u32 = 512;
/// A stream is worth telling from so many bytes on between two renewals...
const HEAVY: u64 = 2 << 20;
/// ...and remains so down to this.
const STILL_HEAVY: u64 = HEAVY / 8;
/// Sequence numbers that are told of at once: what ten gigabits a second bring in 400 ms, and an eighth of all numbers.
const REACH: u32 = 1 << 29;
/// Segments of bodies below this are not looked at here.
const LARGE_OF_BODY: u32 = 4096;
/// A body is worth telling when so much of it is still to come...
const LONG: u64 = 4 << 20;
/// ...without its end: more than a packet holds, so that none of the part reaches beyond it (RFC 2675 §2).
const END: u64 = 1 << 20;

/// A part of one direction of a connection whose payload nobody reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bulk {
    /// Who sends it.
    pub source: SocketAddr,
    /// Who receives it.
    pub destination: SocketAddr,
    /// Where the part begins.
    pub from: SequenceNumber,
    /// Its length in bytes.
    pub length: u32,
}

impl Bulk {
    /// Whether nothing has to be told anew: it is of the same stream as `now`, which has not come half through it.
    pub fn still_serves(&self, now: &Self) -> bool {
        let same = (self.source, self.destination) == (now.source, now.destination);
        same && now.from.value().wrapping_sub(self.from.value()) < self.length / 2
    }
}

/// An entry of the table, and one of its directions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct StreamId {
    pub(super) index: u32,
    pub(super) birth: u64,
    pub(super) direction: Direction,
}

/// A part of a stream, by its sequence numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Part {
    pub(super) from: SequenceNumber,
    pub(super) length: u32,
}

impl Part {
    /// The part of a connection that is not HTTP that comes after `segment`.
    pub(super) fn after(segment: &Segment<'_>) -> Self {
        Self { from: segment.sequence.advance(segment.payload_length), length: REACH }
    }

    /// The part of a body that stands at `from` and has `ahead` bytes to come; none when that is not worth it.
    pub(super) fn of_body(from: SequenceNumber, ahead: u64) -> Option<Self> {
        let length = u32::try_from(ahead - END.min(ahead)).unwrap_or(REACH).min(REACH);
        (ahead >= LONG).then_some(Self { from, length })
    }

    /// Both as one, as far as numbers can tell; none where `next` does not go on within this part.
    pub(super) fn followed_by(&self, next: Self) -> Option<Self> {
        let until_next = next.from.value().wrapping_sub(self.from.value());
        if until_next > self.length {
            return None;
        }
        let passed = until_next.saturating_sub(REACH);
        let length = (self.length - passed).max(until_next - passed + next.length);
        Some(Self { from: self.from.advance(passed), length })
    }

    /// Whether the byte at `sequence` is of it.
    pub(super) fn holds(&self, sequence: SequenceNumber) -> bool {
        sequence.value().wrapping_sub(self.from.value()) < self.length
    }
}

/// Where a source was told to leave bytes out of a connection, upwards first; for few connections it is anything.
#[derive(Debug, Default)]
pub(super) struct LeftOut(Option<Box<[Option<Part>; 2]>>);

impl LeftOut {
    /// Adds a part. What was told before may still be on its way, so that a part of the same body goes on from there.
    pub(super) fn add(&mut self, direction: Direction, part: Part) {
        let [up, down] = &mut **self.0.get_or_insert_default();
        let known = match direction {
            Direction::Up => up,
            Direction::Down => down,
        };
        *known = Some(known.and_then(|before| before.followed_by(part)).unwrap_or(part));
    }

    /// Whether the byte at `sequence` may be left out.
    pub(super) fn holds(&self, direction: Direction, sequence: SequenceNumber) -> bool {
        let part = self.0.as_deref().and_then(|&[up, down]| match direction {
            Direction::Up => up,
            Direction::Down => down,
        });
        part.is_some_and(|part| part.holds(sequence))
    }
}

/// The streams that are watched.
#[derive(Debug, Default)]
pub(super) struct Heavy {
    streams: Vec<Stream>,
    /// One has become heavy since somebody looked.
    is_news: bool,
}

#[derive(Debug)]
struct Stream {
    id: StreamId,
    /// Since the last renewal.
    bytes: u64,
    /// What will come next and is not read.
    part: Part,
    is_heavy: bool,
}

impl Heavy {
    /// Notes `length` bytes that nobody reads, and the part of which more will come.
    pub(super) fn note(&mut self, id: StreamId, length: u32, part: Part) {
        if length < LARGE {
            return;
        }
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            stream.bytes += u64::from(length);
            stream.part = part;
            if stream.bytes >= HEAVY && !std::mem::replace(&mut stream.is_heavy, true) {
                self.is_news = true;
            }
        } else if self.streams.len() < WATCHED {
            self.streams.push(Stream { id, bytes: u64::from(length), part, is_heavy: false });
        }
    }

    /// Notes a segment of `length` bytes, if it is in the middle of a long body: `stream` tells of which, where it goes on, and how
    /// much of what follows nobody reads.
    #[inline]
    pub(super) fn note_body(&mut self, length: u32, stream: impl FnOnce() -> (StreamId, SequenceNumber, u64)) {
        if length < LARGE_OF_BODY {
            return;
        }
        let (id, next, unread) = stream();
        if let Some(part) = Part::of_body(next, unread) {
            self.note(id, length, part);
        }
    }

    /// Whether a stream has become heavy since this was asked last.
    pub(super) const fn has_news(&mut self) -> bool {
        std::mem::replace(&mut self.is_news, false)
    }

    /// Forgets what has become light since the last renewal.
    pub(super) fn renew(&mut self) {
        self.streams.retain(|stream| stream.bytes >= STILL_HEAVY);
        self.streams.iter_mut().for_each(|stream| stream.bytes = 0);
    }

    /// The heavy streams, and the part of each that will come next.
    pub(super) fn all(&self) -> impl Iterator<Item = (StreamId, Part)> {
        self.streams.iter().filter(|stream| stream.is_heavy).map(|stream| (stream.id, stream.part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> StreamId {
        StreamId { index, birth: 1, direction: Direction::Up }
    }

    fn part(from: u32) -> Part {
        Part { from: SequenceNumber::new(from), length: REACH }
    }

    fn told(heavy: &Heavy) -> Vec<u32> {
        heavy.all().map(|(id, ..)| id.index).collect()
    }

    fn bring(heavy: &mut Heavy, index: u32, bytes: u32) {
        for start in (0..bytes).step_by(1024) {
            heavy.note(id(index), 1024, part(start + 1024));
        }
    }

    #[test]
    fn a_heavy_stream_is_told_at_once_and_until_it_is_light_again() {
        let mut heavy = Heavy::default();
        bring(&mut heavy, 1, 1 << 20);
        assert!(!heavy.has_news() && told(&heavy).is_empty());
        bring(&mut heavy, 1, 1 << 20);
        assert!(heavy.has_news() && !heavy.has_news());
        for _ in 0..3 {
            heavy.renew();
            assert_eq!(told(&heavy), [1]);
            bring(&mut heavy, 1, 1 << 20);
        }
        heavy.renew();
        bring(&mut heavy, 1, 1 << 10);
        heavy.renew();
        assert!(told(&heavy).is_empty() && !heavy.has_news());
    }

    #[test]
    fn the_part_begins_where_the_stream_stands() {
        let mut heavy = Heavy::default();
        bring(&mut heavy, 1, 4 << 20);
        assert_eq!(heavy.all().collect::<Vec<_>>(), [(id(1), part(4 << 20))]);
    }

    #[test]
    fn light_streams_make_room_and_no_more_are_watched_than_there_is_room_for() {
        let mut heavy = Heavy::default();
        for index in 0..1000 {
            bring(&mut heavy, index, 1 << 10);
        }
        bring(&mut heavy, 1000, 3 << 20);
        assert!(told(&heavy).is_empty());
        heavy.renew();
        for index in 1000..2000 {
            bring(&mut heavy, index, 3 << 20);
        }
        assert_eq!(told(&heavy).len(), WATCHED);
    }

    #[test]
    fn a_part_serves_until_the_stream_is_half_through_it() {
        let [source, destination] = ["10.0.0.1:1", "10.0.0.2:2"].map(|address| address.parse().unwrap());
        let bulk = |from: u32| Bulk { source, destination, from: SequenceNumber::new(from), length: REACH };
        let known = bulk(u32::MAX);
        assert!(known.still_serves(&bulk(u32::MAX)) && known.still_serves(&bulk(REACH / 2 - 2)));
        assert!(!known.still_serves(&bulk(REACH / 2)) && !known.still_serves(&bulk(u32::MAX - 1)));
        assert!(!known.still_serves(&Bulk { source: destination, ..known }));
    }

    #[test]
    fn the_part_of_a_body_ends_before_any_packet_that_may_hold_its_end() {
        let at = SequenceNumber::new(u32::MAX - 5);
        assert_eq!(Part::of_body(at, LONG - 1), None);
        for ahead in [LONG, LONG + 1, 1 << 31, 1 << 40, u64::MAX] {
            let part = Part::of_body(at, ahead).unwrap();
            assert!(u64::from(part.length) + END <= ahead && part.length <= REACH);
            assert!(part.holds(at) && part.holds(at.advance(part.length - 1)) && !part.holds(at.advance(part.length)));
        }
    }

    #[test]
    fn parts_that_follow_each_other_are_one_that_moves_on() {
        let first = Part { from: SequenceNumber::new(u32::MAX - 9), length: 100 };
        let joined = first.followed_by(Part { from: first.from.advance(60), length: 100 }).unwrap();
        assert_eq!(joined, Part { length: 160, ..first });
        assert_eq!(first.followed_by(Part { from: first.from.advance(101), length: 100 }), None);
        assert_eq!(first.followed_by(Part { from: SequenceNumber::new(u32::MAX - 10), length: 100 }), None);
        let mut long = Part { length: REACH, ..first };
        for step in 1..40 {
            let next = Part { from: first.from.advance((REACH / 3).wrapping_mul(step)), length: REACH };
            long = long.followed_by(next).unwrap();
            assert!(long.holds(next.from) && long.holds(next.from.advance(REACH - 1)));
            assert!(!long.holds(next.from.advance(REACH)) && long.length <= 2 * REACH);
        }
    }

    #[test]
    fn small_segments_are_not_looked_at() {
        let mut heavy = Heavy::default();
        for start in 0..(4 << 20) {
            heavy.note(id(1), LARGE - 1, part(start));
        }
        assert!(told(&heavy).is_empty());
    }
}
