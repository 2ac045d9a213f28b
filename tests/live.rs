//! Live traffic in network namespaces of its own → what the agent printed: every request is there, once.
//!
//! Needs Linux, root and `ip`, and says so where it has them not.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 8;
const PORT: &str = "8080";

/// The server's and the client's address where they are in two namespaces.
const SERVER: &str = "192.0.2.1";
const CLIENT: &str = "192.0.2.2";

const STEP: Duration = Duration::from_millis(10);
const STEPS: usize = 6000;

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
    ip(&["-n", &near.name, "link", "add", "server", "type", "veth", "peer", "name", "client", "netns", &far.name]);
    for (namespace, end, address) in [(&near, "server", SERVER), (&far, "client", CLIENT)] {
        ip(&["-n", &namespace.name, "address", "add", &format!("{address}/24"), "dev", end]);
        ip(&["-n", &namespace.name, "link", "set", end, "up"]);
    }
    let folder = TempDir::new().unwrap();
    let _server = serve(&near, folder.path());
    let agent = Agent::start(&near, interface, folder.path());
    visit(&far, SERVER);
    assert_every_request_once(&agent.stop());
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

/// The value of an attribute of a span.
fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    let named = |attribute: &&Value| attribute.get("key").and_then(Value::as_str) == Some(key);
    span.get("attributes")?.as_array()?.iter().find(named)?.get("value")
}

/// A network namespace with nothing but its loopback interface, as long as this lives.
struct Namespace {
    name: String,
}

impl Namespace {
    /// None where the machine cannot have one; why is printed.
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let user = Command::new("id").arg("-u").output().unwrap();
        if user.stdout.trim_ascii() != b"0" {
            skip("only root may make network namespaces");
            return None;
        }
        for needed in ["ip", "python3"] {
            if !exists(needed) {
                skip(&format!("there is no {needed}"));
                return None;
            }
        }
        let name = format!("agent-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let added = Command::new("ip").args(["netns", "add", &name]).output().unwrap();
        let words = String::from_utf8_lossy(&added.stderr).into_owned();
        if words.contains("not permitted") || words.contains("Permission denied") {
            skip(&format!("network namespaces are forbidden here: {}", words.trim()));
            return None;
        }
        assert!(added.status.success(), "ip netns add {name}: {words}");
        let namespace = Self { name };
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"]);
        Some(namespace)
    }

    /// A program that will run in here; `ip` becomes it, so its id is the program's.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is left over harms nobody, and a second panic would hide the first.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A program that ends with its scope.
struct Running {
    child: Child,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        Self { child: command.spawn().unwrap() }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agent under test, printing OTLP/JSON lines into a file.
struct Agent {
    running: Running,
    spans: PathBuf,
    messages: PathBuf,
}

impl Agent {
    /// Comes back when it captures.
    fn start(namespace: &Namespace, interface: &str, folder: &Path) -> Self {
        let (spans, messages) = (folder.join("spans"), folder.join("messages"));
        // The agent must not see what the caller has set.
        let mut command = namespace.command("env");
        command.arg("-i").arg(env!("CARGO_BIN_EXE_network-agent"));
        command.args(["--interface", interface, "--export", "json"]);
        command.stdout(File::create(&spans).unwrap()).stderr(File::create(&messages).unwrap());
        let mut agent = Self { running: Running::start(&mut command), spans, messages };
        wait_for("the agent to capture", || {
            let messages = agent.messages();
            assert!(!agent.running.has_ended(), "the agent has ended: {messages}");
            messages.contains("Capturing")
        });
        agent
    }

    /// Stops it as a user does and gives back its spans, in the order of their output.
    fn stop(mut self) -> Vec<Value> {
        let pid = self.running.child.id().to_string();
        run(Command::new("sh").args(["-c", "kill -INT \"$0\"", &pid]));
        wait_for("the agent to end", || self.running.has_ended());
        let status = self.running.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.messages());
        let text = fs::read_to_string(&self.spans).unwrap();
        text.lines().flat_map(|line| spans(&serde_json::from_str(line).unwrap())).collect()
    }

    fn messages(&self) -> String {
        fs::read_to_string(&self.messages).unwrap()
    }
}

/// The spans of one `ExportTraceServiceRequest`.
fn spans(request: &Value) -> Vec<Value> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let scopes = list(request, "resourceSpans").into_iter().flat_map(|resource| list(&resource, "scopeSpans"));
    scopes.flat_map(|scope| list(&scope, "spans")).collect()
}

/// Starts nginx, or what stands in for it where there is none; comes back when it listens.
fn serve(namespace: &Namespace, folder: &Path) -> Running {
    let mut command = if exists("nginx") {
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, nginx_configuration(folder)).unwrap();
        let mut nginx = namespace.command("nginx");
        nginx.arg("-p").arg(folder).arg("-c").arg(configuration).args(["-e", "stderr"]);
        nginx
    } else {
        let mut python = namespace.command("python3");
        python.arg(beside("server.py")).arg(PORT);
        python
    };
    let log = folder.join("server");
    let mut server = Running::start(command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()));
    let listening = format!("sport = :{PORT}");
    wait_for("the server to listen", || {
        assert!(!server.has_ended(), "the server has ended: {}", fs::read_to_string(&log).unwrap());
        !run(namespace.command("ss").args(["-Hltn", &listening])).stdout.is_empty()
    });
    server
}

fn nginx_configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 100000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {PORT};
        location = /missing {{ return 404 "not here\n"; }}
        location / {{ return 200 "hello world\n"; }}
    }}
}}
"#
    )
}

/// Looks again and again until it is so, and fails after a minute.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..STEPS {
        if is_so() {
            return;
        }
        thread::sleep(STEP);
    }
    panic!("waited in vain for {what}");
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

/// Runs to the end, which must be a good one.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn exists(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output();
    found.is_ok_and(|output| output.status.success())
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live").join(name)
}

/// Says it past the test harness, which shows nothing of a test that ends well.
fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}
