//! Packets → exchanges: records of a capture file as they come, or a generated conversation with faults, of which it is
//! known what must be found.

use std::time::Duration;

use network_agent::exchange::{Exchange, Outcome};
use network_agent::packet::{LinkType, RawPacket};
use network_agent::pipeline::PipelineConfig;
use network_agent::time::Timestamp;

use super::books::{Audited, Footprint, small};
use super::choices::Choices;
use super::owned;
use crate::support::{ACK, Conversation, Frame, RST, Random, Side, reorder, snap};

const LINKS: [LinkType; 4] = [LinkType::Ethernet, LinkType::LinuxSll, LinkType::LinuxSll2, LinkType::Raw];

pub fn words() -> Vec<Vec<u8>> {
    owned(&[b"\x01", b"\x02", b"\x03", b"\x05", b"\0\0\0\0\0\0\0\0", b"\xff\xff\xff\xff", b"\x20\x40\x60\x80\xa0\xc0"])
}

/// The first byte says which.
pub fn run(input: &[u8]) -> Footprint {
    let mut choices = Choices(input);
    match choices.byte() {
        0xa1 | 0xd4 | 0x4d | 0x0a => records(input),
        kind => conversations(&mut choices, if kind.is_multiple_of(2) { Faults::Harmless } else { Faults::Any }),
    }
}

/// The records of a capture file, without caring for what their headers say of times and lengths.
fn records(data: &[u8]) -> Footprint {
    let mut audited = Audited::new(small());
    let mut rest = data.get(24..).unwrap_or_default();
    let mut at = 1_700_000_000_000_000_000;
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = usize::from(u16::from_le_bytes([header[8], header[9]])).min(after.len());
        let (frame, next) = after.split_at(length);
        at += u64::from(header[4]) * 1_000_000;
        audited.feed_data(at, LinkType::Ethernet, frame, u32::from(header[12] & 1));
        rest = next;
    }
    audited.finish().1
}

/// What happens to the packets on their way.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Faults {
    /// Cuts, copies and order: every exchange must be found, with its sizes.
    Harmless,
    /// Also loss, the snap length, small bounds: what is found must be true.
    Any,
}

/// What was said, and must be found when nothing is lost.
#[derive(Clone, Copy, Debug)]
struct Truth {
    request_body: usize,
    response_body: usize,
}

fn conversations(choices: &mut Choices<'_>, faults: Faults) -> Footprint {
    let count = choices.below(3) + 1;
    let mut truths: Vec<Vec<Truth>> = Vec::new();
    let mut frames: Vec<Frame> = Vec::new();
    let mut random = Random(u64::from(choices.number()));
    let reuses_ports = choices.seldom();
    for number in 0..count {
        let (conversation, truth, pipelines) = converse(choices, faults, number, reuses_ports);
        let mut own = conversation.frames;
        spoil(choices, faults, pipelines, &mut own, &mut random);
        if reuses_ports {
            let after = frames.last().map_or(0, |last| last.at + 1_000_000_000);
            let first = own.first().map_or(0, |first| first.at);
            for frame in &mut own {
                frame.at = frame.at - first + after;
            }
        }
        frames.extend(own);
        truths.push(truth);
    }
    frames.sort_by_key(|frame| frame.at);
    let config = match (faults, choices.seldom()) {
        (Faults::Any, true) => small(),
        _ => PipelineConfig { exchange_timeout: Duration::from_secs(30), ..PipelineConfig::default() },
    };
    let mut audited = Audited::new(config);
    for Frame { at, data, wire_length, link, interface } in &frames {
        let at = Timestamp::from_nanos(*at);
        audited.feed(&RawPacket { at, data, wire_length: *wire_length, link: *link, interface: *interface });
    }
    let (exchanges, footprint) = audited.finish();
    for exchange in &exchanges {
        assert_true(exchange);
    }
    if faults == Faults::Harmless {
        let expected: usize = truths.iter().map(Vec::len).sum();
        assert_eq!(exchanges.len(), expected, "exchanges found");
        for exchange in &exchanges {
            assert_whole(exchange, &truths);
        }
    }
    footprint
}

