//! What the core does with HTTP behind PROXY headers and SOCKS handshakes, from the packets on.

mod support;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use support::frames::in_gtp_u;
use support::{ACK, Conversation, Random, Side, reorder, run, say};

const GET: &str = "GET /a HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const PROXY_V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb";
const SOCKS5_HELLO: &[u8] = &[5, 2, 0, 2];
const SOCKS5_REQUEST: &[u8] = b"\x05\x01\0\x03\x04shop\0\x50";
const SOCKS5_REPLY: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0x9c, 0x40];
const SOCKS4_REPLY: &[u8] = &[0, 0x5a, 0, 80, 10, 0, 0, 1];

/// What is said before HTTP, turn by turn.
type Turns = Vec<(Side, &'static [u8])>;

fn preambles() -> Vec<(&'static str, Turns)> {
    let socks4 = |request| vec![(Side::Client, request), (Side::Server, SOCKS4_REPLY)];
    vec![
        ("PROXY version 1", vec![(Side::Client, PROXY_V1)]),
        ("PROXY version 2", vec![(Side::Client, PROXY_V2)]),
        ("SOCKS 4", socks4(b"\x04\x01\0\x50\x0a\0\0\x01me\0")),
        ("SOCKS 4a", socks4(b"\x04\x01\0\x50\0\0\0\x01me\0shop\0")),
        (
            "SOCKS 5",
            vec![
                (Side::Client, SOCKS5_HELLO),
                (Side::Server, &[5, 0]),
                (Side::Client, SOCKS5_REQUEST),
                (Side::Server, SOCKS5_REPLY),
            ],
        ),
        (
            "SOCKS 5 with a password",
            vec![
                (Side::Client, SOCKS5_HELLO),
                (Side::Server, &[5, 2]),
                (Side::Client, b"\x01\x02me\x06secret"),
                (Side::Server, &[1, 0]),
                (Side::Client, SOCKS5_REQUEST),
                (Side::Server, SOCKS5_REPLY),
            ],
        ),
    ]
}

fn opened(conversation: Conversation, turns: &Turns) -> Conversation {
    turns.iter().fold(conversation.handshake(), |conversation, (side, bytes)| conversation.say(*side, bytes))
}

#[test]
fn http_is_found_behind_every_preamble_whatever_the_cuts() {
    for (name, turns) in preambles() {
        for mss in 1..120 {
            // Either direction may be the one that sorts lower.
            for (client, server) in [("10.1.0.7:41000", "10.1.0.80:80"), ("10.1.0.80:80", "10.1.0.7:41000")] {
                let conversation = opened(Conversation::between(client, server).cut_at(mss), &turns);
                let conversation = conversation.client(GET).server(OK).client(GET).server(OK).close();
                let (exchanges, counters) = run(&conversation.frames);
                assert_eq!(say(&exchanges), ["GET /a 200", "GET /a 200"], "{name} in segments of {mss}");
                let ends = (exchanges[0].client.to_string(), exchanges[0].server.to_string());
                assert_eq!(ends, (client.to_owned(), server.to_owned()), "the addresses are the packets'");
                assert_eq!((counters.http.preambles, counters.http.opaque_connections), (1, 0));
                assert_eq!((counters.http.malformed_heads, counters.http.skipped_bytes), (0, 0));
            }
        }
    }
}

#[test]
fn the_request_is_the_same_behind_a_preamble_as_without() {
    for (name, turns) in preambles() {
        for mss in [7, 1448] {
            let length = |side| turns.iter().filter(|(by, _)| *by == side).map(|(_, bytes)| bytes.len()).sum::<usize>();
            let before = [Side::Client, Side::Server].map(|side| u32::try_from(length(side)).unwrap());
            let behind = opened(Conversation::new().cut_at(mss), &turns).client(GET).server(OK).close();
            let plain = Conversation::new().cut_at(mss).starting_at(1000 + before[0], 5000 + before[1]);
            let plain = plain.handshake().client(GET).server(OK).close();
            let (behind, plain) = (run(&behind.frames).0, run(&plain.frames).0);
            assert_eq!(behind[0].id, plain[0].id, "{name}");
            let sizes = |exchange: &network_agent::exchange::Exchange| {
                let transfers = [exchange.request.transfer, exchange.response.as_ref().unwrap().transfer];
                transfers.map(|transfer| (transfer.wire_bytes, transfer.body_bytes, transfer.packets))
            };
            assert_eq!(sizes(&behind[0]), sizes(&plain[0]), "{name} in segments of {mss}");
        }
    }
}

#[test]
fn a_client_that_does_not_wait_is_understood() {
    let all = [SOCKS5_HELLO, SOCKS5_REQUEST, GET.as_bytes()].concat();
    let answers = [&[5, 0], SOCKS5_REPLY, OK.as_bytes()].concat();
    let (exchanges, counters) = run(&Conversation::new().handshake().client(all).server(answers).close().frames);
    assert_eq!((say(&exchanges), counters.http.preambles), (vec!["GET /a 200".to_owned()], 1));
    for header in [PROXY_V1, PROXY_V2] {
        let both = [header, GET.as_bytes()].concat();
        let (exchanges, counters) = run(&Conversation::new().handshake().client(both).server(OK).close().frames);
        assert_eq!((say(&exchanges), counters.http.preambles), (vec!["GET /a 200".to_owned()], 1));
        assert_eq!(exchanges[0].request.transfer.wire_bytes, GET.len() as u64);
    }
}

#[test]
fn requests_that_begin_like_a_preamble_keep_every_packet() {
    for method in ["POST", "PUT", "PROPFIND", "PRI", "PROXY"] {
        for empty in ["", "\r\n", "\r\n\r\n"] {
            let text = format!("{empty}{method} /a HTTP/1.1\r\n\r\n");
            for mss in 1..40 {
                let conversation = Conversation::new().cut_at(mss).handshake().client(&text).server(OK).close();
                let (exchanges, counters) = run(&conversation.frames);
                assert_eq!(say(&exchanges), [format!("{method} /a 200")], "segments of {mss}");
                assert_eq!(counters.http.preambles, 0);
                if empty.is_empty() {
                    let transfer = exchanges[0].request.transfer;
                    assert_eq!(u64::from(transfer.packets), text.len().div_ceil(mss) as u64, "segments of {mss}");
                    assert_eq!(transfer.wire_bytes, text.len() as u64);
                }
            }
        }
    }
}

#[test]
fn what_is_no_http_behind_a_preamble_is_opaque() {
    for (name, turns) in preambles() {
        let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
        let conversation = opened(Conversation::new(), &turns).client(hello).server(hello).close();
        let (exchanges, counters) = run(&conversation.frames);
        assert_eq!((exchanges.len(), counters.http.opaque_connections), (0, 1), "{name}");
        let conversation = opened(Conversation::new(), &turns).client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert_eq!(run(&conversation.frames).1.http.http2_connections, 1, "{name}");
    }
}

#[test]
fn a_refused_request_of_socks_is_opaque() {
    let refusals: [(&[u8], &[u8]); 3] = [
        (SOCKS5_HELLO, &[5, 0xff]),
        (b"\x04\x01\0\x50\x0a\0\0\x01me\0", &[0, 0x5b, 0, 0, 0, 0, 0, 0]),
        (&[5, 1, 0, 5, 1, 0, 1, 10, 0, 0, 1, 0, 80], &[5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0]),
    ];
    for (client, server) in refusals {
        let (exchanges, counters) = run(&Conversation::new().handshake().client(client).server(server).close().frames);
        assert_eq!((exchanges.len(), counters.http.opaque_connections), (0, 1), "{client:?}");
    }
}

#[test]
fn other_protocols_that_begin_with_the_same_byte_are_opaque_at_once() {
    let others: [&[u8]; 6] = [
        b"\x05\x00\x0b\x03\x10\0\0\0\x48\0\0\0",
        b"\x04\x00\0\x01\x05\0\0\0",
        b"\x05\x01\x07hello",
        b"\r\n\r\n\0\r\nQUIE",
        b"PASS secret\r\n",
        b"PROXY\r\n",
    ];
    for other in others {
        let conversation = Conversation::new().handshake().client(other).client(GET).server(OK);
        let (exchanges, counters) = run(&conversation.frames);
        assert_eq!((exchanges.len(), counters.http.opaque_connections), (0, 1), "{other:?}");
    }
}

#[test]
fn every_prefix_and_every_hole_of_a_capture_gives_true_pairs_or_none() {
    for (name, turns) in preambles() {
        let conversation = opened(Conversation::new().cut_at(9), &turns).client(GET).server(OK).close();
        let frames = &conversation.frames;
        for place in 0..frames.len() {
            let without = [&frames[..place], &frames[place + 1..]].concat();
            for frames in [&frames[..place], &frames[place..], &without] {
                let (exchanges, _) = run(frames);
                assert!(exchanges.len() <= 1, "{name}");
                let heads = exchanges.iter().map(|exchange| exchange.request.head.target());
                assert!(heads.clone().all(|target| target == b"/a"), "{name} without {place}");
                let statuses = exchanges.iter().filter_map(|exchange| exchange.response.as_ref());
                assert!(statuses.clone().all(|response| response.head.status() == 200), "{name} without {place}");
            }
        }
    }
}

#[test]
fn a_preamble_that_is_never_finished_is_none() {
    for (name, turns) in preambles() {
        for end in 1..turns[0].1.len() {
            let conversation = Conversation::new().handshake().client(&turns[0].1[..end]).close();
            let (exchanges, counters) = run(&conversation.frames);
            assert_eq!((exchanges.len(), counters.http.malformed_heads), (0, 0), "{end} bytes of {name}");
        }
    }
}

#[test]
fn http_joined_behind_a_handshake_is_found_as_on_any_connection() {
    for (name, turns) in preambles() {
        let conversation = Conversation::new();
        let skipped = 3 + turns.len().saturating_sub(1);
        let conversation = opened(conversation, &turns).ack(Side::Server).client(GET).server(OK).client(GET).server(OK);
        let (exchanges, counters) = run(&conversation.frames[skipped..]);
        assert!(say(&exchanges).iter().all(|line| line == "GET /a 200") && !exchanges.is_empty(), "{name}");
        assert_eq!(counters.http.preambles, 0);
    }
}

#[test]
fn a_segment_sent_again_within_a_preamble_changes_nothing() {
    let conversation = Conversation::new().handshake().client(&SOCKS5_HELLO[..2]);
    let conversation = conversation.raw(Side::Client, -2, ACK, &SOCKS5_HELLO[..2]).client(&SOCKS5_HELLO[2..]);
    let conversation = conversation.server([5, 0]).client(SOCKS5_REQUEST).raw(Side::Server, -2, ACK, &[5, 0]);
    let conversation = conversation.server(SOCKS5_REPLY).client(GET).server(OK).close();
    assert_eq!(say(&run(&conversation.frames).0), ["GET /a 200"]);
}

#[test]
fn gtp_u_is_seen_through() {
    let mut conversation = Conversation::new().handshake().client(PROXY_V2).client(GET).server(OK).close();
    for frame in &mut conversation.frames {
        frame.data = in_gtp_u(&frame.data);
        frame.wire_length = u32::try_from(frame.data.len()).unwrap();
    }
    assert_eq!(say(&run(&conversation.frames).0), ["GET /a 200"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(20_261_124), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_does_not_matter(which in 0..preambles().len(), mss in 1..60_usize, seed in any::<u64>()) {
        let (_, turns) = preambles().swap_remove(which);
        let conversation = opened(Conversation::new().cut_at(mss), &turns).client(GET).server(OK);
        let mut frames = conversation.frames;
        // The handshake of TCP stays in front: without it the connection would be a joined one.
        reorder(&mut frames[3..], 3, &mut Random(seed));
        prop_assert_eq!(say(&run(&frames).0), ["GET /a 200"]);
    }
}

#[test]
fn a_request_in_the_same_segment_as_its_preamble_has_its_own_place() {
    let apart = Conversation::new().handshake().client(PROXY_V1).client(GET).server(OK).close();
    let together = Conversation::new().handshake().client([PROXY_V1, GET.as_bytes()].concat()).server(OK).close();
    let (apart, together) = (run(&apart.frames).0, run(&together.frames).0);
    assert_eq!((apart.len(), together.len()), (1, 1));
    assert_eq!(apart[0].id, together[0].id, "the identity holds where the request begins");
}
