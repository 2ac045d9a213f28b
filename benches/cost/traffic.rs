//! Loads of known content → capture files, cut as real traffic is.

use std::fmt::Write as _;

/// Payload of a full segment on Ethernet, with timestamps.
const SEGMENT: usize = 1448;
/// Payload of what receive offload has put together.
const SUPER_SEGMENT: usize = 44 * SEGMENT;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// A capture file, and what is in it.
pub struct Traffic {
    pub name: &'static str,
    pub file: Vec<u8>,
    pub packets: u64,
    pub exchanges: u64,
}

/// Every load, in the order of the tables.
pub fn all() -> Vec<Traffic> {
    vec![
        keep_alive(),
        new_connections(),
        bulk("bulk bodies", SEGMENT),
        bulk("bulk bodies, offloaded", SUPER_SEGMENT),
        chunked(),
        idle(),
        not_http(),
    ]
}

/// 50 connections that are kept, three packets and ten header lines an exchange.
pub fn keep_alive() -> Traffic {
    let mut file = File::new();
    let mut talks: Vec<Talk> = (0..50).map(|number| Talk::begin(number, &mut file)).collect();
    let count = 20_000;
    for number in 0..count {
        let talk = talks.get_mut(number % 50).expect("there are 50");
        talk.exchange(number, &small_response(), SEGMENT, &mut file);
    }
    file.done("keep-alive, small", count as u64)
}

/// A connection for each exchange: ten packets.
fn new_connections() -> Traffic {
    let mut file = File::new();
    let count = 5_000;
    for number in 0..count {
        let mut talk = Talk::begin(number, &mut file);
        talk.exchange(number, &small_response(), SEGMENT, &mut file);
        talk.end(&mut file);
    }
    file.done("a new connection each", count as u64)
}

/// Responses of 2 MB; every second segment is acknowledged.
fn bulk(name: &'static str, segment: usize) -> Traffic {
    let mut file = File::new();
    let body = vec![b'b'; 2_000_000];
    let mut response = b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Length: 2000000\r\n\r\n".to_vec();
    response.extend_from_slice(&body);
    let mut talk = Talk::begin(0, &mut file);
    let count = 20;
    for number in 0..count {
        talk.exchange(number, &response, segment, &mut file);
    }
    file.done(name, count as u64)
}

/// Streams of twenty chunks, a packet each.
fn chunked() -> Traffic {
    let mut file = File::new();
    let mut talk = Talk::begin(0, &mut file);
    let count = 1_000;
    for number in 0..count {
        talk.send(Side::Client, &request(number), SEGMENT, &mut file);
        talk.send(Side::Server, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", SEGMENT, &mut file);
        let chunk = format!("3e8\r\n{}\r\n", "c".repeat(1000));
        for _ in 0..20 {
            talk.send(Side::Server, chunk.as_bytes(), SEGMENT, &mut file);
        }
        talk.send(Side::Server, b"0\r\n\r\n", SEGMENT, &mut file);
        talk.push(Side::Client, ACK, b"", &mut file);
    }
    file.done("chunked streams", count as u64)
}

/// 20,000 connections that ask once and then are quiet, and 50 that go on.
fn idle() -> Traffic {
    let mut file = File::new();
    for number in 0..20_000 {
        Talk::begin(100 + number, &mut file).exchange(number, &small_response(), SEGMENT, &mut file);
    }
    let mut talks: Vec<Talk> = (0..50).map(|number| Talk::begin(number, &mut file)).collect();
    for number in 0..10_000 {
        let talk = talks.get_mut(number % 50).expect("there are 50");
        talk.exchange(number, &small_response(), SEGMENT, &mut file);
    }
    file.done("beside 20,000 idle ones", 30_000)
}

/// Full segments of TLS records.
fn not_http() -> Traffic {
    let mut file = File::new();
    let mut record = vec![0x17, 3, 3, 0x40, 0];
    record.resize(SEGMENT, 0xa5);
    let mut talks: Vec<Talk> = (0..50).map(|number| Talk::begin(number, &mut file)).collect();
    for number in 0..30_000 {
        let talk = talks.get_mut(number % 50).expect("there are 50");
        talk.send(Side::Server, &record, SEGMENT, &mut file);
    }
    file.done("not HTTP", 0)
}

/// A request with ten header lines.
pub fn request(number: usize) -> Vec<u8> {
    let mut text = String::new();
    let _ = write!(
        text,
        "GET /api/v1/items/{number:07} HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.5\r\n\
         Connection: keep-alive\r\nCookie: session=0123456789abcdef\r\nX-Request-Id: 7f3c2b1a-{number:07}\r\n\
         Cache-Control: no-cache\r\nReferer: http://shop.example.com/\r\n\r\n"
    );
    text.into_bytes()
}

fn small_response() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22\r\nDate: Wed, 25 Nov 2026 06:00:00 GMT\r\nContent-Type: application/json\r\n\
      Content-Length: 36\r\nConnection: keep-alive\r\nCache-Control: max-age=60\r\nETag: \"abc\"\r\nVary: Accept-Encoding\r\n\
      X-Frame-Options: DENY\r\nX-Served-By: web-1\r\n\r\n{\"id\":1,\"name\":\"thing\",\"price\":12.5}"
        .to_vec()
}

