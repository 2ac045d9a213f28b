//! HTTP between two sides, with gaps: the same bytes cut differently are the same messages, and messages have an order.
//!
//! The input is the text itself. Bytes that no text has direct it: `0xf8` gives the word to the other side, `0xf9`
//! begins another segment, `0xfa` and a number lose so many bytes, `0xfb` closes the direction.

use std::collections::VecDeque;

use network_agent::http::{
    Answered, Connection, Following, HttpCounters, HttpLimits, Message, MessageSink, RequestHead, ResponseHead, Role,
};
use network_agent::packet::{LinkType, SequenceNumber};
use network_agent::tcp::{Direction, Flow, Mark, Origin, Past, StreamEvent};
use network_agent::time::Timestamp;

use super::books::{Audited, Footprint, small};
use super::owned;

const LIMITS: HttpLimits = HttpLimits { max_head_bytes: 512 };

pub fn words() -> Vec<Vec<u8>> {
    owned(&[
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n",
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
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 18446744073709551615\r\n",
        b"Content-Length: 4, 4\r\n",
        b"ffffffffffffffff\r\n",
        b";a=b\r\n",
        b"\r\n\r\n",
        b"\r\n",
        b"\n ",
        b"\n",
        b"\xf8",
        b"\xf8",
        b"\xf9",
        b"\xfa\x05",
        b"\xfa\xff",
        b"\xfb",
    ])
}

pub fn run(input: &[u8]) -> Footprint {
    let script = Script::read(input);
    let origin = if input.len().is_multiple_of(3) { Origin::Joined } else { Origin::Begun };
    let whole = hear(&script, origin, usize::MAX);
    // A response whose request is not known ends where the next one provably begins: at the first byte of a segment.
    let was_plain = whole.lost == 0 && whole.doubts == 0 && !whole.left && whole.counters.skipped_bytes == 0;
    for piece in [1, 2, 7, 31] {
        let cut = hear(&script, origin, piece);
        if was_plain {
            assert_eq!(cut.heard, whole.heard, "in pieces of {piece}");
        }
    }
    through_the_pipeline(&script)
}

/// Who says what.
struct Script {
    events: Vec<Said>,
}

struct Said {
    side: usize,
    sequence: u32,
    acknowledgement: u32,
    what: What,
}

enum What {
    Text(Vec<u8>),
    Gap(u8),
    End,
}

impl Script {
    fn read(input: &[u8]) -> Self {
        let mut events: Vec<Said> = Vec::new();
        let (mut side, mut sent, mut known, mut ended) = (0, [1000_u32, 9000], [9000_u32, 1000], [false; 2]);
        let mut text = Vec::new();
        let mut bytes = input.iter().copied();
        loop {
            let byte = bytes.next();
            let directs = byte.is_none_or(|byte| matches!(byte, 0xf8..=0xfb));
            if let (false, Some(byte)) = (directs, byte) {
                text.push(byte);
                continue;
            }
            let mut say = |what: What, length: u32| {
                if !ended[side] {
                    ended[side] = matches!(what, What::End);
                    events.push(Said { side, sequence: sent[side], acknowledgement: known[side], what });
                    sent[side] = sent[side].wrapping_add(length);
                }
            };
            if !text.is_empty() {
                let length = u32::try_from(text.len()).unwrap_or(0);
                say(What::Text(std::mem::take(&mut text)), length);
            }
            match byte {
                None => break,
                Some(0xf8) => {
                    side = 1 - side;
                    known[side] = sent[1 - side];
                }
                Some(0xfa) => {
                    let count = bytes.next().unwrap_or(0).max(1);
                    say(What::Gap(count), u32::from(count));
                }
                Some(0xfb) => say(What::End, 0),
                Some(_) => {}
            }
        }
        Self { events }
    }
}

/// A layer above that believes nothing.
#[derive(Default)]
struct Listener {
    heard: Vec<Heard>,
    waiting: VecDeque<Answered>,
    open: [Option<(u64, u64)>; 2],
    closed: [bool; 2],
    wire: [u64; 2],
    lost: u64,
    left: bool,
    counters: HttpCounters,
    /// Responses to requests that are not known.
    doubts: u64,
}

#[derive(Debug, Eq, PartialEq)]
enum Heard {
    Request(RequestHead, SequenceNumber, Timestamp),
    Response(ResponseHead, SequenceNumber, Timestamp),
    Interim(ResponseHead),
    /// A message with its bytes on the wire and those of its body.
    Ended(Role, &'static str, Option<(u64, u64)>),
}

impl Listener {
    fn begin(&mut self, role: Role) {
        let open = self.open[role as usize].replace((0, 0));
        assert_eq!(open, None, "a {role:?} begins inside another");
    }

