//! The loads of the benchmark → capture files in a folder, for a build with a profile to learn from (`scripts/profiled.sh`).
//!
//! It needs nothing but the standard library, so that rustc alone makes it where no dependency of the benchmark is built.
#![allow(missing_docs, reason = "nobody uses it from outside")]
#![allow(unreachable_pub, reason = "as in the tests")]

#[allow(dead_code, reason = "the benchmark uses more of it")]
mod traffic;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_default());
    for (number, load) in traffic::all().enumerate() {
        std::fs::write(folder.join(format!("{number}.pcap")), load.file)?;
    }
    Ok(())
}
