//! The agent capturing live what a stream sends over a pair of interfaces: live traffic does not wait, as a file does.

use std::collections::HashMap;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use crate::laboratory::web::{beside, metrics, python};
use crate::laboratory::{Agent, Namespace, Running, exists, join, skip, wait_for};
use crate::process::{Protocol, Setup};

/// How long the next spans may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two namespaces with a Collector for one of them; none where they cannot be had.
pub struct Place {
    pub near: Namespace,
    far: Namespace,
    pub setup: Setup,
}

impl Place {
    pub fn new(configuration: &str) -> Option<Self> {
        let setup = Setup::new(&[configuration])?;
        if !exists("curl") {
            skip("there is no curl");
            return None;
        }
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        join(&near, &far);
        Some(Self { setup: setup.within(&near), near, far })
    }

    /// The agent, exporting to where the Collector is, or will be.
    pub fn agent(&self, folder: &Path, variables: &[(&str, &str)], flags: &[&str]) -> Agent {
        let endpoint = format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", self.setup.endpoint(Protocol::Grpc));
        let mut program = vec![endpoint, "OTEL_METRICS_EXPORTER=none".to_owned()];
        program.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
        program.push(env!("CARGO_BIN_EXE_network-agent").to_owned());
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        let flags = [&["--stats", "json", "--export", "otlp", "--ring-bytes", "128MiB"][..], flags].concat();
        Agent::start_counting(&self.near, &program, "server", folder, &flags)
    }

    /// Comes back when the agent has so many acknowledged.
    pub fn wait_for_exported(&self, spans: u64) {
        // An agent that has begun a moment ago may not answer yet.
        let ask = || self.near.command("curl").args(["--silent", "http://127.0.0.1:9464/livez"]).status().unwrap();
        wait_for("the agent to answer", || ask().success());
        let mut now = HashMap::new();
        let mut exported = 0;
        while exported < spans {
            let begun = Instant::now();
            while now.get("export_spans_exported").is_none_or(|now| *now == exported) {
                assert!(begun.elapsed() < PATIENCE, "{exported} of {spans} are exported, and no more come: {now:?}");
                std::thread::sleep(Duration::from_millis(50));
                now = metrics(&self.near);
            }
            exported = now["export_spans_exported"];
        }
    }

    /// What sends packets from the far side, and its input.
    pub fn injector(&self) -> (Running, ChildStdin) {
        let mut command = self.far.command(python());
        command.arg(beside("inject.py")).arg("client").stdin(Stdio::piped()).stderr(Stdio::inherit());
        let mut injector = Running::start(&mut command);
        let input = injector.child.stdin.take().unwrap();
        (injector, input)
    }
}
