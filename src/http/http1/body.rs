//! A head → how its body ends (RFC 9112 §6.3), and the chunked coding (RFC 9112 §7.1).

use super::super::field_name::{CONTENT_LENGTH, FieldName, TRANSFER_ENCODING, UPGRADE};
use super::super::{Answered, RequestHead, ResponseHead};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// So many bytes; none for a message without a body.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// Until the connection's end.
    UntilClose,
    /// No HTTP follows on this connection.
    Tunnel,
    /// The head contradicts itself, so the end cannot be known.
    Unknown,
}

/// How a request's body is delimited, and whether it asks for another protocol.
pub(super) fn of_request(head: &RequestHead) -> (Framing, bool) {
    let fields = Fields::of(|name| head.lacks(name), |name| head.lines(name));
    let framing = match (head.is_complete(), fields.coding, fields.length) {
        (false, ..) => Framing::Unknown,
        (true, Some(Coding::Chunked), _) => Framing::Chunked,
        // A server cannot find the end of such a request either and must refuse it.
        (true, Some(Coding::Other), _) | (true, None, Length::Contradictory) => Framing::Unknown,
        (true, None, Length::Given(length)) => Framing::Length(length),
        (true, None, Length::Absent) => Framing::Length(0),
    };
    (framing, fields.upgrades)
}

