//! `proto/` → `src/export/otlp/generated.rs`: the Rust that is checked in is what the protocol files give.
//!
//! `UPDATE_GENERATED=1 cargo test --test generated` writes it anew.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const GENERATED: &str = "src/export/otlp/generated.rs";
const SERVICE: &str = "opentelemetry/proto/collector/trace/v1/trace_service.proto";
const HEADER: &str =
    "//! `proto/` → Rust messages. Written by `UPDATE_GENERATED=1 cargo test --test generated`, not by hand.\n";

#[test]
fn the_checked_in_messages_are_what_the_protocol_files_give() {
    let fresh = generate();
    let path = Path::new(ROOT).join(GENERATED);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == fresh,
        "{GENERATED} differs from what proto/ gives; run: UPDATE_GENERATED=1 cargo test --test generated"
    );
}

/// One file with a module for every part of the package names, as `prost` expects them around its output.
fn generate() -> String {
    let descriptors = protox::compile([SERVICE], [Path::new(ROOT).join("proto")]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    prost_build::Config::new().out_dir(directory.path()).compile_fds(descriptors).unwrap();

    let packages: BTreeMap<String, String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    let mut out = String::from(HEADER);
    let mut open: Vec<&str> = Vec::new();
    for (package, code) in &packages {
        let parts: Vec<&str> = package.split('.').collect();
        let common = open.iter().zip(&parts).take_while(|(left, right)| left == right).count();
        close(&mut out, &mut open, common);
        for part in &parts[common..] {
            writeln!(out, "{}pub mod {part} {{", indent(open.len())).unwrap();
            open.push(part);
        }
        for line in code.lines().filter(|line| !line.starts_with("// This file is @generated")) {
            let margin = if line.is_empty() { String::new() } else { indent(open.len()) };
            writeln!(out, "{margin}{line}").unwrap();
        }
    }
    close(&mut out, &mut open, 0);
    out
}

fn close(out: &mut String, open: &mut Vec<&str>, depth: usize) {
    while open.len() > depth {
        open.pop();
        writeln!(out, "{}}}", indent(open.len())).unwrap();
    }
}

fn indent(depth: usize) -> String {
    " ".repeat(4 * depth)
}
