//! A seed → a random conversation: what was said, the segments that carried it, and the faults of a capture.
//!
//! Every response names its request (`X-N`), so a true pair is known by construction.

use std::fmt::Write;

use network_agent::packet::LinkType;

use super::frames::{in_vxlan, tagged};
use super::{ACK, Conversation, Frame, Random, Side};

/// A conversation as it happened, before any fault.
#[derive(Clone, Debug)]
pub struct Talk {
    pub said: Vec<Said>,
    pub sent: Vec<Sent>,
    pub pipelines: bool,
    /// So many frames at the beginning must be captured, or nobody could tell: the handshake, where bodies hold text
    /// that looks like messages; the first requests, where the client does not wait for its answers.
    pub spared: usize,
    /// The initial sequence numbers, plus one.
    pub starts: [u32; 2],
}

/// One exchange as it happened.
#[derive(Clone, Debug)]
pub struct Said {
    pub method: &'static str,
    pub status: u16,
    pub request: Extent,
    pub response: Extent,
}

/// Where a message stands in its direction: offsets from the first byte of the direction.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub start: usize,
    pub head_end: usize,
    pub end: usize,
    pub body: u64,
    pub is_chunked: bool,
}

/// A frame, and what it carries.
#[derive(Clone, Debug)]
pub struct Sent {
    pub frame: Frame,
    pub side: Side,
    /// Offset of its first byte from the first byte of the direction; the handshake has none.
    pub offset: usize,
    pub length: usize,
    /// The acknowledgement number of its data.
    pub acknowledged: u32,
}

/// What a capture does to a conversation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Lost frames in a thousand.
    pub loss: u64,
    /// How many frames are lost together.
    pub burst: u64,
    /// Frames captured at most so many places away from their own.
    pub window: usize,
    /// Frames captured twice, in a thousand.
    pub copies: u64,
    /// Frames captured on another interface as well, in a thousand.
    pub elsewhere: u64,
    /// Frames missing at the beginning.
    pub joined: usize,
}

/// The methods, statuses and framings of one exchange, chosen by the dice.
#[expect(clippy::struct_excessive_bools, reason = "each is one throw of the dice")]
struct Line {
    method: &'static str,
    status: u16,
    request: String,
    request_head: usize,
    request_body: usize,
    request_chunked: bool,
    interim: String,
    response: String,
    response_head: usize,
    response_body: usize,
    response_chunked: bool,
    expects: bool,
    ends_connection: bool,
}

struct Speaker<'a> {
    conversation: Conversation,
    random: &'a mut Random,
    sent: Vec<Sent>,
    offsets: [usize; 2],
    /// Acknowledgements between data segments, in a hundred.
    chatty: u64,
    /// Whether bodies are full of text that looks like messages.
    traps: bool,
}

/// A random conversation on one connection.
pub fn talk(random: &mut Random) -> Talk {
    let link = [LinkType::Ethernet, LinkType::LinuxSll2, LinkType::Raw][pick(random, 3)];
    let mss = match pick(random, 4) {
        0 => 20 + pick(random, 60),
        1 => 100 + pick(random, 400),
        _ => 1448,
    };
    let starts = [number(random), number(random)];
    let mut conversation = Conversation::new().on(link).cut_at(mss).starting_at(starts[0], starts[1]);
    conversation.step = [5_000, 100_000, 1_000_000][pick(random, 3)];
    if pick(random, 5) == 0 {
        conversation.client = "[fd00::7]:41000".parse().unwrap();
        conversation.server = "[fd00::80]:80".parse().unwrap();
    }
    let chatty = [0, 20, 60][pick(random, 3)];
    let pipelines = pick(random, 4) == 0;
    let traps = pick(random, 3) == 0;
    let count = if pipelines { 4 + pick(random, 10) } else { 1 + pick(random, 10) };
    let mut speaker =
        Speaker { conversation: conversation.handshake(), random, sent: Vec::new(), offsets: [0, 0], chatty, traps };
    speaker.note_handshake();
    let said = if pipelines { speaker.pipelined(count) } else { speaker.one_by_one(count) };
    speaker.finish();
    let mut sent = speaker.sent;
    wrap(&mut sent, link, random);
    let shows_pipelining = |sent: &Sent| {
        sent.side == Side::Client
            && said.get(1).is_some_and(|second| sent.offset + sent.length >= second.request.head_end)
    };
    let spared = match sent.iter().position(shows_pipelining) {
        Some(place) if pipelines => place + 1,
        _ if traps => 3,
        _ => 0,
    };
    Talk { said, sent, pipelines, spared, starts }
}

