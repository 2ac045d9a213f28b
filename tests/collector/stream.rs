//! A number of exchanges a second → the packets of many connections, written at that pace.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use network_agent::exchange::Exchange;

use crate::support::files::{packets, preamble};
use crate::support::{Conversation, Frame};

/// How many connections take turns.
const CONNECTIONS: u64 = 16;
/// How often packets are written.
const TURN: Duration = Duration::from_millis(10);

/// What a stream and those who watch it tell each other.
#[derive(Default)]
pub struct Pace {
    stop: AtomicBool,
    written: AtomicU64,
}

impl Pace {
    /// How many exchanges were written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// Exchanges `/0`, `/1`, … over connections that stay open.
struct Stream {
    connections: Vec<Conversation>,
    begun: u64,
    next: u64,
    rate: u64,
}

impl Stream {
    /// With `rate` exchanges a second, by the times of the packets.
    fn new(rate: u64) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let begun = u64::try_from(now.as_nanos()).unwrap();
        let connection = |number: u64| {
            let mut connection = Conversation::between(&format!("10.1.0.7:{}", 41_000 + number), "10.1.0.80:80");
            (connection.at, connection.step) = (begun, 1000);
            connection.handshake()
        };
        Self { connections: (0..CONNECTIONS).map(connection).collect(), begun, next: 0, rate }
    }

    /// The packets of the next `count` exchanges, by their times.
    fn advance(&mut self, count: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        for number in self.next..self.next + count {
            let place = usize::try_from(number % CONNECTIONS).unwrap();
            let request = format!("GET /{number} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: stream\r\n\r\n");
            let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            let mut connection = self.connections[place].clone();
            connection.at = self.begun + (number + 1) * 1_000_000_000 / self.rate;
            connection = connection.client(request).server(response);
            frames.append(&mut connection.frames);
            self.connections[place] = connection;
        }
        self.next += count;
        frames
    }

    /// Writes a capture at the stream's pace until told to stop; gives back all its packets.
    fn write(&mut self, output: &mut impl Write, pace: &Pace) -> Vec<Frame> {
        let mut written = self.handshakes();
        output.write_all(&[preamble(&written), packets(&written)].concat()).unwrap();
        let begun = Instant::now();
        while !pace.stop.load(Ordering::Relaxed) {
            // A stream has its pace by the clock; nothing else tells that it is time.
            std::thread::sleep(TURN);
            let due = u64::try_from(begun.elapsed().as_micros()).unwrap() * self.rate / 1_000_000;
            // Behind its time it goes at twice its pace at most: a burst would find no room in the kernel's queues.
            let frames = self.advance(due.saturating_sub(self.next).min(self.rate / 50));
            output.write_all(&packets(&frames)).unwrap();
            output.flush().unwrap();
            written.extend(frames);
            pace.written.store(self.next, Ordering::Relaxed);
        }
        written
    }

    fn handshakes(&mut self) -> Vec<Frame> {
        self.connections.iter_mut().flat_map(|connection| connection.frames.drain(..)).collect()
    }
}

/// Writes a stream of `rate` exchanges a second to `output` while `during` runs; gives back its packets.
pub fn streaming<T>(rate: u64, output: impl Write + Send, during: impl FnOnce(&Pace) -> T) -> (Vec<Frame>, T) {
    let pace = Pace::default();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut output = output;
            Stream::new(rate).write(&mut output, &pace)
        });
        // Stopped even when that fails: who waits for the writer would wait for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| during(&pace)));
        pace.stop.store(true, Ordering::Relaxed);
        let frames = writer.join().unwrap();
        (frames, result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// The packets of `count` exchanges, 5,000 a second by their times.
pub fn steady(count: u64) -> Vec<Frame> {
    let mut stream = Stream::new(5000);
    let mut frames = stream.handshakes();
    frames.extend(stream.advance(count));
    frames
}

/// The ids of the exchanges that the packets hold, as spans have them, in the order of the requests.
pub fn ids(frames: &[Frame]) -> Vec<String> {
    let (mut exchanges, _) = crate::support::run(frames);
    exchanges.sort_by_key(Exchange::start);
    exchanges.iter().map(id).collect()
}

fn id(exchange: &Exchange) -> String {
    format!("{:016x}", u64::from_be_bytes(*exchange.id.0.first_chunk().unwrap()))
}
