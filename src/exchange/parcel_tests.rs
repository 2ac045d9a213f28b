//! What is packed is the same when it is unpacked, whatever was in the memory before.

use proptest::prelude::*;

use super::*;

fn any_socket() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![any::<([u8; 4], u16)>().prop_map(SocketAddr::from), any::<([u16; 8], u16)>().prop_map(SocketAddr::from),]
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..1000, u64::from(u32::MAX) - 2..u64::from(u32::MAX) + 3, any::<u64>()]
}

fn any_transfer() -> impl Strategy<Value = Transfer> {
    ([any_number(), any_number(), any_number(), any_number()], any::<u32>()).prop_map(|(numbers, packets)| {
        let [first, last, body_bytes, wire_bytes] = numbers;
        let at = Timestamp::from_nanos;
        Transfer { first_byte: at(first), last_byte: at(last), body_bytes, wire_bytes, packets }
    })
}

fn any_response() -> impl Strategy<Value = ResponsePart> {
    (any_transfer(), 100_u16..1000, "[ -~]{0,60}").prop_map(|(transfer, status, value)| {
        let text = format!("HTTP/1.1 {status} OK\r\nServer: {value}\r\nContent-Length: 5\r\n\r\n");
        ResponsePart { head: ResponseHead::parse(text.as_bytes()).unwrap(), transfer }
    })
}

prop_compose! {
    fn any_exchange()(
        id in any::<[u8; 32]>(),
        request_key in any::<u64>(),
        sockets in prop::array::uniform4(any_socket()),
        (is_translated, incomplete) in any::<(bool, bool)>(),
        transfer in any_transfer(),
        response in prop::option::of(any_response()),
        path in "[a-z]{0,60}",
        outcome in prop::sample::select(&OUTCOMES[..]),
        (interface, retransmits) in any::<(u32, u32)>(),
        (ended, seen) in (any_number(), any_number()),
        rtt in prop::option::of(any_number()),
    ) -> Exchange {
        let [client, server, other, far] = sockets;
        let (ended, seen) = (Timestamp::from_nanos(ended), Timestamp::from_nanos(seen));
        let head = format!("GET /{path} HTTP/1.0\r\nHost: a\r\nAccept: {path}\r\n\r\n");
        Exchange {
            id: ExchangeId(id),
            request_key,
            client,
            server,
            translated: is_translated.then(|| Box::new(Translated { client: other, server: far, seen })),
            interface,
            request: RequestPart { head: RequestHead::parse(head.as_bytes()).unwrap(), transfer, ended },
            response,
            outcome,
            incomplete,
            retransmits,
            handshake_rtt: rtt.map(Duration::from_nanos),
        }
    }
}

fn is_sound(parcel: &Parcel) -> bool {
    parcel.footprint() == parcel.iter().map(Packed::footprint).sum::<usize>()
}

proptest! {
    #[test]
    fn what_was_packed_is_the_same(exchanges in prop::collection::vec(any_exchange(), 0..6)) {
        let mut parcel = Parcel::default();
        for exchange in &exchanges {
            parcel.push(exchange);
        }
        prop_assert_eq!(parcel.len(), exchanges.len());
        prop_assert_eq!(&parcel.exchanges(), &exchanges);
        let mut unpacked = Exchange::empty();
        for (packed, exchange) in parcel.iter().zip(&exchanges) {
            packed.unpack(&mut unpacked);
            prop_assert_eq!(&unpacked, exchange);
            prop_assert_eq!((packed.request_key(), packed.id()), (exchange.request_key, exchange.id));
            prop_assert_eq!((packed.start(), packed.end()), (exchange.start(), exchange.end()));
            prop_assert_eq!(packed.has_response(), exchange.response.is_some());
        }
        prop_assert!(is_sound(&parcel));
    }

    /// Against a plain list.
    #[test]
    fn is_a_list(
        steps in prop::collection::vec((0_u8..6, any_exchange(), any::<prop::sample::Index>()), 1..20),
    ) {
        let (mut parcel, mut twin) = (Parcel::default(), Vec::<Exchange>::new());
        for (step, exchange, index) in steps {
            let place = index.index(twin.len() + 1);
            match step {
                0 if place < twin.len() => {
                    parcel.replace(place, &exchange);
                    twin[place] = exchange;
                }
                1 => {
                    parcel.truncate(place);
                    twin.truncate(place);
                }
                2 if place < twin.len() => {
                    parcel.swap(twin.len() - 1, place);
                    let last = twin.len() - 1;
                    twin.swap(place, last);
                }
                3 => {
                    prop_assert_eq!(parcel.part(place..twin.len()).exchanges(), &twin[place..]);
                    let mut other = Parcel::with_room_of(&parcel);
                    other.push(&exchange);
                    other.append_all(&mut parcel);
                    prop_assert!(parcel.is_empty() && is_sound(&parcel));
                    parcel = other;
                    twin.insert(0, exchange);
                }
                _ => {
                    parcel.push(&exchange);
                    twin.push(exchange);
                }
            }
            prop_assert_eq!(&parcel.exchanges(), &twin);
            prop_assert!(is_sound(&parcel));
        }
    }
}

#[test]
fn what_is_given_up_leaves_no_memory_behind() {
    let text = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(500));
    let mut exchange = Exchange::empty();
    exchange.request.head = RequestHead::parse(text.as_bytes()).unwrap();
    let mut parcel = Parcel::default();
    (0..100).for_each(|_| parcel.push(&exchange));
    for _ in 0..1000 {
        parcel.replace(7, &exchange);
    }
    assert!(parcel.bytes.len() < 101 * 700, "an equal one stands where the other was");
    let mut longer = exchange.clone();
    for length in 0..2000 {
        let text = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(length / 2 * (length % 2)));
        longer.request.head = RequestHead::parse(text.as_bytes()).unwrap();
        parcel.replace(7, &longer);
        assert!(parcel.bytes.capacity() < 2 * parcel.footprint() + 2 * Parcel::SLACK, "nothing piles up");
        assert_eq!(parcel.get(7).map(Packed::to_exchange), Some(longer.clone()));
    }
    parcel.truncate(10);
    assert!(parcel.bytes.capacity() < 15 * 700, "{}", parcel.bytes.capacity());
}
