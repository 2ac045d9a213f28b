//! `K`, by which an exchange is known → the ids of its spans, and its own in letters.

use crate::exchange::ExchangeId;
use crate::span::SpanKind;

/// `K[0..16]`, and never zero.
pub(super) fn trace_id(id: ExchangeId) -> [u8; 16] {
    let bytes = id.0.first_chunk().copied().unwrap_or_default();
    u128::from_be_bytes(bytes).max(1).to_be_bytes()
}

/// CLIENT's id is `K[16..24]`, SERVER's `K[24..32]`; never zero.
pub(super) fn span_id(id: ExchangeId, kind: SpanKind) -> [u8; 8] {
    let bytes = match kind {
        SpanKind::Client => id.0.get(16..),
        SpanKind::Server => id.0.get(24..),
    };
    let bytes = bytes.and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
    u64::from_be_bytes(bytes).max(1).to_be_bytes()
}

/// `K[0..8]` in hexadecimal: two digits a byte.
pub(super) fn exchange_id(id: ExchangeId) -> [u8; 16] {
    let mut digits = [0; 16];
    let (places, _) = digits.as_chunks_mut();
    for (place, byte) in places.iter_mut().zip(id.0) {
        *place = HEXADECIMAL.get(usize::from(byte)).copied().unwrap_or_default();
    }
    digits
}

/// The digits of each byte.
const HEXADECIMAL: [[u8; 2]; 256] = {
    let mut digits = [[0; 2]; 256];
    let (mut left, mut byte) = (digits.as_mut_slice(), 0_u8);
    while let [place, rest @ ..] = left {
        *place = [digit(byte >> 4), digit(byte & 15)];
        (left, byte) = (rest, byte.wrapping_add(1));
    }
    digits
};

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }
}
