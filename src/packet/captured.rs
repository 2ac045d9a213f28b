//! Captured bytes with their length on the wire → the header at their front and what follows it.

use super::Discard;

/// Bytes of one layer as captured, and how many there were on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Captured<'a> {
    /// `data.len() <= length`.
    data: &'a [u8],
    /// Less bytes than this were captured when the snap length cut the packet.
    length: usize,
}

impl<'a> Captured<'a> {
    /// `data` of which there were `length` bytes on the wire; never less than were captured.
    pub(super) fn new(data: &'a [u8], length: usize) -> Self {
        Self { data, length: length.max(data.len()) }
    }

    /// The captured bytes.
    pub(super) const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Bytes on the wire.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// The first `N` bytes, and what follows them.
    pub(super) fn split<const N: usize>(self) -> Result<(&'a [u8; N], Self), Discard> {
        let Some((header, data)) = self.data.split_first_chunk::<N>() else { return Err(self.missing(N)) };
        // `data.len() <= length` and at least `N` bytes of data.
        Ok((header, Self { data, length: self.length - N }))
    }

    /// What follows the first `count` bytes.
    pub(super) fn skip(self, count: usize) -> Result<Self, Discard> {
        match (self.length.checked_sub(count), self.data.get(count..)) {
            (Some(length), Some(data)) => Ok(Self { data, length }),
            _ => Err(self.missing(count)),
        }
    }

    /// The bytes that a length field speaks of: what comes after them is padding or a trailer.
    ///
    /// A field that promises more than was on the wire is not believed: the packet is damaged, and bytes that never
    /// were must not stand in the way of the true ones.
    pub(super) fn at_most(self, length: usize) -> Self {
        Self { data: self.data.get(..length).unwrap_or(self.data), length: self.length.min(length) }
    }

    /// Why the first `needed` bytes cannot be had: cut away by the snap length, or never there.
    pub(super) const fn missing(&self, needed: usize) -> Discard {
        if needed > self.length { Discard::Malformed } else { Discard::Truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_is_never_shorter_than_the_capture() {
        assert_eq!(Captured::new(&[0; 10], 4).length(), 10);
    }

    #[test]
    fn bytes_cut_by_the_snap_length_differ_from_bytes_that_never_were() {
        let bytes = Captured::new(&[1, 2, 3], 5);
        assert_eq!(bytes.skip(3).map(|rest| (rest.data().len(), rest.length())), Ok((0, 2)));
        assert_eq!(bytes.skip(4).err(), Some(Discard::Truncated));
        assert_eq!(bytes.skip(6).err(), Some(Discard::Malformed));
        assert_eq!(bytes.split::<5>().err(), Some(Discard::Truncated));
        assert_eq!(bytes.split::<6>().err(), Some(Discard::Malformed));
    }

    #[test]
    fn a_length_field_cuts_padding_and_adds_nothing() {
        let bytes = Captured::new(&[1, 2, 3], 5);
        assert_eq!((bytes.at_most(2).data(), bytes.at_most(2).length()), ([1, 2].as_slice(), 2));
        assert_eq!((bytes.at_most(4).data(), bytes.at_most(4).length()), ([1, 2, 3].as_slice(), 4));
        assert_eq!((bytes.at_most(9).data(), bytes.at_most(9).length()), ([1, 2, 3].as_slice(), 5));
    }
}
