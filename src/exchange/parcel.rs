//! Exchanges → one piece of memory: how they go from thread to thread and wait.
//!
//! An exchange in memory is a large struct with allocations of its own. Here it is its numbers, most of them in four bytes,
//! and its heads behind them: half as large, in order of arrival, and without an allocation. Whoever needs more than
//! [`Packed`] tells unpacks it into an [`Exchange`] that it uses again and again.
//!
//! ```text
//! key 8 · id 32 · start 8 · flags 2 · numbers, 4 or 8 each · sockets, 6 or 18 each · heads
//! ```
//!
//! Of the numbers the first is the time of its end; five are its own, five of each transfer. All times are since its start, and
//! wrap around where a capture goes back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{Exchange, ExchangeId, Outcome, RequestPart, ResponsePart, Transfer, Translated};
use crate::http::packed::take;
use crate::http::{RequestHead, ResponseHead};
use crate::time::Timestamp;

const HAS_RESPONSE: u16 = 1;
const IS_TRANSLATED: u16 = 1 << 1;
const IS_INCOMPLETE: u16 = 1 << 2;
const HAS_RTT: u16 = 1 << 3;
/// Numbers have eight bytes: one is too large for four.
const IS_WIDE: u16 = 1 << 4;
/// The first of the bits that tell which sockets are of IPv6.
const IS_V6: u16 = 1 << 5;
/// Where the outcome begins.
const OUTCOME: u32 = 12;
const OUTCOMES: [Outcome; 6] = [
    Outcome::Complete,
    Outcome::ConnectionReset,
    Outcome::ConnectionClosed,
    Outcome::ResponseIncomplete,
    Outcome::Timeout,
    Outcome::Unknown,
];

/// Exchanges in order of arrival, in one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct Parcel {
    bytes: Vec<u8>,
    /// Where each begins and ends.
    places: Vec<(u32, u32)>,
    /// Of all.
    footprint: usize,
}

/// An exchange in a parcel.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a>(&'a [u8]);

impl Parcel {
    /// Bytes of replaced exchanges that it may have beside half as many as are used.
    const SLACK: usize = 4 << 10;
    /// Bytes by which what replaces another is mostly larger at most.
    const LARGER: usize = 128;
    /// Bytes that it makes room for before they come, and keeps when they are gone.
    const KEPT: usize = 64 << 10;

    /// Room for about as many exchanges and bytes as `other` has.
    pub fn with_room_of(other: &Self) -> Self {
        let bytes = other.bytes.len();
        Self::of_size(other.len(), (bytes + bytes / 16).min(Self::KEPT))
    }

    /// How many exchanges are in it.
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none is.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes that its exchanges hold in memory.
    pub const fn footprint(&self) -> usize {
        self.footprint
    }

    /// Adds `exchange` behind the others.
    pub fn push(&mut self, exchange: &Exchange) {
        let place = self.append(exchange);
        self.places.push(place);
    }

    /// Puts `exchange` in the place of another.
    pub fn replace(&mut self, place: usize, exchange: &Exchange) {
        let Some(old) = self.get(place).map(Packed::footprint) else { return };
        // Of what is larger mostly by a translation's sockets; to grow by itself would double it.
        if self.bytes.capacity() - self.bytes.len() < old + Self::LARGER {
            self.bytes.reserve_exact(self.used() / 2 + Self::SLACK);
        }
        self.footprint -= old;
        let new = self.append(exchange);
        let (Some(held), length) = (self.places.get_mut(place), new.1 - new.0) else { return };
        if length > held.1 - held.0 {
            *held = new;
        } else {
            // Where the other was.
            self.bytes.copy_within(new.0 as usize..new.1 as usize, held.0 as usize);
            self.bytes.truncate(new.0 as usize);
            held.1 = held.0 + length;
        }
        // What is replaced by something larger shall not pile up.
        let used = self.used();
        if self.bytes.len() > used + used / 2 + Self::SLACK {
            self.make_anew(used + used / 2 + Self::SLACK);
        }
    }

