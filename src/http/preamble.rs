//! The first bytes of a connection → where HTTP may begin: behind a PROXY protocol header or a SOCKS handshake.
//!
//! - PROXY protocol, versions 1 and 2 (`HAProxy`'s `proxy-protocol.txt` §2.1 and §2.2): a load balancer tells the server
//!   who its client is. The header is skipped; the connection's addresses remain those of its packets.
//! - SOCKS 4 and 4a (the two memos of those names), SOCKS 5 (RFC 1928) without authentication or with a password
//!   (RFC 1929): a client asks a proxy for a connection to a server. Only the command CONNECT is followed.
//!
//! There is one look at the first bytes of a connection; when they are none of this, nothing changes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use memchr::memchr;

use super::detect::starts_alike;
use crate::tcp::{Direction, Mark};

/// How every PROXY header of version 2 begins.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest PROXY header of version 1, with its CRLF.
const MAX_PROXY_V1: usize = 107;
/// Names in SOCKS 4 have no length, only an end, and the memos no bound; stops one without an end.
const MAX_SOCKS4_NAME: usize = 255;
/// Bytes that tell where any of these messages ends, the longest being a SOCKS 4a request with its two names.
const MAX_HELD: usize = 8 + 2 * (MAX_SOCKS4_NAME + 1);

/// What stands before HTTP on one connection.
///
/// ```text
/// client  First ── PROXY header, or SOCKS 4 request ─────────────────────────▶ Over
///         First ── SOCKS 5 methods ─▶ PasswordOrRequest ─▶ Request ──────────▶ Over
/// server  First ── the client's tell ─▶ Over, or Socks4Reply ────────────────▶ Over
///                                       or Method ─▶ Status ─▶ Reply ────────▶ Over
/// ```
#[derive(Debug)]
pub(super) struct Preamble {
    up: Lane,
    down: Lane,
}

/// One direction.
#[derive(Debug)]
struct Lane {
    expects: Expects,
    /// Bytes still to come of a message that was recognised by its front.
    skip: u32,
    /// A message that began in packets before.
    held: Option<Box<Held>>,
}

/// What comes next in a direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expects {
    /// The first bytes.
    First,
    /// SOCKS 5, client: the password if the server wants one, or the request.
    PasswordOrRequest,
    /// SOCKS 5, client: the request.
    Request,
    /// SOCKS 5, server: the chosen method.
    Method,
    /// SOCKS 5, server: whether the password is right.
    Status,
    /// SOCKS 5, server: the reply to the request.
    Reply,
    /// SOCKS 4, server: the reply to the request.
    Socks4Reply,
    /// Payload.
    Over,
}

/// The part of a message that earlier packets brought. `bytes.len() < MAX_HELD`.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// How many bytes each packet brought, and where they stand.
    parts: Vec<(usize, Mark)>,
}

/// What the bytes of an event are.
#[derive(Debug)]
pub(super) enum Passed {
    /// So many of them stand before HTTP; those after them are its.
    Skip(usize),
    /// Neither they nor those held before them stand before HTTP: all are its.
    Replay(Box<Held>),
    /// A preamble that did not go on as one, or was refused: HTTP will not follow.
    Broken,
}

/// What a direction makes of bytes.
#[derive(Debug)]
enum Step {
    /// So many of them belong to a message that was recognised, or are held.
    Taken(usize),
    /// A message was recognised; so many of them belong to it.
    Recognised(Message, usize),
    /// They are payload.
    Payload,
    /// They, and those held, are not what was expected.
    Other(Option<Box<Held>>),
}

/// What bytes turned out to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    /// The message that was expected.
    Message(Message),
    /// More bytes will tell. Never of `MAX_HELD` bytes or more.
    NeedMore,
    /// Something else.
    Other,
}

/// A message before HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Message {
    /// Its bytes; all of them, or its front at least, were seen.
    length: usize,
    /// What comes after it.
    next: Expects,
    /// What it says that the other direction begins with.
    peer: Option<Expects>,
}

impl Preamble {
    /// Of a connection of which nothing was seen.
    pub(super) const fn new() -> Self {
        Self { up: Lane::new(), down: Lane::new() }
    }