/// A connection on which `POST /C-N` is answered with the status 210 + 100·C + N.
fn converse(
    choices: &mut Choices<'_>,
    faults: Faults,
    number: usize,
    reuses_ports: bool,
) -> (Conversation, Vec<Truth>, bool) {
    let port = 41_000 + if reuses_ports { 0 } else { number };
    // The same initial numbers again would be copies.
    let start = (choices.number() >> 8) | (u32::try_from(number).unwrap_or(0) << 30);
    let mss = if choices.below(2) == 0 { 1448 } else { choices.below(200) + 1 };
    let mut conversation = Conversation::between(&format!("10.1.0.7:{port}"), "10.1.0.80:80")
        .on(LINKS[choices.below(LINKS.len())])
        .starting_at(start, start.rotate_left(2))
        .cut_at(mss)
        .wait(choices.below(20) as u64 * 500_000)
        .handshake();
    let count = choices.below(8) + 1;
    let pipelines = choices.seldom();
    let mut truths = Vec::new();
    let mut answers = Vec::new();
    let mut closes = false;
    for exchange in 0..count {
        let (request, response, truth, until_close) = one(choices, faults, number, exchange, pipelines);
        truths.push(truth);
        conversation = conversation.wait(choices.below(250) as u64 * 2_000_000).client(request);
        closes = until_close;
        if pipelines {
            answers.extend(response);
            continue;
        }
        conversation = conversation.server(response);
        if closes {
            break;
        }
        if choices.below(4) == 0 {
            conversation = conversation.ack(Side::Client);
        }
    }
    if pipelines {
        conversation = conversation.server(answers);
    }
    let conversation = match choices.below(3) {
        _ if closes => conversation.fin(Side::Server).fin(Side::Client),
        0 => conversation.close(),
        1 if faults == Faults::Any => conversation.rst(Side::Server),
        _ => conversation,
    };
    (conversation, truths, pipelines)
}

