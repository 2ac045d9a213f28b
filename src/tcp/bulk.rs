//! Segments of connections that nobody reads → the few streams that bring most of their bytes.
//!
//! What the capture copies of them is thrown away after a look at the table. A source that can leave bytes out at less cost
//! is told of these streams, and of how much of each: a part of its sequence numbers, so that a later connection with the
//! same addresses and ports, whose numbers are others, is hardly ever meant. Nothing depends on what the source makes of it.

use std::net::SocketAddr;

use super::Direction;
use crate::packet::SequenceNumber;

/// Streams that are watched at once; they are looked through with every large segment of such connections.
const WATCHED: usize = 8;
/// Payloads below this are cheap to copy.
const LARGE: u32 = 512;
/// A stream is worth telling from so many bytes on between two renewals...
const HEAVY: u64 = 2 << 20;
/// ...and remains so down to this.
const STILL_HEAVY: u64 = HEAVY / 8;
/// Sequence numbers that are told of at once: what ten gigabits a second bring in 400 ms, and an eighth of all numbers.
const REACH: u32 = 1 << 29;

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
    end: SequenceNumber,
    is_heavy: bool,
}

impl Heavy {
    /// Notes a segment of a connection that nobody reads.
    pub(super) fn note(&mut self, id: StreamId, sequence: SequenceNumber, length: u32) {
        if length < LARGE {
            return;
        }
        let end = sequence.advance(length);
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            stream.bytes += u64::from(length);
            stream.end = end;
            if stream.bytes >= HEAVY && !std::mem::replace(&mut stream.is_heavy, true) {
                self.is_news = true;
            }
        } else if self.streams.len() < WATCHED {
            self.streams.push(Stream { id, bytes: u64::from(length), end, is_heavy: false });
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
    pub(super) fn all(&self) -> impl Iterator<Item = (StreamId, SequenceNumber, u32)> {
        self.streams.iter().filter(|stream| stream.is_heavy).map(|stream| (stream.id, stream.end, REACH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> StreamId {
        StreamId { index, birth: 1, direction: Direction::Up }
    }

    fn told(heavy: &Heavy) -> Vec<u32> {
        heavy.all().map(|(id, ..)| id.index).collect()
    }

    fn bring(heavy: &mut Heavy, index: u32, bytes: u32) {
        for start in (0..bytes).step_by(1024) {
            heavy.note(id(index), SequenceNumber::new(start), 1024);
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
        assert_eq!(heavy.all().collect::<Vec<_>>(), [(id(1), SequenceNumber::new(4 << 20), REACH)]);
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
        let part = |from: u32| Bulk { source, destination, from: SequenceNumber::new(from), length: REACH };
        let known = part(u32::MAX);
        assert!(known.still_serves(&part(u32::MAX)) && known.still_serves(&part(REACH / 2 - 2)));
        assert!(!known.still_serves(&part(REACH / 2)) && !known.still_serves(&part(u32::MAX - 1)));
        assert!(!known.still_serves(&Bulk { source: destination, ..known }));
    }

    #[test]
    fn small_segments_are_not_looked_at() {
        let mut heavy = Heavy::default();
        for start in 0..(4 << 20) {
            heavy.note(id(1), SequenceNumber::new(start), LARGE - 1);
        }
        assert!(told(&heavy).is_empty());
    }
}