    /// Bytes allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        [&self.up, &self.down].into_iter().filter_map(|lane| lane.held.as_deref()).map(Held::heap_bytes).sum()
    }

    /// Whether it is over in `direction`: all that comes is payload.
    #[inline]
    pub(super) fn is_over(&self, direction: Direction) -> bool {
        let lane = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        lane.skip == 0 && lane.expects == Expects::Over
    }

    /// Takes the next bytes of a direction; counts in `preambles` when the client's part has been recognised.
    pub(super) fn data(&mut self, direction: Direction, bytes: &[u8], mark: &Mark, preambles: &mut u64) -> Passed {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let lane = self.lane(direction);
            let expected = lane.expects;
            match lane.take(rest, used, mark) {
                Step::Taken(count) => used += count,
                Step::Recognised(message, count) => {
                    used += count;
                    if message.next == Expects::Over && expected.is_of_client() {
                        *preambles += 1;
                    }
                    if let Some(peer) = message.peer
                        && !self.lane(direction.opposite()).begin_with(peer)
                        && peer != Expects::Over
                    {
                        return Passed::Broken;
                    }
                }
                Step::Payload => break,
                Step::Other(held) if expected == Expects::First => {
                    lane.expects = Expects::Over;
                    self.lane(direction.opposite()).begin_with(Expects::Over);
                    return held.map_or(Passed::Skip(0), Passed::Replay);
                }
                Step::Other(_) => return Passed::Broken,
            }
        }
        Passed::Skip(used)
    }

    /// The direction ends here, or bytes of it are missing: what comes next is no preamble, nor is what was held.
    pub(super) fn give_up(&mut self, direction: Direction) -> Passed {
        let lane = std::mem::replace(self.lane(direction), Lane { expects: Expects::Over, ..Lane::new() });
        lane.held.filter(|_| lane.expects == Expects::First).map_or(Passed::Skip(0), Passed::Replay)
    }

    const fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

impl Lane {
    const fn new() -> Self {
        Self { expects: Expects::First, skip: 0, held: None }
    }

    /// The other direction has shown what this one begins with; `false` when this one has begun already.
    fn begin_with(&mut self, expects: Expects) -> bool {
        let fresh = self.expects == Expects::First && self.held.is_none();
        if fresh {
            self.expects = expects;
        }
        fresh
    }

    /// Takes bytes that stand `offset` bytes into a packet's.
    fn take(&mut self, rest: &[u8], offset: usize, mark: &Mark) -> Step {
        if self.skip > 0 {
            let count = rest.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= number(count);
            return Step::Taken(count);
        }
        if self.expects == Expects::Over {
            return Step::Payload;
        }
        let mut held = self.held.take();
        let before = held.as_ref().map_or(0, |held| held.bytes.len());
        let found = match &mut held {
            None => self.expects.find(rest),
            Some(held) => {
                held.bytes.extend_from_slice(rest.get(..MAX_HELD.saturating_sub(before)).unwrap_or(rest));
                self.expects.find(&held.bytes)
            }
        };
        match found {
            Found::Message(message) => {
                let missing = message.length.saturating_sub(before);
                self.expects = message.next;
                self.skip = number(missing.saturating_sub(rest.len()));
                Step::Recognised(message, missing.min(rest.len()))
            }
            Found::NeedMore => {
                let mut held = held.unwrap_or_else(|| Box::new(Held { bytes: rest.to_vec(), parts: Vec::new() }));
                let sequence = mark.sequence.advance(number(offset));
                held.parts.push((held.bytes.len() - before, Mark { sequence, ..*mark }));
                self.held = Some(held);
                Step::Taken(rest.len())
            }
            Found::Other => {
                if let Some(held) = &mut held {
                    held.bytes.truncate(before);
                }
                Step::Other(held)
            }
        }
    }
}

impl Held {
    /// Bytes allocated, its own included. Bytes that come one by one take much more than themselves.
    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.parts.capacity() * size_of::<(usize, Mark)>()
    }

    /// The bytes as they came, packet by packet.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&[u8], &Mark)> {
        let mut rest = self.bytes.as_slice();
        self.parts.iter().map_while(move |(length, mark)| {
            let (part, behind) = rest.split_at_checked(*length)?;
            rest = behind;
            Some((part, mark))
        })
    }
}

