//! The agent as users of several kinds → what it sees with `CAP_NET_RAW` alone, what it keeps of its rights, and what it says
//! without any.
//!
//! Needs Linux, root, `ip` and `setpriv`, and says so where it has them not.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and says what it saw")]

mod laboratory;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use laboratory::web::{Load, serve};
use laboratory::{Agent, Namespace, exists, skip};
use tempfile::TempDir;

const REQUESTS: usize = 500;

/// Nobody in particular, with no right but those that the words after it give.
const AS_NOBODY: [&str; 5] = ["setpriv", "--reuid", "65532", "--regid", "65532"];
const WITH_AMBIENT: [&str; 7] = [
    "--clear-groups",
    "--inh-caps",
    "-all,+net_raw",
    "--ambient-caps",
    "-all,+net_raw",
    "--bounding-set",
    "-all,+net_raw",
];
const WITH_FILE_CAPABILITY: [&str; 5] = ["--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all,+net_raw"];
const WITH_NOTHING: [&str; 5] = ["--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all"];

/// Copies of the agent that everybody may run.
struct Copies {
    folder: TempDir,
    plain: PathBuf,
}

impl Copies {
    /// None where users cannot be changed.
    fn new() -> Option<Self> {
        if !exists("setpriv") {
            skip("there is no setpriv");
            return None;
        }
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let plain = copy(folder.path(), "plain");
        Some(Self { folder, plain })
    }

    /// One with the capability permitted and not in effect; none where files cannot have it.
    fn with_capability(&self) -> Option<PathBuf> {
        if !exists("setcap") {
            skip("there is no setcap");
            return None;
        }
        let path = copy(self.folder.path(), "capable");
        let set = Command::new("setcap").arg("cap_net_raw=p").arg(&path).output().unwrap();
        if !set.status.success() {
            skip(&format!("files have no capabilities here: {}", String::from_utf8_lossy(&set.stderr).trim()));
            return None;
        }
        Some(path)
    }
}

fn copy(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::copy(env!("CARGO_BIN_EXE_network-agent"), &path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn who_has_the_capability_alone_sees_what_root_sees() {
    let (Some(namespace), Some(copies)) = (Namespace::new(), Copies::new()) else { return };
    let folder = TempDir::new().unwrap();
    let _server = serve(&namespace, folder.path());
    let plain = copies.plain.to_str().unwrap();
    let capable = copies.with_capability();
    let mut users = vec![("root", vec![plain]), ("ambient", [&AS_NOBODY[..], &WITH_AMBIENT, &[plain]].concat())];
    if let Some(path) = &capable {
        users.push(("file", [&AS_NOBODY[..], &WITH_FILE_CAPABILITY, &[path.to_str().unwrap()]].concat()));
    }
    let flags = ["--admin-address", "off", "--ring-bytes", "128MiB", "--queue-bytes", "256MiB"];
    let agents: Vec<(&str, Agent)> = users
        .iter()
        .map(|(user, program)| (*user, Agent::start_as(&namespace, program, "lo", &folder.path().join(user), &flags)))
        .collect();
    for (user, agent) in &agents {
        assert_no_rights_are_left(user, agent);
    }
    let load = Load::start(&namespace, "127.0.0.1", "n", folder.path(), Some(REQUESTS));
    assert_eq!(load.finish().len(), REQUESTS);
    let mut seen = agents.into_iter().map(|(user, agent)| {
        let spans = agent.stop();
        let ids: BTreeSet<String> =
            spans.iter().map(|span| format!("{} {}", span["traceId"], span["spanId"])).collect();
        assert_eq!((spans.len(), ids.len()), (REQUESTS, REQUESTS), "{user}");
        ids
    });
    let of_root = seen.next().unwrap();
    assert!(seen.all(|ids| ids == of_root), "each saw as much as root, and something else");
}

/// While it captures, no thread of the agent can do more than any program, nor gain a right.
fn assert_no_rights_are_left(user: &str, agent: &Agent) {
    let threads: Vec<_> = fs::read_dir(agent.proc("task")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(threads.len() > 1, "{user}");
    for thread in threads {
        let status = fs::read_to_string(thread.join("status")).unwrap();
        let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(of(set), "0000000000000000", "{user}: {set} of {status}");
        }
        assert_eq!(of("NoNewPrivs:"), "1", "{user}: {status}");
        let expected = if user == "root" { "0" } else { "65532" };
        assert_eq!(of("Uid:").split_whitespace().collect::<Vec<_>>(), [expected; 4], "{user}");
    }
}

#[test]
fn without_the_capability_the_agent_ends_and_tells_how_to_give_it() {
    let (Some(namespace), Some(copies)) = (Namespace::new(), Copies::new()) else { return };
    // The second is what a container has whose image carries the capability and whose runtime does not.
    for path in [Some(copies.plain.clone()), copies.with_capability()].into_iter().flatten() {
        let mut command = namespace.command("env");
        command.arg("-i").args(AS_NOBODY).args(WITH_NOTHING).arg(path).args(["--interface", "lo", "--export", "json"]);
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{words}");
        for remedy in [
            "CAP_NET_RAW",
            "setcap cap_net_raw=p",
            "--cap-add=NET_RAW",
            "ctr run --cap-add CAP_NET_RAW",
            "AmbientCapabilities=CAP_NET_RAW",
            "capabilities.add: [NET_RAW]",
        ] {
            assert!(words.contains(remedy), "{remedy} is not in: {words}");
        }
        assert!(output.stdout.is_empty());
    }
}

/// Root without capabilities reads no other user's files.
#[test]
fn what_belongs_to_another_user_is_read_before_the_rights_are_gone() {
    let Some(namespace) = Namespace::new() else { return };
    let folder = TempDir::new().unwrap();
    let of_nobody = |name: &str, label: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("-----BEGIN {label}-----\nAA==\n-----END {label}-----\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(65532), Some(65532)).unwrap();
        path
    };
    let mut command = namespace.command("env");
    command.arg("-i").arg("OTEL_EXPORTER_OTLP_ENDPOINT=https://127.0.0.1:1");
    for (variable, path) in [
        ("CLIENT_CERTIFICATE", of_nobody("certificate.pem", "CERTIFICATE")),
        ("CLIENT_KEY", of_nobody("key.pem", "PRIVATE KEY")),
    ] {
        command.arg(format!("OTEL_EXPORTER_OTLP_{variable}={}", path.display()));
    }
    let output = command.arg(env!("CARGO_BIN_EXE_network-agent")).args(["--interface", "lo"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    // It is no real one, which only shows when it has been read.
    assert!(words.contains("TLS cannot be set up") && !words.contains("Permission denied"), "{words}");
    assert_eq!(output.status.code(), Some(64), "{words}");
}
