//! Packets of known conversations → exchanges: time a packet, from memory, without a source and without export.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use network_agent::exchange::Exchange;
use network_agent::packet::RawPacket;
use network_agent::pipeline::{Pipeline, PipelineConfig};
use network_agent::time::Timestamp;
use support::{Conversation, Frame, Side};

const HEADERS: &str = "Host: shop.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\
    Accept-Language: en\r\nConnection: keep-alive\r\nCookie: a=b\r\nX-Request-Id: 0123456789abcdef\r\n\
    Cache-Control: no-cache\r\nReferer: http://shop.example/\r\n\r\n";

/// 1,000 exchanges on one connection, three packets each.
fn keep_alive() -> Vec<Frame> {
    let response = format!("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 200\r\n\r\n{}", "x".repeat(200));
    let mut conversation = Conversation::new().handshake();
    for number in 0..1000 {
        let request = format!("GET /items/{number} HTTP/1.1\r\n{HEADERS}");
        conversation = conversation.client(request).server(&response).ack(Side::Client);
    }
    conversation.frames
}

/// One response of 4 MB in segments of 1,448 bytes.
fn bulk() -> Vec<Frame> {
    let body = format!("HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n{}", "b".repeat(4_000_000));
    Conversation::new().handshake().client(format!("GET /big HTTP/1.1\r\n{HEADERS}")).server(body).frames
}

fn replay(frames: &[Frame], exchanges: &mut Vec<Exchange>) {
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    for frame in frames {
        let packet = RawPacket {
            at: Timestamp::from_nanos(frame.at),
            data: &frame.data,
            wire_length: frame.wire_length,
            link: frame.link,
            interface: 0,
        };
        pipeline.handle_packet(&packet, exchanges);
    }
    pipeline.finish(exchanges);
    exchanges.clear();
}

fn pipeline(criterion: &mut Criterion) {
    for (name, frames) in [("keep-alive, per packet", keep_alive()), ("bulk, per packet", bulk())] {
        let mut group = criterion.benchmark_group("pipeline");
        group.throughput(Throughput::Elements(frames.len() as u64));
        let mut exchanges = Vec::new();
        group.bench_function(name, |bencher| bencher.iter(|| replay(&frames, &mut exchanges)));
        group.finish();
    }
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