/// Who sends.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Side {
    Client,
    Server,
}

/// A TCP connection.
pub struct Talk {
    client: u32,
    port: u16,
    /// The next numbers of the client and of the server.
    next: [u32; 2],
}

impl Talk {
    /// With a handshake.
    fn begin(number: usize, file: &mut File) -> Self {
        let mut talk = Self::numbered(number);
        talk.push(Side::Client, SYN, b"", file);
        talk.push(Side::Server, SYN | ACK, b"", file);
        talk.push(Side::Client, ACK, b"", file);
        talk
    }

    /// Of which nothing was sent.
    pub fn numbered(number: usize) -> Self {
        let number = u32::try_from(number).expect("there are fewer");
        let port = 1024 + u16::try_from(number % 60_000).expect("a port");
        Self {
            client: 0x0a01_0000 + number / 60_000,
            port,
            next: [number.wrapping_mul(1000), number.wrapping_mul(7000)],
        }
    }

    fn exchange(&mut self, number: usize, response: &[u8], segment: usize, file: &mut File) {
        self.send(Side::Client, &request(number), segment, file);
        self.send(Side::Server, response, segment, file);
        self.push(Side::Client, ACK, b"", file);
    }

    /// In segments; every second one is acknowledged at once.
    fn send(&mut self, side: Side, bytes: &[u8], segment: usize, file: &mut File) {
        let count = bytes.len().div_ceil(segment);
        for (place, piece) in bytes.chunks(segment).enumerate() {
            self.push(side, PUSH | ACK, piece, file);
            if place % 2 == 1 && place + 1 < count {
                let other = if side == Side::Client { Side::Server } else { Side::Client };
                self.push(other, ACK, b"", file);
            }
        }
    }

    fn end(&mut self, file: &mut File) {
        self.push(Side::Client, FIN | ACK, b"", file);
        self.push(Side::Server, FIN | ACK, b"", file);
        self.push(Side::Client, ACK, b"", file);
    }

    fn push(&mut self, side: Side, flags: u8, payload: &[u8], file: &mut File) {
        file.frame.clear();
        self.frame(side, flags, payload, &mut file.frame);
        file.add();
    }

    /// Appends the frame to `out`.
    pub fn frame(&mut self, side: Side, flags: u8, payload: &[u8], out: &mut Vec<u8>) {
        const SERVER: (u32, u16) = (0x0a02_0002, 80);
        let client = (self.client, self.port);
        let [at_client, at_server] = self.next;
        let (from, to, sequence, received) = match side {
            Side::Client => (client, SERVER, at_client, at_server),
            Side::Server => (SERVER, client, at_server, at_client),
        };
        out.extend_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        // Longer than the field can say is 0, as segmentation offload leaves it.
        let length = u16::try_from(52 + payload.len()).unwrap_or(0);
        out.extend_from_slice(&[0x45, 0]);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0]);
        out.extend_from_slice(&from.0.to_be_bytes());
        out.extend_from_slice(&to.0.to_be_bytes());
        out.extend_from_slice(&from.1.to_be_bytes());
        out.extend_from_slice(&to.1.to_be_bytes());
        out.extend_from_slice(&sequence.to_be_bytes());
        out.extend_from_slice(&received.to_be_bytes());
        out.extend_from_slice(&[0x80, flags, 1, 0xf4, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(payload);
        let taken = u32::try_from(payload.len()).expect("a packet") + u32::from(flags & (SYN | FIN) != 0);
        let next = match side {
            Side::Client => self.next.first_mut(),
            Side::Server => self.next.last_mut(),
        };
        *next.expect("there are two") = sequence.wrapping_add(taken);
    }
}

/// A capture file that is being written.
struct File {
    bytes: Vec<u8>,
    frame: Vec<u8>,
    packets: u64,
    at: u64,
}

impl File {
    fn new() -> Self {
        let mut bytes = Vec::new();
        for number in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        Self { bytes, frame: Vec::new(), packets: 0, at: 1_790_000_000_000_000_000 }
    }

    fn add(&mut self) {
        self.at += 3_000;
        self.packets += 1;
        let length = self.frame.len() as u64;
        for number in [self.at / 1_000_000_000, self.at % 1_000_000_000, length, length] {
            self.bytes.extend_from_slice(&u32::try_from(number).expect("it fits").to_le_bytes());
        }
        self.bytes.extend_from_slice(&self.frame);
    }

    fn done(self, name: &'static str, exchanges: u64) -> Traffic {
        Traffic { name, file: self.bytes, packets: self.packets, exchanges }
    }
}