impl Expects {
    const fn is_of_client(self) -> bool {
        matches!(self, Self::First | Self::PasswordOrRequest | Self::Request)
    }

    /// Looks for the message at the front of `bytes`, which are not empty.
    fn find(self, bytes: &[u8]) -> Found {
        match (self, bytes) {
            (Self::First, [b'P', ..]) => find_proxy_v1(bytes),
            (Self::First, [b'\r', ..]) => find_proxy_v2(bytes),
            (Self::First, [4, ..]) => find_socks4_request(bytes),
            (Self::First, [5, ..]) => find_methods(bytes),
            (Self::PasswordOrRequest, [1, ..]) => find_password(bytes),
            (Self::PasswordOrRequest | Self::Request, _) => find_addressed(bytes, &[5, 1, 0]),
            (Self::Method, _) if starts_alike(bytes, &[5, 0]) => whole(bytes, 2, Self::Reply),
            (Self::Method, _) if starts_alike(bytes, &[5, 2]) => whole(bytes, 2, Self::Status),
            // Some servers repeat the version of SOCKS, where that of the sub-negotiation belongs.
            (Self::Status, [1 | 5] | [1 | 5, 0, ..]) => whole(bytes, 2, Self::Reply),
            (Self::Reply, _) => find_addressed(bytes, &[5, 0]),
            (Self::Socks4Reply, _) if starts_alike(bytes, &[0, 0x5a]) => whole(bytes, 8, Self::Over),
            _ => Found::Other,
        }
    }
}

/// `PROXY TCP4 source destination port port CRLF`, `TCP6` likewise, or `PROXY UNKNOWN` and anything.
fn find_proxy_v1(bytes: &[u8]) -> Found {
    let longest = bytes.get(..MAX_PROXY_V1).unwrap_or(bytes);
    let Some(end) = memchr(b'\n', longest) else {
        let known: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];
        let fits = known.iter().any(|known| starts_alike(bytes, known));
        return if fits && bytes.len() < MAX_PROXY_V1 { Found::NeedMore } else { Found::Other };
    };
    let line = longest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let fits = line.and_then(|line| std::str::from_utf8(line).ok()).is_some_and(|line| {
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("PROXY"), Some("TCP4")) => are_addresses::<Ipv4Addr>(words),
            (Some("PROXY"), Some("TCP6")) => are_addresses::<Ipv6Addr>(words),
            (Some("PROXY"), Some("UNKNOWN")) => true,
            _ => false,
        }
    });
    if fits { proxy_header(end + 1) } else { Found::Other }
}

/// Two addresses and two ports, and nothing else.
fn are_addresses<'a, A: FromStr>(mut words: impl Iterator<Item = &'a str>) -> bool {
    let is_address = |word: Option<&str>| word.is_some_and(|word| word.parse::<A>().is_ok());
    let is_port = |word: Option<&str>| word.is_some_and(|word| word.parse::<u16>().is_ok());
    is_address(words.next())
        && is_address(words.next())
        && is_port(words.next())
        && is_port(words.next())
        && words.next().is_none()
}

/// Signature, version and command, family and transport, length of what follows.
fn find_proxy_v2(bytes: &[u8]) -> Found {
    if !starts_alike(bytes, PROXY_V2) {
        return Found::Other;
    }
    match bytes.get(PROXY_V2.len()..) {
        // The command LOCAL is 0, PROXY is 1.
        Some([0x20 | 0x21, _, high, low, ..]) => proxy_header(16 + usize::from(u16::from_be_bytes([*high, *low]))),
        None | Some([] | [0x20 | 0x21, ..]) => Found::NeedMore,
        Some(_) => Found::Other,
    }
}