impl Faults {
    /// Faults of every kind but loss.
    pub fn without_loss(random: &mut Random) -> Self {
        Self {
            window: [0, 0, 2, 5][pick(random, 4)],
            copies: [0, 0, 100][pick(random, 3)],
            elsewhere: [0, 0, 1000, 300][pick(random, 4)],
            ..Self::default()
        }
    }

    /// Faults with loss.
    pub fn with_loss(random: &mut Random) -> Self {
        Self {
            loss: [2, 10, 30, 100, 300, 600][pick(random, 6)],
            burst: [1, 1, 3, 10][pick(random, 4)],
            joined: if pick(random, 4) == 0 { pick(random, 20) } else { 0 },
            ..Self::without_loss(random)
        }
    }

    /// The frames that the capture shows.
    pub fn apply(&self, talk: &Talk, random: &mut Random) -> Vec<Sent> {
        let mut kept = Vec::new();
        let mut losing = 0;
        let joined = if talk.spared > 0 { 0 } else { self.joined };
        for (place, sent) in talk.sent.iter().enumerate().skip(joined) {
            if place >= talk.spared && random.below(1000) < self.loss {
                losing = 1 + random.below(self.burst.max(1));
            }
            if losing > 0 {
                losing -= 1;
                continue;
            }
            kept.push(sent.clone());
            if random.below(1000) < self.copies {
                kept.push(sent.clone());
            }
            if random.below(1000) < self.elsewhere {
                let mut copy = sent.clone();
                copy.frame.interface = 9;
                kept.push(copy);
            }
        }
        shuffle(&mut kept, self.window, random);
        kept
    }
}

