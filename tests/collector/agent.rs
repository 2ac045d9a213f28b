//! A capture → the agent that reads it and exports it, and what it said and counted.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::received::spans_of;

/// What became of a run.
pub struct Outcome {
    pub code: Option<i32>,
    pub messages: String,
}

impl Outcome {
    /// A counter of `--stats json`.
    pub fn counter(&self, name: &str) -> u64 {
        counter(&self.messages, name)
    }

    /// It ended well, and nothing was lost.
    pub fn is_well(&self) {
        assert_eq!(self.code, Some(0), "{}", self.messages);
    }
}

/// A counter in what an agent with `--stats json` has said when it ended.
pub fn counter(messages: &str, name: &str) -> u64 {
    let line = messages.lines().rev().find(|line| line.starts_with('{'));
    let counters: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("no counters in {messages}"))).unwrap();
    counters[name].as_u64().unwrap_or_else(|| panic!("no {name} in {counters}"))
}

/// The agent, without the environment of whoever runs the tests, with the given variables.
pub fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_network-agent"));
    command.env_clear().env("NO_COLOR", "1").envs(variables.iter().copied());
    command.args(["--stats", "json"]).stdin(Stdio::null());
    command
}

/// Reads a capture to its end and exports its spans by OTLP.
pub fn read(capture: &[u8], variables: &[(&str, &str)]) -> Outcome {
    let output = run(capture, "otlp", variables);
    Outcome { code: output.status.code(), messages: String::from_utf8(output.stderr).unwrap() }
}

/// The spans of a capture as the agent itself prints them.
pub fn printed(capture: &[u8], variables: &[(&str, &str)]) -> Vec<Value> {
    spans_of(&String::from_utf8(run(capture, "json", variables).stdout).unwrap())
}

fn run(capture: &[u8], export: &str, variables: &[(&str, &str)]) -> Output {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("capture.pcap");
    fs::write(&path, capture).unwrap();
    command(variables).args(["--export", export, "--read"]).arg(path).output().unwrap()
}
