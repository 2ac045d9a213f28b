//! Many connections, several workers → what a packet and a connection cost as there are more.

use std::thread;
use std::time::Duration;

use network_agent::packet::{LinkType, RawPacket};
use network_agent::pipeline::{Pipeline, PipelineConfig};
use network_agent::span::SpanSettings;
use network_agent::time::Timestamp;

use crate::measure::{allocations, best_of};
use crate::passes::Count;
use crate::traffic::{Side, Talk, request};

const PUSH_ACK: u8 = 0x18;
const ACK: u8 = 0x10;
const START: u64 = 1_790_000_000_000_000_000;

/// A table with so many connections.
pub struct Size {
    pub connections: usize,
    /// Nanoseconds for a packet that carries nothing new, to connections in no order.
    pub packet: u64,
    /// Bytes of a connection whose request waits for its response, the request of some 420 bytes included.
    pub open: u64,
    /// Bytes of a connection whose exchange is over.
    pub idle: u64,
}

/// So many threads, each with a pipeline of its own, as live capture has them.
pub struct Workers {
    pub workers: usize,
    /// Packets in a second of all together, by the clock.
    pub packets_per_second: f64,
}

/// Measures tables of these sizes.
pub fn sizes() -> Vec<Size> {
    [1_000, 10_000, 100_000, 1_000_000].into_iter().map(size).collect()
}

/// Measures these numbers of workers.
pub fn workers() -> Vec<Workers> {
    [1, 2, 4].into_iter().map(side_by_side).collect()
}

fn unbounded() -> PipelineConfig {
    PipelineConfig { max_connections: usize::MAX / 2, max_memory: usize::MAX / 2, ..PipelineConfig::default() }
}

/// A pipeline, and the connections that it is shown.
struct Bench {
    pipeline: Pipeline,
    talks: Vec<Talk>,
    frame: Vec<u8>,
    at: u64,
    exchanges: Count,
}

impl Bench {
    fn new(connections: usize) -> Self {
        let talks = (0..connections).map(Talk::numbered).collect();
        let pipeline = Pipeline::new(unbounded()).keeping(SpanSettings::default().fields());
        Self { pipeline, talks, frame: Vec::new(), at: START, exchanges: Count::default() }
    }

    /// Every connection sends this; in an order in which neighbours are far apart.
    fn all(&mut self, side: Side, flags: u8, payload: impl Fn(usize) -> Vec<u8>) {
        let count = self.talks.len();
        for turn in 0..count {
            let number = turn * 7_919 % count;
            self.one(number, side, flags, &payload(number));
        }
    }

    fn one(&mut self, number: usize, side: Side, flags: u8, payload: &[u8]) {
        let Some(talk) = self.talks.get_mut(number) else { return };
        self.frame.clear();
        talk.frame(side, flags, payload, &mut self.frame);
        self.at += 10;
        let packet = RawPacket {
            at: Timestamp::from_nanos(self.at),
            data: &self.frame,
            wire_length: u32::try_from(self.frame.len()).unwrap_or(u32::MAX),
            link: LinkType::Ethernet,
            interface: 0,
        };
        self.pipeline.handle_packet(&packet, &mut self.exchanges);
    }
}

fn size(connections: usize) -> Size {
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut bench = Bench::new(connections);
    let (_, open) = allocations(|| bench.all(Side::Client, PUSH_ACK, request));
    let packets = connections.max(100_000) as u64;
    let packet = best_of(3, || {
        for turn in 0..packets {
            let number = usize::try_from(turn).unwrap_or(0) * 7_919 % connections;
            bench.one(number, Side::Server, ACK, b"");
        }
    });
    bench.all(Side::Server, PUSH_ACK, |_| RESPONSE.to_vec());
    // The first exchange of a connection that is joined in the middle waits for its proof for half a second.
    let later = Timestamp::from_nanos(bench.at + 1_000_000_000);
    bench.pipeline.handle_timeout(later, &mut bench.exchanges);
    assert_eq!(bench.exchanges.0, connections as u64, "every exchange is over");
    // What is kept of an exchange that is over: asked of the table, because memory was given back meanwhile.
    let idle = bench.pipeline.counters().tcp.memory / connections as u64;
    Size { connections, packet: packet / packets, open: open / connections as u64, idle }
}

#[expect(clippy::disallowed_methods, reason = "threads side by side are measured by the clock")]
fn side_by_side(workers: usize) -> Workers {
    const CONNECTIONS: usize = 100_000;
    const ROUNDS: usize = 20;
    let share = CONNECTIONS / workers;
    let threads: Vec<_> = (0..workers)
        .map(|_| {
            thread::spawn(move || {
                let mut bench = Bench::new(share);
                bench.all(Side::Client, PUSH_ACK, request);
                let begun = std::time::Instant::now();
                for _ in 0..ROUNDS {
                    bench.all(Side::Server, ACK, |_| Vec::new());
                }
                begun.elapsed()
            })
        })
        .collect();
    let longest = threads.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or(Duration::MAX);
    let packets = (share * workers * ROUNDS) as f64;
    Workers { workers, packets_per_second: packets / longest.as_secs_f64() }
}
