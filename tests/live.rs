//! Live traffic in network namespaces of its own → what the agent printed: every request is there, once.
//!
//! Needs Linux, root and `ip`, and says so where it has them not.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and says what it saw")]
#![expect(clippy::indexing_slicing, reason = "what JSON has not is null")]
#![expect(clippy::print_stdout, reason = "what was lost is shown when a test fails")]

mod laboratory;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use laboratory::web::{PORT, beside, serve};
use laboratory::{Agent, Namespace, Running, SERVER, attribute, exists, ip, join, run, skip};
use serde_json::Value;
use tempfile::TempDir;

const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 8;

#[test]
fn ten_thousand_requests_on_loopback_are_ten_thousand_spans() {
    let Some(namespace) = Namespace::new() else { return };
    let folder = TempDir::new().unwrap();
    let _server = serve(&namespace, folder.path());
    let agent = Agent::start(&namespace, "lo", folder.path());
    visit(&namespace, "127.0.0.1");
    assert_every_request_once(&agent.stop());
}

#[test]
fn ten_thousand_requests_over_a_veth_pair_are_ten_thousand_spans() {
    over_a_veth_pair("server");
}

#[test]
fn ten_thousand_requests_captured_on_any_are_ten_thousand_spans() {
    over_a_veth_pair("any");
}

#[test]
fn what_curl_does_is_reported_as_it_was() {
    let Some(namespace) = Namespace::new() else { return };
    if !exists("curl") {
        skip("there is no curl");
        return;
    }
    let folder = TempDir::new().unwrap();
    let _server = serve(&namespace, folder.path());
    let agent = Agent::start(&namespace, "lo", folder.path());
    let requests: [(&str, &[&str]); 4] = [
        ("/hello", &[]),
        ("/hello", &["--head"]),
        ("/upload", &["--data", "some=thing", "--header", "Expect: 100-continue"]),
        ("/missing", &[]),
    ];
    for (path, options) in requests {
        let url = format!("http://127.0.0.1:{PORT}{path}");
        let mut curl = namespace.command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--output", "/dev/null", &url]);
        run(curl.args(options));
    }
    let seen: Vec<_> = agent.stop().iter().map(Seen::of).collect();
    let expected = [
        Seen::new("GET", "/hello", "200", "0", "12"),
        Seen::new("HEAD", "/hello", "200", "0", "0"),
        Seen::new("POST", "/upload", "200", "10", "12"),
        Seen::new("GET", "/missing", "404", "0", "9"),
    ];
    assert_eq!(seen, expected);
}

/// The agent stands at the server's end of the pair, whose interface is called `server`.
fn over_a_veth_pair(interface: &str) {
    let (Some(near), Some(far)) = (Namespace::new(), Namespace::new()) else { return };
    join(&near, &far);
    let folder = TempDir::new().unwrap();
    let _server = serve(&near, folder.path());
    let agent = Agent::start(&near, interface, folder.path());
    visit(&far, SERVER);
    assert_every_request_once(&agent.stop());
}

/// Each request with its own number, which the server repeats in its answer; now and then a pause, so that a machine with few
/// processors has time for the agent.
const NUMBERED: &str = "local n = 0
request = function()
  n = n + 1
  wrk.headers['x-number'] = tostring(n)
  return wrk.format()
end
";
const WITH_PAUSES: &str = "delay = function() return 5 end
wrk.headers['x-fill'] = string.rep('a', 1200)
";

/// The load is more than an agent with a small ring, built without optimisation, can take. It says how many packets it has
/// lost, and of what it has not lost it says nothing wrong.
#[test]
fn under_more_load_than_the_agent_can_take_no_pair_is_wrong_and_the_loss_is_counted() {
    under_loss(NUMBERED, None);
}

/// An agent with the smallest ring is stopped for so long that it loses about 1, 30 and 80 of a hundred packets.
#[test]
fn under_loss_of_any_share_no_pair_is_wrong_and_the_loss_is_counted() {
    for rhythm in [(3800, 105), (1000, 500), (150, 800)] {
        under_loss(&[NUMBERED, WITH_PAUSES].concat(), Some(rhythm));
    }
}

/// With `rhythm`, the agent runs for so many milliseconds and then is stopped for so many.
fn under_loss(script: &str, rhythm: Option<(u64, u64)>) {
    for needed in ["nginx", "wrk"] {
        if !exists(needed) {
            skip(&format!("there is no {needed}"));
            return;
        }
    }
    let Some(namespace) = Namespace::new() else { return };
    let folder = TempDir::new().unwrap();
    let _server = serve(&namespace, folder.path());
    let headers = ["--http-headers", "x-number,x-echo", "--ring-bytes", "64KiB", "--queue-bytes", "256MiB"];
    let agent = Agent::start_with(&namespace, "lo", folder.path(), &headers);
    let file = folder.path().join("number.lua");
    fs::write(&file, script).unwrap();
    let mut wrk = namespace.command("wrk");
    wrk.args(["--threads", "1", "--connections", "50", "--duration", "4s", "--script"]).arg(&file);
    let mut load = Running::start(wrk.arg(format!("http://127.0.0.1:{PORT}/echo")).stdout(Stdio::null()));
    while !load.has_ended() {
        match rhythm {
            None => thread::sleep(Duration::from_millis(10)),
            Some((awake, asleep)) => {
                thread::sleep(Duration::from_millis(awake));
                agent.signal("STOP");
                thread::sleep(Duration::from_millis(asleep));
                agent.signal("CONT");
            }
        }
    }
    let spans = agent.stop();
    let dropped = counted(folder.path(), "capture.dropped_by_kernel");
    let seen = counted(folder.path(), "packet.packets");
    println!("{dropped} packets dropped, {seen} seen, {} spans", spans.len());
    assert!(dropped > 0 || rhythm.is_some_and(|(_, asleep)| asleep < 500), "the ring is to overflow");
    assert_no_pair_is_wrong(&spans);
    let exchanges = ["http.requests", "exchange.unmatched_responses"].map(|name| counted(folder.path(), name));
    println!("requests, responses alone: {exchanges:?}; incomplete: {}", counted(folder.path(), "exchange.incomplete"));
}

