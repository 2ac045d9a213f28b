//! Attributes → `KeyValue`s, written where they stand.
//!
//! Half of the time of a span goes into them, so those that most are, with lengths of one byte each, are written with a few
//! stores of a known length into room that is more than enough: of the name more is stored than it has, and what comes behind it
//! stands on that.

#![expect(clippy::inline_always, reason = "one function an attribute, not ten")]

use std::borrow::Cow;
use std::ops::Range;

use prost::encoding::WireType;
use smallvec::SmallVec;

use super::encode::{delimited_length, text_length};
use super::memory::Memory;
use super::scratch::Scratch;
use crate::span::{Attribute, AttributeSink, BlockKey, Held, Key, Part, Value};

/// Key and wire type of `AnyValue.string_value`, `.bool_value`, `.int_value` and `.double_value`.
const STRING: u8 = delimited_key(1);
const BOOL: u8 = 2 << 3 | WireType::Varint as u8;
const INT: u8 = 3 << 3 | WireType::Varint as u8;
const DOUBLE: u8 = 4 << 3 | WireType::SixtyFourBit as u8;
/// Likewise of `AnyValue.array_value`.
const ARRAY: u8 = delimited_key(5);
/// The first length that is a varint of two bytes.
const SHORT: usize = 0x80;
/// The first number that is a varint of four bytes.
const FOUR_BYTES: u64 = 1 << 21;

/// What may be stored of an integer below [`FOUR_BYTES`] with its name.
const LONGEST_INTEGER: usize = 4 + 48 + 8;

/// The key of a length-delimited field below 16.
pub(super) const fn delimited_key(tag: u8) -> u8 {
    tag << 3 | WireType::LengthDelimited as u8
}

/// Appends each attribute as field `TAG`, which is below 16.
pub(super) struct KeyValues<'s, const TAG: u8> {
    pub(super) out: &'s mut Scratch,
    /// Blocks that were written before, if any are remembered.
    pub(super) memory: Option<&'s mut Memory>,
}

