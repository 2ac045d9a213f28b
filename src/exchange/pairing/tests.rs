//! Pairing on its own: messages with chosen places in the streams, with and without loss.

use super::*;
use crate::exchange::Exchange;
use crate::http::{Connection, HttpLimits};
use crate::tcp::{Origin, Past, StreamEvent};

/// One connection whose client sends upwards; bytes go through the real HTTP layer.
struct Bench {
    http: Connection,
    pairing: Pairing,
    flow: Flow,
    exchanges: Vec<Exchange>,
    counters: ExchangeCounters,
    http_counters: HttpCounters,
    limits: ExchangeLimits,
    sent: [u32; 2],
    /// What each side has received of the other, as it acknowledges.
    received: [u32; 2],
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            http: Connection::new(),
            pairing: Pairing::default(),
            flow: Flow {
                low: "10.0.0.1:40000".parse().unwrap(),
                high: "10.0.0.2:80".parse().unwrap(),
                handshake_rtt: None,
                retransmits: 0,
                origin: Origin::Begun,
                past: Past::Unknown,
                opener: None,
                beginnings: [Some(SequenceNumber::new(1000)), Some(SequenceNumber::new(5000))],
                ends_ahead: false,
            },
            exchanges: Vec::new(),
            counters: ExchangeCounters::default(),
            http_counters: HttpCounters::default(),
            limits: ExchangeLimits { max_open_exchanges: 8 },
            sent: [1000, 5000],
            received: [5000, 1000],
            now: 0,
        }
    }

    fn with_pairer<T>(
        &mut self,
        direction: Direction,
        act: impl FnOnce(&mut Connection, Pairer<'_, Vec<Exchange>>) -> T,
    ) -> T {
        let pairer = Pairer {
            fields: &KeptFields::All,
            pairing: &mut self.pairing,
            flow: &self.flow,
            direction,
            limits: &self.limits,
            counters: &mut self.counters,
            http: &mut self.http_counters,
            sink: &mut self.exchanges,
        };
        act(&mut self.http, pairer)
    }

    fn event(&mut self, direction: Direction, event: StreamEvent<'_>) {
        let limits = HttpLimits { max_head_bytes: 4096 };
        let flow = self.flow;
        self.with_pairer(direction, |http, mut pairer| http.event(&flow, direction, event, &limits, &mut pairer));
    }

    /// Bytes that are captured; their sender acknowledges all that it has received.
    fn say(&mut self, direction: Direction, text: &str) {
        self.now += 1_000_000;
        let side = direction as usize;
        let mark = Mark {
            at: Timestamp::from_nanos(self.now),
            sequence: SequenceNumber::new(self.sent[side]),
            acknowledgement: Some(SequenceNumber::new(self.received[side])),
            interface: 0,
        };
        self.sent[side] += u32::try_from(text.len()).unwrap();
        self.event(direction, StreamEvent::Data(text.as_bytes(), mark));
    }

    /// Bytes that the capture loses.
    fn lose(&mut self, direction: Direction, text: &str) {
        let side = direction as usize;
        let mark = Mark { sequence: SequenceNumber::new(self.sent[side]), ..Mark::default() };
        self.sent[side] += u32::try_from(text.len()).unwrap();
        self.event(direction, StreamEvent::Gap(text.len() as u64, mark));
    }

    /// Bytes that the snap length cuts off the end of a segment.
    fn cut(&mut self, direction: Direction, text: &str) {
        let side = direction as usize;
        let mark = Mark {
            sequence: SequenceNumber::new(self.sent[side]),
            acknowledgement: Some(SequenceNumber::new(self.received[side])),
            ..Mark::default()
        };
        self.sent[side] += u32::try_from(text.len()).unwrap();
        self.event(direction, StreamEvent::Gap(text.len() as u64, mark));
    }

    /// All that was sent in `direction` arrives.
    fn arrive(&mut self, direction: Direction) {
        self.received[direction.opposite() as usize] = self.sent[direction as usize];
    }

    fn ask(&mut self, number: u32) {
        self.say(Direction::Up, &request(number));
        self.arrive(Direction::Up);
    }

    fn answer(&mut self, number: u32) {
        self.say(Direction::Down, &response(number));
        self.arrive(Direction::Down);
    }

    fn lose_request(&mut self, number: u32) {
        self.lose(Direction::Up, &request(number));
        self.arrive(Direction::Up);
    }

    fn lose_response(&mut self, number: u32) {
        self.lose(Direction::Down, &response(number));
        self.arrive(Direction::Down);
    }

    fn finish(&mut self, finish: Finish) {
        self.with_pairer(Direction::Up, |_, mut pairer| pairer.finish(finish));
        assert_eq!(self.counters.open, 0);
        assert_eq!(self.counters.requests, self.counters.emitted);
    }

    /// `path=status`, `path=-` without a response, `!` for an incomplete one.
    fn said(&self) -> Vec<String> {
        self.exchanges
            .iter()
            .map(|exchange| {
                let path = String::from_utf8_lossy(exchange.request.head.target()).into_owned();
                let status = exchange.response.as_ref().map_or_else(|| "-".to_owned(), |r| r.head.status().to_string());
                format!("{path}={status}{}", if exchange.incomplete { "!" } else { "" })
            })
            .collect()
    }
}

