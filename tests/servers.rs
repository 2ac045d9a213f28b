//! Real servers and clients over real sockets: what the servers wrote down against what the agent reported.
//!
//! For every line of a server's log there is exactly one span with the same method, path, status and sizes, at the same
//! time, and for every answered span there is a line. Each server is left out where it is not installed.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod laboratory;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use laboratory::{Agent, Namespace, Running, attribute, exists, run, skip, wait_for};
use serde_json::Value;
use tempfile::TempDir;

const PORT: &str = "8080";
/// Where the server behind `HAProxy` listens.
const BEHIND: &str = "8081";

/// One at a time: times are compared, and a busy machine has no good ones.
static TURN: Mutex<()> = Mutex::new(());

/// A server with its log, and an agent that watches it, in a network of their own.
struct Bench {
    namespace: Namespace,
    folder: TempDir,
    servers: Vec<Running>,
    agent: Agent,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new(program: &str) -> Option<Self> {
        if !exists(program) {
            skip(&format!("there is no {program}"));
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let namespace = Namespace::new()?;
        let folder = TempDir::new().unwrap();
        // A ring that holds the whole load: nothing may be lost, however slow the agent was built.
        let headers = [
            "--http-headers",
            "x-request-id",
            "--filter",
            "tcp port 8080",
            "--ring-bytes",
            "128MiB",
            "--queue-bytes",
            "256MiB",
        ];
        let agent = Agent::start_with(&namespace, "lo", folder.path(), &headers);
        Some(Self { namespace, folder, servers: Vec::new(), agent, _turn: turn })
    }

    fn serve(&mut self, command: &str, port: &str) {
        let words: Vec<&str> = command.split(' ').collect();
        let mut server = self.namespace.command(words[0]);
        let log = fs::File::create(self.path(&format!("server-{port}"))).unwrap();
        server.args(&words[1..]).stdout(log.try_clone().unwrap()).stderr(log);
        self.servers.push(Running::start(&mut server));
        let listening = format!("sport = :{port}");
        wait_for("the server to listen", || {
            let last = self.servers.last_mut().unwrap();
            assert!(!last.has_ended(), "it has ended: {}", self.read(&format!("server-{port}")));
            !run(self.namespace.command("ss").args(["-Hltn", &listening])).stdout.is_empty()
        });
    }

    /// The odd server of this test.
    fn serve_python(&mut self, port: &str) {
        let command = format!("python3 {} {port} {}", beside("server.py").display(), self.path("log").display());
        self.serve(&command, port);
    }

    fn visit(&self, host: &str, scenarios: &str) {
        let mut client = self.namespace.command("python3");
        run(client.arg(beside("client.py")).args([host, PORT]).args(scenarios.split(' ')));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Writes a configuration in which `FOLDER` stands for the test's own.
    fn configure(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text.replace("FOLDER", self.folder.path().to_str().unwrap())).unwrap();
        path.display().to_string()
    }

    /// Stops everything; the log and the spans.
    fn stop(self) -> (Vec<Entry>, Vec<Value>) {
        let Self { folder, mut servers, agent, .. } = self;
        let spans = agent.stop();
        let messages = fs::read_to_string(folder.path().join("messages")).unwrap();
        let has_kept_up =
            messages.lines().any(|line| line.starts_with("capture.dropped_by_kernel") && line.contains(" 0 "));
        assert!(has_kept_up, "the capture lost packets, nothing can be compared: {messages}");
        servers.iter_mut().for_each(Running::stop);
        let entries = lines(&folder.path().join("log")).iter().map(|line| Entry::of(line)).collect();
        (entries, spans)
    }
}

/// One line of a log; what the server does not write down is not compared.
#[derive(Debug)]
struct Entry {
    id: String,
    said: Said,
    /// Seconds since the epoch, and how exact they are.
    start: Option<f64>,
    end: Option<f64>,
}

/// What both sides say of one exchange.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Said {
    method: String,
    path: String,
    status: String,
    body: Option<u64>,
    wire: Option<u64>,
    request_body: Option<u64>,
}

