//! What the core does with the packets of known conversations, situation by situation.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step is a failed test")]

mod support;

use std::time::Duration;

use network_agent::exchange::{Exchange, Outcome};
use network_agent::packet::LinkType;
use network_agent::pipeline::PipelineConfig;
use network_agent::time::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use support::frames::{in_fragments, in_vxlan, tagged};
use support::{ACK, Conversation, FIN, Frame, Random, SYN, Side, reorder, run, run_with, say, snap};

const GET: &str = "GET /a HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn simple() -> Conversation {
    Conversation::new().handshake().client(GET).server(OK).ack(Side::Client)
}

fn said(conversation: &Conversation) -> Vec<String> {
    say(&run(&conversation.frames).0)
}

fn request(number: usize) -> String {
    format!("GET /{number} HTTP/1.1\r\n\r\n")
}

fn response(number: usize) -> String {
    format!("HTTP/1.1 {} X\r\nContent-Length: 3\r\n\r\nabc", 210 + number)
}

/// `/n` must have the status 210 + n.
fn assert_true_pairs(exchanges: &[Exchange]) {
    for exchange in exchanges {
        let number: u16 = String::from_utf8_lossy(&exchange.request.head.target()[1..]).parse().unwrap();
        if let Some(response) = &exchange.response {
            assert_eq!(response.head.status(), 210 + number, "{:?}", say(exchanges));
        }
    }
}

#[test]
fn every_link_type_and_both_families_give_the_same_exchange() {
    let links =
        [LinkType::Ethernet, LinkType::LinuxSll, LinkType::LinuxSll2, LinkType::Raw, LinkType::Null, LinkType::Loop];
    for link in links {
        for (client, server) in [("10.0.0.1:4000", "10.0.0.2:80"), ("[fd00::1]:4000", "[fd00::2]:80")] {
            let conversation =
                Conversation::between(client, server).on(link).handshake().client(GET).server(OK).close();
            let (exchanges, _) = run(&conversation.frames);
            assert_eq!(say(&exchanges), ["GET /a 200"], "{link:?}");
            assert_eq!(
                (exchanges[0].client.to_string(), exchanges[0].server.to_string()),
                (client.into(), server.into())
            );
        }
    }
}

#[test]
fn tags_tunnels_and_fragments_are_seen_through() {
    let plain = simple();
    for wrap in
        [|frame: &[u8]| tagged(frame, &[7]), |frame: &[u8]| tagged(frame, &[7, 9]), |frame: &[u8]| in_vxlan(frame)]
    {
        let mut frames = plain.frames.clone();
        for frame in &mut frames {
            frame.data = wrap(&frame.data);
            frame.wire_length = u32::try_from(frame.data.len()).unwrap();
        }
        assert_eq!(say(&run(&frames).0), ["GET /a 200"]);
    }
    let mut frames = Vec::new();
    for frame in &plain.frames {
        if frame.data.len() < 80 {
            frames.push(frame.clone());
            continue;
        }
        let mut parts = in_fragments(&frame.data, 24).map(|data| Frame { data, ..frame.clone() });
        parts.reverse();
        frames.extend(parts.map(|part| Frame { wire_length: u32::try_from(part.data.len()).unwrap(), ..part }));
    }
    assert_eq!(say(&run(&frames).0), ["GET /a 200"]);
}

#[test]
fn sizes_times_and_packets_are_exact() {
    let body = "x".repeat(3000);
    let conversation = Conversation::new()
        .handshake()
        .client("POST /up HTTP/1.1\r\nContent-Length: 6\r\n\r\nabcdef")
        .wait(40_000_000)
        .server(format!("HTTP/1.1 201 Created\r\nContent-Length: 3000\r\n\r\n{body}"))
        .close();
    let (exchanges, _) = run(&conversation.frames);
    let at = |frame: usize| Timestamp::from_nanos(conversation.frames[frame].at);
    let request = exchanges[0].request.transfer;
    let response = exchanges[0].response.as_ref().unwrap().transfer;
    assert_eq!((request.first_byte, request.last_byte), (at(3), at(3)));
    assert_eq!((response.first_byte, response.last_byte), (at(4), at(6)));
    assert_eq!((request.body_bytes, request.wire_bytes, request.packets), (6, 46, 1));
    assert_eq!((response.body_bytes, response.wire_bytes, response.packets), (3000, 3046, 3));
    assert_eq!(exchanges[0].handshake_rtt, Some(Duration::from_millis(2)));
    assert_eq!((exchanges[0].retransmits, exchanges[0].incomplete), (0, false));
}

