//! Mutated inputs → every parser, for so many seconds each; needs neither nightly Rust nor another tool.
//!
//! Usage: network-agent-fuzz [--seconds N] [--seed N] [TARGET…], or `--input FILE TARGET` for one input again.

mod random;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use random::Random;
use targets::{TARGETS, Target};

struct Options {
    seconds: u64,
    seed: u64,
    input: Option<PathBuf>,
    targets: Vec<&'static Target>,
}

fn main() -> ExitCode {
    let options = match read_arguments() {
        Ok(options) => options,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::from(64);
        }
    };
    if let Some(input) = &options.input {
        let bytes = fs::read(input).unwrap_or_default();
        options.targets.iter().for_each(|target| (target.run)(&bytes));
        return ExitCode::SUCCESS;
    }
    println!("seed {}", options.seed);
    let seeds = seeds();
    let well = options.targets.iter().all(|target| fuzz(target, &options, &seeds));
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read_arguments() -> Result<Options, String> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let mut options = Options { seconds: 5, seed: clock, input: None, targets: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number =
            || arguments.next().and_then(|text| text.parse().ok()).ok_or(format!("{argument} needs a number"));
        match argument.as_str() {
            "--seconds" => options.seconds = number()?,
            "--seed" => options.seed = number()?,
            "--input" => options.input = arguments.next().map(PathBuf::from),
            name => match TARGETS.iter().find(|target| target.name == name) {
                Some(target) => options.targets.push(target),
                None => {
                    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                    return Err(format!("there is no target {name}; there are {}", names.join(", ")));
                }
            },
        }
    }
    if options.targets.is_empty() {
        options.targets.extend(TARGETS);
    }
    Ok(options)
}

/// The sample captures, and what HTTP is made of.
fn seeds() -> Vec<Vec<u8>> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files = fs::read_dir(examples).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().contains(".pcap")).collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.into_iter().filter_map(|path| fs::read(path).ok()).collect();
    seeds.extend(targets::WORDS.iter().map(|word| word.to_vec()));
    seeds
}

fn fuzz(target: &Target, options: &Options, seeds: &[Vec<u8>]) -> bool {
    let mut random = Random(options.seed);
    let began = Instant::now();
    let mut runs = 0_u64;
    while began.elapsed() < Duration::from_secs(options.seconds) {
        let input = random.mutate(seeds, targets::WORDS);
        runs += 1;
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts");
            let path = folder.join(format!("{}-{}-{runs}", target.name, options.seed));
            let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &input));
            println!("{}: FAILED on run {runs}, input {} ({kept:?})", target.name, path.display());
            return false;
        }
    }
    println!("{:<14} {:>9} runs a second", target.name, runs / options.seconds.max(1));
    true
}
