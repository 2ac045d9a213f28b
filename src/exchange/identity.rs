//! Both heads' positions and the request head's bytes → the identity `K` of an exchange.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::ExchangeId;
use crate::packet::SequenceNumber;

/// Version of the derivation: agents of one cluster must agree on it, so it never changes in silence.
const VERSION: &[u8; 2] = b"v1";
/// `H("v1" ‖ request sequence ‖ response sequence ‖ H(request head, first 4 KiB))`, of which `head` is the last part
/// ([`RequestHead::digest`](crate::http::RequestHead::digest)).
///
/// Sequence numbers are those of the first byte of each head, 0 for a response that was not seen; numbers are
/// big-endian. `H` is XXH3-128, for 256 bits with the seeds 0 and 1. Addresses, ports, acknowledgements, times and
/// the cutting into segments stay out: NAT, clocks and offloads change them.
///
/// The second value is of the request alone: the same for a view that has the response and one that has not.
pub(super) fn derive(request: SequenceNumber, response: Option<SequenceNumber>, head: u128) -> (ExchangeId, u64) {
    let response = response.map_or(0, SequenceNumber::value);
    // As one number: 16 bits of version, 32 each of sequence, the first 48 of the head's hash; then its other 80.
    let version = u128::from(u16::from_be_bytes(*VERSION)) << 112;
    let numbers = u128::from(request.value()) << 80 | u128::from(response) << 48;
    let mut input = [0; 26];
    if let Some((start, rest)) = input.split_first_chunk_mut::<16>()
        && let Some(end) = rest.first_chunk_mut::<10>()
    {
        *start = (version | numbers | head >> 80).to_be_bytes();
        let [_, _, _, _, _, _, tail @ ..] = head.to_be_bytes();
        *end = tail;
    }
    let (first, second) = (xxh3_128_with_seed(&input, 0).to_be_bytes(), xxh3_128_with_seed(&input, 1).to_be_bytes());
    let mut id = [0; 32];
    if let Some((start, rest)) = id.split_first_chunk_mut::<16>()
        && let Some(end) = rest.first_chunk_mut::<16>()
    {
        (*start, *end) = (first, second);
    }
    let request_key = head.to_be_bytes().first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
    let request_key = request_key ^ u64::from(request.value()).rotate_left(32);
    (ExchangeId(id), request_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::RequestHead;

    fn digest(head: &[u8]) -> u128 {
        RequestHead::parse(head).unwrap().digest()
    }

    fn hex(id: ExchangeId) -> String {
        id.0.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn the_derivation_is_the_one_that_other_agents_use() {
        let (id, _) = derive(
            SequenceNumber::new(3_465_395_425),
            Some(SequenceNumber::new(3_294_999_772)),
            digest(b"GET / HTTP/1.1\r\n\r\n"),
        );
        assert_eq!(hex(id), "9fbf090a243b050733acca7027b98cd944123ed382c11f5876e57d1e6ed98259");
    }

    #[test]
    fn each_part_counts_and_only_the_first_four_kibibytes_of_the_head() {
        let sequence = SequenceNumber::new(7);
        let head = |text: &str| digest(format!("GET /{text} HTTP/1.1\r\n\r\n").as_bytes());
        let long = "a".repeat(4096);
        let same = derive(sequence, None, head(&long));
        let longer = head(&(long.clone() + "more"));
        assert_eq!(derive(sequence, None, longer), same);
        assert_ne!(derive(sequence, None, head(&format!("{}b", &long[1..4090]))), same);
        assert_ne!(derive(sequence.advance(1), None, longer), same);
        assert_ne!(derive(sequence, Some(SequenceNumber::new(1)), longer), same);
    }
}
