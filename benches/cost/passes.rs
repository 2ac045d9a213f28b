//! One load → what each stage of the way costs, one after the other on one thread.

use std::path::Path;
use std::time::Duration;

use network_agent::capture::{FileConfig, FileSource, PacketSource, Received};
use network_agent::exchange::{Exchange, ExchangeSink};
use network_agent::export::otlp::SpanEncoder;
use network_agent::packet::{Decoder, DecoderLimits, RawPacket, Segment, SegmentSink};
use network_agent::pipeline::{Pipeline, PipelineConfig};
use network_agent::span::{LocalAddresses, NoNames, SpanBuilder, SpanSettings};

use crate::measure::{self, Cores, Process, allocations, best_of};
use crate::traffic::Traffic;

/// Bytes of a batch.
const BATCH: usize = 1 << 20;

/// What a load costs: processor time in nanoseconds, for all of it.
pub struct Costs {
    pub name: &'static str,
    pub packets: u64,
    pub exchanges: u64,
    /// The floor: the file is read, and nothing else.
    pub reading: u64,
    /// The second floor: read, and every packet decoded.
    pub decoding: u64,
    /// All of the core, to exchanges.
    pub core: u64,
    /// To spans in OTLP.
    pub encoded: u64,
    /// Calls of the allocator on the way to exchanges, and to spans; see [`count`].
    pub calls: (u64, u64),
    /// The program, in all its threads.
    pub process: Option<Process>,
    /// The same on one core.
    pub on_one_core: Option<Process>,
}

/// Counts exchanges and drops them.
#[derive(Default)]
pub struct Count(pub u64);

impl ExchangeSink for Count {
    fn accept(&mut self, _exchange: Exchange) {
        self.0 += 1;
    }
}

/// Makes spans of exchanges, and bytes of spans.
struct Encode {
    builder: SpanBuilder,
    encoder: SpanEncoder,
    buffer: Vec<u8>,
    spans: u64,
}

impl ExchangeSink for Encode {
    fn accept(&mut self, exchange: Exchange) {
        if self.buffer.len() > BATCH {
            self.buffer.clear();
        }
        let Self { builder, encoder, buffer, spans } = self;
        let _ = builder.drafts(&exchange, &Nowhere, &NoNames, &mut |span| {
            encoder.append(span, buffer);
            *spans += 1;
        });
    }
}

/// No address is this machine's.
struct Nowhere;

impl LocalAddresses for Nowhere {
    fn is_local(&self, _address: std::net::IpAddr) -> bool {
        false
    }

    fn is_known(&self) -> bool {
        false
    }
}

struct NoSegments;

impl SegmentSink for NoSegments {
    fn segment(&mut self, segment: &Segment<'_>) {
        std::hint::black_box(segment.sequence);
    }
}

/// Measures all stages of `traffic`, each the best of so many runs.
pub fn measure(traffic: &Traffic, runs: usize, folder: &Path) -> Costs {
    let file = folder.join("load.pcap");
    std::fs::write(&file, &traffic.file).expect("the folder for temporary files can be written");
    let mut packets = 0;
    read(&file, &mut |_| packets += 1);
    assert_eq!(packets, traffic.packets, "every packet is read");
    let reading = best_of(runs, || read(&file, &mut |packet| _ = std::hint::black_box(packet.data.len())));
    let decoding = best_of(runs, || {
        let mut decoder = Decoder::new(DecoderLimits::default());
        read(&file, &mut |packet| decoder.decode(packet, &mut NoSegments));
    });
    let (core, encoded) = (|| core(&file, traffic), || encoded(&file, traffic));
    Costs {
        name: traffic.name,
        packets: traffic.packets,
        exchanges: traffic.exchanges,
        reading,
        decoding,
        core: best_of(runs, core),
        encoded: best_of(runs, encoded),
        calls: (0, 0),
        // A process is disturbed more than a thread: it lasts longer.
        process: measure::process(3 * runs, &file, Cores::All),
        on_one_core: measure::process(3 * runs, &file, Cores::One),
    }
}

/// Calls of the allocator for a load, on the way to exchanges and to spans. Apart from the times, which counting lengthens.
pub fn count(traffic: &Traffic, folder: &Path) -> (u64, u64) {
    let file = folder.join("load.pcap");
    std::fs::write(&file, &traffic.file).expect("the folder for temporary files can be written");
    (allocations(|| core(&file, traffic)).0, allocations(|| encoded(&file, traffic)).0)
}

fn core(file: &Path, traffic: &Traffic) {
    let mut count = Count::default();
    replay(file, &mut count);
    assert_eq!(count.0, traffic.exchanges, "every exchange is found");
}

fn encoded(file: &Path, traffic: &Traffic) {
    let builder = SpanBuilder::new(SpanSettings::default());
    let mut encode = Encode { builder, encoder: SpanEncoder::default(), buffer: Vec::new(), spans: 0 };
    replay(file, &mut encode);
    assert_eq!(encode.spans, traffic.exchanges, "every exchange is a span");
}

fn read(file: &Path, handle: &mut dyn FnMut(&RawPacket<'_>)) {
    let config = FileConfig { path: Some(file.to_owned()), filter: None };
    let mut source = FileSource::open(&config).expect("the file was written");
    while source.receive(Duration::ZERO, handle).expect("the file is whole") != Received::End {}
}

fn replay(file: &Path, sink: &mut impl ExchangeSink) {
    let mut pipeline = Pipeline::new(PipelineConfig::default()).keeping(SpanSettings::default().fields());
    read(file, &mut |packet| pipeline.handle_packet(packet, sink));
    pipeline.finish(sink);
}
