//! Checks on the source tree that rustc and clippy cannot make.
#![expect(clippy::unwrap_used, reason = "a failed read is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers of the core and of spans, the inner first. Each may name itself and those before it.
const LAYERS: [&str; 7] = ["time", "packet", "tcp", "http", "exchange", "pipeline", "span"];
/// What is outside of them.
const EDGES: [&str; 14] = [
    "capture",
    "worker",
    "metadata",
    "export",
    "config",
    "telemetry",
    "agent",
    "check",
    "netlink",
    "privileges",
    "admin",
    "serving",
    "signals",
    "debugging",
];
/// What would make them depend on more than their input.
const IO: [&str; 14] = [
    "tokio",
    "kube::",
    "tonic",
    "pcap::",
    "tracing",
    "rand::",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "std::thread",
    "std::sync::mpsc",
    "Instant",
    "SystemTime",
    "std::env",
];
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Files of `folders` with their text, by path within the repository.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in folders {
        rust_files(&root().join(folder), &mut files);
    }
    files.sort();
    assert!(!files.is_empty());
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().display().to_string(), text)
        })
        .collect()
}

fn is_for_tests(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs") || path.ends_with("testing.rs")
}

fn production(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines()
}

/// Whether a line names the crate's module, on its own or in a group.
fn names_module(line: &str, module: &str) -> bool {
    line.contains(&format!("crate::{module}::")) || line.contains(&format!("crate::{module};"))
}

