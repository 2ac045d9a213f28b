//! Streams of HTTP/1 against what they say by construction: every split, every prefix, every framing.

use super::*;
use crate::packet::SequenceNumber;
use crate::tcp::{Direction, Flow, Origin, Past, StreamEvent};

/// Messages in short: heads by their start, bytes summed per message.
#[derive(Debug, Default)]
struct Recorder {
    log: Vec<String>,
    requests: Vec<String>,
    openings: Vec<Opening>,
    answered: usize,
    open: [(u64, u64, u32); 2],
    counters: HttpCounters,
}

impl MessageSink for Recorder {
    fn message(&mut self, message: Message, _: &Mark) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line = match message {
            Message::RequestHead(head, _, opening) => {
                self.openings.push(opening);
                self.requests.push(text(head.method()));
                self.open[0] = (0, 0, 0);
                let cut = if head.is_complete() { "" } else { " cut" };
                format!("{} {}{cut}", text(head.method()), text(head.target()))
            }
            Message::ResponseHead(head) => {
                self.answered += 1;
                self.open[1] = (0, 0, 0);
                format!("{}{}", head.status(), if head.is_complete() { "" } else { " cut" })
            }
            Message::Interim(head) => format!("interim {}", head.status()),
            Message::Bytes { role, wire, body, packets } => {
                let open = &mut self.open[role as usize];
                *open = (open.0 + wire, open.1 + body, open.2 + packets);
                return;
            }
            Message::LeftOut { role, body } => {
                let open = &mut self.open[role as usize];
                *open = (open.0 + body, open.1 + body, open.2);
                return;
            }
            Message::End(role) => {
                let (wire, body, _) = self.open[role as usize];
                format!("end {wire} {body}")
            }
            Message::Abort(_) => "abort".to_owned(),
            Message::Lost(..) => "lost".to_owned(),
            Message::Closed(_) => "closed".to_owned(),
        };
        self.log.push(line);
    }

    fn place_response(&mut self, _: &Mark) -> Answered {
        match self.requests.get(self.answered).map(String::as_str) {
            Some("HEAD") => Answered::Head,
            Some("CONNECT") => Answered::Connect,
            Some(_) => Answered::Other,
            None => Answered::Unknown,
        }
    }

    fn counters(&mut self) -> &mut HttpCounters {
        &mut self.counters
    }
}

struct Bench {
    connection: Connection,
    recorder: Recorder,
    sequence: [u32; 2],
    origin: Origin,
    limits: HttpLimits,
    last: Following,
}

impl Bench {
    fn new() -> Self {
        Self {
            connection: Connection::new(),
            recorder: Recorder::default(),
            sequence: [1000, 9000],
            origin: Origin::Begun,
            limits: HttpLimits { max_head_bytes: 4096 },
            last: Following::Follow(Known::NotYet),
        }
    }

    fn data(&mut self, direction: Direction, bytes: &[u8]) {
        let mark = Mark {
            at: Timestamp::from_nanos(1),
            sequence: SequenceNumber::new(self.sequence[direction as usize]),
            acknowledgement: Some(SequenceNumber::new(self.sequence[direction.opposite() as usize])),
            interface: 0,
        };
        self.sequence[direction as usize] += u32::try_from(bytes.len()).unwrap();
        self.event(direction, StreamEvent::Data(bytes, mark));
    }

    fn gap(&mut self, direction: Direction, count: u32) {
        let mark = Mark { sequence: SequenceNumber::new(self.sequence[direction as usize]), ..Mark::default() };
        self.sequence[direction as usize] += count;
        self.event(direction, StreamEvent::Gap(u64::from(count), mark));
    }

    fn end(&mut self, direction: Direction) {
        self.event(direction, StreamEvent::End(Timestamp::from_nanos(2)));
    }

    fn event(&mut self, direction: Direction, event: StreamEvent<'_>) {
        self.last = self.connection.event(&self.flow(), direction, event, &self.limits, &mut self.recorder);
    }