/// Version, command CONNECT, port, address, user name, NUL; when the address is 0.0.0.x, a host name, NUL (SOCKS 4a).
fn find_socks4_request(bytes: &[u8]) -> Found {
    if !starts_alike(bytes, &[4, 1]) {
        return Found::Other;
    }
    let Some((address, names)) = bytes.get(4..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return Found::NeedMore;
    };
    let names_wanted = if matches!(address, [0, 0, 0, 1..=255]) { 2 } else { 1 };
    let mut length = 8;
    let mut rest = names;
    for _ in 0..names_wanted {
        let name = rest.get(..=MAX_SOCKS4_NAME).unwrap_or(rest);
        let end = memchr(0, name).unwrap_or(name.len());
        if end > MAX_SOCKS4_NAME || name.iter().take(end).any(u8::is_ascii_control) {
            return Found::Other;
        }
        let Some(behind) = rest.get(end + 1..) else { return Found::NeedMore };
        length += end + 1;
        rest = behind;
    }
    Found::Message(Message { length, next: Expects::Over, peer: Some(Expects::Socks4Reply) })
}

/// Version, number of methods, methods; at least one that is followed here: none (0) or a password (2).
fn find_methods(bytes: &[u8]) -> Found {
    let [_, count, methods @ ..] = bytes else { return Found::NeedMore };
    // X'FF' is "no acceptable methods", which is for the server to say.
    if *count == 0 || methods.iter().take(usize::from(*count)).any(|method| *method == 0xff) {
        return Found::Other;
    }
    let Some(methods) = methods.get(..usize::from(*count)) else { return Found::NeedMore };
    if !methods.iter().any(|method| matches!(method, 0 | 2)) {
        return Found::Other;
    }
    let (next, peer) = (Expects::PasswordOrRequest, Some(Expects::Method));
    Found::Message(Message { length: 2 + methods.len(), next, peer })
}

/// Version, length of the user name, user name, length of the password, password (RFC 1929 §2).
fn find_password(bytes: &[u8]) -> Found {
    let [_, user, rest @ ..] = bytes else { return Found::NeedMore };
    match rest.get(usize::from(*user)) {
        Some(password) => whole(bytes, 3 + usize::from(*user) + usize::from(*password), Expects::Request),
        None => Found::NeedMore,
    }
}

/// What `front` says, a byte that is reserved, kind of address, address, port (RFC 1928 §4 and §6).
fn find_addressed(bytes: &[u8], front: &[u8]) -> Found {
    if !starts_alike(bytes, front) {
        return Found::Other;
    }
    match bytes {
        [_, _, _, 1, ..] => whole(bytes, 10, Expects::Over),
        [_, _, _, 3, length, ..] => whole(bytes, 7 + usize::from(*length), Expects::Over),
        [_, _, _, 4, ..] => whole(bytes, 22, Expects::Over),
        [_, _, _, 3] | [] | [_] | [_, _] | [_, _, _] => Found::NeedMore,
        _ => Found::Other,
    }
}

const fn proxy_header(length: usize) -> Found {
    Found::Message(Message { length, next: Expects::Over, peer: Some(Expects::Over) })
}