#[test]
fn every_cut_gives_the_same_exchanges_and_ids() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n";
    let talk = |mss: usize| {
        let conversation =
            Conversation::new().cut_at(mss).handshake().client(GET).server(chunked).client(GET).server(OK);
        let (exchanges, _) = run(&conversation.close().frames);
        exchanges.iter().map(|exchange| (exchange.id, say(std::slice::from_ref(exchange)))).collect::<Vec<_>>()
    };
    let whole = talk(1448);
    assert_eq!(whole.len(), 2);
    for mss in 1..90 {
        assert_eq!(talk(mss), whole, "segments of {mss}");
    }
}

#[test]
fn every_prefix_of_a_capture_gives_a_prefix_of_the_truth() {
    let mut conversation = Conversation::new().cut_at(20).handshake();
    for number in 0..4 {
        conversation = conversation.client(request(number)).server(response(number));
    }
    for end in 0..conversation.frames.len() {
        assert_true_pairs(&run(&conversation.frames[..end]).0);
        assert_true_pairs(&run(&conversation.frames[end..]).0);
    }
}

#[test]
fn order_copies_and_overlaps_do_not_matter() {
    let mut frames = Conversation::new().cut_at(7).handshake().client(GET).server(OK).close().frames;
    let plain = say(&run(&frames).0);
    for seed in 0..200 {
        let mut shuffled = frames.clone();
        reorder(&mut shuffled[3..], 4, &mut Random(seed));
        assert_eq!(say(&run(&shuffled).0), plain, "seed {seed}");
    }
    let copies: Vec<Frame> = frames.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
    let (exchanges, counters) = run(&copies);
    assert_eq!(say(&exchanges), plain);
    assert!(counters.tcp.retransmits > 0 && exchanges[0].retransmits > 0);
    for copy in frames.clone() {
        frames.push(Frame { interface: 9, ..copy });
    }
    frames.sort_by_key(|frame| frame.at);
    let (exchanges, counters) = run(&frames);
    assert_eq!((say(&exchanges), exchanges[0].retransmits), (plain, 0));
    assert!(counters.tcp.duplicates > 0);
}

#[test]
fn a_join_in_the_middle_finds_the_next_exchange() {
    let conversation = Conversation::new()
        .handshake()
        .client(request(0))
        .server(format!("HTTP/1.1 200 X\r\nContent-Length: 6000\r\n\r\n{}", "y".repeat(6000)))
        .client(request(1))
        .server(response(1));
    assert_eq!(say(&run(&conversation.frames[5..]).0), ["GET /1 211"]);
}

#[test]
fn sequence_numbers_may_wrap_anywhere() {
    for back in 0..120 {
        let start = 0_u32.wrapping_sub(back);
        let conversation = Conversation::new().starting_at(start, start).cut_at(11).handshake().client(GET).server(OK);
        assert_eq!(said(&conversation.close()), ["GET /a 200"], "{back} before the wrap");
    }
}

#[test]
fn probes_change_nothing() {
    let conversation = Conversation::new()
        .handshake()
        .client(GET)
        .raw(Side::Client, -1, ACK, b"\0")
        .raw(Side::Client, -1, ACK, b"")
        .server(OK)
        .raw(Side::Server, -1, ACK, b"\0");
    let (exchanges, counters) = run(&conversation.frames);
    assert_eq!((say(&exchanges), counters.tcp.retransmits), (vec!["GET /a 200".to_owned()], 0));
}

