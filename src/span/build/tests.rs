//! Spans of exchanges that are known by construction, row by row of the contract.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::exchange::{ExchangeId, Outcome, RequestPart, Transfer};
use crate::http::{RequestHead, ResponseHead};
use crate::span::{MAX_TEXT, NoNames, Value};
use crate::time::Timestamp;

struct Local(&'static [&'static str]);

impl LocalAddresses for Local {
    fn is_local(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_string().as_str())
    }
}

const NOWHERE: Local = Local(&[]);
const CLIENT_SIDE: Local = Local(&["10.0.0.1"]);
const BOTH: Local = Local(&["10.0.0.1", "10.0.0.2"]);

fn exchange(request: &str, response: Option<&str>) -> Exchange {
    let millis = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
    let transfer = |from, to, body_bytes, wire_bytes, packets| Transfer {
        first_byte: millis(from),
        last_byte: millis(to),
        body_bytes,
        wire_bytes,
        packets,
    };
    let head = |text: &str| format!("{}\r\n\r\n", text.replace('\n', "\r\n"));
    Exchange {
        request_key: 1,
        translated: None,
        id: ExchangeId(std::array::from_fn(|place| u8::try_from(place + 1).unwrap())),
        client: "10.0.0.1:40000".parse().unwrap(),
        server: "10.0.0.2:8080".parse().unwrap(),
        interface: 1,
        request: RequestPart {
            head: RequestHead::parse(head(request).as_bytes()).unwrap(),
            transfer: transfer(1000, 1001, 3, 103, 1),
            ended: millis(1500),
        },
        response: response.map(|text| ResponsePart {
            head: ResponseHead::parse(head(text).as_bytes()).unwrap(),
            transfer: transfer(1020, 1050, 7, 207, 2),
        }),
        outcome: Outcome::Complete,
        incomplete: false,
        retransmits: 0,
        handshake_rtt: None,
    }
}

const GET: &str = "GET /items/42?color=blue&sig=abc HTTP/1.1\nHost: shop.example\nUser-Agent: curl/8\nCookie: a=b";