    /// The exchange at a place.
    #[inline]
    pub fn get(&self, place: usize) -> Option<Packed<'_>> {
        let (from, to) = self.places.get(place)?;
        self.bytes.get(*from as usize..*to as usize).map(Packed)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = Packed<'_>> {
        (0..self.len()).filter_map(|place| self.get(place))
    }

    /// All, each in memory of its own.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.iter().map(Packed::to_exchange).collect()
    }

    /// Changes the places of two.
    pub fn swap(&mut self, one: usize, other: usize) {
        if one.max(other) < self.len() {
            self.places.swap(one, other);
        }
    }

    /// Gives up all but the first `count`, and the memory of the others, where it is worth it.
    pub fn truncate(&mut self, count: usize) {
        self.places.truncate(count);
        self.footprint = self.iter().map(Packed::footprint).sum();
        self.shrink();
    }

    /// Gives memory back that holds nothing, where that is much.
    pub fn shrink(&mut self) {
        let used = self.used();
        if self.bytes.capacity() > used + used / 2 {
            self.make_anew(used);
        }
    }

    /// Bytes that tell of its exchanges.
    const fn used(&self) -> usize {
        self.footprint - self.len() * Packed::PLACE
    }

    /// The same in memory with room for so many bytes.
    fn make_anew(&mut self, room: usize) {
        let mut anew = Self::of_size(self.len(), room);
        self.iter().for_each(|packed| anew.push_packed(packed));
        *self = anew;
    }

    /// A copy of some of them.
    pub fn part(&self, places: std::ops::Range<usize>) -> Self {
        let mut part = Self::default();
        places.filter_map(|place| self.get(place)).for_each(|packed| part.push_packed(packed));
        part
    }

    /// Moves all of `other` behind its own.
    pub fn append_all(&mut self, other: &mut Self) {
        other.iter().for_each(|packed| self.push_packed(packed));
        other.clear();
    }

    /// Gives up all, and keeps the memory of what is usual.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(Self::KEPT);
        self.places.clear();
        self.footprint = 0;
    }

    fn of_size(count: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), places: Vec::with_capacity(count), footprint: 0 }
    }

    fn push_packed(&mut self, packed: Packed<'_>) {
        let start = self.end();
        self.bytes.extend_from_slice(packed.0);
        self.places.push((start, self.end()));
        self.footprint += packed.footprint();
    }

    /// Where `exchange` is then.
    fn append(&mut self, exchange: &Exchange) -> (u32, u32) {
        let start = self.end();
        pack(exchange, &mut self.bytes);
        let end = self.end();
        self.footprint += (end - start) as usize + Packed::PLACE;
        (start, end)
    }

    /// A parcel is handed over long before it has 4 GiB.
    fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }
}