/// A message of `length` bytes, once all of them are there.
const fn whole(bytes: &[u8], length: usize, next: Expects) -> Found {
    if bytes.len() < length {
        return Found::NeedMore;
    }
    Found::Message(Message { length, next, peer: None })
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::packet::SequenceNumber;
    use Direction::{Down, Up};

    const PAYLOAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    /// A connection whose client speaks in the direction `Up`.
    struct Bench {
        preamble: Preamble,
        preambles: u64,
        sent: [u32; 2],
        /// What was passed on as payload, by direction, and whether the preamble broke.
        passed: [Vec<u8>; 2],
        broken: bool,
    }

    impl Bench {
        fn new() -> Self {
            let passed = [Vec::new(), Vec::new()];
            Self { preamble: Preamble::new(), preambles: 0, sent: [0, 0], passed, broken: false }
        }

        fn say(&mut self, direction: Direction, bytes: &[u8]) {
            let mark = Mark { sequence: SequenceNumber::new(self.sent[direction as usize]), ..Mark::default() };
            self.sent[direction as usize] += number(bytes.len());
            let passed = self.preamble.data(direction, bytes, &mark, &mut self.preambles);
            let used = self.settle(direction, passed);
            self.passed[direction as usize].extend(&bytes[used.min(bytes.len())..]);
            let held = &self.preamble.lane(direction).held;
            assert!(held.as_ref().is_none_or(|held| (1..MAX_HELD).contains(&held.bytes.len())));
        }

        fn settle(&mut self, direction: Direction, passed: Passed) -> usize {
            match passed {
                Passed::Skip(used) => used,
                Passed::Broken => {
                    self.broken = true;
                    usize::MAX
                }
                Passed::Replay(held) => {
                    for (bytes, mark) in held.parts() {
                        assert_eq!(mark.sequence.value() as usize, self.passed[direction as usize].len());
                        self.passed[direction as usize].extend(bytes);
                    }
                    0
                }
            }
        }

        fn say_in_pieces(&mut self, direction: Direction, bytes: &[u8], cuts: &[usize]) {
            let mut rest = bytes;
            let mut at = 0;
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut - at);
                self.say(direction, piece);
                (rest, at) = (behind, *cut);
            }
            self.say(direction, rest);
        }

        fn end(&mut self, direction: Direction) {
            let passed = self.preamble.give_up(direction);
            self.settle(direction, passed);
        }
    }

    fn proxy_v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [PROXY_V2, &[0x20 | command, family], &length, body].concat()
    }

    fn methods(methods: &[u8]) -> Vec<u8> {
        [&[5, u8::try_from(methods.len()).unwrap()], methods].concat()
    }

    fn addressed(front: [u8; 3], address: &[u8]) -> Vec<u8> {
        [front.as_slice(), address, &[0, 80]].concat()
    }

    /// What the client and the server say before HTTP.
    fn preambles() -> Vec<(Vec<u8>, Vec<u8>)> {
        let v1 = [
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
            "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
            "PROXY UNKNOWN\r\n",
            "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        ];
        let long_v1 = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_PROXY_V1 - 16));
        let v2 = [
            proxy_v2(1, 0x11, &[7; 12]),
            proxy_v2(1, 0x21, &[7; 36]),
            // With fields of its own, and an extension of Amazon's.
            proxy_v2(1, 0x11, &[&[7; 12], b"\xea\x00\x05hello".as_slice()].concat()),
            proxy_v2(0, 0x00, &[]),
            proxy_v2(0, 0xff, &[13; 300]),
        ];
        let socks4_reply = vec![0, 0x5a, 0, 80, 192, 0, 2, 1];
        let socks4: [&[u8]; 4] = [
            b"\x04\x01\0\x50\xc0\0\x02\x01\0",
            b"\x04\x01\0\x50\xc0\0\x02\x01joe\0",
            b"\x04\x01\0\x50\0\0\0\x01\0www.example.com\0",
            b"\x04\x01\0\x50\0\0\0\xffjoe\0www.example.com\0",
        ];
        let long_socks4 = [b"\x04\x01\0\x50\0\0\0\x01".as_slice(), &[b'u'; 255], &[0], &[b'h'; 255], &[0]].concat();
        let (v4, v6) = ([1, 192, 0, 2, 1], [&[4], [7; 16].as_slice()].concat());
        let name: &[u8] = b"\x03\x0bexample.com";
        let socks5 = [
            (methods(&[0]), vec![], v4.to_vec(), vec![5, 0], v4.to_vec()),
            (methods(&[0, 1, 2]), vec![], v6.clone(), vec![5, 0], v6),
            (methods(&[0, 2]), vec![], name.to_vec(), vec![5, 0], v4.to_vec()),
            (methods(&[2]), b"\x01\x03joe\x06secret".to_vec(), name.to_vec(), vec![5, 2, 1, 0], name.to_vec()),
            (methods(&[2]), b"\x01\x01a\x00".to_vec(), v4.to_vec(), vec![5, 2, 5, 0], vec![3, 0]),
        ];
        let mut all: Vec<_> = v1.iter().map(|line| (line.as_bytes().to_vec(), vec![])).collect();
        all.push((long_v1.into_bytes(), vec![]));
        all.extend(v2.map(|header| (header, vec![])));
        all.extend(socks4.iter().map(|request| (request.to_vec(), socks4_reply.clone())));
        all.push((long_socks4, socks4_reply));
        all.extend(socks5.map(|(methods, password, address, choice, bound)| {
            let request = addressed([5, 1, 0], &address);
            ([methods, password, request].concat(), [choice, addressed([5, 0, 0], &bound)].concat())
        }));
        all
    }

    #[test]
    fn what_holding_small_packets_costs_is_told() {
        let mut bench = Bench::new();
        bench.say(Up, b"\x04\x01\0P\0\0\0\x01");
        (0..250).for_each(|_| bench.say(Up, b"u"));
        assert!(bench.preamble.heap_bytes() >= 258 + 251 * size_of::<Mark>(), "{}", bench.preamble.heap_bytes());
    }

    #[test]
    fn every_preamble_is_skipped_to_the_byte_whatever_the_cuts() {
        for (client, server) in preambles() {
            let sent = [[&client, PAYLOAD].concat(), [&server, ANSWER].concat()];
            let step = 1 + sent[0].len() / 60;
            for first in 0..sent[0].len() {
                for second in (first..sent[0].len()).step_by(step) {
                    let mut bench = Bench::new();
                    bench.say_in_pieces(Up, &sent[0], &[first, second]);
                    let cuts = [first.min(sent[1].len()), second.min(sent[1].len())];
                    bench.say_in_pieces(Down, &sent[1], &cuts);
                    let passed = bench.passed.each_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    let wanted = [PAYLOAD, ANSWER].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    assert_eq!((passed, bench.broken), (wanted, false), "{client:?} cut at {first} and {second}");
                    assert_eq!(bench.preambles, 1);
                }
            }
        }
    }

    #[test]
    fn no_prefix_of_a_preamble_passes_a_byte() {
        for (client, server) in preambles() {
            for end in 0..=client.len() {
                let mut bench = Bench::new();
                bench.say(Up, &client[..end]);
                assert_eq!((bench.passed[0].len(), bench.broken), (0, false), "{end} bytes of {client:?}");
                assert!(bench.preambles == 0 || end >= 16.min(client.len()), "{end} bytes of {client:?}");
            }
            for end in 0..=server.len() {
                let mut bench = Bench::new();
                bench.say(Up, &client);
                bench.say(Down, &server[..end]);
                assert_eq!((bench.passed[1].len(), bench.broken), (0, false), "{end} bytes of {server:?}");
            }
        }
    }

    #[test]
    fn the_longest_header_of_version_2_is_skipped_without_being_held() {
        let header = proxy_v2(1, 0x11, &vec![b'G'; 65_535]);
        let mut bench = Bench::new();
        for piece in [&header, PAYLOAD].concat().chunks(1448) {
            bench.say(Up, piece);
        }
        assert_eq!((bench.passed[0].as_slice(), bench.preambles), (PAYLOAD, 1));
    }

    #[test]
    fn what_only_begins_like_a_preamble_passes_whole_with_its_packets() {
        let others: [&[u8]; 24] = [
            b"POST / HTTP/1.1\r\n\r\n",
            b"PROPFIND / HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PROXY / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 HTTP/1.1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 65536\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.7 56324 443\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n\0\r\nQUIT\r",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0",
            b"\x04\x02\0\x50\xc0\0\x02\x01\0",
            b"\x04\x01\0\x50\xc0\0\x02\x01\x1b\0",
            b"\x04\x01\0\x50\0\0\0\x01\0\n\0",
            b"\x05\0\x05\x01",
            b"\x05\x01\x01",
            b"\x05\x02\0\xff",
            b"\x05\x01\x80",
            b"\x16\x03\x01\x02\0\x01",
            b"SSH-2.0-x\r\n",
            &[b'P'; 200],
        ];
        for other in others {
            for cut in 0..other.len() {
                let mut bench = Bench::new();
                bench.say_in_pieces(Up, other, &[cut]);
                bench.end(Up);
                assert_eq!((bench.passed[0].as_slice(), bench.preambles), (other, 0), "{other:?} cut at {cut}");
                assert!(!bench.broken);
            }
        }
    }

    #[test]
    fn names_and_headers_without_an_end_are_not_held_for_ever() {
        let endless: [(&[u8], u8); 4] = [
            (b"PROXY UNKNOWN ", b'x'),
            (b"PROXY TCP4 ", b'1'),
            (b"\x04\x01\0\x50\xc0\0\x02\x01", b'u'),
            (b"\x04\x01\0\x50\0\0\0\x01\0", b'h'),
        ];
        for (start, filler) in endless {
            let sent = [start, &vec![filler; MAX_HELD]].concat();
            for size in [1, 7, MAX_HELD * 2] {
                let mut bench = Bench::new();
                for piece in sent.chunks(size) {
                    bench.say(Up, piece);
                }
                assert_eq!((bench.passed[0].as_slice(), bench.preambles), (sent.as_slice(), 0));
            }
        }
    }

    #[test]
    fn a_socks_server_is_recognised_only_behind_its_client() {
        for reply in [&[5, 0][..], &[0, 0x5a, 0, 0, 0, 0, 0, 0], &[5, 2]] {
            for greeting in [&b""[..], PAYLOAD, b"PROXY UNKNOWN\r\n"] {
                let mut bench = Bench::new();
                bench.say(Up, greeting);
                bench.say(Down, reply);
                bench.end(Down);
                assert_eq!(bench.passed[1], reply);
            }
        }
    }

    #[test]
    fn a_handshake_that_goes_wrong_is_not_followed() {
        let hello = methods(&[0, 2]);
        let request = addressed([5, 1, 0], &[1, 192, 0, 2, 1]);
        let cases: [(&[&[u8]], &[u8]); 12] = [
            // The client says something else than its request.
            (&[&hello, b"GET / HTTP/1.1\r\n\r\n"], b""),
            (&[&hello, &[5, 2, 0, 1, 0, 0, 0, 0, 0, 80]], b""),
            (&[&hello, &[5, 1, 0, 2, 0, 0, 0, 0, 0, 80]], b""),
            (&[&hello, b"\x01\x01a\x01b", b"\x01\x01a\x01b"], b""),
            // The server refuses, or says something else.
            (&[&hello], &[5, 0xff]),
            (&[&hello], &[5, 1]),
            (&[&hello], b"220 mail\r\n"),
            (&[&hello, b"\x01\x01a\x01b"], &[5, 2, 1, 1]),
            (&[&hello, &request], &[5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
            (&[&hello, &request], &[5, 0, 5, 0, 0, 2, 0, 0, 0, 0, 0, 0]),
            (&[b"\x04\x01\0\x50\xc0\0\x02\x01\0"], &[0, 0x5b, 0, 0, 0, 0, 0, 0]),
            (&[b"\x04\x01\0\x50\xc0\0\x02\x01\0"], b"HTTP/1.1 400 No\r\n\r\n"),
        ];
        for (client, server) in cases {
            let mut bench = Bench::new();
            for message in client {
                bench.say(Up, message);
            }
            bench.say(Down, server);
            assert!(bench.broken, "{client:?} {server:?}");
            assert!(bench.passed.iter().all(Vec::is_empty));
        }
        let mut bench = Bench::new();
        bench.say(Down, b"220 mail\r\n");
        bench.say(Up, PROXY_V2);
        assert_eq!(bench.passed, [PROXY_V2, b"220 mail\r\n"], "the server spoke first");
    }

    #[test]
    fn lost_bytes_end_the_look_in_their_direction_alone() {
        let mut bench = Bench::new();
        bench.say(Up, &methods(&[0]));
        bench.end(Up);
        bench.say(Down, &[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        bench.say(Up, PAYLOAD);
        bench.say(Down, ANSWER);
        assert_eq!(bench.passed, [PAYLOAD, ANSWER]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(20_261_124), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_skipped_at_the_front_or_passed_whatever_the_cuts(
            which in 0..preambles().len(),
            kept in 0..600_usize,
            changed in proptest::option::of((0..600_usize, any::<u8>())),
            behind in proptest::collection::vec(any::<u8>(), 0..40),
            size in 1..50_usize,
        ) {
            let (mut client, _) = preambles().swap_remove(which);
            client.truncate(kept);
            if let Some((place, byte)) = changed
                && let Some(old) = client.get_mut(place)
            {
                *old = byte;
            }
            client.extend(behind);
            let mut whole = Bench::new();
            whole.say(Up, &client);
            let mut cut = Bench::new();
            for piece in client.chunks(size) {
                if !cut.broken {
                    cut.say(Up, piece);
                }
            }
            prop_assert!(client.ends_with(&whole.passed[0]));
            prop_assert_eq!((whole.broken, whole.preambles), (cut.broken, cut.preambles));
            prop_assert_eq!(&whole.passed[0], &cut.passed[0]);
        }
    }
}