#[test]
fn data_may_come_with_syn_and_with_fin() {
    let conversation = Conversation::new()
        .raw(Side::Client, -1, SYN, GET.as_bytes())
        .taken(Side::Client, GET.len())
        .raw(Side::Server, -1, SYN | ACK, b"")
        .raw(Side::Server, 0, FIN | ACK, OK.as_bytes());
    assert_eq!(said(&conversation), ["GET /a 200"]);
}

#[test]
fn a_refused_fast_open_is_sent_again() {
    let conversation = Conversation::new()
        .raw(Side::Client, -1, SYN, GET.as_bytes())
        .raw(Side::Server, -1, SYN | ACK, b"")
        .client(GET)
        .server(OK);
    assert_eq!(said(&conversation), ["GET /a 200"]);
}

#[test]
fn a_zero_window_probe_is_sent_again_with_what_follows() {
    let (head, body) = OK.split_at(OK.len() - 5);
    let conversation = Conversation::new()
        .handshake()
        .client(GET)
        .server(head)
        .raw(Side::Server, 0, ACK, &body.as_bytes()[..1])
        .raw(Side::Server, 0, ACK, &body.as_bytes()[..1])
        .ack(Side::Client)
        .server(body)
        .client(GET)
        .server(OK);
    let (exchanges, counters) = run(&conversation.frames);
    assert_eq!(say(&exchanges), ["GET /a 200", "GET /a 200"]);
    assert_eq!(exchanges[0].response.as_ref().unwrap().transfer.body_bytes, 5);
    assert_eq!((counters.http.malformed_heads, counters.tcp.bytes), (0, 2 * (GET.len() + OK.len()) as u64));
}

#[test]
fn a_long_poll_of_minutes_still_pairs() {
    let conversation = Conversation::new().handshake().client(GET).wait(590_000_000_000).server(OK);
    assert_eq!(said(&conversation), ["GET /a 200"]);
}

#[test]
fn a_connection_that_was_idle_for_long_goes_on() {
    let conversation = Conversation::new().handshake().wait(40_000_000_000).client(request(0)).server(response(0));
    let conversation = conversation.wait(360_000_000_000).client(request(1)).server(response(1));
    assert_eq!(said(&conversation), ["GET /0 210", "GET /1 211"]);
}

#[test]
fn a_body_longer_than_all_sequence_numbers_is_counted() {
    const SEGMENT: usize = 1 << 20;
    const SEGMENTS: usize = 5_000;
    const HEADERS: usize = 14 + 20 + 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SEGMENT * SEGMENTS);
    let mut conversation = Conversation::new().handshake().client(GET).server(head);
    conversation.step = 10_000;
    for number in 0..SEGMENTS {
        conversation = conversation.raw(Side::Server, 0, ACK, b"x").taken(Side::Server, SEGMENT);
        // All but its first byte was cut away; of a packet larger than its length field can say, only the wire tells.
        let frame = conversation.frames.last_mut().unwrap();
        frame.data[16..18].fill(0);
        frame.wire_length = u32::try_from(HEADERS + SEGMENT).unwrap();
        if number % 8 == 0 {
            conversation = conversation.ack(Side::Client);
        }
    }
    let (exchanges, _) = run(&conversation.client(request(1)).server(response(1)).frames);
    assert_eq!(say(&exchanges), ["GET /a 200 !", "GET /1 211"]);
    assert_eq!(exchanges[0].response.as_ref().unwrap().transfer.body_bytes, (SEGMENT * SEGMENTS) as u64);
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let conversation = Conversation::new().handshake().client(GET).fin(Side::Client).server(OK).fin(Side::Server);
    assert_eq!(said(&conversation), ["GET /a 200"]);
}