impl Packed<'_> {
    /// Bytes that a parcel keeps of each beside its own.
    const PLACE: usize = size_of::<(u32, u32)>();

    /// [`Exchange::request_key`].
    #[inline]
    pub fn request_key(self) -> u64 {
        u64::from_le_bytes(self.at(0))
    }

    /// [`Exchange::id`].
    #[inline]
    pub fn id(self) -> ExchangeId {
        ExchangeId(self.at(8))
    }

    /// [`Exchange::start`].
    #[inline]
    pub fn start(self) -> Timestamp {
        Timestamp::from_nanos(u64::from_le_bytes(self.at(40)))
    }

    /// [`Exchange::end`].
    #[inline]
    pub fn end(self) -> Timestamp {
        let after = if self.flags() & IS_WIDE == 0 {
            u32::from_le_bytes(self.at(50)).into()
        } else {
            u64::from_le_bytes(self.at(50))
        };
        Timestamp::from_nanos(self.start().as_nanos().wrapping_add(after))
    }

    /// Whether the head of its response was seen.
    #[inline]
    pub fn has_response(self) -> bool {
        self.flags() & HAS_RESPONSE != 0
    }

    /// Bytes that it holds in memory.
    #[inline]
    pub const fn footprint(self) -> usize {
        self.0.len() + Self::PLACE
    }

    /// All of it, in memory of its own.
    pub fn to_exchange(self) -> Exchange {
        let mut exchange = Exchange::empty();
        self.unpack(&mut exchange);
        exchange
    }

    /// Makes `exchange` equal to it, in the memory that `exchange` has.
    pub fn unpack(self, exchange: &mut Exchange) {
        let mut rest = self.0;
        exchange.request_key = u64::from_le_bytes(take(&mut rest));
        exchange.id = ExchangeId(take(&mut rest));
        let start = u64::from_le_bytes(take(&mut rest));
        let flags = u16::from_le_bytes(take(&mut rest));
        let has_response = flags & HAS_RESPONSE != 0;
        let is_wide = flags & IS_WIDE != 0;
        let [_, ended, rtt, retransmits, interface] = take_five(&mut rest, is_wide);
        let sent = take_five(&mut rest, is_wide);
        let answered = if has_response { take_five(&mut rest, is_wide) } else { [0; 5] };
        let at = |after: u64| Timestamp::from_nanos(start.wrapping_add(after));
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let transfer = |[first, last, body_bytes, wire_bytes, packets]: [u64; 5]| Transfer {
            first_byte: at(first),
            last_byte: at(last),
            body_bytes,
            wire_bytes,
            packets: small(packets),
        };
        exchange.interface = small(interface);
        exchange.retransmits = small(retransmits);
        exchange.handshake_rtt = (flags & HAS_RTT != 0).then(|| Duration::from_nanos(rtt));
        exchange.incomplete = flags & IS_INCOMPLETE != 0;
        exchange.outcome = OUTCOMES.get(usize::from(flags >> OUTCOME)).copied().unwrap_or(Outcome::Unknown);
        exchange.request.transfer = transfer(sent);
        exchange.request.ended = at(ended);
        exchange.client = take_socket(&mut rest, flags & IS_V6 != 0);
        exchange.server = take_socket(&mut rest, flags & IS_V6 << 1 != 0);
        exchange.translated = (flags & IS_TRANSLATED != 0).then(|| {
            Box::new(Translated {
                client: take_socket(&mut rest, flags & IS_V6 << 2 != 0),
                server: take_socket(&mut rest, flags & IS_V6 << 3 != 0),
                seen: at(u64::from_le_bytes(take(&mut rest))),
            })
        });
        exchange.request.head.unpack(&mut rest);
        if has_response {
            let response = exchange.response.get_or_insert_with(ResponsePart::empty);
            response.transfer = transfer(answered);
            response.head.unpack(&mut rest);
        } else {
            exchange.response = None;
        }
    }

    #[inline]
    fn flags(self) -> u16 {
        u16::from_le_bytes(self.at(48))
    }

    /// Bytes at a place that each has.
    #[inline]
    fn at<const N: usize>(self, place: usize) -> [u8; N] {
        self.0.get(place..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
}

/// Appends `exchange` to `packed`.
fn pack(exchange: &Exchange, packed: &mut Vec<u8>) {
    let start = exchange.start().as_nanos();
    let after = |at: Timestamp| at.as_nanos().wrapping_sub(start);
    let rtt = exchange.handshake_rtt.map_or(0, |rtt| u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
    let of = |transfer: &Transfer| {
        let [first, last] = [transfer.first_byte, transfer.last_byte].map(after);
        [first, last, transfer.body_bytes, transfer.wire_bytes, transfer.packets.into()]
    };
    let response = exchange.response.as_ref().map_or([0; 5], |response| of(&response.transfer));
    let [end, ended] = [exchange.end(), exchange.request.ended].map(after);
    let own = [end, ended, rtt, exchange.retransmits.into(), exchange.interface.into()];
    let numbers = [own, of(&exchange.request.transfer), response];
    let is_wide = numbers.as_flattened().iter().fold(0, |all, number| all | number) > u32::MAX.into();
    packed.extend_from_slice(&exchange.request_key.to_le_bytes());
    packed.extend_from_slice(&exchange.id.0);
    packed.extend_from_slice(&start.to_le_bytes());
    packed.extend_from_slice(&flags(exchange, is_wide).to_le_bytes());
    push_numbers(&numbers, is_wide, exchange.response.is_some(), packed);
    push_socket(exchange.client, packed);
    push_socket(exchange.server, packed);
    if let Some(there) = &exchange.translated {
        push_socket(there.client, packed);
        push_socket(there.server, packed);
        packed.extend_from_slice(&after(there.seen).to_le_bytes());
    }
    exchange.request.head.pack(packed);
    if let Some(response) = &exchange.response {
        response.head.pack(packed);
    }
}

fn flags(exchange: &Exchange, is_wide: bool) -> u16 {
    let outcome = (0_u16..).zip(OUTCOMES).find(|(_, outcome)| *outcome == exchange.outcome);
    let there = exchange.translated.as_ref().map(|there| (there.client.is_ipv6(), there.server.is_ipv6()));
    let (client, server) = there.unwrap_or_default();
    let are_v6 = [exchange.client.is_ipv6(), exchange.server.is_ipv6(), client, server];
    let conditions = [
        (HAS_RESPONSE, exchange.response.is_some()),
        (IS_TRANSLATED, exchange.translated.is_some()),
        (IS_INCOMPLETE, exchange.incomplete),
        (HAS_RTT, exchange.handshake_rtt.is_some()),
        (IS_WIDE, is_wide),
    ];
    let conditions = conditions.into_iter().chain((0..).map(|place| IS_V6 << place).zip(are_v6));
    conditions.fold(outcome.map_or(0, |(number, _)| number) << OUTCOME, |all, (flag, holds)| {
        all | if holds { flag } else { 0 }
    })
}

fn push_numbers(numbers: &[[u64; 5]; 3], is_wide: bool, has_response: bool, packed: &mut Vec<u8>) {
    let count = if has_response { 15 } else { 10 };
    if is_wide {
        let bytes = numbers.map(|five| five.map(u64::to_le_bytes));
        packed.extend_from_slice(bytes.as_flattened().as_flattened().get(..8 * count).unwrap_or_default());
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "none is larger")]
        let bytes = numbers.map(|five| five.map(|number| (number as u32).to_le_bytes()));
        packed.extend_from_slice(bytes.as_flattened().as_flattened().get(..4 * count).unwrap_or_default());
    }
}