impl Speaker<'_> {
    fn note_handshake(&mut self) {
        for (place, frame) in self.conversation.frames.drain(..).enumerate() {
            let side = if place == 1 { Side::Server } else { Side::Client };
            self.sent.push(Sent { frame, side, offset: 0, length: 0, acknowledged: 0 });
        }
    }

    fn one_by_one(&mut self, count: usize) -> Vec<Said> {
        let mut said = Vec::new();
        for number in 0..count {
            let line = self.line(number, number + 1 == count);
            let request_at = self.offsets[0];
            let mut early = None;
            if line.expects {
                self.say(Side::Client, &line.request.as_bytes()[..line.request_head]);
                self.say(Side::Server, b"HTTP/1.1 100 Continue\r\n\r\n");
                self.say(Side::Client, &line.request.as_bytes()[line.request_head..]);
            } else if !self.traps && line.request_body > 200 && line.interim.is_empty() && pick(self.random, 4) == 0 {
                // The server answers before the request is whole.
                let middle = line.request_head + line.request_body / 2;
                self.say(Side::Client, &line.request.as_bytes()[..middle]);
                early = Some(self.offsets[1]);
                self.say(Side::Server, line.response.as_bytes());
                self.say(Side::Client, &line.request.as_bytes()[middle..]);
            } else {
                self.say(Side::Client, line.request.as_bytes());
            }
            self.pause();
            let response_at = early.unwrap_or_else(|| {
                self.say(Side::Server, line.interim.as_bytes());
                let at = self.offsets[1];
                self.say(Side::Server, line.response.as_bytes());
                at
            });
            said.push(line.said(request_at, response_at));
            self.pause();
        }
        said
    }

    fn pipelined(&mut self, count: usize) -> Vec<Said> {
        let lines: Vec<Line> = (0..count).map(|number| self.line(number, number + 1 == count)).collect();
        let (mut requests_at, mut responses_at) = (Vec::new(), Vec::new());
        let mut asked = 0;
        while responses_at.len() < count {
            let burst = (asked + 2 + pick(self.random, 4)).min(count);
            let mut text = Vec::new();
            for line in &lines[asked..burst] {
                requests_at.push(self.offsets[0] + text.len());
                text.extend_from_slice(line.request.as_bytes());
            }
            self.say(Side::Client, &text);
            asked = burst;
            // Some answers may wait until more was asked.
            let until = if asked < count {
                responses_at.len() + pick(self.random, asked - responses_at.len() + 1)
            } else {
                count
            };
            let mut text = Vec::new();
            while responses_at.len() < until {
                let line = &lines[responses_at.len()];
                text.extend_from_slice(line.interim.as_bytes());
                responses_at.push(self.offsets[1] + text.len());
                text.extend_from_slice(line.response.as_bytes());
                if pick(self.random, 2) == 0 {
                    self.say(Side::Server, &text);
                    text.clear();
                }
            }
            self.say(Side::Server, &text);
            self.pause();
        }
        lines
            .iter()
            .zip(requests_at.into_iter().zip(responses_at))
            .map(|(line, (request, response))| line.said(request, response))
            .collect()
    }

    fn finish(&mut self) {
        let offsets = self.offsets;
        let conversation = self.conversation.clone().close();
        for (place, frame) in conversation.frames.into_iter().enumerate() {
            let side = if place == 1 { Side::Server } else { Side::Client };
            self.sent.push(Sent { frame, side, offset: offsets[side as usize], length: 0, acknowledged: 0 });
        }
    }

    fn pause(&mut self) {
        if pick(self.random, 8) == 0 {
            self.conversation.at += [1_000_000, 250_000_000, 900_000_000][pick(self.random, 3)];
        }
    }

    /// Says it in segments; the other side acknowledges some of them at once.
    fn say(&mut self, side: Side, text: &[u8]) {
        let mss = self.conversation.mss;
        for piece in text.chunks(mss) {
            self.push(side, ACK, piece);
            if self.random.below(100) < self.chatty {
                let other = if side == Side::Client { Side::Server } else { Side::Client };
                self.conversation.arrive(side);
                self.push(other, ACK, b"");
            }
        }
        self.conversation.arrive(side);
    }

    fn push(&mut self, side: Side, flags: u8, piece: &[u8]) {
        self.conversation.push(side, flags, piece);
        let place = side as usize;
        self.conversation.sent[place] = self.conversation.sent[place].wrapping_add(u32::try_from(piece.len()).unwrap());
        let frame = self.conversation.frames.pop().unwrap();
        let acknowledged = self.conversation.received[place];
        self.sent.push(Sent { frame, side, offset: self.offsets[place], length: piece.len(), acknowledged });
        self.offsets[place] += piece.len();
    }

    fn line(&mut self, number: usize, is_last: bool) -> Line {
        let random = &mut *self.random;
        let method = ["GET", "GET", "GET", "POST", "PUT", "HEAD", "DELETE"][pick(random, 7)];
        let status = match pick(random, 8) {
            0 => 204,
            1 => 304,
            _ => 210 + u16::try_from(number).unwrap(),
        };
        let mut request = format!("{method} /{number} HTTP/1.1\r\nHost: h\r\n{}", filler(random));
        let uploads = matches!(method, "POST" | "PUT");
        let expects = uploads && pick(random, 4) == 0;
        if expects {
            request.push_str("Expect: 100-continue\r\n");
        }
        let (request_head, request_body, request_chunked) = if uploads {
            add_body(&mut request, true, Last::No, self.traps, random)
        } else {
            (end_head(&mut request), 0, false)
        };
        let interim = if pick(random, 8) == 0 {
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_owned()
        } else {
            String::new()
        };
        let mut response = format!("HTTP/1.1 {status} X\r\nX-N: {number}\r\n{}", filler(random));
        let has_body = method != "HEAD" && !matches!(status, 204 | 304);
        let last = if is_last && pick(random, 3) == 0 { Last::UntilClose } else { Last::No };
        let (response_head, response_body, response_chunked) =
            add_body(&mut response, has_body, last, self.traps, random);
        Line {
            method,
            status,
            request,
            request_head,
            request_body,
            request_chunked,
            interim,
            response,
            response_head,
            response_body,
            response_chunked,
            expects,
            ends_connection: is_last,
        }
    }
}

