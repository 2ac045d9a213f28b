//! Attributes → `KeyValue`s, written where they stand.
//!
//! Half of the time of a span goes into them, so those that most are, with lengths of one byte each, are written as two
//! pieces: all that comes before the value, whose length is known where the name is, and the value.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::encode::{delimited, delimited_key, delimited_length, encode_value, text, text_length, value_length};
use crate::span::{AttributeSink, Value};

/// The longest name whose attribute is written in two pieces.
const SHORT: usize = 56;
/// What stands before a value, its name left out: keys and lengths of the `KeyValue`, the name, the `AnyValue` and the value.
const FRAME: usize = 8;
/// Key and wire type of `AnyValue.bool_value`, `.int_value` and `.double_value`.
const BOOL: u8 = 2 << 3;
const INT: u8 = 3 << 3;
const DOUBLE: u8 = 4 << 3 | 1;

/// Appends each attribute as field `TAG`.
pub(super) struct KeyValues<'b, const TAG: u8> {
    pub(super) buffer: &'b mut Vec<u8>,
}

impl<const TAG: u8> KeyValues<'_, TAG> {
    /// Appends a `KeyValue` whose value is `start` and then `value`, if all lengths are a byte each; tells whether it did.
    #[inline(always)]
    fn short<const N: usize>(&mut self, key: &str, start: [u8; N], value: &[u8]) -> bool {
        let any = N + value.len();
        let length = key.len() + any + 4;
        if key.is_empty() || key.len() > SHORT || length >= 0x80 {
            return false;
        }
        let mut before = [0; SHORT + FRAME];
        #[expect(clippy::cast_possible_truncation, reason = "all of them are below 0x80")]
        let (length, key_length, any) = (length as u8, key.len() as u8, any as u8);
        if let Some(place) = before.first_chunk_mut::<4>() {
            *place = [delimited_key(TAG), length, delimited_key(1), key_length];
        }
        if let Some(place) = before.get_mut(4..4 + key.len()) {
            place.copy_from_slice(key.as_bytes());
        }
        if let Some(place) = before.get_mut(4 + key.len()..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *place = [delimited_key(2), any];
        }
        if let Some(place) = before.get_mut(6 + key.len()..).and_then(<[u8]>::first_chunk_mut::<N>) {
            *place = start;
        }
        self.buffer.extend_from_slice(before.get(..6 + key.len() + N).unwrap_or_default());
        self.buffer.extend_from_slice(value);
        true
    }

    #[inline(always)]
    fn string(&mut self, key: &str, text: &str) {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        if !self.short(key, [delimited_key(1), length], text.as_bytes()) {
            self.long_string(key, text);
        }
    }

    #[cold]
    fn long_string(&mut self, key: &str, text: &str) {
        self.general(key, &Value::String(Cow::Borrowed(text)));
    }

    /// Of any length.
    fn general(&mut self, key: &str, value: &Value<'_>) {
        let length = value_length(value);
        delimited(u32::from(TAG), text_length(1, key) + delimited_length(2, length), self.buffer);
        text(1, key, self.buffer);
        delimited(2, length, self.buffer);
        encode_value(value, self.buffer);
    }

    /// Appends one whose type is not known before.
    pub(super) fn any(&mut self, key: &str, value: &Value<'_>) {
        match value {
            Value::String(text) => self.string(key, text),
            value => self.general(key, value),
        }
    }
}

impl<'a, const TAG: u8> AttributeSink<'a> for KeyValues<'_, TAG> {
    #[inline(always)]
    fn text(&mut self, key: impl Into<Cow<'a, str>>, text: Cow<'a, str>) {
        self.string(&key.into(), &text);
    }

    #[inline(always)]
    fn passing(&mut self, key: impl Into<Cow<'a, str>>, text: &str) {
        self.string(&key.into(), text);
    }

    fn texts(&mut self, key: impl Into<Cow<'a, str>>, texts: SmallVec<[Cow<'a, str>; 1]>) {
        self.general(&key.into(), &Value::Strings(texts));
    }

    #[inline(always)]
    fn int(&mut self, key: impl Into<Cow<'a, str>>, number: i64) {
        let key = key.into();
        let mut digits = [0; 3];
        let is_short = match varint(number, &mut digits) {
            Some(digits) => self.short(&key, [INT], digits),
            None => false,
        };
        if !is_short {
            self.general(&key, &Value::Int(number));
        }
    }

    #[inline(always)]
    fn double(&mut self, key: impl Into<Cow<'a, str>>, number: f64) {
        let key = key.into();
        if !self.short(&key, [DOUBLE], &number.to_le_bytes()) {
            self.general(&key, &Value::Double(number));
        }
    }

    #[inline(always)]
    fn bool(&mut self, key: impl Into<Cow<'a, str>>, truth: bool) {
        let key = key.into();
        if !self.short(&key, [BOOL], &[u8::from(truth)]) {
            self.general(&key, &Value::Bool(truth));
        }
    }
}