fn take_five(rest: &mut &[u8], is_wide: bool) -> [u64; 5] {
    let mut numbers = [0; 5];
    if is_wide {
        let bytes: [u8; 40] = take(rest);
        numbers.iter_mut().zip(bytes.as_chunks().0).for_each(|(number, bytes)| *number = u64::from_le_bytes(*bytes));
    } else {
        let bytes: [u8; 20] = take(rest);
        let places = numbers.iter_mut().zip(bytes.as_chunks().0);
        places.for_each(|(number, bytes)| *number = u32::from_le_bytes(*bytes).into());
    }
    numbers
}

fn push_socket(socket: SocketAddr, packed: &mut Vec<u8>) {
    let [low, high] = socket.port().to_le_bytes();
    match socket.ip() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            packed.extend_from_slice(&[a, b, c, d, low, high]);
        }
        IpAddr::V6(address) => {
            packed.extend_from_slice(&address.octets());
            packed.extend_from_slice(&[low, high]);
        }
    }
}

fn take_socket(rest: &mut &[u8], is_v6: bool) -> SocketAddr {
    if is_v6 {
        let address = Ipv6Addr::from(take::<16>(rest));
        return SocketAddr::new(address.into(), u16::from_le_bytes(take(rest)));
    }
    let [a, b, c, d, low, high] = take(rest);
    SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_le_bytes([low, high]))
}

impl Exchange {
    /// Of nothing, to be unpacked into.
    pub(crate) fn empty() -> Self {
        let nobody = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        Self {
            id: ExchangeId([0; 32]),
            request_key: 0,
            client: nobody,
            server: nobody,
            translated: None,
            interface: 0,
            request: RequestPart {
                head: RequestHead::empty(),
                transfer: Transfer::default(),
                ended: Timestamp::default(),
            },
            response: None,
            outcome: Outcome::Unknown,
            incomplete: false,
            retransmits: 0,
            handshake_rtt: None,
        }
    }
}

impl ResponsePart {
    const fn empty() -> Self {
        let zero = Timestamp::from_nanos(0);
        let transfer = Transfer { first_byte: zero, last_byte: zero, body_bytes: 0, wire_bytes: 0, packets: 0 };
        Self { head: ResponseHead::empty(), transfer }
    }
}

#[cfg(test)]
#[path = "parcel_tests.rs"]
mod tests;