/// What the agent said at its end of one counter.
fn counted(folder: &Path, name: &str) -> u64 {
    let messages = fs::read_to_string(folder.join("messages")).unwrap();
    let line = messages.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn assert_no_pair_is_wrong(spans: &[Value]) {
    let number = |span: &Value, key: &str| attribute(span, key).map(|value| value["arrayValue"]["values"].to_string());
    let mut pairs = 0;
    for span in spans {
        let asked = number(span, "http.request.header.x-number");
        let answered = number(span, "http.response.header.x-echo");
        if asked.is_some() && answered.is_some() {
            assert_eq!(asked, answered, "{span}");
            pairs += 1;
        }
    }
    println!("{pairs} pairs");
    assert!(pairs > 100, "{pairs} pairs of {} spans", spans.len());
}

/// A node with two pods; one reaches the other by a Service's address, and the node masquerades. Both interfaces show
/// every exchange, with other addresses.
#[test]
fn what_passes_a_service_s_translation_is_one_span_with_both_destinations() {
    if !exists("iptables") {
        skip("there is no iptables");
        return;
    }
    let (Some(node), Some(client), Some(server)) = (Namespace::new(), Namespace::new(), Namespace::new()) else {
        return;
    };
    for (pod, name, network) in [(&client, "pod1", "10.244.1"), (&server, "pod2", "10.244.2")] {
        ip(&["-n", &node.name, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &pod.name]);
        ip(&["-n", &node.name, "address", "add", &format!("{network}.1/24"), "dev", name]);
        ip(&["-n", &node.name, "link", "set", name, "up"]);
        ip(&["-n", &pod.name, "address", "add", &format!("{network}.2/24"), "dev", "eth0"]);
        ip(&["-n", &pod.name, "link", "set", "eth0", "up"]);
        ip(&["-n", &pod.name, "route", "add", "default", "via", &format!("{network}.1")]);
    }
    run(node.command("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]));
    let to_pod = "-t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 8080 -j DNAT --to-destination 10.244.2.2:8080";
    let masquerade = "-t nat -A POSTROUTING -d 10.244.2.2 -p tcp -j MASQUERADE";
    for rule in [to_pod, masquerade] {
        run(node.command("iptables").args(rule.split(' ')));
    }
    let folder = TempDir::new().unwrap();
    let _server = serve(&server, folder.path());
    let agent = Agent::start(&node, "any", folder.path());
    visit(&client, "10.96.0.10");
    let spans = agent.stop();
    assert_every_request_once(&spans);
    assert_eq!(counted(folder.path(), "export.spans_in_transit"), REQUESTS as u64, "both ends are pods");
    for span in &spans {
        let address = |key| attribute(span, key).and_then(|value| value.get("stringValue")?.as_str()).unwrap();
        assert_eq!((address("source.address"), address("destination.address")), ("10.244.1.2", "10.96.0.10"));
        let own = (address("network.peer.address"), address("network.local.address"));
        assert_eq!(own, ("10.244.2.1", "10.244.2.2"), "what the server's socket sees");
    }
}

/// Lets the load generator make its requests; it ends well only when all of them were answered by 200.
fn visit(namespace: &Namespace, host: &str) {
    let (connections, requests) = (CONNECTIONS.to_string(), REQUESTS.to_string());
    let mut client = namespace.command("python3");
    run(client.arg(beside("client.py")).args([host, PORT, &connections, &requests]));
}

fn assert_every_request_once(spans: &[Value]) {
    let paths: BTreeSet<String> = spans.iter().map(|span| Seen::of(span).path).collect();
    let expected: BTreeSet<String> = (1..=REQUESTS).map(|number| format!("/n/{number}")).collect();
    let missing: Vec<_> = expected.difference(&paths).take(5).collect();
    assert!(missing.is_empty(), "{} spans; among those missing: {missing:?}", spans.len());
    assert_eq!(spans.len(), REQUESTS, "a request was reported twice, or one that nobody made");
    for span in spans {
        let seen = Seen::of(span);
        assert_eq!(seen, Seen::new("GET", &seen.path, "200", "0", "12"));
    }
}

/// What one span says of its exchange.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    method: String,
    path: String,
    status: String,
    request_body: String,
    response_body: String,
    incomplete: bool,
}

impl Seen {
    fn new(method: &str, path: &str, status: &str, request_body: &str, response_body: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            status: status.to_owned(),
            request_body: request_body.to_owned(),
            response_body: response_body.to_owned(),
            incomplete: false,
        }
    }

    /// From a span of OTLP/JSON, where 64-bit integers are strings.
    fn of(span: &Value) -> Self {
        let text = |key: &str, kind: &str| {
            let value = attribute(span, key).and_then(|value| value.get(kind)?.as_str());
            value.unwrap_or("absent").to_owned()
        };
        Self {
            method: text("http.request.method", "stringValue"),
            path: text("url.path", "stringValue"),
            status: text("http.response.status_code", "intValue"),
            request_body: text("http.request.body.size", "intValue"),
            response_body: text("http.response.body.size", "intValue"),
            incomplete: attribute(span, "network_agent.capture.incomplete").is_some(),
        }
    }
}