impl<const TAG: u8> KeyValues<'_, TAG> {
    /// Appends all of `attributes`.
    pub(super) fn all(&mut self, attributes: &[Attribute<'_>]) {
        for attribute in attributes {
            self.late(attribute);
        }
    }

    /// Writes all that stands before the length of an `AnyValue` of `length` bytes, if all lengths are a byte each, and gives the
    /// place of that and of the value, with room behind them.
    #[inline(always)]
    fn short(&mut self, key: &Key, length: usize) -> Option<(u8, &mut [u8; SHORT])> {
        let (padded, key_length) = key.padded();
        // Where all together are short, so is each.
        let together = usize::from(key_length) + length + 4;
        if together >= SHORT {
            return None;
        }
        let ([together, ..], [length, ..]) = (together.to_le_bytes(), length.to_le_bytes());
        let ahead = self.out.ahead(2 + usize::from(together))?;
        *ahead.first_chunk_mut()? = [delimited_key(TAG), together, delimited_key(1), key_length];
        *ahead.get_mut(4..)?.first_chunk_mut()? = *padded;
        let behind = ahead.get_mut(4 + usize::from(key_length)..)?.first_chunk_mut()?;
        Some((length, behind))
    }

    /// Appends a `KeyValue` whose value is `start` and then `bytes`, if all lengths are a byte each; tells whether it did.
    #[inline(always)]
    fn short_bytes<const N: usize>(&mut self, key: &Key, start: [u8; N], bytes: &[u8]) -> bool {
        if let Some((length, place)) = self.short(key, N + bytes.len())
            && let Some((before, rest)) = place.split_first_chunk_mut()
            && let Some((first, rest)) = rest.split_first_chunk_mut()
            && let Some(place) = rest.get_mut(..bytes.len())
        {
            (*before, *first) = ([delimited_key(2), length], start);
            place.copy_from_slice(bytes);
            return true;
        }
        false
    }

    #[inline(always)]
    fn string(&mut self, key: &Key, text: &str) {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        if !self.short_bytes(key, [STRING, length], text.as_bytes()) {
            self.long_string(key.as_str(), text);
        }
    }

    #[cold]
    #[inline(never)]
    fn long_string(&mut self, key: &str, text: &str) {
        self.begin(key, delimited_length(1, text.len()));
        self.out.delimited(1, text.as_bytes());
    }

    /// Appends one whose name and type are known only now.
    fn late(&mut self, Attribute { key, value }: &Attribute<'_>) {
        match value {
            Value::String(text) => self.long_string(key, text),
            Value::Int(number) => self.long_integer(key, *number),
            Value::Double(number) => self.long_floating(key, *number),
            Value::Bool(truth) => self.truth(key, *truth),
            Value::Strings(texts) => self.strings(key, texts),
        }
    }

    #[inline(always)]
    fn integer(&mut self, key: &Key, number: i64) {
        // A negative one is a large one.
        if let Ok(small @ ..FOUR_BYTES) = u64::try_from(number) {
            let (digits, length) = varint(small);
            if let Some((length, place)) = self.short(key, 1 + length)
                && let Some(place) = place.first_chunk_mut()
            {
                let before = u64::from_le_bytes([delimited_key(2), length, INT, 0, 0, 0, 0, 0]);
                *place = (before | digits << 24).to_le_bytes();
                return;
            }
        }
        self.long_integer(key.as_str(), number);
    }

    /// Appends all of `numbers`, if all lengths are a byte each and there is room for them; else none.
    #[inline(always)]
    fn short_integers<const N: usize>(&mut self, numbers: [(&Key, i64); N]) -> Option<()> {
        // A negative one is a large one.
        match numbers.iter().fold(0, |all, (_, number)| all | number.cast_unsigned()) {
            ..0x80 => self.integers_of(numbers.map(|(key, number)| (key, (number.cast_unsigned(), 1)))),
            0x80..FOUR_BYTES => self.integers_of(numbers.map(|(key, number)| (key, varint(number.cast_unsigned())))),
            _ => None,
        }
    }

    /// Likewise of varints.
    #[inline(always)]
    fn integers_of<const N: usize>(&mut self, numbers: [(&Key, (u64, usize)); N]) -> Option<()> {
        let mut left = self.out.ahead(0)?.as_mut_slice();
        for (key, (digits, length)) in numbers {
            let (padded, key_length) = key.padded();
            if usize::from(key_length) > padded.len() {
                return None;
            }
            let [length, ..] = (1 + length).to_le_bytes();
            let place = left.first_chunk_mut::<LONGEST_INTEGER>()?;
            *place.first_chunk_mut()? = [delimited_key(TAG), key_length + length + 4, delimited_key(1), key_length];
            *place.get_mut(4..)?.first_chunk_mut()? = *padded;
            let before = u64::from_le_bytes([delimited_key(2), length, INT, 0, 0, 0, 0, 0]);
            *place.get_mut(4 + usize::from(key_length)..)?.first_chunk_mut()? = (before | digits << 24).to_le_bytes();
            left = left.get_mut(6 + usize::from(key_length) + usize::from(length)..)?;
        }
        let count = Scratch::AHEAD - left.len();
        self.out.keep(count);
        Some(())
    }

    #[cold]
    #[inline(never)]
    fn long_integer(&mut self, key: &str, number: i64) {
        let number = number.cast_unsigned();
        self.begin(key, 1 + prost::encoding::encoded_len_varint(number));
        self.out.put(&[INT]);
        self.out.varint(number);
    }

    #[cold]
    #[inline(never)]
    fn lone_integer(&mut self, key: &Key, number: i64) {
        self.integer(key, number);
    }

    #[inline(always)]
    fn floating(&mut self, key: &Key, number: f64) {
        if !self.short_bytes(key, [DOUBLE], &number.to_le_bytes()) {
            self.long_floating(key.as_str(), number);
        }
    }

    #[cold]
    #[inline(never)]
    fn long_floating(&mut self, key: &str, number: f64) {
        let bytes = number.to_le_bytes();
        self.begin(key, 1 + bytes.len());
        self.out.put(&[DOUBLE]);
        self.out.put(&bytes);
    }

    fn truth(&mut self, key: &str, truth: bool) {
        let bytes = [BOOL, u8::from(truth)];
        self.begin(key, bytes.len());
        self.out.put(&bytes);
    }

    fn strings(&mut self, key: &str, texts: &[Cow<'_, str>]) {
        let length = array_length(texts);
        self.begin(key, delimited_length(5, length));
        self.out.begin(5, length);
        for text in texts {
            self.out.begin(1, delimited_length(1, text.len()));
            self.out.delimited(1, text.as_bytes());
        }
    }

    /// Of a `KeyValue`, all that stands before its `AnyValue` of `length` bytes.
    fn begin(&mut self, key: &str, length: usize) {
        // For the next one, which may be short.
        self.out.reserve();
        self.out.begin(TAG, text_length(1, key) + delimited_length(2, length));
        if !key.is_empty() {
            self.out.delimited(1, key.as_bytes());
        }
        self.out.begin(2, length);
    }
}

impl<'a, const TAG: u8> AttributeSink<'a> for KeyValues<'_, TAG> {
    #[inline(always)]
    fn text(&mut self, key: &'a Key, text: &Cow<'a, str>) {
        self.string(key, text);
    }

    #[inline(always)]
    fn passing(&mut self, key: &'a Key, text: &str) {
        self.string(key, text);
    }

    fn only(&mut self, key: &'a Key, text: &Cow<'a, str>) {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let [value, array] = [2, 4].map(|more| length.saturating_add(more));
        if !self.short_bytes(key, [ARRAY, array, delimited_key(1), value, STRING, length], text.as_bytes()) {
            self.strings(key.as_str(), std::slice::from_ref(text));
        }
    }

    fn texts(&mut self, key: &'a Key, texts: SmallVec<[Cow<'a, str>; 1]>) {
        self.strings(key.as_str(), &texts);
    }

    #[inline(always)]
    fn int(&mut self, key: &'a Key, number: i64) {
        self.integer(key, number);
    }

    #[inline(always)]
    fn ints<const N: usize>(&mut self, numbers: [(&'a Key, i64); N]) {
        if self.short_integers(numbers).is_none() {
            for (key, number) in numbers {
                self.lone_integer(key, number);
            }
        }
    }

    #[inline(always)]
    fn double(&mut self, key: &'a Key, number: f64) {
        self.floating(key, number);
    }

    fn bool(&mut self, key: &'a Key, truth: bool) {
        self.truth(key.as_str(), truth);
    }

    fn any(&mut self, attribute: &Attribute<'a>) {
        self.late(attribute);
    }

    fn recall(&mut self, key: &BlockKey, part: Part, room: usize) -> Option<usize> {
        let (attributes, bytes) = self.memory.as_mut()?.find(key, part)?;
        if attributes > room {
            return None;
        }
        self.out.put(bytes);
        Some(attributes)
    }

    fn position(&self) -> Option<usize> {
        self.memory.is_some().then(|| self.out.bytes().len())
    }

    fn remember(&mut self, key: &BlockKey, held: Held, parts: [(usize, Range<usize>); 2]) {
        let bytes = self.out.bytes();
        let parts = parts.map(|(attributes, place)| (attributes, bytes.get(place).unwrap_or_default()));
        if let Some(memory) = &mut self.memory {
            memory.keep(*key, held, parts);
        }
    }
}

fn array_length(texts: &[Cow<'_, str>]) -> usize {
    texts.iter().map(|text| delimited_length(1, delimited_length(1, text.len()))).sum()
}

/// The varint of a number below [`FOUR_BYTES`], seven bits a byte, the lowest first, and how many bytes it is.
#[inline(always)]
fn varint(number: u64) -> (u64, usize) {
    let digits = number & 0x7f | number << 1 & 0x7f00 | number << 2 & 0x7f_0000;
    let (is_longer, is_longest) = (number >= 1 << 7, number >= 1 << 14);
    let goes_on = u64::from(is_longer) << 7 | u64::from(is_longest) << 15;
    (digits | goes_on, 1 + usize::from(is_longer) + usize::from(is_longest))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::SocketAddr;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::encode::SpanEncoder;
    use super::*;
    use crate::exchange::{Exchange, ExchangeId, Outcome, RequestPart, ResponsePart, Transfer, Translated};
    use crate::http::{RequestHead, ResponseHead};
    use crate::metadata::NoAddresses;
    use crate::span::{
        Draft, Endpoint, EndpointLookup, Layout, NoNames, Node, Pod, Service, SpanBuilder, SpanSettings, Template,
    };
    use crate::time::Timestamp;

    fn any_exchange() -> impl Strategy<Value = Exchange> {
        let host = "([a-b]{0,2}|[a-z.]{0,40})(:8[01])?";
        let before = "(|X-Forwarded-For: 10.0.0.[12]\r\n|X-Forwarded-Proto: HTTPS\r\n|Forwarded: for=a;proto=b\r\n)";
        let lines = (host, before, "[ -~]{0,140}");
        let heads = ("(GET|BREW)", "(|||https?://[ab](:81)?)/[ -~é]{0,150}", lines, 100_u16..600);
        let numbers = (any::<u32>(), 0_u64..1 << 40, any::<[u8; 32]>());
        let (sockets, flags) = (any::<[[u8; 4]; 4]>(), any::<[bool; 4]>());
        (heads, numbers, sockets, flags).prop_map(|((method, path, lines, status), numbers, sockets, flags)| {
            let (host, before, agent) = lines;
            let (packets, bytes, id) = numbers;
            let [is_answered, incomplete, is_translated, is_v6] = flags;
            let path: String = path.chars().filter(|byte| !matches!(byte, ' ' | '#')).collect();
            let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{before}User-Agent: {agent}\r\n\r\n");
            let at = Timestamp::from_nanos(bytes);
            let transfer =
                Transfer { first_byte: at, last_byte: at, body_bytes: bytes / 2, wire_bytes: bytes, packets };
            let mapped = |bytes: [u8; 4]| std::net::Ipv4Addr::from(bytes).to_ipv6_mapped().segments();
            let socket = |bytes: [u8; 4]| if is_v6 { (mapped(bytes), 80).into() } else { (bytes, 65_535).into() };
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

    /// Heads of requests that may come on one connection, each different in what it says of who is asked by whom.
    const HEADS: [&str; 11] = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:81\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: an.address.with.more.than.32.letters\r\n\r\n",
        "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=b;proto=c\r\n\r\n",
    ];

    #[test]
    fn numbers_are_as_long_as_prost_makes_them() {
        for number in (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit]).filter(|number| *number < FOUR_BYTES) {
            let mut expected = Vec::new();
            prost::encoding::encode_varint(number, &mut expected);
            let (digits, length) = varint(number);
            assert_eq!(digits.to_le_bytes()[..length], expected);
        }
    }

    #[test]
    fn integers_written_together_are_those_written_one_by_one() {
        let keys = ["a".repeat(2), "b".repeat(47), "c".repeat(48), "d".repeat(49)].map(Key::from);
        let limits = (0..64).flat_map(|bit| [(1_i64 << bit).wrapping_sub(1), 1 << bit]).chain([-1, 0]);
        let limits: Vec<i64> = limits.collect();
        for numbers in limits.iter().flat_map(|one| limits.iter().map(move |other| [*one, *other])) {
            for pair in keys.each_ref().map(|key| [key, &keys[0]]) {
                let numbers = [(pair[0], numbers[0]), (pair[1], numbers[1])];
                // Without room ahead at first, as well as with it.
                for has_room in [false, true] {
                    let mut written = [Scratch::default(), Scratch::default()];
                    if has_room {
                        written.iter_mut().for_each(Scratch::reserve);
                    }
                    let [together, apart] = &mut written;
                    KeyValues::<9> { out: together, memory: None }.ints(numbers);
                    for (key, number) in numbers {
                        KeyValues::<9> { out: apart, memory: None }.long_integer(key.as_str(), number);
                    }
                    assert_eq!(together.bytes(), apart.bytes());
                }
            }
        }
    }

    /// Knows who is everywhere, and makes a new record each time: some stand where one stood that is gone.
    #[derive(Default)]
    struct Crowd(Cell<u8>);

    impl Crowd {
        fn number(&self) -> String {
            self.0.set(self.0.get().wrapping_add(1));
            self.0.get().to_string()
        }
    }

    impl EndpointLookup for Crowd {
        fn endpoint(&self, _: SocketAddr, _: Timestamp) -> Option<Endpoint> {
            let template = Template {
                namespace: self.number().into(),
                owner: None,
                containers: Box::default(),
                attributes: Box::default(),
                host_network: false,
                left_out: false,
            };
            Some(Endpoint::Pod(Arc::new(Pod {
                template: Arc::new(template),
                labels: Arc::default(),
                name: self.number().into(),
                uid: (&*self.number()).into(),
                node: self.number().into(),
                addresses: [None, None],
            })))
        }

        fn node(&self, name: &str, _: Timestamp) -> Option<Arc<Node>> {
            Some(Arc::new(Node { name: name.into(), uid: (&*self.number()).into(), addresses: Box::default() }))
        }

        fn dialled(&self, _: SocketAddr, _: Timestamp) -> Option<Arc<Service>> {
            None
        }

        fn service_of(&self, _: &Pod, _: Option<u16>, _: Timestamp) -> Option<Arc<Service>> {
            Some(Arc::new(Service {
                namespace: self.number().into(),
                name: self.number().into(),
                uid: (&*self.number()).into(),
                selector: Box::default(),
                ports: Box::default(),
                is_exposed: false,
                addresses: Box::default(),
            }))
        }

        fn is_exposed(&self, _: &Pod, _: u16, _: Timestamp) -> bool {
            false
        }

        fn knows_places(&self) -> bool {
            false
        }

        fn is_here(&self, _: &Endpoint) -> bool {
            false
        }
    }

    proptest! {
        #[test]
        fn blocks_that_are_remembered_are_those_that_would_be_written(
            mut exchanges in proptest::collection::vec(any_exchange(), 3),
            heads in any::<[Option<prop::sample::Index>; 3]>(),
            order in proptest::collection::vec(
                (0..3_usize, prop_oneof![Just(128_usize), 0..40_usize], prop_oneof![Just(65_535_usize), 0..20_usize]),
                1..40,
            ),
            workload in any::<bool>(),
            crowded in any::<bool>(),
        ) {
            let layout = if workload { Layout::Workload } else { Layout::Agent };
            let first = exchanges[0].clone();
            for (exchange, head) in exchanges.iter_mut().zip(heads) {
                if let Some(head) = head.map(|head| head.get(&HEADS)) {
                    *exchange = first.clone();
                    exchange.request.head = RequestHead::parse(head.as_bytes()).expect("it is one");
                }
            }
            let (mut encoder, crowd) = (SpanEncoder::default(), Crowd::default());
            let lookup: &dyn EndpointLookup = if crowded { &crowd } else { &NoNames };
            for (number, count, length) in order {
                let settings = SpanSettings {
                    attribute_count_limit: count,
                    attribute_value_length_limit: length,
                    layout,
                    ..SpanSettings::default()
                };
                let exchange = exchanges.get(number).expect("there are three");
                SpanBuilder::new(settings).drafts(exchange, &NoAddresses, lookup, &mut |draft| {
                    let (mut remembered, mut anew) = (Vec::new(), Vec::new());
                    encoder.append(draft, &mut remembered);
                    SpanEncoder::default().append(draft, &mut anew);
                    assert_eq!(remembered, anew);
                });
            }
        }

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
                let mut encoder = SpanEncoder::default();
                encoder.append(draft, &mut at_once);
                let span = draft.to_span();
                assert!(span.attributes.len() <= count);
                encoder.append(&Draft::from(span), &mut listed);
                assert_eq!(at_once, listed);
                seen += 1;
            });
            prop_assert_eq!(seen, 1);
        }
    }
}