#[test]
fn inner_layers_name_no_outer_ones_and_no_io() {
    let mut faults = Vec::new();
    for (path, text) in sources(&["src"]) {
        let top = path.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
        let Some(own) = LAYERS.iter().position(|layer| *layer == top) else { continue };
        if is_for_tests(&path) {
            continue;
        }
        let outer = LAYERS[own + 1..].iter().chain(&EDGES);
        for line in production(&text).filter(|line| !line.trim_start().starts_with("//")) {
            for name in IO.iter().filter(|name| line.contains(**name)) {
                faults.push(format!("{path} names {name}: {line}"));
            }
            for module in outer.clone().filter(|module| names_module(line, module)) {
                faults.push(format!("{path} names the outer layer {module}: {line}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_do() {
    let mut faults = Vec::new();
    for (path, text) in sources(&["src", "tests", "benches", "fuzz/src"]) {
        let generated = path.ends_with("generated.rs") && path.starts_with("src");
        if !text.starts_with("//!") && !generated {
            faults.push(format!("{path} does not begin with //!"));
        }
        let lines = production(&text).count();
        if path.starts_with("src") && !is_for_tests(&path) && !generated && lines > MAX_LINES {
            faults.push(format!("{path} has {lines} lines"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    let words = ["todo!(", "unimplemented!(", "TODO", "FIXME", "XXX", "#[ignore"];
    let mut faults = Vec::new();
    for (path, text) in sources(&["src", "fuzz/src", "benches"]) {
        for word in words.iter().filter(|word| text.contains(**word)) {
            faults.push(format!("{path} has {word}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Names of settings in a text.
fn variables(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_';
    let others =
        ["HTTP_HEADERS", "ADDITIONAL_ATTRIBUTES", "INCLUDE_REQUEST_URL", "LOG_LEVEL", "DEBUG", "DEBUG_ADDRESS"];
    text.split(|character| !is_part(character))
        .filter(|word| !word.ends_with('_') && word.len() > 4)
        .filter(|word| {
            ["AGENT_", "HONEYCOMB_", "OTEL_"].iter().any(|prefix| word.starts_with(prefix)) || others.contains(word)
        })
        .map(str::to_owned)
        .collect()
}

/// The settings that the program knows.
fn help() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_network-agent")).arg("--help").output().unwrap();
    variables(&String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_readme_lists_the_settings_that_the_help_lists() {
    let help = help();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let start = readme.find("## Settings").unwrap();
    let length = readme[start + 3..].find("\n## ").unwrap_or(readme.len() - start - 3);
    let listed = variables(&readme[start..start + 3 + length]);
    assert!(help.len() > 40);
    assert_eq!(help.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the README");
    assert_eq!(listed.difference(&help).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the help");
}

/// Texts between quotation marks in production code, without comments.
fn literals(path: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let code = production(&text).filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn is_dotted(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        !part.is_empty() && part.bytes().all(is_name)
    };
    text.contains('.') && text.split('.').all(is_part)
}

/// Names of attributes that the code can give.
fn attributes_of_code() -> BTreeSet<String> {
    let files = ["semconv", "names", "workload", "legacy", "build/mod"].map(|name| format!("src/span/{name}.rs"));
    let mut names = BTreeSet::new();
    for text in files.iter().map(String::as_str).chain(["src/config/resource.rs"]).flat_map(literals) {
        if let Some(end) = text.strip_prefix('.').filter(|rest| is_dotted(rest)) {
            names.extend(["source", "destination"].map(|side| format!("{side}.{end}")));
        } else if let Some(start) = text.strip_suffix(".{name}") {
            names.insert(format!("{start}.<name>"));
        } else if is_dotted(&text) || ["sampleRate", "error"].contains(&text.as_str()) {
            names.insert(text);
        }
    }
    names
}

#[test]
fn the_readme_lists_the_attributes_that_the_code_gives() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split("<!-- attributes -->").nth(1).unwrap();
    let first_cells = table.lines().filter_map(|line| line.split(" | ").next());
    let is_name = |word: &&str| !word.starts_with("AGENT_");
    let listed: BTreeSet<String> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let given = attributes_of_code();
    assert!(given.len() > 60);
    assert_eq!(given.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the README");
    assert_eq!(listed.difference(&given).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the code");
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn what_is_deployed_sets_only_what_the_program_knows() {
    let (help, mut files, mut faults) = (help(), Vec::new(), Vec::new());
    files_below(&root().join("deploy"), &mut files);
    files_below(&root().join("examples/values"), &mut files);
    files.extend(["quickstart", "mirror-capture"].map(|name| root().join(format!("examples/{name}.yaml"))));
    assert!(files.len() > 20);
    for path in files {
        let known = |name: &String| help.contains(name) || name == "HONEYCOMB_API_KEY";
        let text = fs::read_to_string(&path).unwrap();
        let unknown = variables(&text).into_iter().filter(|name| !known(name));
        faults.extend(unknown.map(|name| format!("{}: {name}", path.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let dotted = literals("src/telemetry/statistics.rs").into_iter().filter(|text| text.contains('.'));
    // What comes after the second dot is a label.
    let known: BTreeSet<String> =
        dotted.map(|name| name.splitn(3, '.').take(2).collect::<Vec<_>>().join("_")).collect();
    let mut asked = BTreeSet::new();
    for file in ["network-agent.json", "alerts.yaml"] {
        let text = fs::read_to_string(root().join("deploy/helm/network-agent/dashboards").join(file)).unwrap();
        let is_part =
            |character: char| character.is_ascii_lowercase() || character == '_' || character.is_ascii_digit();
        let words = text.split(|character| !is_part(character));
        asked.extend(words.filter_map(|word| word.strip_prefix("network_agent_")).map(str::to_owned));
    }
    assert!(asked.len() > 20 && asked.remove("build_info"));
    let unknown: Vec<_> = asked.iter().filter(|name| !known.contains(name.trim_end_matches("_total"))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_chart_and_the_manifests_are_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let chart = read("deploy/helm/network-agent/Chart.yaml");
    for line in [format!("version: {version}"), format!("appVersion: {version}")] {
        assert!(chart.lines().any(|own| own == line), "Chart.yaml lacks {line}");
    }
    let image = format!("ghcr.io/honeycombio/network-agent:{version}");
    for path in ["examples/quickstart.yaml", "examples/mirror-capture.yaml", "deploy/kubernetes/honeycomb.yaml"] {
        assert!(read(path).contains(&image), "{path} lacks {image}");
    }
}