impl Entry {
    fn of(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |key: &str| match &value[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let number = |key: &str| value[key].as_f64().or_else(|| value[key].as_str()?.parse().ok());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of bytes are whole")]
        let count = |key: &str| number(key).map(|number| number as u64);
        let said = Said {
            method: text("method"),
            path: text("path"),
            status: text("status"),
            body: count("body"),
            wire: count("wire"),
            request_body: count("request_body"),
        };
        let end = number("end").or_else(|| Some(number("end_ms")? / 1000.0));
        let start = number("start").or_else(|| Some(end? - number("duration")?));
        Self { id: text("id"), said, start, end }
    }

    /// What the agent says, as far as the server says it, too. CONNECT has no path.
    fn of_span(&self, span: &Value) -> Said {
        let count = |key| attribute(span, key).and_then(|value| value["intValue"].as_str()?.parse().ok());
        let text = |key, kind: &str| attribute(span, key).and_then(|value| value[kind].as_str());
        let path = text("url.path", "stringValue").unwrap_or(&self.said.path);
        Said {
            method: text("http.request.method", "stringValue").unwrap().to_owned(),
            path: path.to_owned(),
            status: text("http.response.status_code", "intValue").unwrap_or("none").to_owned(),
            body: self.said.body.and_then(|_| count("http.response.body.size")),
            wire: self.said.wire.and_then(|_| count("http.response.size")),
            request_body: self.said.request_body.and_then(|_| count("http.request.body.size")),
        }
    }
}

fn id(span: &Value) -> String {
    let id = attribute(span, "http.request.header.x-request-id").and_then(|value| {
        let first = value["arrayValue"]["values"].get(0)?;
        first["stringValue"].as_str()
    });
    id.unwrap_or_default().to_owned()
}

fn seconds(span: &Value, key: &str) -> f64 {
    let nanos: u64 = span[key].as_str().unwrap().parse().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a quarter of a microsecond is exact enough")]
    let nanos = nanos as f64;
    nanos / 1e9
}

/// Every line of the log is a span and every answered span a line; load generators send one id many times, and what they
/// leave unanswered at their end no server writes down.
fn compare(bench: Bench) -> BTreeMap<String, usize> {
    let (entries, spans) = bench.stop();
    compare_all(&entries, &spans)
}

fn compare_all(entries: &[Entry], spans: &[Value]) -> BTreeMap<String, usize> {
    let mut by_id: BTreeMap<String, (Vec<&Entry>, Vec<&Value>)> = BTreeMap::new();
    for entry in entries {
        by_id.entry(entry.id.clone()).or_default().0.push(entry);
    }
    for span in spans {
        by_id.entry(id(span)).or_default().1.push(span);
    }
    let mut late = Vec::new();
    for (id, (entries, spans)) in &by_id {
        let answered: Vec<_> =
            spans.iter().filter(|span| attribute(span, "http.response.status_code").is_some()).collect();
        let entries: Vec<_> = entries.iter().filter(|entry| entry.said.status != "499").collect();
        if id.starts_with("unanswered") || id.starts_with("abort") {
            assert_eq!(spans.len(), 1, "{id}");
            continue;
        }
        let Some(first) = entries.first() else { panic!("{id}: spans, and no line of the log: {spans:?}") };
        let mut said: Vec<_> = entries.iter().map(|entry| entry.said.clone()).collect();
        let mut seen: Vec<_> = answered.iter().map(|span| first.of_span(span)).collect();
        said.sort();
        seen.sort();
        let missing: Vec<_> = said.iter().filter(|entry| !seen.contains(entry)).take(3).collect();
        let other: Vec<_> = seen.iter().filter(|span| !said.contains(span)).take(3).collect();
        assert!(
            said == seen,
            "{id}: {} lines, {} spans, {} of them answered; in the log alone: {missing:#?}; reported alone: {other:#?}",
            said.len(),
            spans.len(),
            seen.len()
        );
        if let ([entry], [span]) = (entries.as_slice(), answered.as_slice()) {
            late.extend(lateness(entry, span));
        }
    }
    assert_times(late);
    by_id.into_iter().map(|(id, (entries, _))| (id, entries.len())).collect()
}

/// By how much the server's clock reads later than the capture's, at the start and at the end. A server is done with a
/// large response when the last of it is in its socket, not on the wire.
fn lateness(entry: &Entry, span: &Value) -> Vec<f64> {
    let is_large = entry.said.body.max(entry.said.wire).is_none_or(|bytes| bytes > 50_000);
    let start = entry.start.map(|start| start - seconds(span, "startTimeUnixNano"));
    let end = entry.end.filter(|_| !is_large).map(|end| end - seconds(span, "endTimeUnixNano"));
    start.into_iter().chain(end).collect()
}

/// Both clocks are the machine's, but a server reads its own when it is scheduled, and some keep what they read for a
/// while. On a machine that is not all busy that is at once often enough, and never off by much.
fn assert_times(late: Vec<f64>) {
    let mut off: Vec<f64> = late.into_iter().map(f64::abs).collect();
    off.sort_by(f64::total_cmp);
    let (Some(quartile), Some(most)) = (off.get(off.len() / 4), off.get(off.len() * 9 / 10)) else { return };
    assert!(*quartile <= 0.001, "three quarters of the times differ by more than {quartile} s");
    assert!(*most <= 0.1, "a tenth of the times differs by more than {most} s");
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(name)
}

/// What any server can be asked.
const COMMON: &str = "keepalive old oldkept pipelined dribbled heads asked absolute large parallel";

#[test]
fn what_python_wrote_down_is_what_was_reported() {
    let Some(mut bench) = Bench::new("python3") else { return };
    bench.serve_python(PORT);
    bench.visit("127.0.0.1", COMMON);
    bench.visit("127.0.0.1", "upload early chunked empty untilclose longpoll events websocket reset");
    let found = compare(bench);
    for scenario in ["early", "untilclose", "longpoll", "events", "websocket", "unanswered"] {
        assert!(found.keys().any(|id| id.starts_with(scenario)), "{scenario} is not among {found:?}");
    }
}

#[test]
fn a_connect_proxy_is_reported_and_its_tunnel_left_alone() {
    let Some(mut bench) = Bench::new("python3") else { return };
    bench.serve_python(PORT);
    bench.visit("127.0.0.1", "tunnel");
    let found = compare(bench);
    assert_eq!(found.len(), 2, "the CONNECT, and what the proxy itself was asked through the tunnel: {found:?}");
}

#[test]
fn ipv6_is_reported_like_ipv4() {
    let Some(mut bench) = Bench::new("python3") else { return };
    bench.serve_python(PORT);
    bench.visit("::1", COMMON);
    compare(bench);
}

#[test]
fn what_node_wrote_down_is_what_was_reported() {
    let Some(mut bench) = Bench::new("node") else { return };
    let command = format!("node {} {PORT} {}", beside("server.js").display(), bench.path("log").display());
    bench.serve(&command, PORT);
    bench.visit(
        "127.0.0.1",
        "keepalive old pipelined dribbled heads asked large parallel upload chunked empty longpoll",
    );
    bench.visit("127.0.0.1", "websocket");
    compare(bench);
}

#[test]
fn what_nginx_wrote_down_is_what_was_reported() {
    let Some(mut bench) = Bench::new("nginx") else { return };
    serve_nginx(&mut bench);
    bench.visit("127.0.0.1", COMMON);
    bench.visit("127.0.0.1", "refused file abort");
    let found = compare(bench);
    assert!(found.keys().any(|id| id.starts_with("refused")), "{found:?}");
}

#[test]
fn every_request_of_wrk_and_ab_is_reported() {
    let Some(mut bench) = Bench::new("nginx") else { return };
    serve_nginx(&mut bench);
    let generators: Vec<&str> = ["wrk", "ab"].into_iter().filter(|program| exists(program)).collect();
    if generators.is_empty() {
        skip("there is neither wrk nor ab");
        return;
    }
    bench.visit("127.0.0.1", &generators.join(" "));
    let found = compare(bench);
    assert!(found.values().sum::<usize>() >= 1000, "{found:?}");
}

#[test]
fn what_apache_wrote_down_is_what_was_reported() {
    let Some(mut bench) = Bench::new("apache2") else { return };
    make_files(&bench);
    let configuration = bench.configure("apache.conf", APACHE);
    bench.serve(&format!("apache2 -X -f {configuration}"), PORT);
    bench.visit("127.0.0.1", COMMON);
    bench.visit("127.0.0.1", "file");
    if exists("ab") {
        bench.visit("127.0.0.1", "ab");
    }
    compare(bench);
}

#[test]
fn what_haproxy_wrote_down_is_what_was_reported() {
    let Some(mut bench) = Bench::new("haproxy") else { return };
    let behind = format!("python3 {} {BEHIND} {}", beside("server.py").display(), bench.path("behind").display());
    bench.serve(&behind, BEHIND);
    let configuration = bench.configure("haproxy.cfg", HAPROXY);
    bench.serve(&format!("haproxy -db -f {configuration}"), PORT);
    bench.visit(
        "127.0.0.1",
        "keepalive old pipelined dribbled heads asked parallel upload chunked empty longpoll large",
    );
    let said = bench.path(&format!("server-{PORT}"));
    let behind = bench.path("behind");
    wait_for("HAProxy to write down what the server behind it did", || lines(&said).len() == lines(&behind).len());
    let (said, behind) = (lines(&said), lines(&behind));
    let (_, spans) = bench.stop();
    // HAProxy counts bytes before it writes them in its own way; the server behind it knows the bodies.
    let entries: Vec<Entry> = said
        .iter()
        .map(|line| {
            let mut entry = Entry::of(line);
            let found = behind.iter().map(|line| Entry::of(line)).find(|found| found.id == entry.id).unwrap();
            (entry.said.body, entry.said.request_body) = (found.said.body, found.said.request_body);
            entry
        })
        .collect();
    compare_all(&entries, &spans);
}

/// The lines of a log that are objects.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.starts_with('{') && line.ends_with('}')).map(str::to_owned).collect()
}

