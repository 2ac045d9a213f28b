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
                held.bytes.extend_from_slice(rest.get(..MAX_HELD - before).unwrap_or(rest));
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