/// How the body of a response is delimited, given what it answers.
pub(super) fn of_response(head: &ResponseHead, answered: Answered) -> Framing {
    let status = head.status();
    if status == 101 || (answered == Answered::Connect && (200..300).contains(&status)) {
        return Framing::Tunnel;
    }
    if answered == Answered::Head || matches!(status, 100..200 | 204 | 304) {
        return Framing::Length(0);
    }
    let fields = Fields::of(|name| head.lacks(name), |name| head.lines(name));
    match (head.is_complete(), fields.coding, fields.length) {
        (false, ..) => Framing::Unknown,
        (true, Some(Coding::Chunked), _) => Framing::Chunked,
        (true, Some(Coding::Other), _) | (true, None, Length::Absent) => Framing::UntilClose,
        (true, None, Length::Given(length)) => Framing::Length(length),
        (true, None, Length::Contradictory) => Framing::Unknown,
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Coding {
    /// `chunked` is the last transfer coding.
    Chunked,
    Other,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Length {
    Absent,
    Given(u64),
    Contradictory,
}

/// The fields that frame a body, over all their lines.
struct Fields {
    coding: Option<Coding>,
    length: Length,
    upgrades: bool,
}

impl Fields {
    /// `lacks` tells at once of a name that no line has it: mostly so.
    #[inline]
    fn of<'a, L: Iterator<Item = &'a [u8]>>(
        lacks: impl Fn(FieldName<'static>) -> bool,
        lines: impl Fn(FieldName<'static>) -> L,
    ) -> Self {
        let mut fields = Self { coding: None, length: Length::Absent, upgrades: false };
        if !lacks(CONTENT_LENGTH) {
            lines(CONTENT_LENGTH).for_each(|value| fields.add_lengths(value));
        }
        if !lacks(TRANSFER_ENCODING) {
            lines(TRANSFER_ENCODING).for_each(|value| fields.add_codings(value));
        }
        fields.upgrades = !lacks(UPGRADE) && lines(UPGRADE).next().is_some();
        fields
    }

    fn add_codings(&mut self, value: &[u8]) {
        value.split(|byte| *byte == b',').for_each(|part| self.add_coding(part.trim_ascii()));
    }

    fn add_coding(&mut self, coding: &[u8]) {
        // `identity` was a coding of RFC 2616 that means none.
        if !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity") {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = Some(if chunked { Coding::Chunked } else { Coding::Other });
        }
    }

    /// A number, or a list of some.
    fn add_lengths(&mut self, value: &[u8]) {
        match number_of(value) {
            Some(length) => self.add_length(Some(length)),
            None => value.split(|byte| *byte == b',').for_each(|part| self.add_length(number_of(part.trim_ascii()))),
        }
    }

    /// Repeated equal values are one value (RFC 9112 §6.3, item 5).
    fn add_length(&mut self, length: Option<u64>) {
        self.length = match (self.length, length) {
            (Length::Absent, Some(length)) => Length::Given(length),
            (Length::Given(known), Some(length)) if known == length => Length::Given(known),
            _ => Length::Contradictory,
        };
    }
}

/// A number of decimal digits alone.
fn number_of(digits: &[u8]) -> Option<u64> {
    let add = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

/// Where the chunked coding stands.
///
/// ```text
/// Size ─;─▶ Extension ─LF─▶ Data ──▶ DataEnd ─LF─▶ Size
///   └──────LF (size 0)──────▶ Trailer ─empty line─▶ end
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Chunked {
    /// In the hexadecimal digits.
    Size { value: u64, digits: u8 },
    /// After the digits, to the end of the line.
    Extension { size: u64, length: usize },
    /// In the chunk's data.
    Data { remaining: u64 },
    /// Before the line end that closes a chunk's data.
    DataEnd,
    /// In the trailer section; `line` is the length of the present line.
    Trailer { line: usize, length: usize },
}

/// What a step through chunked bytes gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Step {
    /// Bytes consumed.
    pub(super) used: usize,
    /// Of those, bytes of body.
    pub(super) body: u64,
    pub(super) then: Then,
}

/// What follows a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Then {
    /// All bytes were consumed; the body goes on.
    NeedMore,
    /// The body is whole.
    End,
    /// This is no chunked coding.
    Malformed,
}

impl Chunked {
    /// Before the first chunk.
    pub(super) const fn new() -> Self {
        Self::Size { value: 0, digits: 0 }
    }

    /// Consumes bytes to their end or to the body's; `bound` limits extensions and the trailer section.
    pub(super) fn consume(&mut self, bytes: &[u8], bound: usize) -> Step {
        let (mut used, mut body) = (0, 0);
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if let Self::Data { remaining } = self {
                let take = rest.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                *remaining -= take as u64;
                (used, body) = (used + take, body + take as u64);
                if *remaining == 0 {
                    *self = Self::DataEnd;
                }
                continue;
            }
            let Some(byte) = rest.first() else { break };
            used += 1;
            match self.step(*byte, bound) {
                Then::NeedMore => {}
                then => return Step { used, body, then },
            }
        }
        Step { used, body, then: Then::NeedMore }
    }

    /// Moves over `count` bytes that nobody saw; `false` when a boundary may be among them.
    pub(super) const fn skip(&mut self, count: u64) -> bool {
        let Self::Data { remaining } = self else { return false };
        if count > *remaining {
            return false;
        }
        *remaining -= count;
        if *remaining == 0 {
            *self = Self::DataEnd;
        }
        true
    }

    fn step(&mut self, byte: u8, bound: usize) -> Then {
        let next = match (*self, byte) {
            (Self::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                // Zeros may lead (RFC 9112 §7.1).
                if value >> 60 != 0 {
                    return Then::Malformed;
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                Self::Size { value: value << 4 | u64::from(digit), digits: digits.saturating_add(1) }
            }
            (Self::Size { digits: 0, .. }, _) => return Then::Malformed,
            (Self::Size { value, .. } | Self::Extension { size: value, .. }, b'\n') => Self::after_line(value),
            (Self::Size { value, .. }, b';' | b' ' | b'\t' | b'\r') => Self::Extension { size: value, length: 0 },
            (Self::Extension { size, length }, _) if length < bound => Self::Extension { size, length: length + 1 },
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::new(),
            (Self::Trailer { line: 0, .. }, b'\n') => return Then::End,
            (Self::Trailer { length, .. }, b'\n') => Self::Trailer { line: 0, length: length + 1 },
            (Self::Trailer { line: 0, length }, b'\r') => Self::Trailer { line: 0, length },
            (Self::Trailer { line, length }, _) if length < bound => {
                Self::Trailer { line: line + 1, length: length + 1 }
            }
            _ => return Then::Malformed,
        };
        *self = next;
        Then::NeedMore
    }

    const fn after_line(size: u64) -> Self {
        match size {
            0 => Self::Trailer { line: 0, length: 0 },
            remaining => Self::Data { remaining },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: usize = 64;

    fn consume_all(pieces: &[&[u8]]) -> (usize, u64, Then) {
        let mut chunked = Chunked::new();
        let (mut used, mut body) = (0, 0);
        for piece in pieces {
            let step = chunked.consume(piece, BOUND);
            (used, body) = (used + step.used, body + step.body);
            if step.then != Then::NeedMore {
                return (used, body, step.then);
            }
        }
        (used, body, Then::NeedMore)
    }

    #[test]
    fn every_split_of_a_chunked_body_gives_the_same() {
        let wire = b"5;a=b\r\nhello\r\n6 \r\n world\r\n0A\n0123456789\r\n0\r\nX: y\r\nZ: w\r\n\r\n";
        for split in 0..=wire.len() {
            let (left, right) = wire.split_at(split);
            assert_eq!(consume_all(&[left, right]), (wire.len(), 21, Then::End), "split at {split}");
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(consume_all(&bytes), (wire.len(), 21, Then::End));
    }

    #[test]
    fn what_follows_the_body_is_left() {
        assert_eq!(consume_all(&[b"0\r\n\r\nHTTP/1.1"]), (5, 0, Then::End));
    }

    #[test]
    fn what_is_no_chunk_is_malformed() {
        for wire in [&b"\r\n"[..], b"xyz\r\n", b"11111111111111111\r\n", b"3\r\nabcd", b"5-\r\n"] {
            assert_eq!(consume_all(&[wire]).2, Then::Malformed, "{wire:?}");
        }
    }

    #[test]
    fn zeros_before_a_size_mean_nothing() {
        let zeros = "0".repeat(300);
        let wire = format!("{zeros}2\r\nok\r\n{zeros}\r\n\r\n");
        assert_eq!(consume_all(&[wire.as_bytes()]), (wire.len(), 2, Then::End));
    }

    #[test]
    fn the_largest_size_does_not_overflow() {
        assert_eq!(consume_all(&[b"ffffffffffffffff\r\nabc"]), (21, 3, Then::NeedMore));
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = [b"1;".as_slice(), &[b'a'; BOUND + 2]].concat();
        assert_eq!(consume_all(&[&extension]).2, Then::Malformed);
        let trailer = [b"0\r\n".as_slice(), &b"a:b\r\n".repeat(BOUND)].concat();
        assert_eq!(consume_all(&[&trailer]).2, Then::Malformed);
    }

    #[test]
    fn a_hole_within_a_chunk_goes_on_and_a_hole_over_its_end_does_not() {
        let mut chunked = Chunked::Data { remaining: 10 };
        assert!(chunked.skip(4) && chunked == Chunked::Data { remaining: 6 });
        assert!(!chunked.skip(7));
        assert!(chunked.skip(6) && chunked == Chunked::DataEnd);
        assert!(!chunked.skip(1));
    }
}
