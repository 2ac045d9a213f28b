//! Bytes from the wire, and addresses → text.

#![expect(clippy::inline_always, reason = "of bytes whose number is known nothing is left to count")]

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;

/// Bytes from the wire; what is not UTF-8 becomes U+FFFD. Most of it is ASCII, which is found several times as fast.
#[inline]
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    ascii(bytes).map_or_else(|| other_than_ascii(bytes), Cow::Borrowed)
}

#[inline(never)]
fn ascii(bytes: &[u8]) -> Option<&str> {
    ascii_without(bytes, [])
}

/// ASCII that has none of `others` in it.
#[inline(always)]
pub(super) fn ascii_without<const N: usize>(bytes: &[u8], others: [u8; N]) -> Option<&str> {
    if !is_ascii_without(bytes, others) {
        return None;
    }
    #[expect(unsafe_code, reason = "the standard library has no such conversion yet that is stable")]
    // SAFETY: bytes below 128 are UTF-8 (RFC 3629 §3), and all of them are.
    Some(unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// As the standard library has it, but faster for a few dozen bytes: what is behind the last whole word is looked at together with
/// bytes before it. `others`, which are ASCII themselves, are found on the way.
#[inline(always)]
fn is_ascii_without<const N: usize>(bytes: &[u8], others: [u8; N]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = LOW << 7;
    // Of ASCII that is another byte one less is ASCII as well. What is not may take one from the next, but it is told itself.
    let less = |word: u64, other: u8| (word ^ (LOW * u64::from(other))).wrapping_sub(LOW);
    let odd = |word: u64| others.iter().fold(word, |odd, other| odd | less(word, *other));
    let (words, rest) = bytes.as_chunks();
    let all = words.iter().fold(0, |all, word| all | odd(u64::from_ne_bytes(*word)));
    let is_odd = |byte: &u8| !byte.is_ascii() || others.contains(byte);
    match bytes.last_chunk() {
        Some(last) => (all | odd(u64::from_ne_bytes(*last))) & HIGH == 0,
        None => !rest.iter().fold(false, |any, byte| any | is_odd(byte)),
    }
}

#[cold]
fn other_than_ascii(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// An address as [`IpAddr`] is displayed, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressText {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl AddressText {
    /// `ffff:` seven times, and `255.255.255.255` at most.
    const LONGEST: usize = 48;

    /// IPv4 is written without detours, because a span has four of them.
    pub(super) fn of(address: IpAddr) -> Self {
        let mut text = Self { bytes: [b'.'; Self::LONGEST], length: 0 };
        let IpAddr::V4(address) = address else {
            let mut room = &mut text.bytes[..];
            let _ = write!(room, "{address}");
            let left = room.len();
            text.length = Self::LONGEST - left;
            return text;
        };
        for byte in address.octets() {
            let digits = DECIMAL.get(usize::from(byte)).unwrap_or(&[b'0'; 3]);
            let length = if byte < 10 { 1 } else { 2 + usize::from(byte >= 100) };
            if let Some(place) = text.bytes.get_mut(text.length..text.length + 3) {
                place.copy_from_slice(digits);
            }
            if let Some(dot) = text.bytes.get_mut(text.length + length) {
                *dot = b'.';
            }
            text.length += length + 1;
        }
        text.length -= 1;
        text
    }

    pub(super) fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(ascii).unwrap_or_default()
    }
}

/// The digits of each byte, and whatever behind them.
const DECIMAL: [[u8; 3]; 256] = {
    let mut digits = [[b'0'; 3]; 256];
    let mut byte = 0_u8;
    loop {
        let (hundreds, tens, ones) = (b'0' + byte / 100, b'0' + byte / 10 % 10, b'0' + byte % 10);
        #[expect(clippy::indexing_slicing, reason = "there is a place for every byte")]
        {
            digits[byte as usize] = match byte {
                0..10 => [ones; 3],
                10..100 => [tens, ones, ones],
                _ => [hundreds, tens, ones],
            };
        }
        if byte == u8::MAX {
            break digits;
        }
        byte += 1;
    }
};

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn ascii_is_what_the_standard_library_says() {
        for length in 0..80 {
            let mut bytes = vec![b'a'; length];
            assert!(ascii(&bytes).is_some());
            for place in 0..length {
                bytes[place] = 0x80;
                assert!(ascii(&bytes).is_none(), "{place} of {length}");
                bytes[place] = 0x7f;
            }
        }
    }

    #[test]
    fn every_byte_is_told_from_those_that_must_not_be_there() {
        for others in [*b"?#", *b"@:", [0, 0x7f]] {
            for length in 1..20 {
                for (place, byte) in (0..length).flat_map(|place| (0..=255).map(move |byte| (place, byte))) {
                    let mut bytes = vec![b'a'; length];
                    bytes[place] = byte;
                    let expected = std::str::from_utf8(&bytes).ok().filter(|_| !others.contains(&byte));
                    assert_eq!(ascii_without(&bytes, others), expected, "{byte} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn addresses_read_as_the_standard_library_writes_them() {
        for byte in 0..=255 {
            for octets in [[byte, 0, 10, 255], [1, byte, 99, 100], [9, 200, byte, 0], [0, 0, 0, byte]] {
                let address = Ipv4Addr::from(octets);
                assert_eq!(AddressText::of(address.into()).as_str(), address.to_string());
            }
        }
        for address in ["2001:db8::1", "::ffff:255.255.255.255", "1111:2222:3333:4444:5555:6666:7777:8888", "::"] {
            assert_eq!(AddressText::of(address.parse().unwrap()).as_str(), address);
        }
    }
}