    fn flow(&self) -> Flow {
        let beginnings = match self.origin {
            Origin::Begun => [Some(SequenceNumber::new(1000)), Some(SequenceNumber::new(9000))],
            Origin::Joined => [None; 2],
        };
        Flow {
            low: ([10, 0, 0, 1], 40_000).into(),
            high: ([10, 0, 0, 2], 80).into(),
            handshake_rtt: None,
            retransmits: 0,
            origin: self.origin,
            past: Past::Unknown,
            opener: None,
            beginnings,
            ends_ahead: false,
        }
    }

    fn client(&mut self, bytes: &[u8]) {
        self.data(Direction::Up, bytes);
    }

    fn server(&mut self, bytes: &[u8]) {
        self.data(Direction::Down, bytes);
    }
}

/// Runs one request stream and one response stream, each cut in pieces, the requests first.
fn converse(requests: &[&[u8]], responses: &[&[u8]]) -> Vec<String> {
    let mut bench = Bench::new();
    for piece in requests.iter().filter(|piece| !piece.is_empty()) {
        bench.client(piece);
    }
    for piece in responses.iter().filter(|piece| !piece.is_empty()) {
        bench.server(piece);
    }
    bench.end(Direction::Down);
    bench.recorder.log
}

/// A conversation with every framing, and what it says.
const REQUESTS: &[u8] = b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /b HTTP/1.1\n\nPOST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\
    Content-Length: 3\r\n\r\n3;x=y\r\nGET\r\n0\r\nT: 1\r\n\r\nPUT /d HTTP/1.0\r\nContent-Length: 18\r\ncontent-length: 18\r\n\r\n\
    GET /z HTTP/1.1\r\n\nOPTIONS * HTTP/1.1\r\nFolded: a\r\n b\r\nX\xff: \xfe\r\n\r\n";
const RESPONSES: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\
    Content-Length: 5\r\n\r\nHTTP/HTTP/1.1 200\r\nContent-Length: 500\r\n\r\nHTTP/1.1 304 \r\nContent-Length: 7\r\n\r\n\
    HTTP/1.0 204 No\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 404 \xfc\r\nTransfer-Encoding: gzip\r\n\r\nHTTP/1.1 500 no\r\n\r\n";

fn expected() -> Vec<String> {
    [
        "GET /a",
        "end 28 0",
        "HEAD /b",
        "end 18 0",
        "POST /c",
        "end 90 3",
        "PUT /d",
        "end 77 18",
        "OPTIONS *",
        "end 44 0",
        "interim 100",
        "interim 103",
        "200",
        "end 43 5",
        "200",
        "end 37 0",
        "304",
        "end 36 0",
        "204",
        "end 47 0",
        "404",
        "end 62 19",
        "closed",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn every_framing_is_understood() {
    assert_eq!(converse(&[REQUESTS], &[RESPONSES]), expected());
}

#[test]
fn every_split_of_both_streams_gives_the_same() {
    for split in 0..=REQUESTS.len() {
        let (left, right) = REQUESTS.split_at(split);
        assert_eq!(converse(&[left, right], &[RESPONSES]), expected(), "requests split at {split}");
    }
    for split in 0..=RESPONSES.len() {
        let (left, right) = RESPONSES.split_at(split);
        assert_eq!(converse(&[REQUESTS], &[left, right]), expected(), "responses split at {split}");
    }
    for size in 1..9 {
        let requests: Vec<&[u8]> = REQUESTS.chunks(size).collect();
        let responses: Vec<&[u8]> = RESPONSES.chunks(size).collect();
        assert_eq!(converse(&requests, &responses), expected(), "pieces of {size}");
    }
}

#[test]
fn every_prefix_says_the_beginning_of_the_whole() {
    let whole = converse(&[REQUESTS], &[]);
    for end in 0..REQUESTS.len() {
        let log = converse(&[&REQUESTS[..end]], &[]);
        let said: Vec<&String> = log.iter().filter(|line| *line != "closed").collect();
        assert!(said.iter().zip(&whole).all(|(a, b)| *a == b), "{end}: {said:?}");
    }
}

#[test]
fn what_is_not_http_is_left_at_once() {
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], b"220 mail.example ESMTP\r\n", b"SSH-2.0-x y\r\n"] {
        let mut bench = Bench::new();
        bench.server(bytes);
        assert_eq!((bench.last, bench.recorder.counters.opaque_connections), (Following::Leave, 1));
    }
}

