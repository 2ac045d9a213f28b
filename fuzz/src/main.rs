//! Mutated inputs → every target, for so many seconds each; needs neither nightly Rust nor another tool.
//!
//! Usage: network-agent-fuzz [--seconds N] [--seed N] [TARGET…], or `--input FILE TARGET` for one input again.

mod random;
#[path = "../../tests/support/mod.rs"]
mod support;
mod targets;

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use random::Random;
use targets::{Footprint, TARGETS, Target};

/// Inputs of one target that are mutated further.
const MAX_POOL: usize = 4096;
/// Attempts to make an input that fails smaller.
const MAX_ATTEMPTS: usize = 5000;

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
        return run_again(input, &options.targets);
    }
    println!("seed {}", options.seed);
    // All targets, though one fails.
    let failures = options.targets.iter().filter(|target| !fuzz(target, &options)).count();
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
            "--input" => options.input = Some(arguments.next().ok_or("--input needs a file")?.into()),
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
        options.targets.extend(&TARGETS);
    }
    Ok(options)
}

fn run_again(input: &Path, targets: &[&Target]) -> ExitCode {
    match fs::read(input) {
        Ok(bytes) => {
            for target in targets {
                (target.run)(&bytes);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot read {}: {error}", input.display());
            ExitCode::from(64)
        }
    }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The kept inputs of a target; for files the sample captures, too.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let mut folders = vec![here("corpus").join(target.name)];
    if matches!(target.name, "files" | "pipeline") {
        folders.push(here("../examples"));
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in folders {
        paths.extend(fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    paths.retain(|path| path.is_file());
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// What the input reaches, or `None` when something does not hold.
fn attempt(target: &Target, input: &[u8]) -> Option<Footprint> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).ok()
}

fn fuzz(target: &Target, options: &Options) -> bool {
    let mut random = Random(options.seed);
    let words = (target.words)();
    let mut pool = corpus(target);
    let mut reached: HashSet<Footprint> = HashSet::new();
    let mut runs = 0_u64;
    for input in pool.clone() {
        runs += 1;
        match attempt(target, &input) {
            Some(footprint) => drop(reached.insert(footprint)),
            None => return report(target, options.seed, runs, input),
        }
    }
    let kept = pool.len();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(options.seconds) {
        let input = random.mutate(&pool, &words);
        runs += 1;
        let Some(footprint) = attempt(target, &input) else { return report(target, options.seed, runs, input) };
        if reached.insert(footprint) && input.len() <= 16_384 {
            if pool.len() < kept + MAX_POOL {
                pool.push(input);
            } else {
                let place = kept + random.below(MAX_POOL);
                pool[place] = input;
            }
        }
    }
    let speed = runs / options.seconds.max(1);
    println!("{:<14} {speed:>7} runs a second, {} kinds of outcome", target.name, reached.len());
    true
}

/// Makes the input smaller while it fails, and keeps it.
fn report(target: &Target, seed: u64, run: u64, mut input: Vec<u8>) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let mut size = input.len() / 2;
    let mut attempts = 0;
    while size > 0 && attempts < MAX_ATTEMPTS {
        let mut start = 0;
        while start < input.len() && attempts < MAX_ATTEMPTS {
            let mut shorter = input.clone();
            shorter.drain(start..(start + size).min(input.len()));
            attempts += 1;
            if attempt(target, &shorter).is_none() {
                input = shorter;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    std::panic::set_hook(hook);
    let path = here("artifacts").join(format!("{}-{seed}-{run}", target.name));
    let kept = fs::create_dir_all(here("artifacts")).and_then(|()| fs::write(&path, &input));
    println!("{}: FAILED on run {run}, input {} of {} bytes ({kept:?})", target.name, path.display(), input.len());
    false
}
