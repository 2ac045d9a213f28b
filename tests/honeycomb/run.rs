//! Arguments and variables → a run of the agent, to its end.

use std::process::{Output, Stdio};

use tokio::process::Command;

pub const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop.pcap");

/// Reads the sample with these flags and variables, and exports its spans.
pub async fn export(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    run(&[&["--read", SHOP, "--export", "otlp", "--stats", "json"], flags].concat(), variables).await
}

/// The agent, without the environment of whoever runs the tests.
pub async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_network-agent"));
    command.env_clear().env("NO_COLOR", "1").envs(variables.iter().copied());
    command.args(arguments).stdin(Stdio::null()).output().await.unwrap()
}

/// All that it printed.
pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A counter of `--stats json`.
pub fn counter(output: &Output, name: &str) -> u64 {
    let words = words(output);
    let line = words.lines().rev().find(|line| line.starts_with("{\"capture.")).unwrap();
    serde_json::from_str::<serde_json::Value>(line).unwrap()[name].as_u64().unwrap()
}