fn with<T>(settings: SpanSettings, exchange: &Exchange, local: &Local, check: impl FnOnce(&Span<'_>) -> T) -> T {
    one(&SpanBuilder::new(settings), exchange, local, check)
}

/// What `check` says of the one span of `exchange`.
fn one<T>(
    builder: &SpanBuilder,
    exchange: &Exchange,
    local: &dyn LocalAddresses,
    check: impl FnOnce(&Span<'_>) -> T,
) -> T {
    let (mut check, mut said) = (Some(check), None);
    let read = kept(exchange, &builder.settings);
    let made = builder.spans(exchange, local, &NoNames, &mut |span| {
        let wanted = format!("{span:?}");
        builder.spans(&read, local, &NoNames, &mut |same| assert_eq!(format!("{same:?}"), wanted, "no line is missed"));
        said = check.take().map(|check| check(span));
    });
    assert_eq!(made, Made::Spans(1));
    said.unwrap()
}

/// The same exchange without the header lines that spans are not made of.
fn kept(exchange: &Exchange, settings: &SpanSettings) -> Exchange {
    let (mut kept, fields) = (exchange.clone(), settings.fields());
    kept.request.head = RequestHead::parse_keeping(kept.request.head.bytes(), &fields).unwrap();
    if let Some(response) = &mut kept.response {
        response.head = ResponseHead::parse_keeping(response.head.bytes(), &fields).unwrap();
    }
    kept
}

fn built<T>(exchange: &Exchange, local: &Local, check: impl FnOnce(&Span<'_>) -> T) -> T {
    with(SpanSettings::default(), exchange, local, check)
}

fn value<'s, 'a>(span: &'s Span<'a>, key: &str) -> Option<&'s Value<'a>> {
    span.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
}

fn text(span: &Span<'_>, key: &str) -> String {
    match value(span, key) {
        None => "-".to_owned(),
        Some(Value::String(text)) => text.to_string(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Double(number)) => number.to_string(),
        Some(Value::Bool(truth)) => truth.to_string(),
        Some(Value::Strings(texts)) => format!("{texts:?}"),
    }
}

#[test]
fn a_server_span_has_the_attributes_of_the_contract() {
    let mut exchange = exchange(GET, Some("HTTP/1.1 200 OK"));
    exchange.handshake_rtt = Some(Duration::from_micros(1500));
    exchange.retransmits = 4;
    built(&exchange, &BOTH, |span| {
        assert_eq!((&*span.name, span.kind, span.status), ("GET", SpanKind::Server, Status::Unset));
        assert_eq!((span.start.as_nanos(), span.end.as_nanos()), (1_000_000_000, 1_050_000_000));
        for (key, wanted) in [
            ("http.request.method", "GET"),
            ("http.request.method_original", "-"),
            ("http.response.status_code", "200"),
            ("error.type", "-"),
            ("url.path", "/items/42"),
            ("url.query", "-"),
            ("url.full", "-"),
            ("url.scheme", "http"),
            ("server.address", "shop.example"),
            ("server.port", "80"),
            ("client.address", "10.0.0.1"),
            ("client.port", "40000"),
            ("network.peer.address", "10.0.0.1"),
            ("network.peer.port", "40000"),
            ("network.local.address", "10.0.0.2"),
            ("network.local.port", "8080"),
            ("network.transport", "tcp"),
            ("network.type", "ipv4"),
            ("network.protocol.version", "1.1"),
            ("source.address", "10.0.0.1"),
            ("source.port", "40000"),
            ("destination.address", "10.0.0.2"),
            ("destination.port", "8080"),
            ("user_agent.original", "curl/8"),
            ("http.request.header.user-agent", "[\"curl/8\"]"),
            ("http.request.header.cookie", "-"),
            ("http.request.body.size", "3"),
            ("http.request.size", "103"),
            ("http.response.body.size", "7"),
            ("http.response.size", "207"),
            ("network_agent.exchange.id", "0102030405060708"),
            ("network_agent.time_to_first_byte_ms", "20"),
            ("network_agent.handshake_rtt_ms", "1.5"),
            ("network_agent.request.packets", "1"),
            ("network_agent.response.packets", "2"),
            ("network_agent.retransmits", "4"),
            ("network_agent.capture.incomplete", "-"),
            ("sampleRate", "-"),
            ("http.method", "-"),
        ] {
            assert_eq!(text(span, key), wanted, "{key}");
        }
    });
}

#[test]
fn the_client_s_side_is_a_client_span_with_the_full_url() {
    built(&exchange(GET, Some("HTTP/1.1 200 OK")), &CLIENT_SIDE, |span| {
        assert_eq!(span.kind, SpanKind::Client);
        assert_eq!(text(span, "url.full"), "http://shop.example/items/42");
        assert_eq!((text(span, "url.scheme"), text(span, "client.address")), ("-".into(), "-".into()));
        assert_eq!(text(span, "network.peer.port"), "8080");
        assert_eq!(text(span, "user_agent.original"), "-");
        assert_eq!(span.span_id, [17, 18, 19, 20, 21, 22, 23, 24]);
    });
    built(&exchange(GET, None), &NOWHERE, |span| {
        assert_eq!(span.kind, SpanKind::Server);
        assert_eq!(span.span_id, [25, 26, 27, 28, 29, 30, 31, 32]);
    });
}

#[test]
fn a_failure_of_the_server_is_an_error_for_both_and_of_the_client_for_one() {
    for (status, server, client) in [("399", "-", "-"), ("404", "-", "404"), ("503", "503", "503")] {
        let exchange = exchange(GET, Some(&format!("HTTP/1.1 {status} X")));
        for (local, wanted) in [(&BOTH, server), (&CLIENT_SIDE, client)] {
            built(&exchange, local, |span| {
                assert_eq!(text(span, "error.type"), wanted);
                assert_eq!(span.status == Status::Error, wanted != "-");
            });
        }
    }
}

#[test]
fn an_exchange_that_broke_off_says_how() {
    for (outcome, wanted) in [
        (Outcome::ConnectionReset, "connection_reset"),
        (Outcome::ConnectionClosed, "connection_closed"),
        (Outcome::ResponseIncomplete, "response_incomplete"),
        (Outcome::Timeout, "timeout"),
        (Outcome::Unknown, "-"),
    ] {
        let mut exchange = exchange(GET, None);
        exchange.outcome = outcome;
        exchange.incomplete = outcome == Outcome::Unknown;
        built(&exchange, &BOTH, |span| {
            assert_eq!(text(span, "error.type"), wanted);
            assert_eq!(text(span, "network_agent.capture.incomplete") == "true", outcome == Outcome::Unknown);
            assert_eq!(text(span, "http.response.status_code"), "-");
            assert_eq!(span.end.as_nanos(), 1_500_000_000);
        });
    }
}

#[test]
fn unknown_methods_do_not_name_spans() {
    built(&exchange("get / HTTP/1.1\nHost: x", None), &BOTH, |span| {
        assert_eq!((&*span.name, text(span, "http.request.method")), ("HTTP", "_OTHER".into()));
        assert_eq!(text(span, "http.request.method_original"), "get");
    });
}

#[test]
fn a_caller_s_context_is_the_parent() {
    let request =
        format!("{GET}\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\ntracestate: a=1,ot=th:8");
    built(&exchange(&request, None), &BOTH, |span| {
        assert_eq!(span.trace_id[..2], [0x0a, 0xf7]);
        assert_eq!(span.parent.map(|parent| parent[0]), Some(0xb7));
        assert_eq!((span.flags, &*span.trace_state), (0x301, "a=1"));
    });
    let parent_based = SpanSettings {
        sampler: Sampler::ParentBased { root: crate::span::RootSampler::AlwaysOn },
        ..SpanSettings::default()
    };
    let made = SpanBuilder::new(parent_based).spans(&exchange(&request, None), &BOTH, &NoNames, &mut |_| {});
    assert_eq!(made, Made::SampledOut);
}

#[test]
fn without_a_caller_the_ids_come_from_the_exchange() {
    let mut exchange = exchange(GET, None);
    built(&exchange, &BOTH, |span| {
        assert_eq!((span.trace_id[15], span.parent, span.flags), (16, None, 0x101));
    });
    exchange.id = ExchangeId([0; 32]);
    built(&exchange, &BOTH, |span| assert!(span.trace_id != [0; 16] && span.span_id != [0; 8]));
}

#[test]
fn the_parent_of_a_request_from_another_machine_is_the_span_of_the_agent_there() {
    struct Elsewhere(Local);
    impl LocalAddresses for Elsewhere {
        fn is_local(&self, address: IpAddr) -> bool {
            self.0.is_local(address)
        }
        fn is_reported_elsewhere(&self, address: IpAddr) -> bool {
            !self.is_local(address)
        }
    }
    let exchange = exchange(GET, None);
    let builder = SpanBuilder::new(SpanSettings::default());
    let ids = |local| {
        one(&builder, &exchange, &Elsewhere(local), |span| {
            (span.kind, span.parent, span.flags, span.span_id, span.trace_id)
        })
    };
    let there = ids(CLIENT_SIDE);
    let here = ids(Local(&["10.0.0.2"]));
    assert_eq!((there.0, there.1, there.2), (SpanKind::Client, None, 0x101));
    assert_eq!((here.0, here.1, here.2), (SpanKind::Server, Some(there.3), 0x301));
    assert_eq!(here.4, there.4);
    let both = ids(BOTH);
    assert_eq!((both.0, both.1), (SpanKind::Server, None), "there is no CLIENT span anywhere");
}

#[test]
fn url_and_query_are_reported_as_set() {
    let exchange = exchange(GET, None);
    let settings = SpanSettings { include_query: true, ..SpanSettings::default() };
    with(settings, &exchange, &CLIENT_SIDE, |span| {
        assert_eq!(text(span, "url.query"), "color=blue&sig=REDACTED");
        assert_eq!(text(span, "url.full"), "http://shop.example/items/42?color=blue&sig=REDACTED");
    });
    let settings = SpanSettings { include_url: false, include_query: true, ..SpanSettings::default() };
    with(settings, &exchange, &CLIENT_SIDE, |span| {
        assert_eq!(
            ["url.path", "url.query", "url.full"].map(|key| text(span, key)),
            ["-", "-", "-"].map(str::to_owned)
        );
    });
}

#[test]
fn a_request_without_host_has_the_socket_s_address() {
    built(&exchange("GET / HTTP/1.0", None), &CLIENT_SIDE, |span| {
        assert_eq!((text(span, "server.address"), text(span, "server.port")), ("10.0.0.2".into(), "8080".into()));
        assert_eq!(text(span, "url.full"), "http://10.0.0.2/");
    });
}

#[test]
fn headers_are_lists_and_credentials_are_hidden_unless_asked_for() {
    let request = "GET / HTTP/1.1\nAccept: a\nACCEPT: b\nAuthorization: Bearer hunter2\nX-Odd: \u{fffd}";
    let headers = ["accept", "authorization", "x-odd", "set-cookie"].map(str::to_owned).to_vec();
    let settings = SpanSettings { headers, ..SpanSettings::default() };
    let exchange = exchange(request, Some("HTTP/1.1 200 OK\nSet-Cookie: s=hunter2"));
    with(settings.clone(), &exchange, &BOTH, |span| {
        assert_eq!(text(span, "http.request.header.accept"), "[\"a\", \"b\"]");
        assert_eq!(text(span, "http.request.header.authorization"), "[\"REDACTED\"]");
        assert_eq!(text(span, "http.response.header.set-cookie"), "[\"REDACTED\"]");
        assert!(!format!("{span:?}").contains("hunter2"));
    });
    with(SpanSettings { unsafe_headers: true, ..settings }, &exchange, &BOTH, |span| {
        assert_eq!(text(span, "http.request.header.authorization"), "[\"Bearer hunter2\"]");
    });
}

#[test]
fn limits_cut_texts_at_characters_and_count_what_is_left_out() {
    let request = format!("GET /{} HTTP/1.1", "é".repeat(50_000));
    let settings =
        SpanSettings { attribute_count_limit: 5, attribute_value_length_limit: 10, ..SpanSettings::default() };
    with(settings, &exchange(&request, Some("HTTP/1.1 500 X")), &BOTH, |span| {
        assert_eq!(span.attributes.len(), 5);
        assert!(span.dropped_attributes > 10);
        assert_eq!(text(span, "url.path"), "/éééé");
    });
    built(&exchange(&request, None), &BOTH, |span| assert_eq!(text(span, "url.path").len(), MAX_TEXT));
}

#[test]
fn legacy_attributes_are_there_when_asked_for() {
    let settings = SpanSettings { legacy_attributes: true, ..SpanSettings::default() };
    with(settings, &exchange(GET, Some("HTTP/1.1 404 X")), &BOTH, |span| {
        for (key, wanted) in [
            ("meta.stream.ident", "10.0.0.1->10.0.0.2:40000->8080"),
            ("client.socket.address", "10.0.0.1"),
            ("server.socket.address", "10.0.0.2"),
            ("http.method", "GET"),
            ("http.target", "/items/42"),
            ("http.status_code", "404"),
            ("http.request_content_length", "3"),
            ("http.response_content_length", "7"),
            ("meta.request.packet_count", "1"),
            ("meta.response.packet_count", "2"),
            ("http.request.timestamp", "1970-01-01T00:00:01.000000000Z"),
            ("http.response.timestamp", "1970-01-01T00:00:01.020000000Z"),
            ("http.request.header.user_agent", "curl/8"),
            ("error", "HTTP client error"),
        ] {
            assert_eq!(text(span, key), wanted, "{key}");
        }
    });
}

#[test]
fn sampling_by_ratio_says_its_rate() {
    let settings = SpanSettings { sampler: Sampler::TraceIdRatio(0.5), ..SpanSettings::default() };
    with(settings, &exchange(GET, None), &BOTH, |span| assert_eq!(text(span, "sampleRate"), "2"));
}

proptest! {
    #[test]
    fn any_head_gives_a_sound_span(
        target in "[!-~\\x80-\\xff]{1,60}",
        lines in prop::collection::vec("(Host|Forwarded|X-Forwarded-For|User-Agent|traceparent|b3): [ -~]{0,60}", 0..6),
        client_is_local: bool,
    ) {
        let lines: Vec<String> = lines.iter().map(|line| line.clone() + "\r\n").collect();
        let request = format!("GET {target} HTTP/1.1\r\n{}\r\n", lines.concat());
        let Some(head) = RequestHead::parse(request.as_bytes()) else { return Ok(()) };
        let mut exchange = exchange(GET, Some("HTTP/1.1 200 OK"));
        exchange.request.head = head;
        let settings = SpanSettings {
            include_query: true,
            legacy_attributes: true,
            propagators: vec![crate::span::Propagator::TraceContext, crate::span::Propagator::B3],
            ..SpanSettings::default()
        };
        let local = if client_is_local { CLIENT_SIDE } else { BOTH };
        with(settings, &exchange, &local, |span| {
            let mut keys: Vec<_> = span.attributes.iter().map(|attribute| attribute.key.clone()).collect();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), span.attributes.len(), "a name is there twice");
            prop_assert!(span.end >= span.start && span.trace_id != [0; 16] && span.span_id != [0; 8]);
            Ok(())
        })?;
    }
}

#[test]
fn an_exchange_of_which_neither_end_is_here_is_in_transit() {
    let exchange = exchange(GET, None);
    assert!(built(&exchange, &NOWHERE, |span| span.in_transit));
    assert!(!built(&exchange, &CLIENT_SIDE, |span| span.in_transit));
    assert!(!built(&exchange, &BOTH, |span| span.in_transit));
}
