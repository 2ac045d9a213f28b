//! What is fuzzed: bytes → one part of the agent, with what must hold afterwards.
//!
//! `tests/corpus.rs` runs the kept inputs through the same code.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "two crates use this, and neither gives it on")]

mod books;
mod choices;
mod configuration;
mod files;
mod http1;
mod packet;
mod pipeline;
mod reassembler;

pub use books::Footprint;

/// One thing to fuzz.
pub struct Target {
    /// Also the folder of its inputs in `fuzz/corpus`.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub run: fn(&[u8]) -> Footprint,
    /// What its inputs are made of.
    pub words: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 6] = [
    Target { name: "packet", run: packet::run, words: packet::words },
    Target { name: "reassembler", run: reassembler::run, words: reassembler::words },
    Target { name: "http1", run: http1::run, words: http1::words },
    Target { name: "pipeline", run: pipeline::run, words: pipeline::words },
    Target { name: "files", run: files::run, words: files::words },
    Target { name: "configuration", run: configuration::run, words: configuration::words },
];

fn owned(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}
