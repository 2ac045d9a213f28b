//! Where a message is written before its length is known.

#![expect(clippy::inline_always, reason = "pieces of known length are written as stores")]

use prost::encoding::WireType;

/// Bytes with room behind them: to write a short piece of known length is to store it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// What was written, and room behind it.
    bytes: Vec<u8>,
    /// Invariant: `length <= bytes.len()`.
    length: usize,
}

impl Scratch {
    /// Room is made for so much at once.
    const STEP: usize = 4 << 10;

    /// What may be stored ahead.
    pub(super) const AHEAD: usize = 512;

    /// What was written.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Forgets what was written. Room that only an unusually long message needed is given back.
    pub(super) fn clear(&mut self) {
        self.length = 0;
        if self.bytes.len() > 16 * Self::STEP {
            *self = Self::default();
        }
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        self.bytes.resize(end + Self::STEP, 0);
    }

    /// The next bytes, of which `count` are to be kept: who knows only now how many they are stores more than that. `None` when
    /// there is no such room, as before [`Self::reserve`].
    #[inline(always)]
    pub(super) fn ahead(&mut self, count: usize) -> Option<&mut [u8; Self::AHEAD]> {
        let ahead = self.bytes.get_mut(self.length..)?.first_chunk_mut()?;
        self.length += count;
        Some(ahead)
    }

    /// Keeps so many of the bytes that were stored ahead.
    #[inline(always)]
    pub(super) const fn keep(&mut self, count: usize) {
        self.length += count;
    }

    /// Makes room to store ahead.
    #[inline]
    pub(super) fn reserve(&mut self) {
        if self.bytes.len() - self.length < Self::AHEAD {
            self.grow(self.length + Self::AHEAD);
        }
    }

    /// Appends `bytes`.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if end > self.bytes.len() {
            self.grow(end);
        }
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
            self.length = end;
        }
    }

    /// Appends one behind the other, with one look at the room for them where they are short.
    #[inline(always)]
    pub(super) fn put_all<const N: usize>(&mut self, pieces: [&[u8]; N]) {
        let count = pieces.iter().map(|piece| piece.len()).sum();
        if count <= Self::AHEAD
            && let Some(ahead) = self.ahead(count)
        {
            let mut left = ahead.as_mut_slice();
            for piece in pieces {
                let Some((place, rest)) = left.split_at_mut_checked(piece.len()) else { return };
                place.copy_from_slice(piece);
                left = rest;
            }
        } else {
            for piece in pieces {
                self.put(piece);
            }
        }
    }

    /// Appends a varint.
    pub(super) fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put(&[number.to_le_bytes()[0] | 0x80]);
            number >>= 7;
        }
        self.put(&[number.to_le_bytes()[0]]);
    }

    /// Appends key and length of a length-delimited field.
    #[inline]
    pub(super) fn begin(&mut self, tag: u8, length: usize) {
        let key = tag << 3 | WireType::LengthDelimited as u8;
        if let Ok(length @ ..0x80) = u8::try_from(length) {
            self.put(&[key, length]);
        } else {
            self.put(&[key]);
            self.varint(length as u64);
        }
    }

    /// Appends a length-delimited field.
    #[inline]
    pub(super) fn delimited(&mut self, tag: u8, bytes: &[u8]) {
        if let Ok(length @ ..0x80) = u8::try_from(bytes.len()) {
            self.put_all([&[tag << 3 | WireType::LengthDelimited as u8, length], bytes]);
        } else {
            self.begin(tag, bytes.len());
            self.put(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_leave_no_room_behind_and_short_ones_keep_theirs() {
        let mut scratch = Scratch::default();
        let long = vec![7; 100_000];
        scratch.put(&long);
        assert_eq!(scratch.bytes(), long);
        scratch.clear();
        assert_eq!((scratch.bytes(), scratch.bytes.len()), (&[][..], 0));
        scratch.delimited(2, b"ab");
        scratch.varint(300);
        assert_eq!(scratch.bytes(), [18, 2, b'a', b'b', 0xac, 2]);
        scratch.clear();
        assert!(scratch.bytes.len() > 4000);
    }
}