/// The varint of a number that has three bytes at most, seven bits each, the lowest first.
#[inline]
fn varint(number: i64, digits: &mut [u8; 3]) -> Option<&[u8]> {
    let number @ ..0x20_0000 = u64::try_from(number).ok()? else { return None };
    let [a, b, c, ..] = number.to_le_bytes();
    let (low, middle, high) = (a & 0x7f, (b << 1 | a >> 7) & 0x7f, (c << 2 | b >> 6) & 0x7f);
    let count = match (middle, high) {
        (0, 0) => 1,
        (_, 0) => 2,
        _ => 3,
    };
    *digits = [low | u8::from(count > 1) << 7, middle | u8::from(count > 2) << 7, high];
    digits.get(..count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::encode::encode_span;
    use crate::exchange::{Exchange, ExchangeId, Outcome, RequestPart, ResponsePart, Transfer, Translated};
    use crate::http::{RequestHead, ResponseHead};
    use crate::metadata::NoAddresses;
    use crate::span::{Draft, NoNames, SpanBuilder, SpanSettings};
    use crate::time::Timestamp;

    fn any_exchange() -> impl Strategy<Value = Exchange> {
        let heads = ("(GET|BREW)", "/[ -~é]{0,150}", "[a-z.]{0,20}(:80)?", "[ -~]{0,140}", 100_u16..600);
        let numbers = (any::<u32>(), 0_u64..1 << 40, any::<[u8; 32]>());
        let (sockets, flags) = (any::<[[u8; 4]; 4]>(), any::<[bool; 4]>());
        (heads, numbers, sockets, flags).prop_map(|((method, path, host, agent, status), numbers, sockets, flags)| {
            let (packets, bytes, id) = numbers;
            let [is_answered, incomplete, is_translated, is_v6] = flags;
            let path: String = path.chars().filter(|byte| !matches!(byte, ' ' | '#')).collect();
            let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n\r\n");
            let at = Timestamp::from_nanos(bytes);
            let transfer =
                Transfer { first_byte: at, last_byte: at, body_bytes: bytes / 2, wire_bytes: bytes, packets };
            let socket = |bytes: [u8; 4]| match is_v6 {
                true => (std::net::Ipv4Addr::from(bytes).to_ipv6_mapped().segments(), 80).into(),
                false => (bytes, 65_535).into(),
            };
            let [one, two, three, four] = sockets.map(socket);
            let head = format!("HTTP/1.1 {status} OK\r\n\r\n");
            Exchange {
                id: ExchangeId(id),
                request_key: 1,
                client: one,
                server: two,
                translated: is_translated.then(|| Box::new(Translated { client: three, server: four, seen: at })),
                interface: 0,
                request: RequestPart {
                    head: RequestHead::parse(request.as_bytes()).expect("it is one"),
                    transfer,
                    ended: at,
                },
                response: is_answered
                    .then(|| ResponsePart { head: ResponseHead::parse(head.as_bytes()).expect("it is one"), transfer }),
                outcome: if is_answered { Outcome::Complete } else { Outcome::Timeout },
                incomplete,
                retransmits: packets / 2,
                handshake_rtt: incomplete.then(|| std::time::Duration::from_nanos(bytes)),
            }
        })
    }

    proptest! {
        #[test]
        fn attributes_written_at_once_are_those_of_the_list(
            exchange in any_exchange(),
            count in prop_oneof![Just(128_usize), 0..30_usize],
            length in prop_oneof![Just(65_535_usize), 0..40_usize],
            legacy in any::<bool>(),
        ) {
            let settings = SpanSettings {
                attribute_count_limit: count,
                attribute_value_length_limit: length,
                legacy_attributes: legacy,
                include_query: true,
                headers: vec!["user-agent".to_owned(), "host".to_owned()],
                ..SpanSettings::default()
            };
            let builder = SpanBuilder::new(settings);
            let mut seen = 0;
            builder.drafts(&exchange, &NoAddresses, &NoNames, &mut |draft| {
                let (mut at_once, mut listed) = (Vec::new(), Vec::new());
                encode_span(draft, &mut at_once);
                let span = draft.to_span();
                assert!(span.attributes.len() <= count);
                encode_span(&Draft::from(span), &mut listed);
                assert_eq!(at_once, listed);
                seen += 1;
            });
            prop_assert_eq!(seen, 1);
        }
    }
}