impl Line {
    fn said(&self, request_at: usize, response_at: usize) -> Said {
        let extent = |start: usize, text: &str, head: usize, body: usize, is_chunked: bool| Extent {
            start,
            head_end: start + head,
            end: start + text.len(),
            body: body as u64,
            is_chunked,
        };
        Said {
            method: self.method,
            status: self.status,
            request: extent(request_at, &self.request, self.request_head, self.request_body, self.request_chunked),
            response: extent(
                response_at,
                &self.response,
                self.response_head,
                self.response_body,
                self.response_chunked,
            ),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Last {
    No,
    UntilClose,
}

/// Ends the head with a framing and adds the body: length of the head, of the body, whether it is chunked.
fn add_body(text: &mut String, has_body: bool, last: Last, traps: bool, random: &mut Random) -> (usize, usize, bool) {
    let size = match pick(random, 6) {
        0 => 0,
        1..=3 => pick(random, 300),
        4 => pick(random, 3000),
        _ => pick(random, 12_000),
    };
    let body = content(size, traps, random);
    if !has_body {
        let _ = write!(text, "Content-Length: {size}\r\n");
        return (end_head(text), 0, false);
    }
    if last == Last::UntilClose {
        let head = end_head(text);
        text.push_str(&body);
        return (head, body.len(), false);
    }
    if pick(random, 2) == 0 {
        let _ = write!(text, "Content-Length: {}\r\n", body.len());
        let head = end_head(text);
        text.push_str(&body);
        return (head, body.len(), false);
    }
    text.push_str("Transfer-Encoding: chunked\r\n");
    let head = end_head(text);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + pick(random, 2000)).min(rest.len()));
        let _ = write!(text, "{:x}{}\r\n{piece}\r\n", piece.len(), ["", ";name=value"][pick(random, 2)]);
        rest = after;
    }
    text.push_str(["0\r\n\r\n", "0\r\nTrailer: 1\r\n\r\n"][pick(random, 2)]);
    (head, body.len(), true)
}

/// A body: often plain, sometimes full of text that looks like messages.
fn content(size: usize, traps: bool, random: &mut Random) -> String {
    let pattern = match pick(random, if traps { 4 } else { 1 }) {
        1 => "HTTP/1.1 299 Fake\r\nX-N: 999\r\nContent-Length: 0\r\n\r\n",
        2 => "GET /999 HTTP/1.1\r\nHost: fake\r\n\r\n",
        3 => "5\r\nhello\r\n0\r\n\r\n",
        _ => "the quick brown fox ",
    };
    pattern.chars().cycle().take(size).collect()
}

fn filler(random: &mut Random) -> String {
    match pick(random, 3) {
        0 => format!("X-Filler: {}\r\n", "f".repeat(pick(random, 400))),
        1 => "Accept: */*\r\nUser-Agent: test\r\n".to_owned(),
        _ => String::new(),
    }
}

fn end_head(text: &mut String) -> usize {
    text.push_str("\r\n");
    text.len()
}

/// Tags or a tunnel around all frames, on Ethernet.
fn wrap(sent: &mut [Sent], link: LinkType, random: &mut Random) {
    if link != LinkType::Ethernet {
        return;
    }
    let how = pick(random, 6);
    for Sent { frame, .. } in sent {
        match how {
            0 => frame.data = tagged(&frame.data, &[7, 9]),
            1 if frame.data[12] == 8 => frame.data = in_vxlan(&frame.data),
            _ => return,
        }
        frame.wire_length = u32::try_from(frame.data.len()).unwrap();
    }
}

/// Moves frames by up to `window` places' time, less than any grace; times stay in order.
fn shuffle(sent: &mut [Sent], window: usize, random: &mut Random) {
    if window == 0 || sent.len() < 4 {
        return;
    }
    // The handshake stays first: without it a capture has joined in the middle.
    let moving = &mut sent[3..];
    let times: Vec<u64> = moving.iter().map(|sent| sent.frame.at).collect();
    let step = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0).min().unwrap_or(1);
    moving.sort_by_cached_key(|sent| sent.frame.at + random.below(1 + window as u64 * step.min(1_000_000)));
    for (sent, at) in moving.iter_mut().zip(times) {
        sent.frame.at = at;
    }
}

fn number(random: &mut Random) -> u32 {
    // Often close to the wrap.
    match pick(random, 3) {
        0 => u32::MAX - u32::try_from(pick(random, 20_000)).unwrap(),
        _ => u32::try_from(random.below(1 << 32)).unwrap(),
    }
}

pub fn pick(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap()
}
