//! Heads → bytes behind one another, and back: how they wait and go from thread to thread, in half of the room and without
//! allocations of their own.
//!
//! Numbers are little-endian. It is read by the program that has written it, never by another.

use super::lines::LineIndex;
use super::{RequestHead, ResponseHead, Version};

/// `Version::Http11`.
const IS_11: u8 = 1;
const IS_COMPLETE: u8 = 2;
/// Bytes of memory that a head which is unpacked into keeps.
const KEPT: usize = 16 << 10;

impl RequestHead {
    /// Appends all of it to `packed`.
    pub(crate) fn pack(&self, packed: &mut Vec<u8>) {
        let numbers = [self.method_end, self.target_start, self.target_end, self.headers_start];
        packed.extend_from_slice(numbers.map(u32::to_le_bytes).as_flattened());
        packed.extend_from_slice(self.digest.map(u64::to_le_bytes).as_flattened());
        pack_rest(self.version, self.complete, &self.lines, &self.bytes, packed);
    }

    /// Becomes the head that `packed` begins with, which is behind it then. Its memory is used again.
    pub(crate) fn unpack(&mut self, packed: &mut &[u8]) {
        let number = |packed: &mut &[u8]| u32::from_le_bytes(take(packed));
        self.method_end = number(packed);
        self.target_start = number(packed);
        self.target_end = number(packed);
        self.headers_start = number(packed);
        self.digest = [u64::from_le_bytes(take(packed)), u64::from_le_bytes(take(packed))];
        (self.version, self.complete) = unpack_rest(&mut self.lines, &mut self.bytes, packed);
    }

    /// Of nothing.
    pub(crate) const fn empty() -> Self {
        Self {
            bytes: Vec::new(),
            method_end: 0,
            target_start: 0,
            target_end: 0,
            headers_start: 0,
            version: Version::Http11,
            complete: false,
            digest: [0; 2],
            lines: LineIndex::EMPTY,
        }
    }
}

impl ResponseHead {
    /// Appends all of it to `packed`.
    pub(crate) fn pack(&self, packed: &mut Vec<u8>) {
        packed.extend_from_slice(&self.headers_start.to_le_bytes());
        packed.extend_from_slice(&self.status.to_le_bytes());
        pack_rest(self.version, self.complete, &self.lines, &self.bytes, packed);
    }

    /// Becomes the head that `packed` begins with, which is behind it then. Its memory is used again.
    pub(crate) fn unpack(&mut self, packed: &mut &[u8]) {
        self.headers_start = u32::from_le_bytes(take(packed));
        self.status = u16::from_le_bytes(take(packed));
        (self.version, self.complete) = unpack_rest(&mut self.lines, &mut self.bytes, packed);
    }

    /// Of nothing.
    pub(crate) const fn empty() -> Self {
        Self {
            bytes: Vec::new(),
            headers_start: 0,
            status: 0,
            version: Version::Http11,
            complete: false,
            lines: LineIndex::EMPTY,
        }
    }
}

/// What heads of both kinds have.
fn pack_rest(version: Version, complete: bool, lines: &LineIndex, bytes: &[u8], packed: &mut Vec<u8>) {
    let is_11 = if version == Version::Http11 { IS_11 } else { 0 };
    let (count, rest) = lines.size();
    // A head is shorter than 4 GiB: its own places in it are such numbers.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    packed.extend_from_slice(&[is_11 | if complete { IS_COMPLETE } else { 0 }, count]);
    packed.extend_from_slice([rest, length].map(u32::to_le_bytes).as_flattened());
    lines.pack(packed);
    packed.extend_from_slice(bytes);
}

fn unpack_rest(lines: &mut LineIndex, bytes: &mut Vec<u8>, packed: &mut &[u8]) -> (Version, bool) {
    let [flags, count] = take(packed);
    let (behind, length) = (u32::from_le_bytes(take(packed)), u32::from_le_bytes(take(packed)) as usize);
    lines.unpack(count, behind, packed);
    let (head, rest) = packed.split_at_checked(length).unwrap_or((*packed, &[]));
    *packed = rest;
    bytes.clear();
    if bytes.capacity() > KEPT {
        bytes.shrink_to(KEPT);
    }
    bytes.extend_from_slice(head);
    (if flags & IS_11 == 0 { Version::Http10 } else { Version::Http11 }, flags & IS_COMPLETE != 0)
}

/// The first bytes of `packed`, which begins behind them then; zeros where it has not so many.
#[inline]
pub(crate) fn take<const N: usize>(packed: &mut &[u8]) -> [u8; N] {
    let Some((first, rest)) = packed.split_first_chunk() else {
        *packed = &[];
        return [0; N];
    };
    *packed = rest;
    *first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::KeptFields;

    proptest! {
        /// Into memory that has held another head.
        #[test]
        fn a_head_that_was_packed_is_the_same(
            lines in prop::collection::vec("(Host|X-[a-c]{1,3}| [a-z]{1,3}|[a-z]{0,4} ?):? ?[ -~]{0,20}", 0..14),
            filler in prop_oneof![Just(0_usize), Just(70_000)],
            kept in any::<bool>(),
            other in "(|Host: a\r\nContent-Length: 4\r\nX-a: b\r\n)",
            version in 0_u8..3,
        ) {
            let section = lines.iter().flat_map(|line| [line, "\r\n"]).collect::<String>();
            let section = format!("{section}filler: {}\r\n\r\n", "f".repeat(filler));
            let fields = if kept { KeptFields::these(["host", "x-a"], ["x-b"]) } else { KeptFields::All };
            let mut request = RequestHead::empty();
            let mut response = ResponseHead::empty();
            for section in [&format!("{other}\r\n"), &section] {
                let text = format!("GET /a/b?c HTTP/1.{version}\r\n{section}");
                if let Some(head) = RequestHead::parse_keeping(text.as_bytes(), &fields) {
                    let mut packed = Vec::new();
                    head.pack(&mut packed);
                    packed.extend_from_slice(b"rest");
                    let mut left = packed.as_slice();
                    request.unpack(&mut left);
                    prop_assert_eq!((&request, left), (&head, &b"rest"[..]));
                }
                let text = format!("HTTP/1.{version} 204 No Content\r\n{section}");
                if let Some(head) = ResponseHead::parse_keeping(text.as_bytes(), &fields) {
                    let mut packed = Vec::new();
                    head.pack(&mut packed);
                    packed.extend_from_slice(b"rest");
                    let mut left = packed.as_slice();
                    response.unpack(&mut left);
                    prop_assert_eq!((&response, left), (&head, &b"rest"[..]));
                }
            }
        }
    }
}