fn request(number: u32) -> String {
    format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// The status tells which request it answers.
fn response(number: u32) -> String {
    format!("HTTP/1.1 {} OK\r\nContent-Length: 3\r\n\r\nabc", 200 + number)
}

#[test]
fn responses_answer_requests_in_order() {
    let mut bench = Bench::new();
    bench.ask(1);
    bench.answer(1);
    for number in 2..5 {
        bench.ask(number);
    }
    for number in 2..5 {
        bench.answer(number);
    }
    assert_eq!(bench.said(), ["/1=201", "/2=202", "/3=203", "/4=204"]);
}

#[test]
fn a_lost_response_shifts_nothing() {
    let mut bench = Bench::new();
    bench.ask(1);
    bench.lose_response(1);
    bench.ask(2);
    bench.answer(2);
    bench.ask(3);
    bench.answer(3);
    assert_eq!(bench.said(), ["/1=-!", "/2=202", "/3=203"]);
}

#[test]
fn a_lost_request_shifts_nothing() {
    let mut bench = Bench::new();
    bench.ask(1);
    bench.answer(1);
    bench.lose_request(2);
    bench.answer(2);
    bench.ask(3);
    bench.answer(3);
    bench.ask(4);
    bench.answer(4);
    assert_eq!(bench.said(), ["/1=201", "/3=203", "/4=204"]);
    assert_eq!(bench.counters.unmatched_responses, 1);
}

#[test]
fn a_lost_exchange_leaves_the_next_in_place() {
    let mut bench = Bench::new();
    bench.ask(1);
    bench.answer(1);
    bench.lose_request(2);
    bench.lose_response(2);
    for number in 3..5 {
        bench.ask(number);
        bench.answer(number);
    }
    assert_eq!(bench.said(), ["/1=201", "/3=203", "/4=204"]);
}

#[test]
fn among_pipelined_requests_a_loss_is_never_guessed_over() {
    let mut bench = Bench::new();
    for number in 1..4 {
        bench.ask(number);
    }
    bench.lose_response(1);
    bench.answer(2);
    bench.answer(3);
    bench.finish(Finish::CaptureEnded);
    assert_eq!(bench.said(), ["/1=-!", "/2=-!", "/3=-!"]);
    assert!(bench.http_counters.skipped_bytes > 0, "nothing proves where the responses after the loss begin");
}

#[test]
fn a_request_hidden_among_pipelined_ones_takes_no_other_s_response() {
    let mut bench = Bench::new();
    bench.lose_request(1);
    bench.lose_request(2);
    bench.ask(3);
    bench.answer(1);
    bench.answer(2);
    bench.answer(3);
    bench.finish(Finish::CaptureEnded);
    assert_eq!(bench.said(), Vec::<String>::new(), "nothing proves that it is a request");
    assert_eq!(bench.counters.requests, 0);
}

#[test]
fn an_early_answer_waits_for_the_end_of_its_request() {
    let mut bench = Bench::new();
    bench.say(Direction::Up, "POST /up HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
    bench.arrive(Direction::Up);
    bench.answer(213);
    assert_eq!(bench.said(), Vec::<String>::new());
    bench.say(Direction::Up, "defghij");
    assert_eq!(bench.said(), ["/up=413"]);
    let exchange = &bench.exchanges[0];
    assert_eq!((exchange.request.transfer.body_bytes, exchange.request.transfer.packets), (10, 2));
    assert_eq!(exchange.end(), exchange.response.as_ref().unwrap().transfer.last_byte);
}

#[test]
fn an_upload_goes_on_after_an_early_answer_and_the_server_s_fin() {
    let mut bench = Bench::new();
    bench.say(Direction::Up, "POST /up HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
    bench.arrive(Direction::Up);
    bench.answer(213);
    bench.event(Direction::Down, StreamEvent::End(Timestamp::from_nanos(50_000_000)));
    bench.say(Direction::Up, "defg");
    assert_eq!(bench.said(), Vec::<String>::new());
    bench.finish(Finish::Reset(Timestamp::from_nanos(60_000_000)));
    assert_eq!(bench.said(), ["/up=413"]);
    assert_eq!(bench.exchanges[0].request.transfer.body_bytes, 7);
    let mut bench = Bench::new();
    bench.say(Direction::Up, "POST /up HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
    bench.arrive(Direction::Up);
    bench.answer(213);
    bench.finish(Finish::CaptureEnded);
    assert_eq!(bench.said(), ["/up=413!"], "nobody knows how much of the request was still to come");
}

#[test]
fn a_request_that_the_snap_length_hides_takes_no_other_s_response() {
    let mut bench = Bench::new();
    bench.say(Direction::Up, "GET /0 HTTP/1.1\r\n");
    bench.cut(Direction::Up, &("Host: x\r\n\r\n".to_owned() + &request(1)));
    bench.arrive(Direction::Up);
    bench.answer(0);
    // The server has not received this one when it answers the hidden one.
    bench.say(Direction::Up, &request(2));
    bench.answer(1);
    bench.arrive(Direction::Up);
    bench.answer(2);
    bench.finish(Finish::Closed(Timestamp::from_nanos(60_000_000)));
    // Two answers to what the server had received at once: the client does not wait, and more may be hidden.
    assert_eq!(bench.said(), ["/0=200!", "/2=-!"]);
    assert_eq!(bench.counters.unmatched_responses, 2);
}

#[test]
fn a_server_that_speaks_before_it_has_a_request_does_not_answer_it() {
    let mut bench = Bench::new();
    bench.ask(0);
    bench.answer(0);
    bench.say(Direction::Up, &request(1));
    bench.say(Direction::Down, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    bench.finish(Finish::Reset(Timestamp::from_nanos(60_000_000)));
    assert_eq!(bench.said()[0], "/0=200");
    assert!(bench.said()[1].starts_with("/1=-"), "{:?}", bench.said());
}

#[test]
fn half_a_head_in_a_body_after_a_loss_is_no_request() {
    let mut bench = Bench::new();
    bench.say(Direction::Up, "POST /up HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 59\r");
    bench.lose(Direction::Up, "\n\r\n");
    bench.arrive(Direction::Up);
    // Longer than what servers say, so that it may have been the answer.
    bench.lose(Direction::Down, "HTTP/1.1 100 Continue, please\r\n\r\n");
    bench.arrive(Direction::Down);
    bench.lose(Direction::Up, "GET /999 HTTP/1.1\r\nHost: fake\r\n\r\n");
    bench.say(Direction::Up, "GET /999 HTTP/1.1\r\nHost: f");
    bench.arrive(Direction::Up);
    bench.event(Direction::Up, StreamEvent::End(Timestamp::from_nanos(50_000_000)));
    // Its numbers fit the end of what looks like a request, to the byte.
    bench.answer(1);
    bench.finish(Finish::Closed(Timestamp::from_nanos(60_000_000)));
    assert!(!bench.said().iter().any(|told| told.starts_with("/999")), "{:?}", bench.said());
    assert_eq!(bench.counters.unproven_requests, 1);
}

#[test]
fn an_early_answer_and_a_close_in_mid_upload_is_complete() {
    let mut bench = Bench::new();
    bench.say(Direction::Up, "POST /up HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
    bench.arrive(Direction::Up);
    bench.answer(213);
    bench.finish(Finish::Reset(Timestamp::from_nanos(9)));
    assert_eq!((bench.said(), bench.exchanges[0].outcome), (vec!["/up=413".to_owned()], Outcome::Complete));
}

#[test]
fn each_ending_has_its_outcome() {
    let at = Timestamp::from_nanos(77_000_000);
    for (finish, unanswered, half_answered) in [
        (Finish::Closed(at), Outcome::ConnectionClosed, Outcome::ResponseIncomplete),
        (Finish::Reset(at), Outcome::ConnectionReset, Outcome::ConnectionReset),
        (Finish::Idle, Outcome::Timeout, Outcome::Unknown),
        (Finish::Evicted, Outcome::Unknown, Outcome::Unknown),
        (Finish::Replaced, Outcome::Unknown, Outcome::Unknown),
        (Finish::CaptureEnded, Outcome::Unknown, Outcome::Unknown),
    ] {
        let mut bench = Bench::new();
        bench.ask(1);
        bench.finish(finish);
        assert_eq!(bench.exchanges[0].outcome, unanswered, "{finish:?}");
        assert_eq!(bench.exchanges[0].incomplete, unanswered == Outcome::Unknown);
        let mut bench = Bench::new();
        bench.ask(1);
        bench.say(Direction::Down, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc");
        bench.finish(finish);
        assert_eq!(bench.exchanges[0].outcome, half_answered, "{finish:?} in the response");
    }
}

#[test]
fn fin_before_a_response_closes_and_fin_in_a_body_is_incomplete() {
    let mut bench = Bench::new();
    bench.ask(1);
    bench.event(Direction::Down, StreamEvent::End(Timestamp::from_nanos(50_000_000)));
    assert_eq!(bench.exchanges[0].outcome, Outcome::ConnectionClosed);
    assert_eq!(bench.exchanges[0].end(), Timestamp::from_nanos(50_000_000));
    let mut bench = Bench::new();
    bench.ask(1);
    bench.say(Direction::Down, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc");
    bench.event(Direction::Down, StreamEvent::End(Timestamp::from_nanos(50_000_000)));
    assert_eq!(bench.exchanges[0].outcome, Outcome::ResponseIncomplete);
    assert!(!bench.exchanges[0].incomplete, "the capture has missed nothing");
}

#[test]
fn a_request_after_a_lost_response_is_not_called_unanswered_without_proof() {
    let mut bench = Bench::new();
    bench.ask(1);
    bench.lose_response(1);
    bench.event(Direction::Down, StreamEvent::End(Timestamp::from_nanos(1)));
    assert_eq!((bench.exchanges[0].outcome, bench.exchanges[0].incomplete), (Outcome::Unknown, true));
}

#[test]
fn pipelining_without_end_is_bounded_and_shifts_nothing() {
    let mut bench = Bench::new();
    for number in 0..20 {
        bench.ask(number);
    }
    assert_eq!((bench.counters.open, bench.counters.overflows), (8, 12));
    for number in 0..20 {
        bench.answer(number);
    }
    bench.finish(Finish::CaptureEnded);
    assert!(bench.said().iter().all(|said| said.ends_with("=-!")), "{:?}", bench.said());
}

#[test]
fn interim_responses_do_not_answer() {
    let mut bench = Bench::new();
    bench.say(Direction::Up, "POST /1 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    bench.arrive(Direction::Up);
    bench.say(Direction::Down, "HTTP/1.1 100 Continue\r\n\r\n");
    bench.arrive(Direction::Down);
    bench.say(Direction::Up, "ab");
    bench.arrive(Direction::Up);
    bench.answer(1);
    assert_eq!(bench.said(), ["/1=201"]);
    let response = bench.exchanges[0].response.as_ref().unwrap();
    assert_eq!((response.transfer.wire_bytes, response.transfer.body_bytes), (41, 3));
}

#[test]
fn who_asks_is_the_client_whichever_way_the_addresses_sort() {
    let mut bench = Bench::new();
    bench.say(Direction::Down, "GET / HTTP/1.1\r\n\r\n");
    bench.arrive(Direction::Down);
    bench.say(Direction::Up, "HTTP/1.1 204 No\r\n\r\n");
    assert_eq!(bench.exchanges[0].client, bench.flow.high);
    assert_eq!(bench.exchanges[0].server, bench.flow.low);
}

#[test]
fn more_requests_than_may_wait_shift_no_answer() {
    let mut bench = Bench::new();
    for number in 0..9 {
        bench.say(Direction::Up, &format!("GET /{number} HTTP/1.1\r\n\r\n"));
    }
    bench.arrive(Direction::Up);
    for number in 0..9 {
        bench.answer(number);
    }
    bench.finish(Finish::CaptureEnded);
    for exchange in &bench.exchanges {
        let number: u16 = String::from_utf8_lossy(&exchange.request.head.target()[1..]).parse().unwrap();
        let status = exchange.response.as_ref().map(|response| response.head.status());
        assert!(status.is_none_or(|status| status == 200 + number), "{:?}", bench.said());
    }
}

#[test]
fn a_response_that_was_sent_before_a_request_does_not_answer_it() {
    let mut bench = Bench::new();
    // The client has received it already; the capture shows it late.
    bench.received[Direction::Up as usize] += u32::try_from(response(9).len()).unwrap();
    bench.ask(1);
    bench.say(Direction::Down, &response(9));
    assert_eq!(bench.counters.unmatched_responses, 1);
    bench.finish(Finish::CaptureEnded);
    assert_eq!(bench.said(), ["/1=-!"]);
}

#[test]
fn an_exchange_that_is_held_back_is_one_of_those_that_may_be_open() {
    let mut bench = Bench::new();
    bench.limits.max_open_exchanges = 1;
    bench.flow.origin = Origin::Joined;
    for number in 1..4 {
        bench.ask(number);
        assert!(bench.counters.open <= 1);
        bench.answer(number);
        assert!(bench.counters.open <= 1);
    }
    bench.finish(Finish::CaptureEnded);
    assert_eq!(bench.said().len(), 3);
    assert_eq!(bench.counters.overflows, 0, "none is given up for another that is answered");
}

#[test]
fn what_was_lost_while_a_request_came_does_not_show_a_client_that_does_not_wait() {
    let mut bench = Bench::new();
    bench.ask(0);
    bench.answer(0);
    // The request was one for the head alone, so what follows its answer is taken for the body.
    bench.lose_request(1);
    bench.say(Direction::Down, "HTTP/1.1 201 X\r\nContent-Length: 40\r\n\r\n");
    bench.arrive(Direction::Down);
    bench.say(Direction::Up, "POST /2 HTTP/1.1\r\nHost: a\r\n");
    bench.lose(Direction::Down, "HTTP/1.1 100 Continue\r\n\r\n");
    bench.lose(Direction::Up, "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n");
    assert!(!bench.pairing.loss.pipelines);
    bench.arrive(Direction::Up);
    bench.arrive(Direction::Down);
    bench.answer(2);
    bench.ask(3);
    bench.answer(3);
    bench.finish(Finish::CaptureEnded);
    assert!(bench.said().contains(&"/3=203".to_owned()), "{:?}", bench.said());
}

#[test]
fn a_client_that_did_not_wait_once_is_not_believed_to_wait_after_a_loss() {
    let mut bench = Bench::new();
    bench.ask(1);
    // The server answers the first before it has received the second.
    let received = bench.received[Direction::Down as usize];
    bench.ask(2);
    bench.received[Direction::Down as usize] = received;
    bench.say(Direction::Down, &response(1));
    bench.arrive(Direction::Up);
    bench.answer(2);
    bench.lose(Direction::Up, &(request(3) + &request(4)));
    bench.arrive(Direction::Up);
    bench.answer(3);
    for (asked, answered) in [(5, 4), (6, 5), (7, 6)] {
        bench.ask(asked);
        bench.answer(answered);
    }
    bench.finish(Finish::CaptureEnded);
    assert_eq!(bench.said(), ["/1=201", "/2=202", "/5=-!", "/6=-!", "/7=-!"]);
}