#[test]
fn each_ending_is_told_apart() {
    let asked = || Conversation::new().handshake().client(GET);
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhello";
    let cases: [(Conversation, &str); 8] = [
        (asked().fin(Side::Server), "GET /a - connection_closed"),
        (asked().rst(Side::Server), "GET /a - connection_reset"),
        (asked().rst(Side::Client), "GET /a - connection_reset"),
        (asked().server(half).fin(Side::Server), "GET /a 200 response_incomplete"),
        (asked().server(half).rst(Side::Server), "GET /a 200 connection_reset"),
        (asked().server(until_close).fin(Side::Server), "GET /a 200"),
        (asked().server(until_close).rst(Side::Server), "GET /a 200 connection_reset"),
        (asked(), "GET /a - !"),
    ];
    for (conversation, wanted) in cases {
        assert_eq!(said(&conversation), [wanted]);
    }
    let late = asked().wait(601_000_000_000);
    let mut frames = late.frames;
    let mut other = Conversation::between("10.9.9.9:1", "10.9.9.8:2").handshake();
    other.frames.iter_mut().for_each(|frame| frame.at += 601_000_000_000);
    frames.extend(other.frames);
    assert_eq!(say(&run(&frames).0), ["GET /a - timeout"]);
}

#[test]
fn reused_ports_are_a_new_connection() {
    let first = Conversation::new().handshake().client(GET);
    let mut second =
        Conversation::new().starting_at(900_000, 800_000).handshake().client(request(7)).server(response(7));
    second.frames.iter_mut().for_each(|frame| frame.at += 1_000_000_000);
    let frames = [first.frames, second.frames].concat();
    assert_eq!(say(&run(&frames).0), ["GET /a - !", "GET /7 217"]);
}

#[test]
fn what_the_snap_length_cuts_from_a_body_still_counts() {
    let mut frames = Conversation::new()
        .handshake()
        .client(GET)
        .server(format!("HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{}", "z".repeat(4000)))
        .client(GET)
        .server(OK)
        .frames;
    snap(&mut frames, 128);
    let (exchanges, _) = run(&frames);
    assert_eq!(say(&exchanges), ["GET /a 200 !", "GET /a 200"]);
    assert_eq!(exchanges[0].response.as_ref().unwrap().transfer.body_bytes, 4000);
}

#[test]
fn a_head_that_is_cut_ends_as_incomplete() {
    let long = format!("GET /long HTTP/1.1\r\nX: {}\r\n\r\n", "h".repeat(400));
    let mut frames = Conversation::new().handshake().client(long).server(OK).client(GET).server(OK).frames;
    snap(&mut frames, 150);
    let told = say(&run(&frames).0);
    assert_eq!(told, ["GET /long 200 !", "GET /a 200"]);
}

#[test]
fn a_lost_body_segment_is_a_hole_and_a_lost_head_shifts_nothing() {
    let mut conversation = Conversation::new().handshake();
    for number in 0..5 {
        conversation = conversation.client(request(number)).server(response(number)).wait(300_000_000);
    }
    for lost in 3..conversation.frames.len() {
        let mut frames = conversation.frames.clone();
        frames.remove(lost);
        let (exchanges, _) = run(&frames);
        assert_true_pairs(&exchanges);
        let pairs = exchanges.iter().filter(|exchange| exchange.response.is_some()).count();
        assert!(pairs >= 3, "frame {lost} lost: {:?}", say(&exchanges));
    }
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{}", "b".repeat(9000));
    let mut frames =
        Conversation::new().handshake().client(GET).server(long).ack(Side::Client).client(GET).server(OK).frames;
    frames.remove(6);
    let (exchanges, counters) = run(&frames);
    assert_eq!(say(&exchanges), ["GET /a 200 !", "GET /a 200"]);
    assert_eq!(exchanges[0].response.as_ref().unwrap().transfer.body_bytes, 9000);
    assert_eq!(counters.tcp.missing_bytes, 1448);
}

#[test]
fn pipelined_requests_and_responses_in_one_segment_are_paired() {
    let requests: String = (0..6).map(request).collect();
    let responses: String = (0..6).map(response).collect();
    let (exchanges, _) = run(&Conversation::new().handshake().client(requests).server(responses).close().frames);
    assert_eq!(exchanges.len(), 6);
    assert_true_pairs(&exchanges);
}