#[test]
fn the_preface_of_http2_is_left_to_http2() {
    let mut bench = Bench::new();
    bench.client(b"PRI * HT");
    assert_eq!(bench.last, Following::Follow(Known::NotYet));
    bench.client(b"TP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!((bench.last, bench.recorder.counters.http2_connections), (Following::Leave, 1));
}

#[test]
fn control_characters_in_fields_hide_no_message() {
    for field in ["X: a\0b", "X: a\rb", "X: \x01\x7f", "\0: b", "X\0Y: b"] {
        let request = format!("GET /a HTTP/1.1\r\n{field}\r\n\r\n");
        let response = format!("HTTP/1.1 400 Bad\r\n{field}\r\nContent-Length: 2\r\n\r\nno");
        let log = converse(&[request.as_bytes()], &[response.as_bytes()]);
        let ends = [format!("end {} 0", request.len()), format!("end {} 2", response.len())];
        assert_eq!(log, ["GET /a", &ends[0], "400", &ends[1], "closed"], "{field:?}");
    }
}

#[test]
fn an_upgrade_and_a_tunnel_end_http() {
    for (request, response) in [
        (&b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"[..], &b"HTTP/1.1 101 Switching\r\n\r\n\x81\x05hello"[..]),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x16\x03\x03"),
    ] {
        let mut bench = Bench::new();
        bench.client(request);
        bench.server(response);
        assert_eq!(bench.last, Following::Leave);
        assert_eq!(bench.recorder.log.len(), 4, "{:?}", bench.recorder.log);
    }
}

#[test]
fn a_refused_tunnel_is_an_ordinary_response() {
    let log = converse(&[b"CONNECT a:443 HTTP/1.1\r\n\r\n"], &[b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"]);
    assert_eq!(log[2..], ["403", "end 40 2", "closed"]);
}

#[test]
fn bytes_in_the_middle_of_a_body_tell_what_each_side_has_received() {
    for head in ["Content-Length: 500\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1f4\r\n", "\r\n"] {
        let mut bench = Bench::new();
        bench.client(b"GET /1 HTTP/1.1\r\n\r\n");
        bench.server(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
        bench.server(&[b'b'; 100]);
        // A client that has received just this.
        bench.client(b"GET /2 HTTP/1.1\r\n\r\n");
        // A server that has not received that.
        bench.sequence[Direction::Up as usize] -= 19;
        bench.server(&[b'b'; 100]);
        bench.sequence[Direction::Up as usize] += 19;
        bench.client(b"GET /3 HTTP/1.1\r\n\r\n");
        bench.server(&[b'b'; 100]);
        bench.client(b"GET /4 HTTP/1.1\r\n\r\n");
        let openings = [Opening::Unknown, Opening::InStep, Opening::Unknown, Opening::InStep];
        assert_eq!(bench.recorder.openings, openings, "{head}");
    }
}

#[test]
fn a_gap_inside_a_body_of_known_length_is_body() {
    let mut bench = Bench::new();
    bench.client(b"GET / HTTP/1.1\r\n\r\n");
    bench.server(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nabc");
    bench.gap(Direction::Down, 10);
    bench.server(b"defghij");
    assert_eq!(bench.recorder.log.last().unwrap(), "end 59 20");
}

#[test]
fn a_gap_over_a_boundary_is_a_loss_and_the_search_ends_at_the_next_turn() {
    let mut bench = Bench::new();
    bench.client(b"GET /1 HTTP/1.1\r\n\r\n");
    bench.server(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    bench.gap(Direction::Down, 30);
    bench.server(b"HTTP/1.1 999 not a start line: no turn\r\n\r\n");
    bench.client(b"GET /2 HTTP/1.1\r\n\r\n");
    bench.server(b"HTTP/1.1 204 OK\r\n\r\n");
    assert_eq!(
        bench.recorder.log,
        ["GET /1", "end 19 0", "200", "end 42 4", "lost", "lost", "GET /2", "end 19 0", "204", "end 19 0"]
    );
}

#[test]
fn a_gap_inside_a_head_cuts_it() {
    let mut bench = Bench::new();
    bench.client(b"GET /cut HTTP/1.1\r\nHost: x\r\nCook");
    bench.gap(Direction::Up, 100);
    assert_eq!(bench.recorder.log, ["GET /cut cut", "lost"]);
}

#[test]
fn a_head_beyond_the_bound_is_cut_and_the_connection_goes_on() {
    let mut bench = Bench::new();
    bench.client(b"GET /long HTTP/1.1\r\n");
    for _ in 0..1000 {
        bench.client(b"X-Filler: 0123456789\r\n");
    }
    assert!(bench.recorder.counters.oversized_heads > 0);
    bench.server(b"HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n");
    bench.client(b"GET /next HTTP/1.1\r\n\r\n");
    let log = &bench.recorder.log;
    assert_eq!(log[..2], ["GET /long cut", "lost"]);
    assert_eq!(log[log.len() - 2..], ["GET /next", "end 22 0"]);
}

#[test]
fn hundreds_of_header_lines_are_fine() {
    let head = [&b"GET /many HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(600), b"\r\n"].concat();
    assert_eq!(converse(&[&head], &[])[0], "GET /many");
}

#[test]
fn another_version_of_1_is_read_as_the_one_it_extends() {
    let versions = [
        ("HTTP/1.0.8", Version::Http10),
        ("HTTP/1.00", Version::Http10),
        ("HTTP/1.1.0", Version::Http11),
        ("HTTP/1.2", Version::Http11),
        ("HTTP/1.10 ", Version::Http11),
        ("HTTP/1.1 ", Version::Http11),
    ];
    for (version, wanted) in versions {
        for target in ["/a", "/a b", "/HTTP/1.5"] {
            let text = format!("GET {target} {version}\r\nHost: x\r\n\r\n");
            let head = RequestHead::parse(text.as_bytes()).unwrap();
            assert_eq!((head.target(), head.version), (target.as_bytes(), wanted), "{text}");
            assert_eq!(head.header("host"), Some(&b"x"[..]), "{text}");
            let mut bench = Bench::new();
            bench.client(text.as_bytes());
            assert_eq!(bench.recorder.log[0], format!("GET {target}"), "{text}");
            assert_eq!(bench.last, Following::Follow(Known::Http), "{text}");
        }
    }
}

#[test]
fn a_target_with_spaces_is_reported_as_sent() {
    assert_eq!(converse(&[b"GET /a b  c HTTP/1.1\r\nHost: x\r\n\r\n"], &[])[0], "GET /a b  c");
}

#[test]
fn a_target_that_is_no_utf_8_is_reported_as_sent() {
    let head = RequestHead::parse(b"GET /caf\xe9/\xff HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(head.target(), b"/caf\xe9/\xff");
    assert_eq!(head.header("host"), Some(&b"x"[..]));
}

#[test]
fn fin_inside_a_body_of_known_length_aborts_and_ends_one_without_length() {
    let request: &[&[u8]] = &[b"GET / HTTP/1.1\r\n\r\n"];
    let known = converse(request, &[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"]);
    assert_eq!(known[2..], ["200", "abort", "closed"]);
    let chunked = converse(request, &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"]);
    assert_eq!(chunked[2..], ["200", "abort", "closed"]);
    let until = converse(request, &[b"HTTP/1.1 200 OK\r\n\r\nab"]);
    assert_eq!(until[2..], ["200", "end 21 2", "closed"]);
}

#[test]
fn contradictory_lengths_lose_the_boundary() {
    let log = converse(&[b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"], &[]);
    assert_eq!(log[..2], ["POST /", "lost"]);
}

#[test]
fn a_join_in_a_body_finds_the_next_request() {
    let mut bench = Bench { origin: Origin::Joined, ..Bench::new() };
    bench.client(b"the end of an upload\r\nGET / HTTP/1.1\r\n\r\n");
    bench.server(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    bench.client(b"GET /next HTTP/1.1\r\n\r\n");
    assert_eq!(bench.recorder.log, ["201", "end 43 0", "GET /next", "end 22 0"]);
    assert_eq!(bench.recorder.counters.skipped_bytes, 40);
}

#[test]
fn a_joined_stream_that_never_becomes_http_is_left() {
    let mut bench = Bench { origin: Origin::Joined, ..Bench::new() };
    let mut turns = 0;
    while bench.last != Following::Leave {
        bench.client(b"not a start line");
        bench.server(b"neither");
        turns += 1;
        assert!(turns < 200);
    }
    let mut bench = Bench { origin: Origin::Joined, ..Bench::new() };
    bench.client(b"\x17\x03\x03\x00\x20 application data");
    assert_eq!(bench.last, Following::Leave);
}

#[test]
fn a_head_response_whose_request_was_not_seen_does_not_eat_the_next() {
    for framing in ["Content-Length: 500\r\n", "Transfer-Encoding: chunked\r\n", "Server: says nothing\r\n"] {
        let mut bench = Bench { origin: Origin::Joined, ..Bench::new() };
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n");
        bench.server(head.as_bytes());
        bench.client(b"GET / HTTP/1.1\r\n\r\n");
        bench.server(b"HTTP/1.1 204 No\r\n\r\n");
        let end = format!("end {} 0", head.len());
        assert_eq!(bench.recorder.log, ["200", "GET /", "end 18 0", &end, "204", "end 19 0"]);
    }
}

proptest::proptest! {
    #[test]
    fn odd_bytes_never_fail(
        events in proptest::collection::vec(
            (proptest::bool::ANY, proptest::sample::select(vec![
                &b"GET / HTTP/1.1\r\n"[..], b"\r\n", b"HTTP/1.1 200 OK\r\n", b"Content-Length: 7\r\n", b"\n", b"\xff\0",
                b"Transfer-Encoding: chunked\r\n", b"5\r\n", b"hello", b"0\r\n", b"ffffffffffffffff\r\n", b"HTTP", b"PRI ",
            ]), 0u32..4),
            0..60,
        ),
    ) {
        let mut bench = Bench::new();
        for (up, bytes, action) in events {
            let direction = if up { Direction::Up } else { Direction::Down };
            match action {
                0 => bench.gap(direction, 7),
                _ => bench.data(direction, bytes),
            }
            if bench.last == Following::Leave {
                return Ok(());
            }
        }
        bench.end(Direction::Up);
        bench.end(Direction::Down);
    }
}

#[test]
fn the_first_direction_that_tells_decides_what_the_other_carries() {
    let mut bench = Bench::new();
    bench.client(b"GE");
    bench.server(b"GET /b HTTP/1.1\r\n\r\n");
    bench.client(b"T /a HTTP/1.1\r\n\r\n");
    assert_eq!(bench.last, Following::Follow(Known::Http));
    let counters = &bench.recorder.counters;
    assert_eq!((counters.requests, counters.responses, counters.opaque_connections), (1, 0, 0));
}

#[test]
fn a_folded_header_line_is_one_line_of_both_heads() {
    let lines = "X-Long: one\r\n two\r\n\tthree\r\n  four\nX-Next: z\r\n\r\n";
    let request = RequestHead::parse(format!("GET / HTTP/1.1\r\n{lines}").as_bytes()).unwrap();
    let response = ResponseHead::parse(format!("HTTP/1.1 200 OK\r\n{lines}").as_bytes()).unwrap();
    for (long, next, all) in [
        (request.header("x-long"), request.header("x-next"), request.headers().count()),
        (response.header("x-long"), response.header("x-next"), response.headers().count()),
    ] {
        assert_eq!((long, next, all), (Some(&b"one   two  \tthree    four"[..]), Some(&b"z"[..]), 2));
    }
}
