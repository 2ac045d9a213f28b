//! Where a message is written before its length is known.

#![expect(clippy::inline_always, reason = "a name is written as stores where its length is known")]

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

    /// The next `count` bytes, to be written.
    #[inline(always)]
    pub(super) fn room(&mut self, count: usize) -> &mut [u8] {
        let end = self.length + count;
        if end > self.bytes.len() {
            self.grow(end);
        }
        let start = std::mem::replace(&mut self.length, end);
        self.bytes.get_mut(start..end).unwrap_or_default()
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

    /// Makes room to store ahead.
    pub(super) fn reserve(&mut self) {
        if self.bytes.len() - self.length < Self::AHEAD {
            self.grow(self.length);
        }
    }

    /// Appends `bytes`.
    #[inline(always)]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
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
        self.begin(tag, bytes.len());
        self.put(bytes);
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
