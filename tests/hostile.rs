//! Floods made to cost memory, beside an honest conversation: the memory stays bounded, the conversation is reported.
//!
//! Memory is what the allocator has handed out to the thread of the test and not got back, in the sizes in which glibc
//! hands it out.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step is a failed test")]
#![expect(clippy::print_stdout, reason = "what a flood costs is of interest when nothing fails, too")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use network_agent::exchange::{Exchange, ExchangeSink, Outcome};
use network_agent::packet::{Abandonment, LinkType, RawPacket};
use network_agent::pipeline::{Pipeline, PipelineConfig, PipelineCounters};
use network_agent::span::SpanSettings;
use network_agent::tcp::Overflow;
use network_agent::time::Timestamp;
use support::frames::{Segment, encode};
use support::{ACK, Conversation, Frame, SYN, Side, run_with, say};

/// What the core may hold with the default settings.
const BUDGET: usize = 128 << 20;
/// Honest exchanges beside each flood.
const HONEST: usize = 40;
/// A request that is answered late.
const POLL: &str = "GET /poll HTTP/1.1\r\nHost: honest\r\n\r\n";
/// Between two packets of a flood.
const STEP: u64 = 2_000;
const START: u64 = 1_700_000_000_000_000_000;

/// Counts for each thread, because the tests run beside each other.
struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Adds what the system's allocator takes for `requested` bytes, and takes away what it took for `returned`.
fn account(requested: usize, returned: usize) {
    let chunk = |bytes: usize| if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) };
    // A thread that ends frees after its counters are gone.
    let _ = LIVE.try_with(|live| {
        live.set((live.get() + chunk(requested)).saturating_sub(chunk(returned)));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: every call goes to the system's allocator with the arguments it came with; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        account(layout.size(), 0);
        // SAFETY: the caller's promises for this call are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        account(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        account(0, layout.size());
        // SAFETY: as above; the pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        account(size, layout.size());
        // SAFETY: as above; the pointer came from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Keeps what the honest client said, counts the rest.
#[derive(Default)]
struct Sink {
    honest: Vec<Exchange>,
    others: u64,
}

impl ExchangeSink for Sink {
    fn accept(&mut self, exchange: Exchange) {
        if exchange.client.ip().to_string() == "10.1.0.7" {
            self.honest.push(exchange);
        } else {
            self.others += 1;
        }
    }
}

/// A pipeline under attack, and the honest conversation beside it.
struct Siege {
    pipeline: Pipeline,
    sink: Sink,
    honest: std::vec::IntoIter<Frame>,
    /// Packets of the flood between two honest ones.
    every: u64,
    fed: u64,
    at: u64,
    before: usize,
}

impl Siege {
    /// `packets` is how many the flood will have.
    fn new(packets: u64) -> Self {
        Self::with(PipelineConfig::default(), packets)
    }

    fn with(config: PipelineConfig, packets: u64) -> Self {
        let honest = honest();
        let every = (packets / honest.len() as u64).max(1);
        let before = LIVE.with(Cell::get);
        PEAK.with(|peak| peak.set(before));
        let pipeline = Pipeline::new(config).keeping(SpanSettings::default().fields());
        Self { pipeline, sink: Sink::default(), honest: honest.into_iter(), every, fed: 0, at: START, before }
    }

    fn feed(&mut self, data: &[u8]) {
        if self.fed.is_multiple_of(self.every)
            && let Some(frame) = self.honest.next()
        {
            self.take(&frame.data);
        }
        self.fed += 1;
        self.take(data);
    }

    fn take(&mut self, data: &[u8]) {
        self.at += STEP;
        let packet = RawPacket {
            at: Timestamp::from_nanos(self.at),
            data,
            wire_length: u32::try_from(data.len()).unwrap(),
            link: LinkType::Raw,
            interface: 0,
        };
        self.pipeline.handle_packet(&packet, &mut self.sink);
    }

    /// The rest of the honest conversation, then what must hold. `name` is for the line that is printed.
    fn end(mut self, name: &str) -> PipelineCounters {
        while let Some(frame) = self.honest.next() {
            self.take(&frame.data);
        }
        let under_attack = self.pipeline.counters();
        self.pipeline.finish(&mut self.sink);
        let peak = PEAK.with(Cell::get) - self.before;
        println!("{name}: {} packets, at most {} KiB", self.fed, peak >> 10);
        let counters = self.pipeline.counters();
        let discards: u64 = counters.packet.discards.iter().sum();
        assert_eq!(counters.packet.packets, counters.packet.segments + discards, "packets in = segments + discards");
        assert_eq!(counters.exchange.requests, counters.exchange.emitted, "requests = exchanges");
        assert_eq!((counters.exchange.open, counters.tcp.active), (0, 0), "nothing is left");
        assert_eq!(counters.exchange.emitted, self.sink.honest.len() as u64 + self.sink.others);
        let forgotten = counters.tcp.shed + counters.tcp.evicted > 0;
        assert_honest(&self.sink.honest, forgotten);
        assert!(peak < BUDGET, "{name} takes {peak} bytes, more than {BUDGET}");
        under_attack
    }
}

/// A connection that is kept alive, and beside each of its exchanges one on a connection of its own, and one whose response
/// comes in the wrong order.
fn honest() -> Vec<Frame> {
    let exchange = |conversation: Conversation, number: usize| {
        let body = "b".repeat(number * 50);
        let response = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n{body}", 210 + number, body.len());
        conversation.client(format!("GET /{number} HTTP/1.1\r\nHost: honest\r\n\r\n")).server(response)
    };
    let mut kept = Conversation::between("10.1.0.7:40000", "10.1.0.80:80").on(LinkType::Raw).handshake();
    let mut frames = Vec::new();
    let mut said = 0;
    for number in 0..HONEST {
        kept = exchange(kept, number);
        frames.extend(kept.frames[said..].iter().cloned());
        said = kept.frames.len();
        let short = Conversation::between(&format!("10.1.0.7:{}", 41_000 + number), "10.1.0.80:80").on(LinkType::Raw);
        frames.extend(exchange(short.handshake(), number).close().frames);
        let shuffled = Conversation::between(&format!("10.1.0.7:{}", 42_000 + number), "10.1.0.80:80");
        let asked = shuffled.on(LinkType::Raw).cut_at(600).handshake();
        let answered = exchange(asked, number).ack(Side::Client);
        let mut wrong = answered.frames.clone();
        let response = 4..wrong.len() - 1;
        wrong[response].reverse();
        frames.extend(wrong);
    }
    frames
}

/// Each of them once, with its own response. Where connections had to be forgotten, some are joined again in the middle; whose
/// the first answer is nobody can tell there, and it is marked.
fn assert_honest(found: &[Exchange], forgotten: bool) {
    let count =
        |number: usize| found.iter().filter(|exchange| exchange.request.head.target() == target(number)).count();
    let all: Vec<usize> = (0..HONEST).filter(|number| count(*number) != 3).collect();
    assert_eq!((found.len(), all), (3 * HONEST, Vec::new()), "each honest exchange once on each connection");
    let marked = found.iter().filter(|exchange| exchange.incomplete).count();
    assert!(marked <= if forgotten { HONEST / 2 } else { 0 }, "{marked} are marked");
    for exchange in found {
        let number = (0..HONEST).find(|number| exchange.request.head.target() == target(*number)).unwrap();
        let response =
            exchange.response.as_ref().map(|part| (usize::from(part.head.status()), part.transfer.body_bytes));
        assert_eq!(response, Some((210 + number, number as u64 * 50)), "{:?}", say(std::slice::from_ref(exchange)));
        assert_eq!(exchange.outcome, Outcome::Complete);
    }
}

fn target(number: usize) -> Vec<u8> {
    format!("/{number}").into_bytes()
}

/// The port of a source with this number.
fn port(number: u32) -> [u8; 2] {
    let [.., low] = number.to_be_bytes();
    (1024 + u16::from(low & 0xf)).to_be_bytes()
}

/// A segment as raw IPv4, whose numbers are changed in place, because a flood is made of millions.
struct Template(Vec<u8>);

impl Template {
    fn new(flags: u8, payload: &[u8]) -> Self {
        let segment = Segment {
            source: "172.16.0.1:1024".parse().unwrap(),
            destination: "10.1.0.81:80".parse().unwrap(),
            sequence: 1,
            acknowledgement: 1,
            flags,
            payload,
        };
        Self(encode(LinkType::Raw, &segment))
    }

    /// From another source; `number` tells address and port.
    fn source(&mut self, number: u32) -> &mut Self {
        self.0[12..16].copy_from_slice(&(0xac10_0000 | (number >> 4)).to_be_bytes());
        self.0[20..22].copy_from_slice(&port(number));
        self
    }

    /// Says other bytes, as many as before.
    fn saying(&mut self, payload: &[u8]) -> &mut Self {
        self.0[40..].copy_from_slice(payload);
        self
    }

    fn at(&mut self, sequence: u32) -> &[u8] {
        self.0[24..28].copy_from_slice(&sequence.to_be_bytes());
        &self.0
    }
}

#[test]
fn a_flood_of_syns() {
    const SOURCES: u32 = 500_000;
    let mut siege = Siege::new(SOURCES.into());
    let mut syn = Template::new(SYN, b"");
    for source in 0..SOURCES {
        siege.feed(syn.source(source).at(source));
    }
    let counters = siege.end("SYNs");
    assert!(counters.tcp.shed > 0, "half a million half-open connections are more than the budget holds");
}

#[test]
fn a_flood_of_tiny_segments_out_of_order() {
    const CONNECTIONS: u32 = 7500;
    const ISLANDS: u32 = 130;
    let mut siege = Siege::new(u64::from(CONNECTIONS * (ISLANDS + 1)));
    let (mut syn, mut island) = (Template::new(SYN, b""), Template::new(ACK, b"x"));
    for source in 0..CONNECTIONS {
        siege.feed(syn.source(source).at(1000));
        island.source(source);
        for number in 1..=ISLANDS {
            siege.feed(island.at(1000 + 2 * number));
        }
    }
    siege.end("islands");
}

#[test]
fn holes_that_nobody_acknowledges() {
    const CONNECTIONS: u32 = 600;
    const SEGMENTS: u32 = 300;
    let mut siege = Siege::new(u64::from(CONNECTIONS * (SEGMENTS + 1)));
    let mut upload = Template::new(ACK, b"POST /holes HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n");
    let mut behind = Template::new(ACK, &[b'x'; 200]);
    for source in 0..CONNECTIONS {
        siege.feed(upload.source(source).at(1000));
    }
    for number in 1..=SEGMENTS {
        for source in 0..CONNECTIONS {
            // A hole before each, so that giving up one frees one.
            siege.feed(behind.source(source).at(1000 + 201 * number));
        }
    }
    let counters = siege.end("holes");
    assert!(counters.tcp.overflows(Overflow::Total) > 0);
}

#[test]
fn a_flood_of_segments_that_contradict_each_other() {
    const CONNECTIONS: u32 = 400;
    const SEGMENTS: u32 = 400;
    let mut siege = Siege::new(u64::from(CONNECTIONS * (SEGMENTS + 1)));
    let (mut syn, mut overlap) = (Template::new(SYN, b""), Template::new(ACK, &[0; 1400]));
    for source in 0..CONNECTIONS {
        siege.feed(syn.source(source).at(1000));
        overlap.source(source);
        for number in 0..SEGMENTS {
            let letter = b'a' + (number % 26) as u8;
            overlap.saying(&[letter; 1400]);
            siege.feed(overlap.at(1002 + number * 700 % 100_000));
        }
    }
    siege.end("overlaps");
}

/// What begins on many connections and is never ended: `begin` once, then `more` again and again.
fn without_end(name: &str, connections: u32, begin: &str, more: &str, times: u32) -> PipelineCounters {
    let mut siege = Siege::new(u64::from(connections * (times + 2)));
    let (mut syn, mut first) = (Template::new(SYN, b""), Template::new(ACK, begin.as_bytes()));
    let mut next = Template::new(ACK, more.as_bytes());
    let (start, step) = (1001 + u32::try_from(begin.len()).unwrap(), u32::try_from(more.len()).unwrap());
    for source in 0..connections {
        siege.feed(syn.source(source).at(1000));
        siege.feed(first.source(source).at(1001));
    }
    for time in 0..times {
        for source in 0..connections {
            siege.feed(next.source(source).at(start + time * step));
        }
    }
    siege.end(name)
}

#[test]
fn heads_without_end() {
    let line = format!("X-Line: {}\r\n", "h".repeat(1390)).repeat(6);
    without_end("heads", 4000, "GET /endless HTTP/1.1\r\n", &line, 7);
}

#[test]
fn a_head_without_end_on_one_connection() {
    let line = format!("X-Line: {}\r\n", "h".repeat(1390));
    let counters = without_end("one head", 1, "GET /endless HTTP/1.1\r\n", &line, 20_000);
    assert!(counters.http.oversized_heads > 0);
}

#[test]
fn heads_without_a_start_line() {
    without_end("start lines", 4000, "GET /", &"a".repeat(8000), 8);
}

#[test]
fn preambles_that_come_byte_by_byte() {
    without_end("preambles, byte by byte", 2_000, "\x04\x01\0P\0\0\0\x01", "u", 250);
}

#[test]
fn chunk_extensions_without_end() {
    let begin = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;";
    without_end("chunk extensions", 500, begin, &"e".repeat(1400), 60);
}

#[test]
fn trailer_sections_without_end() {
    let begin = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    without_end("trailer sections", 500, begin, &"Trailer: value\r\n".repeat(90), 60);
}

#[test]
fn a_million_header_lines_in_one_head() {
    let counters = without_end("header lines", 1, "GET /many HTTP/1.1\r\n", &"a:\r\n".repeat(350), 3000);
    assert!(counters.http.oversized_heads > 0);
}

#[test]
fn heads_full_of_header_lines() {
    const CONNECTIONS: u32 = 40;
    let request = format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(16_000));
    let mut siege = Siege::new(u64::from(CONNECTIONS) * 10);
    for source in 0..CONNECTIONS {
        siege.feed(Template::new(SYN, b"").source(source).at(1000));
        let mut sequence = 1001;
        for piece in request.as_bytes().chunks(8000) {
            siege.feed(Template::new(ACK, piece).source(source).at(sequence));
            sequence += u32::try_from(piece.len()).unwrap();
        }
    }
    let counters = siege.end("full heads");
    assert!(counters.http.requests >= u64::from(CONNECTIONS), "they are heads all the same");
}

#[test]
fn fragments_of_ipv4_that_never_complete() {
    const DATAGRAMS: u32 = 60_000;
    let mut siege = Siege::new(u64::from(DATAGRAMS) * 2);
    let mut first = Template::new(ACK, &[b'f'; 1400]).0;
    first[6] = 0x20;
    let mut tiny = first[..28].to_vec();
    tiny[2..4].copy_from_slice(&28_u16.to_be_bytes());
    tiny[6..8].copy_from_slice(&[0x20, 0xff]);
    for number in 0..DATAGRAMS {
        for fragment in [&mut first, &mut tiny] {
            fragment[4..6].copy_from_slice(&number.to_be_bytes()[2..]);
            fragment[12..16].copy_from_slice(&(0xac10_0000 | (number >> 16)).to_be_bytes());
            siege.feed(fragment);
        }
    }
    let counters = siege.end("fragments of IPv4");
    assert!(counters.packet.abandoned(Abandonment::Sets) > 0);
}

#[test]
fn fragments_of_ipv6_that_never_complete() {
    const DATAGRAMS: u32 = 120_000;
    let mut siege = Siege::new(DATAGRAMS.into());
    let mut fragment = vec![0x60, 0, 0, 0, 0x05, 0x80, 44, 64];
    fragment.extend([0xfd; 16]);
    fragment.extend([0xfe; 16]);
    fragment.extend([6, 0, 0, 1, 0, 0, 0, 0]);
    fragment.extend([b'f'; 0x578]);
    for number in 0..DATAGRAMS {
        fragment[44..48].copy_from_slice(&number.to_be_bytes());
        // Every other one is another part of the datagram before it.
        fragment[42..44].copy_from_slice(&(if number % 2 == 0 { 1_u16 } else { 0x1001 }).to_be_bytes());
        siege.feed(&fragment);
    }
    let counters = siege.end("fragments of IPv6");
    assert!(counters.packet.abandoned(Abandonment::Sets) > 0);
}

#[test]
fn ports_reused_at_full_speed() {
    const TIMES: u32 = 100_000;
    let mut siege = Siege::new(u64::from(TIMES) * 2);
    let mut syn = Template::new(SYN, b"");
    let mut request = Template::new(ACK, b"GET /again HTTP/1.1\r\n\r\n");
    for time in 0..TIMES {
        let initial = time.wrapping_mul(0x1001_0001);
        siege.feed(syn.at(initial));
        siege.feed(request.at(initial.wrapping_add(1)));
    }
    let counters = siege.end("ports reused");
    assert!(counters.exchange.requests >= u64::from(TIMES));
    assert!(counters.exchange.open <= 2, "the old connection ends when the new one begins");
}

#[test]
fn requests_pipelined_without_end_and_never_answered() {
    let requests = "GET /p HTTP/1.1\r\n\r\n".repeat(70);
    let counters = without_end("pipelined", 20, &requests, &requests, 60);
    assert!(counters.exchange.overflows > 0);
}

#[test]
fn long_requests_pipelined_and_never_answered() {
    // Every connection waits for as many answers as it may.
    const CONNECTIONS: u32 = 12;
    const REQUESTS: u32 = 256;
    let head = format!("GET /p HTTP/1.1\r\nX: {}\r\n\r\n", "p".repeat(60_000));
    let mut siege = Siege::new(u64::from(CONNECTIONS * REQUESTS));
    let mut request = Template::new(ACK, head.as_bytes());
    let length = u32::try_from(head.len()).unwrap();
    for number in 0..REQUESTS {
        for source in 0..CONNECTIONS {
            siege.feed(request.source(source).at(1001 + number * length));
        }
    }
    siege.end("pipelined, long");
}

#[test]
fn connections_that_said_only_get() {
    const CONNECTIONS: u32 = 500_000;
    let mut siege = Siege::new(u64::from(CONNECTIONS));
    let mut said = Template::new(ACK, b"GET");
    for source in 0..CONNECTIONS {
        siege.feed(said.source(source).at(1001));
    }
    siege.end("GET");
}

#[test]
fn gaps_everywhere() {
    const CONNECTIONS: u32 = 300;
    const SEGMENTS: u32 = 500;
    let mut siege = Siege::new(u64::from(CONNECTIONS * SEGMENTS * 2));
    let text = format!("GET /gap HTTP/1.1\r\nContent-Length: 900\r\n\r\n{}", "g".repeat(1300));
    let length = u32::try_from(text.len()).unwrap();
    let mut client = Template::new(ACK, text.as_bytes());
    let mut server = Template::new(ACK, b"");
    // From the server to the client.
    server.0[16..20].copy_from_slice(&[172, 16, 0, 0]);
    server.0[12..16].copy_from_slice(&[10, 1, 0, 81]);
    server.0[20..22].copy_from_slice(&80_u16.to_be_bytes());
    for number in 0..SEGMENTS {
        for source in 0..CONNECTIONS {
            // Every third segment was not captured.
            let sequence = 1001 + (number + number / 2) * length;
            siege.feed(client.source(source).at(sequence));
            server.0[16..20].copy_from_slice(&(0xac10_0000 | (source >> 4)).to_be_bytes());
            server.0[22..24].copy_from_slice(&port(source));
            server.0[28..32].copy_from_slice(&(sequence + length).to_be_bytes());
            siege.feed(server.at(1));
        }
    }
    let counters = siege.end("gaps");
    assert!(counters.tcp.gaps > 1000, "{}", counters.tcp.gaps);
}

#[test]
fn long_polls_beside_heads_that_are_heavy() {
    const POLLS: usize = 7000;
    let poll = |number: usize| {
        let client = format!("10.2.{}.{}:40000", number >> 8, number & 0xff);
        Conversation::between(&client, "10.1.0.80:80").on(LinkType::Raw).handshake().client(POLL)
    };
    let polls: Vec<Conversation> = (0..POLLS).map(poll).collect();
    let mut frames: Vec<Frame> = polls.iter().flat_map(|poll| poll.frames.clone()).collect();
    let heavy = format!("GET /heavy HTTP/1.1\r\nX: {}\r\n\r\n", "h".repeat(60_000));
    for number in 0..400 {
        let client = format!("172.16.{}.{}:40000", number >> 8, number & 0xff);
        frames.extend(Conversation::between(&client, "10.1.0.81:80").on(LinkType::Raw).client(&heavy).frames);
    }
    for poll in polls {
        frames.extend(poll.server("HTTP/1.1 204 X\r\n\r\n").frames.into_iter().next_back());
    }
    for (frame, at) in frames.iter_mut().zip((START..).step_by(2000)) {
        frame.at = at;
    }
    let config = PipelineConfig { max_memory: 24 << 20, ..PipelineConfig::default() };
    let (exchanges, counters) = run_with(config, &frames);
    println!("polls: {:?}", counters.tcp);
    assert!(counters.tcp.shed > 0, "{:?}", counters.tcp);
    let answered = exchanges.iter().filter(|exchange| exchange.outcome == Outcome::Complete && !exchange.incomplete);
    assert_eq!(answered.count(), POLLS);
}
