//! A source that leaves out what nobody reads gives the same exchanges as one that shows everything.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step is a failed test")]

mod support;

use network_agent::exchange::Exchange;
use network_agent::packet::RawPacket;
use network_agent::pipeline::{Pipeline, PipelineConfig, PipelineCounters};
use network_agent::tcp::Bulk;
use network_agent::time::Timestamp;
use support::{Conversation, Frame, Random, Side, reorder, run, say};

/// Headers of Ethernet, IPv4 and TCP, and what a source keeps beyond.
const KEPT: usize = 54 + 40;
const MIB: usize = 1 << 20;

/// Whether a source would shorten the packet.
fn is_of(bulk: &Bulk, data: &[u8]) -> bool {
    let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
    let ports = u32::from(bulk.source.port()) << 16 | u32::from(bulk.destination.port());
    word(34) == ports && data[47] & 2 == 0 && word(38).wrapping_sub(bulk.from.value()) < bulk.length
}

/// Runs frames as a source that shortens packets of the streams it was told of shows them, and as late as `delay` packets after
/// that; gives the share of bytes that it has shown, too.
fn run_shortened(frames: &[Frame], delay: usize) -> (Vec<Exchange>, PipelineCounters, f64) {
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    let mut exchanges: Vec<Exchange> = Vec::new();
    let (mut told, mut news): (Vec<Bulk>, Option<(usize, Vec<Bulk>)>) = (Vec::new(), None);
    let (mut shown, mut all) = (0, 0);
    for (number, frame) in frames.iter().enumerate() {
        if let Some((_, bulk)) = news.take_if(|(since, _)| number >= *since + delay) {
            told = bulk;
        }
        let is_short = told.iter().any(|bulk| is_of(bulk, &frame.data));
        let data = if is_short { &frame.data[..KEPT.min(frame.data.len())] } else { &frame.data[..] };
        (shown, all) = (shown + data.len(), all + frame.data.len());
        let packet = RawPacket {
            at: Timestamp::from_nanos(frame.at),
            data,
            wire_length: frame.wire_length,
            link: frame.link,
            interface: frame.interface,
        };
        pipeline.handle_packet(&packet, &mut exchanges);
        if number % 100 == 99 {
            pipeline.renew_bulk();
        }
        if number % 100 == 99 || pipeline.has_new_bulk() {
            news = Some((number, pipeline.bulk().collect()));
        }
    }
    pipeline.finish(&mut exchanges);
    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    let share = shown as f64 / all as f64;
    (exchanges, pipeline.counters(), share)
}

fn body(length: usize) -> String {
    let text = "HTTP/1.1 299 Fake\r\nContent-Length: 0\r\n\r\nGET /999 HTTP/1.1\r\n\r\n";
    let mut body = text.repeat(length / text.len() + 1);
    body.truncate(length);
    body
}

fn with_length(start: &str, length: usize) -> String {
    format!("{start}\r\nContent-Length: {length}\r\n\r\n{}", body(length))
}

fn chunked(start: &str, chunk: usize, count: usize) -> String {
    let chunks = format!("{chunk:x}\r\n{}\r\n", body(chunk)).repeat(count);
    format!("{start}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

/// Long bodies of every framing, short messages between them, in segments as offloads make them.
fn conversation(start: u32) -> Conversation {
    let small = "HTTP/1.1 204 No\r\n\r\n";
    let talk = Conversation::new().starting_at(start, start).cut_at(60_000).handshake();
    let get = |path: &str| format!("GET /{path} HTTP/1.1\r\n\r\n");
    let last = format!("HTTP/1.1 200 OK\r\n\r\n{}", body(20 * MIB));
    talk.client(get("down"))
        .server(with_length("HTTP/1.1 200 OK", 12 * MIB + 1))
        .client(get("small"))
        .server(small)
        .client(with_length("PUT /up HTTP/1.1", 9 * MIB))
        .server(small)
        .client(get("chunks"))
        .server(chunked("HTTP/1.1 200 OK", 7 * MIB, 2))
        .client(get("tiny"))
        .server(chunked("HTTP/1.1 200 OK", 1000, 3000))
        .client("GET /last HTTP/1.1\r\n\r\n")
        .server(last)
        .fin(Side::Server)
        .fin(Side::Client)
}

/// What must not depend on what was shown.
fn facts(exchanges: &[Exchange]) -> Vec<String> {
    let fact = |exchange: &Exchange| {
        let response = exchange.response.as_ref().map(|response| response.transfer);
        let line = say(std::slice::from_ref(exchange));
        format!("{line:?} {:?} {:?} {response:?}", exchange.id, exchange.request.transfer)
    };
    exchanges.iter().map(fact).collect()
}

#[test]
fn what_is_left_out_of_long_bodies_changes_nothing_and_is_most_of_them() {
    for (start, delay) in [(5000, 0), (0_u32.wrapping_sub(30 << 20), 40)] {
        let frames = conversation(start).frames;
        let (whole, _) = run(&frames);
        assert_eq!(whole.len(), 6);
        assert!(whole.iter().all(|exchange| !exchange.incomplete && exchange.outcome.error_type().is_none()));
        let (found, counters, share) = run_shortened(&frames, delay);
        assert_eq!(facts(&found), facts(&whole));
        assert_eq!((counters.tcp.missing_bytes, counters.exchange.incomplete), (0, 0));
        assert!(counters.tcp.left_out_bytes > 0 && share < 0.6, "{share} was shown");
    }
}

#[test]
fn order_does_not_matter_to_what_is_left_out() {
    let frames = conversation(77).frames;
    let whole = say(&run(&frames).0);
    for seed in 0..2 {
        let mut shuffled = frames.clone();
        let mut random = Random(seed);
        // Few places only: what is held out of order has its bound.
        shuffled[3..].chunks_mut(4).for_each(|few| reorder(few, 3, &mut random));
        let (found, counters, _) = run_shortened(&shuffled, 5);
        assert_eq!(say(&found), whole, "seed {seed}");
        assert_eq!(counters.tcp.missing_bytes, 0, "seed {seed}");
    }
}

#[test]
fn a_connection_after_one_that_was_left_out_is_read_from_its_first_byte() {
    let tls = [&[23, 3, 3, 0x40, 0], body(24 * MIB).as_bytes()].concat();
    for (second, how) in [(600_000_000, "new numbers"), (5000 + (25 << 20), "numbers that go on")] {
        let mut first = Conversation::new().cut_at(60_000).handshake().client(&tls[..100]).server(&tls).close();
        let mut next = Conversation::new();
        next.at = first.at;
        let next = next
            .starting_at(second, second)
            .handshake()
            .client("GET /after HTTP/1.1\r\n\r\n")
            .server("HTTP/1.1 204 No\r\n\r\n")
            .close();
        first.frames.extend(next.frames);
        let (found, _, share) = run_shortened(&first.frames, 0);
        assert_eq!(say(&found), ["GET /after 204"], "{how}");
        assert!(share < 0.2, "{share} was shown");
    }
}