fn make_files(bench: &Bench) {
    fs::create_dir_all(bench.path("files/len")).unwrap();
    fs::write(bench.path("files/file"), vec![b'f'; 5000]).unwrap();
    for count in [0, 1, 3, 5, 7, 10, 12, 20, 100, 300, 700, 999, 1448, 3000, 100_000, 20_000_000] {
        fs::write(bench.path(&format!("files/len/{count}")), vec![b'x'; count]).unwrap();
    }
}

fn serve_nginx(bench: &mut Bench) {
    make_files(bench);
    let configuration = bench.configure("nginx.conf", NGINX);
    bench.serve(&format!("nginx -p {} -c {configuration} -e stderr", bench.folder.path().display()), PORT);
}

/// `$body_bytes_sent` counts chunk framing, so the bytes of the whole response are compared.
const NGINX: &str = r#"daemon off; master_process off; pid FOLDER/nginx.pid;
events { worker_connections 256; }
http {
    log_format lines escape=json '{"id":"$http_x_request_id","method":"$request_method","path":"$uri",'
        '"status":$status,"wire":$bytes_sent,"end":$msec,"duration":$request_time}';
    access_log FOLDER/log lines;
    keepalive_requests 100000;
    client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
    gzip on; gzip_min_length 100; gzip_types *; default_type text/plain;
    server {
        listen 8080;
        location /small/ { client_max_body_size 1k; root FOLDER/files; }
        location /slow/ { limit_rate 1000; alias FOLDER/files/file; }
        location / { root FOLDER/files; }
    }
}
"#;

const APACHE: &str = r#"ServerName localhost
Listen 8080
PidFile FOLDER/apache.pid
DefaultRuntimeDir FOLDER
Mutex file:FOLDER
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LogFormat "{\"id\":\"%{x-request-id}i\",\"method\":\"%m\",\"path\":\"%U\",\"status\":%>s,\"body\":%B,\"start\":%{sec}t.%{usec_frac}t}" lines
CustomLog FOLDER/log lines
ErrorLog FOLDER/errors
DocumentRoot FOLDER/files
<Directory FOLDER/files>
Require all granted
</Directory>
"#;

const HAPROXY: &str = r#"global
    log stdout format raw local0
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
    log global
frontend front
    bind 127.0.0.1:8080
    http-request capture req.hdr(x-request-id) len 64
    log-format "{\"id\":\"%[capture.req.hdr(0)]\",\"method\":\"%HM\",\"path\":\"%HPO\",\"status\":%ST,\"end_ms\":%[date(0,ms)]}"
    default_backend back
backend back
    server one 127.0.0.1:8081
"#;
