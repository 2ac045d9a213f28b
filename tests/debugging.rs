//! What a running agent shows of its inside with `DEBUG`, over real sockets.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod laboratory;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;
use laboratory::{Agent, Namespace, Running, exists, skip, wait_for};
use prost::Message;
use tempfile::TempDir;

/// The parts of `profile.proto` that are looked at.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

fn question(namespace: &Namespace, path: &str, options: &[&str]) -> Command {
    let mut curl = namespace.command("curl");
    curl.args(["--silent", "--max-time", "60", "--noproxy", "*", "--write-out", "%{http_code}"]);
    curl.args(options).arg(format!("http://127.0.0.1:6060{path}"));
    curl
}

/// The status and the body of an answer; the body is kept in `folder`.
fn ask(namespace: &Namespace, folder: &Path, path: &str, options: &[&str]) -> (String, Vec<u8>) {
    let body = folder.join("body");
    std::fs::write(&body, "").unwrap();
    let output = question(namespace, path, options).arg("--output").arg(&body).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), std::fs::read(&body).unwrap())
}

fn words(namespace: &Namespace, folder: &Path, path: &str) -> String {
    let (status, body) = ask(namespace, folder, path, &[]);
    assert_eq!(status, "200", "{path}");
    String::from_utf8(body).unwrap()
}

/// A namespace with an agent in it; none where they cannot be had.
fn agent(folder: &TempDir, flags: &[&str]) -> Option<(Namespace, Agent)> {
    if !exists("curl") {
        skip("there is no curl");
        return None;
    }
    let namespace = Namespace::new()?;
    let agent = Agent::start_with(&namespace, "lo", folder.path(), flags);
    Some((namespace, agent))
}

/// Questions to the agent without end, which it captures on the loopback interface.
fn load(namespace: &Namespace) -> Running {
    let questions = "import socket\n\
        while True:\n\
        \x20   with socket.create_connection(('127.0.0.1', 6060)) as asked:\n\
        \x20       asked.sendall(b'GET /debug/connections HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n\
        \x20       while asked.recv(65536): pass\n";
    Running::start(namespace.command("python3").args(["-c", questions]))
}

#[test]
fn a_profile_of_a_busy_agent_names_its_functions_and_there_is_one_at_a_time() {
    let folder = TempDir::new().unwrap();
    let Some((namespace, agent)) = agent(&folder, &["--debug", "--workers", "2"]) else { return };
    wait_for("the agent to answer", || ask(&namespace, folder.path(), "/", &[]).0 == "200");
    let busy = load(&namespace);
    // Two at once: which one is first is not said.
    let ask_twice = ["first", "second"].map(|name| {
        let (body, status) = (folder.path().join(name), folder.path().join(format!("{name}.status")));
        let mut curl = question(&namespace, "/debug/pprof/profile?seconds=4", &[]);
        curl.arg("--output").arg(&body).stdout(File::create(&status).unwrap());
        (Running::start(&mut curl), status, body)
    });
    let mut answers = ask_twice.map(|(mut curl, status, body)| {
        wait_for("an answer", || curl.has_ended());
        (std::fs::read_to_string(status).unwrap(), std::fs::read(body).unwrap())
    });
    answers.sort();
    let [(taken, profile), (refused, reason)] = answers;
    assert_eq!((taken.as_str(), refused.as_str()), ("200", "409"));
    assert!(String::from_utf8_lossy(&reason).contains("another profile"), "{reason:?}");
    drop(busy);
    let mut plain = Vec::new();
    GzDecoder::new(profile.as_slice()).read_to_end(&mut plain).unwrap();
    let profile = Profile::decode(plain.as_slice()).unwrap();
    assert!(profile.duration_nanos >= 4_000_000_000, "{}", profile.duration_nanos);
    let samples: i64 = profile.sample.iter().filter_map(|sample| sample.value.first()).sum();
    assert!(samples > 0 && profile.sample.iter().any(|sample| sample.location_id.len() > 3), "{samples}");
    let has = |word: &str| profile.string_table.iter().any(|text| text.contains(word));
    assert!(has("network_agent::") && has("thread"), "{:?}", profile.string_table);
    assert!(!agent.stop().is_empty(), "it has captured meanwhile");
}

#[test]
fn allocations_and_connections_are_shown_and_wrong_questions_are_answered_as_such() {
    let folder = TempDir::new().unwrap();
    let Some((namespace, agent)) = agent(&folder, &["--debug", "--workers", "2"]) else { return };
    wait_for("the agent to answer", || ask(&namespace, folder.path(), "/", &[]).0 == "200");
    assert!(words(&namespace, folder.path(), "/").contains("/debug/pprof/profile"));
    let allocations = words(&namespace, folder.path(), "/debug/allocations");
    let counted =
        |line: &str| line.strip_prefix("allocations").is_some_and(|rest| !rest.trim_start().starts_with("0 "));
    assert!(allocations.lines().any(counted) && allocations.contains("up to bytes"), "{allocations}");
    wait_for("the connections of these questions to be shown", || {
        let connections = words(&namespace, folder.path(), "/debug/connections");
        assert!(connections.contains("worker-0") && connections.contains("worker-1"), "{connections}");
        let counted =
            |line: &str| line.trim_start().starts_with("closed") && line.split_whitespace().nth(1) != Some("0");
        connections.lines().any(counted)
    });
    let status = |path: &str, options: &[&str]| ask(&namespace, folder.path(), path, options).0;
    for query in ["seconds=0", "seconds=61", "seconds=soon", "seconds=-1"] {
        assert_eq!(status(&format!("/debug/pprof/profile?{query}"), &[]), "400", "{query}");
    }
    assert_eq!(status("/debug/pprof/heap", &[]), "404");
    assert_eq!(status("/debug/pprof/profile", &["--request", "POST"]), "405");
    agent.stop();
}

#[test]
fn who_goes_away_ends_his_profile() {
    let folder = TempDir::new().unwrap();
    let Some((namespace, agent)) = agent(&folder, &["--debug"]) else { return };
    wait_for("the agent to answer", || ask(&namespace, folder.path(), "/", &[]).0 == "200");
    let _ = ask(&namespace, folder.path(), "/debug/pprof/profile?seconds=60", &["--max-time", "0.3"]);
    wait_for("the next one to be taken", || {
        ask(&namespace, folder.path(), "/debug/pprof/profile?seconds=1", &[]).0 == "200"
    });
    agent.stop();
}

#[test]
fn without_debug_nobody_listens() {
    let folder = TempDir::new().unwrap();
    let Some((namespace, agent)) = agent(&folder, &["--debug-address", "127.0.0.1:6060"]) else { return };
    wait_for("the agent to answer probes", || {
        let probe = ["--silent", "--fail", "--output", "/dev/null", "http://127.0.0.1:9464/livez"];
        namespace.command("curl").args(probe).status().unwrap().success()
    });
    assert_eq!(ask(&namespace, folder.path(), "/", &[]).0, "000");
    agent.stop();
}
