//! What is fuzzed: bytes → one parser, or all of them, with the sums that must hold afterwards.

use std::fs;
use std::time::Duration;

use network_agent::capture::{FileConfig, Received, SourceConfig, open};
use network_agent::exchange::Exchange;
use network_agent::packet::{LinkType, RawPacket};
use network_agent::pipeline::{Pipeline, PipelineConfig};
use network_agent::time::Timestamp;

pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[
    Target { name: "packet", run: packet },
    Target { name: "pipeline", run: pipeline },
    Target { name: "http1", run: http1 },
    Target { name: "preamble", run: preamble },
    Target { name: "capture_file", run: capture_file },
];

pub const WORDS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HEAD / HTTP/1.1\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb",
    b"\x04\x01\0\x50\0\0\0\x01me\0shop\0",
    b"\0\x5a\0\x50\x0a\0\0\x01",
    b"\x05\x02\0\x02",
    b"\x05\0",
    b"\x05\x02\x01\0",
    b"\x01\x02me\x06secret",
    b"\x05\x01\0\x03\x04shop\0\x50",
    b"\x05\0\0\x01\x0a\0\0\x01\x9c\x40",
    b"\x36\xff\0\x20\0\0\0\x2a\0\x01\0\x85\x01\0\x09\0",
    b"\r\n",
    b"\n ",
    b"ffffffffffffffff\r\n",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x08\x00\x45\x00",
    b"\x86\xdd\x60\x00",
    b"\x81\x00\x00\x07",
];

const LINKS: [LinkType; 6] =
    [LinkType::Ethernet, LinkType::LinuxSll, LinkType::LinuxSll2, LinkType::Raw, LinkType::Null, LinkType::Loop];

/// A pipeline with small bounds, so that they are reached.
fn small() -> Pipeline {
    Pipeline::new(PipelineConfig {
        max_connections: 8,
        max_pending_bytes: 4096,
        max_total_pending_bytes: 16_384,
        max_pending_segments: 8,
        max_head_bytes: 512,
        max_open_exchanges: 4,
        ..PipelineConfig::default()
    })
}

fn check(mut pipeline: Pipeline, mut exchanges: Vec<Exchange>) {
    pipeline.finish(&mut exchanges);
    let counters = pipeline.counters();
    let discards: u64 = counters.packet.discards.iter().sum();
    assert_eq!(counters.packet.packets, counters.packet.segments + discards);
    assert_eq!(counters.exchange.requests, counters.exchange.emitted);
    assert_eq!((counters.exchange.open, counters.tcp.active), (0, 0));
    assert_eq!(counters.exchange.emitted, exchanges.len() as u64);
    assert!(exchanges.iter().all(|exchange| exchange.end() >= exchange.start()));
}

fn feed(pipeline: &mut Pipeline, exchanges: &mut Vec<Exchange>, at: u64, link: LinkType, data: &[u8], cut: u32) {
    let wire_length = u32::try_from(data.len()).unwrap_or(u32::MAX).saturating_add(cut);
    let at = Timestamp::from_nanos(at);
    pipeline.handle_packet(&RawPacket { at, data, wire_length, link, interface: 0 }, exchanges);
}

/// One packet of any link type, with what the snap length may have cut.
fn packet(data: &[u8]) {
    let mut pipeline = small();
    let mut exchanges = Vec::new();
    for link in LINKS {
        for cut in [0, 7] {
            feed(&mut pipeline, &mut exchanges, 1, link, data, cut);
        }
    }
    check(pipeline, exchanges);
}

/// A stream of packets: the records of a capture file without caring for their headers.
fn pipeline(data: &[u8]) {
    let mut pipeline = small();
    let mut exchanges = Vec::new();
    let mut rest = data.get(24..).unwrap_or_default();
    let mut at = 1_700_000_000_000_000_000;
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = usize::from(u16::from_le_bytes([header[8], header[9]])).min(after.len());
        let (frame, next) = after.split_at(length);
        at += u64::from(header[4]) * 1_000_000;
        feed(&mut pipeline, &mut exchanges, at, LinkType::Ethernet, frame, u32::from(header[12] & 1));
        rest = next;
    }
    check(pipeline, exchanges);
}

/// HTTP in TCP, joined in the middle: the bytes are said in turn by a client and a server, in pieces, some lost.
fn http1(data: &[u8]) {
    talk(small(), data);
}

/// The same from the beginning of the connection, where something else may stand before HTTP.
fn preamble(data: &[u8]) {
    let mut pipeline = small();
    let mut exchanges = Vec::new();
    feed(&mut pipeline, &mut exchanges, 1_700_000_000_000_000_000, LinkType::Raw, &segment(0, 999, 0, 0x02, b""), 0);
    talk(pipeline, data);
}

fn talk(mut pipeline: Pipeline, data: &[u8]) {
    let mut exchanges = Vec::new();
    let mut sent = [1000_u32, 9000];
    let mut at = 1_700_000_000_000_000_000;
    let mut rest = data;
    let mut side = 0;
    while let Some((control, after)) = rest.split_first() {
        let length = (usize::from(*control >> 2) * 8 + 1).min(after.len());
        let (piece, next) = after.split_at(length);
        let frame = segment(side, sent[side], sent[1 - side], 0x10 | (control & 1), piece);
        sent[side] = sent[side].wrapping_add(u32::try_from(length).unwrap_or(0) + u32::from(control & 1));
        at += u64::from(*control) * 2_000_000;
        if control & 0x82 != 0x82 {
            feed(&mut pipeline, &mut exchanges, at, LinkType::Raw, &frame, 0);
        }
        side ^= usize::from(control & 2 != 0);
        rest = next;
    }
    check(pipeline, exchanges);
}

fn segment(side: usize, sequence: u32, acknowledgement: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(40 + payload.len()).unwrap_or(u16::MAX);
    let mut frame = vec![0x45, 0];
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    let (ends, ports) = if side == 0 { ([1, 2], [4000_u16, 80]) } else { ([2, 1], [80, 4000]) };
    ends.iter().for_each(|end| frame.extend([10, 0, 0, *end]));
    ports.iter().for_each(|port| frame.extend(port.to_be_bytes()));
    frame.extend(sequence.to_be_bytes());
    frame.extend(acknowledgement.to_be_bytes());
    frame.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

/// A capture file, pcap or pcapng.
fn capture_file(data: &[u8]) {
    let path = std::env::temp_dir().join(format!("network-agent-fuzz-{}", std::process::id()));
    if fs::write(&path, data).is_err() {
        return;
    }
    let config = SourceConfig::File(FileConfig { path: Some(path.clone()), filter: None });
    let mut pipeline = small();
    let mut exchanges = Vec::new();
    if let Ok(mut source) = open(&config) {
        for _ in 0..10_000 {
            let mut handle = |packet: &RawPacket<'_>| pipeline.handle_packet(packet, &mut exchanges);
            if matches!(source.receive(Duration::ZERO, &mut handle), Ok(Received::End) | Err(_)) {
                break;
            }
        }
    }
    // The folder is the system's to clean, too.
    let _ = fs::remove_file(&path);
    check(pipeline, exchanges);
}