#[test]
fn every_kind_of_framing_keeps_the_next_exchange_in_place() {
    let cases: [(&str, &str, &str); 12] = [
        ("HEAD /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", "HEAD /a 200"),
        ("GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n", "GET /a 204"),
        ("GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n", "GET /a 304"),
        (
            "GET /a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "GET /a 200",
        ),
        ("GET /a HTTP/1.1\n\n", "HTTP/1.1 200\nContent-Length: 2\n\nok", "GET /a 200"),
        ("\r\n\r\nGET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", "GET /a 200"),
        ("PURGE /a HTTP/1.1\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "PURGE /a 200"),
        ("GET http://h/a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET http://h/a 200"),
        ("OPTIONS * HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "OPTIONS * 200"),
        (
            "POST /a HTTP/1.1\r\nContent-Length: 40\r\n\r\nGET /not HTTP/1.1\r\nHost: not a request\r\n\r",
            "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nHTTP/1.1 500 no\r\n\r\n",
            "POST /a 200",
        ),
        (
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5;e\r\nhello\r\n0\r\nT: t\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST /a 200",
        ),
        ("CONNECT h:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", "CONNECT h:1 407"),
    ];
    for (request, response, wanted) in cases {
        let conversation =
            Conversation::new().handshake().client(request).server(response).client(GET).server(OK).close();
        assert_eq!(said(&conversation), [wanted, "GET /a 200"], "{request:?}");
    }
}

#[test]
fn continue_is_not_the_answer() {
    let conversation = Conversation::new()
        .handshake()
        .client("PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .server("HTTP/1.1 100 Continue\r\n\r\n")
        .client("body")
        .server("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(said(&conversation), ["PUT /a 201"]);
}

#[test]
fn no_interim_response_is_the_answer_whatever_its_number() {
    for status in [100, 102, 103, 110, 199] {
        let interim = format!("HTTP/1.1 {status} Wait\r\n\r\n");
        let conversation =
            Conversation::new().handshake().client(GET).server(interim).server(OK).client(GET).server(OK);
        assert_eq!(said(&conversation.close()), ["GET /a 200", "GET /a 200"], "{status}");
    }
}

#[test]
fn an_upload_is_no_request_where_the_answer_before_it_may_have_had_no_body() {
    let ends = "\r\nContent-Length: 60\r\n\r\n";
    let whole = Conversation::new()
        .handshake()
        .client(GET)
        .server(OK)
        .client("HEAD /b HTTP/1.1\r\n\r\n")
        .server(format!("HTTP/1.1 210 X{ends}"))
        .client(format!("PUT /c HTTP/1.1\r\nExpect: 100-continue{ends}"))
        .server("HTTP/1.1 100 Continue\r\n\r\n")
        .client("GET /never HTTP/1.1\r\nHost: text in an upload, no request\r\n\r\n");
    let mut frames = whole.frames;
    // The requests are lost: that the answer was one to HEAD nobody can know.
    let lost = [frames.len() - 5, frames.len() - 3];
    lost.iter().rev().for_each(|place| drop(frames.remove(*place)));
    assert_eq!(say(&run(&frames).0), ["GET /a 200"]);
}

#[test]
fn an_upgrade_and_a_tunnel_end_http() {
    for (request, response, wanted) in [
        ("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n", "GET /ws 101"),
        ("CONNECT h:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "CONNECT h:443 200"),
    ] {
        let conversation = Conversation::new().handshake().client(request).server(response).client(GET).server(OK);
        assert_eq!(said(&conversation), [wanted]);
    }
}

#[test]
fn a_tunnel_may_begin_before_its_answer() {
    let connect = "CONNECT h:443 HTTP/1.1\r\n\r\n";
    let upgrade = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
    for early in ["\x16\x03\x01\x02\x00 hello", "GET /inside HTTP/1.1\r\n\r\n"] {
        let apart = Conversation::new().handshake().client(connect).client(early);
        let together = Conversation::new().handshake().client(format!("{connect}{early}"));
        for begun in [apart, together] {
            let opened = begun.clone().server("HTTP/1.1 200 OK\r\n\r\n").client(GET).server(OK);
            assert_eq!(said(&opened), ["CONNECT h:443 200"]);
            let refused = begun.server("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").client(GET).server(OK);
            assert_eq!(said(&refused), ["CONNECT h:443 407", "GET /a 200"]);
        }
    }
    let frames = Conversation::new().handshake().client(upgrade).client("\u{1}\u{5}hello");
    assert_eq!(said(&frames.clone().server("HTTP/1.1 101 Switching\r\n\r\n")), ["GET /ws 101"]);
    let refused = frames.server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").client(GET).server(OK);
    assert_eq!(said(&refused), ["GET /ws 200", "GET /a 200"]);
    let ignored = Conversation::new().handshake().client(upgrade.to_owned() + GET).server(format!("{OK}{OK}"));
    assert_eq!(said(&ignored), ["GET /ws 200", "GET /a 200"], "a client that pipelines");
}

#[test]
fn an_early_refusal_is_paired_with_its_upload() {
    let conversation = Conversation::new()
        .handshake()
        .client(format!("POST /big HTTP/1.1\r\nContent-Length: 90000\r\n\r\n{}", "u".repeat(3000)))
        .server("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .fin(Side::Server)
        .rst(Side::Client);
    let (exchanges, _) = run(&conversation.frames);
    assert_eq!(say(&exchanges), ["POST /big 413"]);
    assert_eq!(exchanges[0].request.transfer.body_bytes, 3000);
    assert_eq!(exchanges[0].outcome, Outcome::Complete);
}

#[test]
fn other_protocols_give_nothing() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (client, server) in [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03", "\x16\x03\x03\x00\x7a\x02\x00\x00\x76"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0-OpenSSH_9.6\r\n"),
        ("EHLO there\r\n", "220 mail ESMTP\r\n"),
        ("*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
        (preface, "\0\0\0\x04\0\0\0\0\0"),
    ] {
        assert_eq!(said(&Conversation::new().handshake().client(client).server(server).close()), Vec::<String>::new());
    }
}

#[test]
fn a_flood_of_connections_is_bounded_and_an_open_exchange_survives_it() {
    let config = PipelineConfig { max_connections: 50, ..PipelineConfig::default() };
    let open = Conversation::new().handshake().client(GET);
    let answer = open.clone().wait(1_000_000_000).server(OK);
    let mut frames = open.frames.clone();
    for port in 1..2000 {
        let mut syn = Conversation::between(&format!("10.66.0.1:{port}"), "10.1.0.80:80");
        syn.push(Side::Client, SYN, b"");
        frames.extend(syn.frames);
    }
    frames.extend(answer.frames[open.frames.len()..].iter().cloned());
    let (exchanges, counters) = run_with(config, &frames);
    assert_eq!(say(&exchanges), ["GET /a 200"]);
    assert!(counters.tcp.evicted >= 1900);
}

#[test]
fn a_head_without_end_is_bounded() {
    let mut conversation = Conversation::new().handshake().client("GET /endless HTTP/1.1\r\n");
    for _ in 0..3000 {
        conversation = conversation.client("X-Filler: 00000000000000000000000000000000000\r\n");
    }
    let (exchanges, counters) = run(&conversation.frames);
    assert_eq!(say(&exchanges), ["GET /endless - !"]);
    assert!(counters.http.oversized_heads > 0);
}

/// A body in one of the framings, and what it makes of a response or a request.
fn framed(kind: u8, size: usize) -> String {
    let body = "d".repeat(size);
    match kind % 3 {
        0 => format!("Content-Length: {size}\r\n\r\n{body}"),
        1 if size > 0 => format!("Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"),
        1 => "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        _ if size > 1 => {
            let half = size / 2;
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{half:x}\r\n{}\r\n{:x};e=1\r\n{}\r\n0\r\nT: 1\r\n\r\n",
                &body[..half],
                size - half,
                &body[half..]
            )
        }
        _ => format!("Content-Length: {size}\r\n\r\n{body}"),
    }
}

fn talk(exchanges: &[(u8, usize, u8, usize)], mss: usize, pipelined: bool, link: LinkType) -> Conversation {
    let request = |number: usize| {
        let (kind, size, ..) = exchanges[number];
        format!("POST /{number} HTTP/1.1\r\n{}", framed(kind, size))
    };
    let response = |number: usize| {
        let (.., kind, size) = exchanges[number];
        format!("HTTP/1.1 {} X\r\n{}", 210 + number, framed(kind, size))
    };
    let mut conversation = Conversation::new().on(link).cut_at(mss).handshake();
    if pipelined {
        conversation = conversation.client((0..exchanges.len()).map(request).collect::<String>());
        conversation = conversation.server((0..exchanges.len()).map(response).collect::<String>());
    } else {
        for number in 0..exchanges.len() {
            conversation = conversation.client(request(number)).server(response(number));
        }
    }
    conversation.close()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(20_261_123), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_loss_every_exchange_comes_once_with_exact_sizes(
        exchanges in prop::collection::vec((any::<u8>(), 0usize..400, any::<u8>(), 0usize..4000), 1..10),
        mss in prop_oneof![1usize..40, 100usize..1448],
        pipelined: bool,
        seed: u64,
        window in 0usize..5,
        link in prop::sample::select(vec![LinkType::Ethernet, LinkType::LinuxSll2, LinkType::Raw]),
    ) {
        let mut frames = talk(&exchanges, mss, pipelined, link).frames;
        let mut random = Random(seed);
        let copies: Vec<Frame> = frames.iter().filter(|_| random.below(10) == 0).cloned().collect();
        frames.extend(copies);
        frames.sort_by_key(|frame| frame.at);
        reorder(&mut frames[3..], window, &mut random);
        let (found, _) = run(&frames);
        prop_assert_eq!(found.len(), exchanges.len(), "{:?}", say(&found));
        assert_true_pairs(&found);
        for exchange in &found {
            let number: usize = String::from_utf8_lossy(&exchange.request.head.target()[1..]).parse().unwrap();
            let (_, sent, _, answered) = exchanges[number];
            prop_assert_eq!(exchange.request.transfer.body_bytes, sent as u64);
            prop_assert_eq!(exchange.response.as_ref().map(|part| part.transfer.body_bytes), Some(answered as u64));
            prop_assert!(!exchange.incomplete);
        }
    }

    #[test]
    fn with_loss_every_pair_is_a_true_pair(
        exchanges in prop::collection::vec((any::<u8>(), 0usize..300, any::<u8>(), 0usize..3000), 1..12),
        mss in 50usize..1448,
        seed: u64,
        loss in 1u64..300,
    ) {
        let mut frames = talk(&exchanges, mss, false, LinkType::Ethernet).frames;
        let mut random = Random(seed);
        frames.retain(|_| random.below(1000) >= loss);
        assert_true_pairs(&run(&frames).0);
    }
}

/// The kernel gives each connection to one worker; which, and how many there are, must not matter.
#[test]
fn any_number_of_workers_finds_the_same() {
    let mut frames: Vec<(u16, Frame)> = Vec::new();
    for port in 0..40_u16 {
        let mut conversation =
            Conversation::between(&format!("10.1.0.7:{}", 40_000 + port), "10.1.0.80:80").handshake();
        for number in 0..=port % 5 {
            let body = "b".repeat(usize::from(number * 700 + port));
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            conversation = conversation.client(format!("GET /{port}/{number} HTTP/1.1\r\n\r\n")).server(response);
        }
        frames.extend(conversation.close().frames.into_iter().map(|frame| (port, frame)));
    }
    frames.sort_by_key(|(_, frame)| frame.at);
    let find = |workers: u16| {
        let share = PipelineConfig::default().share(workers.into());
        let mut found = Vec::new();
        for worker in 0..workers {
            let own: Vec<Frame> = frames
                .iter()
                .filter(|(port, _)| port.wrapping_mul(31) % workers == worker)
                .map(|(_, frame)| frame.clone())
                .collect();
            found.extend(run_with(share, &own).0);
        }
        found.sort_by_key(|exchange| exchange.id);
        found
    };
    let alone = find(1);
    assert_eq!(alone.len(), 40 * 3);
    for workers in [2, 3, 4, 7, 40] {
        assert!(find(workers) == alone, "{workers} workers find something else");
    }
}