    fn end(&mut self, role: Role, how: &'static str) {
        let open = self.open[role as usize].take();
        assert!(open.is_some() || !matches!(how, "end" | "abort"), "{how} of no {role:?}");
        self.heard.push(Heard::Ended(role, how, open));
    }
}

impl MessageSink for Listener {
    fn message(&mut self, message: Message, mark: &Mark) {
        let role = match &message {
            Message::RequestHead(..) => Role::Request,
            Message::ResponseHead(_) | Message::Interim(_) => Role::Response,
            Message::Bytes { role, .. } | Message::LeftOut { role, .. } => *role,
            Message::End(role) | Message::Abort(role) | Message::Lost(role, _) | Message::Closed(role) => *role,
        };
        assert!(!self.closed[role as usize], "{message:?} after the end of its direction");
        match message {
            Message::RequestHead(head, ..) => {
                self.waiting.push_back(match head.method() {
                    b"HEAD" => Answered::Head,
                    b"CONNECT" => Answered::Connect,
                    _ => Answered::Other,
                });
                self.begin(role);
                self.heard.push(Heard::Request(head, mark.sequence, mark.at));
            }
            Message::ResponseHead(head) => {
                self.begin(role);
                self.heard.push(Heard::Response(head, mark.sequence, mark.at));
            }
            Message::Interim(head) => {
                assert_eq!(self.open[role as usize], None, "an interim response inside another");
                self.heard.push(Heard::Interim(head));
            }
            Message::Bytes { wire, body, .. } => {
                assert!(body <= wire);
                let open = self.open[role as usize].as_mut().expect("bytes belong to a message");
                *open = (open.0 + wire, open.1 + body);
                self.wire[role as usize] += wire;
            }
            Message::LeftOut { .. } => unreachable!("nothing was left out"),
            Message::End(_) => self.end(role, "end"),
            Message::Abort(_) => self.end(role, "abort"),
            Message::Lost(..) => {
                self.lost += 1;
                self.end(role, "lost");
            }
            Message::Closed(_) => {
                self.closed[role as usize] = true;
                // What is left open by FIN was told to be so before.
                assert_eq!(self.open[role as usize], None, "closed inside a message");
            }
        }
    }

    fn place_response(&mut self, _: &Mark) -> Answered {
        let answered = self.waiting.pop_front().unwrap_or(Answered::Unknown);
        self.doubts += u64::from(answered == Answered::Unknown);
        answered
    }

    fn counters(&mut self) -> &mut HttpCounters {
        &mut self.counters
    }
}

/// Says all events, texts in pieces of at most `piece` bytes.
fn hear(script: &Script, origin: Origin, piece: usize) -> Listener {
    let mut listener = Listener::default();
    let mut connection = Connection::new();
    let flow = Flow {
        low: ([10, 0, 0, 1], 40_000).into(),
        high: ([10, 0, 0, 2], 80).into(),
        handshake_rtt: None,
        retransmits: 0,
        origin,
        opener: None,
        past: Past::Unknown,
        beginnings: [None; 2],
        ends_ahead: false,
    };
    let mut said = 0_u64;
    'events: for (number, event) in script.events.iter().enumerate() {
        let direction = if event.side == 0 { Direction::Up } else { Direction::Down };
        let at = Timestamp::from_nanos(number as u64 * 1_000_000);
        let mut mark = Mark {
            at,
            sequence: SequenceNumber::new(event.sequence),
            acknowledgement: Some(SequenceNumber::new(event.acknowledgement)),
            interface: 0,
        };
        let events: Vec<StreamEvent<'_>> = match &event.what {
            What::Text(text) => {
                said += text.len() as u64;
                let pieces = text.chunks(piece.min(text.len()));
                let place = |piece| {
                    let place = mark;
                    mark.sequence = mark.sequence.advance(u32::try_from(<[u8]>::len(piece)).unwrap_or(0));
                    StreamEvent::Data(piece, place)
                };
                pieces.map(place).collect()
            }
            What::Gap(count) => {
                said += u64::from(*count);
                vec![StreamEvent::Gap(u64::from(*count), Mark { acknowledgement: None, ..mark })]
            }
            What::End => vec![StreamEvent::End(at)],
        };
        let before = listener.wire[0] + listener.wire[1];
        for event in events {
            if connection.event(&flow, direction, event, &LIMITS, &mut listener) == Following::Leave {
                listener.left = true;
                break 'events;
            }
        }
        if let What::Gap(count) = event.what {
            // What is not told as part of a body may have hidden anything.
            listener.lost += u64::from(listener.wire[0] + listener.wire[1] != before + u64::from(count));
        }
    }
    let [requests, responses] = listener.wire;
    let told = requests + responses + listener.counters.skipped_bytes;
    assert!(told <= said, "{told} bytes were told of {said}");
    listener
}

/// The same in packets, gaps being packets that the capture has lost.
fn through_the_pipeline(script: &Script) -> Footprint {
    let mut audited = Audited::new(small());
    let mut at = 1_700_000_000_000_000_000;
    for event in &script.events {
        let (flags, text) = match &event.what {
            What::Text(text) => (0x10, text.as_slice()),
            What::Gap(_) => (0, [].as_slice()),
            What::End => (0x11, [].as_slice()),
        };
        at += 7_000_000;
        if flags != 0 {
            let frame = segment(event, flags, text);
            audited.feed_data(at, LinkType::Raw, &frame, 0);
        }
    }
    audited.finish().1
}

fn segment(said: &Said, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(40 + payload.len()).unwrap_or(u16::MAX);
    let mut frame = vec![0x45, 0];
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    let (ends, ports) = if said.side == 0 { ([1, 2], [4000_u16, 80]) } else { ([2, 1], [80, 4000]) };
    frame.extend(ends.iter().flat_map(|end| [10, 0, 0, *end]));
    frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    frame.extend(said.sequence.to_be_bytes());
    frame.extend(said.acknowledgement.to_be_bytes());
    frame.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}