/// One request, its response, and whether the response ends with the connection.
fn one(
    choices: &mut Choices<'_>,
    faults: Faults,
    connection: usize,
    number: usize,
    pipelines: bool,
) -> (Vec<u8>, Vec<u8>, Truth, bool) {
    let status = 210 + 100 * connection + number;
    let is_head = choices.below(5) == 1;
    let (request_size, response_size) = (choices.below(200), choices.below(256) * (1 + choices.below(12)));
    // Text that looks like a message is body; after a loss nobody can tell.
    let has_decoy = faults == Faults::Harmless && choices.below(3) == 0;
    let body = |size: usize| {
        let decoy: &[u8] = if has_decoy { b"HTTP/1.1 500 No\r\n\r\nGET /9-9 HTTP/1.1\r\n\r\n" } else { b"filler." };
        decoy.iter().copied().cycle().take(size).collect::<Vec<u8>>()
    };
    let request_size = if is_head { 0 } else { request_size };
    let method = if is_head { "HEAD" } else { "POST" };
    let mut request = format!("{method} /{connection}-{number} HTTP/1.1\r\nHost: fuzz\r\n").into_bytes();
    request.extend(framed(choices, &body(request_size)));
    let mut response = Vec::new();
    if choices.below(6) == 1 {
        response.extend(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    }
    let until_close = !pipelines && !is_head && choices.below(12) == 1;
    let head = format!("HTTP/1.1 {status} X\r\n");
    response.extend(head.as_bytes());
    if is_head {
        response.extend(b"Content-Length: 700\r\n\r\n");
    } else if until_close {
        response.extend(b"\r\n");
        response.extend(body(response_size));
    } else {
        response.extend(framed(choices, &body(response_size)));
    }
    let response_body = if is_head { 0 } else { response_size };
    (request, response, Truth { request_body: request_size, response_body }, until_close)
}

/// The rest of a message: how its body is framed, and the body.
fn framed(choices: &mut Choices<'_>, body: &[u8]) -> Vec<u8> {
    if choices.below(2) == 0 {
        return [format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    }
    let mut text = b"Transfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(choices.below(250) + 1) {
        let extension = if choices.below(4) == 1 { ";name=\"value\"" } else { "" };
        text.extend(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        text.extend(chunk);
        text.extend(b"\r\n");
    }
    text.extend(b"0\r\n");
    text.extend(if choices.below(4) == 1 { &b"Trailer: t\r\n\r\n"[..] } else { b"\r\n" });
    text
}

/// Does to the frames of one connection what a network and a capture do.
fn spoil(choices: &mut Choices<'_>, faults: Faults, pipelines: bool, frames: &mut Vec<Frame>, random: &mut Random) {
    const HANDSHAKE: usize = 3;
    let copies_in = choices.below(40) as u64 + 4;
    let copies: Vec<Frame> = frames.iter().skip(HANDSHAKE).filter(|_| random.below(copies_in) == 0).cloned().collect();
    let interface = u32::from(choices.byte() & 1);
    frames.extend(copies.into_iter().map(|copy| Frame { interface, ..copy }));
    frames.sort_by_key(|frame| frame.at);
    // A reset is final: what comes after it is another connection.
    let is_reset = |frame: &Frame| frame.data.iter().rev().nth(6) == Some(&(RST | ACK));
    let window = if frames.iter().any(is_reset) { 0 } else { choices.below(5) };
    if let Some(after) = frames.get_mut(HANDSHAKE..).filter(|_| window > 0) {
        // Nobody waits longer than the grace for what is only late.
        let first = after.first().map_or(0, |first| first.at);
        (first..).step_by(1_000_000).zip(after.iter_mut()).for_each(|(at, frame)| frame.at = at);
        reorder(after, window, random);
    }
    if faults == Faults::Harmless {
        return;
    }
    let loss = u64::from(choices.byte());
    let in_thousand = loss * loss / 128;
    // Who joins between requests and their answers cannot know that there were requests before.
    let surely_kept = if pipelines { HANDSHAKE } else { 0 };
    let mut place = 0;
    frames.retain(|_| {
        place += 1;
        place <= surely_kept || random.below(1000) >= in_thousand
    });
    if choices.below(4) == 1 {
        snap(frames, choices.below(256) + if pipelines { 80 } else { 40 });
    }
    if choices.seldom() && !pipelines {
        frames.drain(..choices.below(256).min(frames.len()));
    }
}

fn place(exchange: &Exchange) -> (usize, usize) {
    let target = String::from_utf8_lossy(exchange.request.head.target()).into_owned();
    let numbers = target.trim_start_matches('/').split_once('-');
    let number = |text: &str| text.parse().ok();
    numbers
        .and_then(|(connection, own)| Some((number(connection)?, number(own)?)))
        .expect("only what was said is found")
}

/// A response is paired with the request that it answered, or with none.
fn assert_true(exchange: &Exchange) {
    let (connection, number) = place(exchange);
    if let Some(response) = &exchange.response {
        let status = usize::from(response.head.status());
        assert_eq!(status, 210 + 100 * connection + number, "the answer to /{connection}-{number}");
    }
}

fn assert_whole(exchange: &Exchange, truths: &[Vec<Truth>]) {
    let (connection, number) = place(exchange);
    let truth = truths[connection][number];
    assert_eq!((exchange.outcome, exchange.incomplete), (Outcome::Complete, false), "/{connection}-{number}");
    assert_eq!(exchange.request.transfer.body_bytes, truth.request_body as u64, "/{connection}-{number}");
    let response = exchange.response.as_ref().map(|response| response.transfer.body_bytes);
    assert_eq!(response, Some(truth.response_body as u64), "/{connection}-{number}");
}
