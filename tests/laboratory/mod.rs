//! Network namespaces, programs that end with their scope, and the agent as its users start it.

#![allow(clippy::print_stdout, reason = "what the agent said is shown when a test fails")]
#![allow(dead_code, reason = "each test uses its part")]
#![allow(unreachable_pub, reason = "a module of several tests")]
#![allow(clippy::disallowed_methods, reason = "patience goes by the real clock")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod web;

const STEP: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// The address of the near and of the far end of a pair made by [`join`].
pub const SERVER: &str = "192.0.2.1";
pub const CLIENT: &str = "192.0.2.2";

/// The value of an attribute of a span.
pub fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    let named = |attribute: &&Value| attribute.get("key").and_then(Value::as_str) == Some(key);
    span.get("attributes")?.as_array()?.iter().find(named)?.get("value")
}

/// A network namespace with nothing but its loopback interface, as long as this lives.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    /// None where the machine cannot have one; why is printed.
    pub fn new() -> Option<Self> {
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
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
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
pub struct Running {
    pub child: Child,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self { child: command.spawn().unwrap() }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        run(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()]));
        wait_for("a server to end", || self.has_ended());
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
pub struct Agent {
    running: Running,
    spans: PathBuf,
    messages: PathBuf,
}

impl Agent {
    /// Comes back when it captures.
    pub fn start(namespace: &Namespace, interface: &str, folder: &Path) -> Self {
        Self::start_with(namespace, interface, folder, &[])
    }

    /// As [`Self::start`], with further flags.
    pub fn start_with(namespace: &Namespace, interface: &str, folder: &Path, flags: &[&str]) -> Self {
        Self::start_as(namespace, &[env!("CARGO_BIN_EXE_network-agent")], interface, folder, flags)
    }

    /// As [`Self::start_with`]; the words of `program` become the agent.
    pub fn start_as(namespace: &Namespace, program: &[&str], interface: &str, folder: &Path, flags: &[&str]) -> Self {
        Self::start_counting(namespace, program, interface, folder, &[&["--stats", "table"], flags].concat())
    }

    /// As [`Self::start_as`]; what it counts is told as the flags say, or not.
    pub fn start_counting(
        namespace: &Namespace,
        program: &[&str],
        interface: &str,
        folder: &Path,
        flags: &[&str],
    ) -> Self {
        fs::create_dir_all(folder).unwrap();
        let (spans, messages) = (folder.join("spans"), folder.join("messages"));
        // The agent must not see what the caller has set.
        let mut command = namespace.command("env");
        command.arg("-i").args(program);
        command.args(["--interface", interface]).args(flags);
        if !flags.contains(&"--export") {
            command.args(["--export", "json"]);
        }
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
    pub fn stop(self) -> Vec<Value> {
        self.signal("INT");
        self.finish()
    }

    /// Stops it as a user does and gives back what it has said, all that it counted included.
    pub fn stop_and_tell(mut self) -> String {
        self.signal("INT");
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.messages());
        self.messages()
    }

    /// Waits until it has ended, well, and gives back its spans.
    pub fn finish(mut self) -> Vec<Value> {
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.messages());
        let text = fs::read_to_string(&self.spans).unwrap();
        text.lines().flat_map(|line| spans(serde_json::from_str(line).unwrap())).collect()
    }

    /// Waits until it has ended, well or not.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the agent to end", || self.running.has_ended());
        // Shown when the test fails.
        println!("{}", self.messages());
        self.running.child.wait().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.running.child.id().to_string();
        run(Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid]));
    }

    /// What it has said.
    pub fn messages(&self) -> String {
        fs::read_to_string(&self.messages).unwrap()
    }

    /// A file of its folder in `/proc`.
    pub fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.running.child.id().to_string()).join(name)
    }

    /// Its memory less that of files and of the capture's ring, in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }
}

/// The spans of one `ExportTraceServiceRequest`.
fn spans(request: Value) -> Vec<Value> {
    let list = |mut value: Value, key: &str| match value.get_mut(key).map(Value::take) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let scopes = list(request, "resourceSpans").into_iter().flat_map(|resource| list(resource, "scopeSpans"));
    scopes.flat_map(|scope| list(scope, "spans")).collect()
}

/// Looks again and again until it is so, and fails after a minute.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if is_so() {
            return;
        }
        thread::sleep(STEP);
    }
    panic!("waited in vain for {what}");
}

/// Joins two namespaces by a pair of interfaces, `server` in the near one and `client` in the far one.
pub fn join(near: &Namespace, far: &Namespace) {
    ip(&["-n", &near.name, "link", "add", "server", "type", "veth", "peer", "name", "client", "netns", &far.name]);
    for (namespace, end, address) in [(near, "server", SERVER), (far, "client", CLIENT)] {
        ip(&["-n", &namespace.name, "address", "add", &format!("{address}/24"), "dev", end]);
        ip(&["-n", &namespace.name, "link", "set", end, "up"]);
    }
}

pub fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

/// Runs to the end, which must be a good one.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub fn exists(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output();
    found.is_ok_and(|output| output.status.success())
}

/// Says it past the test harness, which shows nothing of a test that ends well.
pub fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}
