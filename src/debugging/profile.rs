//! Samples → a profile: stacks unwound and counted, then named.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use framehop::{CacheNative, MayAllocateDuringUnwind, UnwindRegsNative, Unwinder, UnwinderNative};

use super::modules::{self, Mapped};
use super::pprof::{self, Stack};
use super::sampler::{FREQUENCY, Registers, Sample, Sampler};

/// How often samples are fetched; a busy machine of 64 cores fills less than two thirds of the slots meanwhile.
const FETCH: Duration = Duration::from_millis(5);
/// Functions of a stack, at most; stops an unwinder that goes in circles.
const DEPTH: usize = 256;
/// Different stacks that are kept; what comes on top is counted as lost.
const STACKS: usize = 100_000;

/// The right to take a profile: the timer is one for the whole process.
#[derive(Debug)]
pub(super) struct Turn(());

static TAKEN: AtomicBool = AtomicBool::new(false);

impl Turn {
    /// None while another one is out.
    pub(super) fn take() -> Option<Self> {
        (!TAKEN.swap(true, Ordering::AcqRel)).then_some(Self(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// Samples this process for `duration`, or until nobody waits for it any more; the profile in pprof's format, gzipped.
///
/// # Errors
/// When the system refuses a timer, or to tell of this process's own files.
#[expect(clippy::disallowed_methods, reason = "a profile is of a span of the real time")]
pub(super) fn take(_: &Turn, duration: Duration, abandoned: &AtomicBool) -> io::Result<Vec<u8>> {
    let files = modules::mapped()?;
    let mut stacks = Stacks::new(&files);
    let (since, begun) = (SystemTime::now(), Instant::now());
    let sampler = Sampler::start()?;
    while begun.elapsed() < duration && !abandoned.load(Ordering::Relaxed) {
        thread::sleep(FETCH.min(duration.saturating_sub(begun.elapsed())));
        sampler.drain(|sample| stacks.add(sample));
    }
    sampler.stop();
    let took = begun.elapsed();
    // A handler may still have been at work.
    thread::sleep(FETCH);
    sampler.drain(|sample| stacks.add(sample));
    let lost = sampler.lost() + stacks.lost;
    drop(sampler);
    if abandoned.load(Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let stacks = stacks.named();
    let addresses: BTreeSet<u64> = stacks.iter().flat_map(|stack| stack.addresses.iter().copied()).collect();
    let names = files.iter().flat_map(|file| file.names(&addresses)).collect();
    pprof::encode(&pprof::Profile { since, took, frequency: FREQUENCY, files, stacks, names, lost })
}

/// Stacks, each with how often it was met, by thread.
struct Stacks {
    unwinder: UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    counts: HashMap<(i32, Vec<u64>), u64>,
    /// Names of threads, which may end before the profile does.
    threads: HashMap<i32, String>,
    lost: u64,
}

impl Stacks {
    fn new(files: &[Mapped]) -> Self {
        let mut unwinder = UnwinderNative::new();
        for module in files.iter().filter_map(Mapped::unwind_tables) {
            unwinder.add_module(module);
        }
        let cache = CacheNative::new();
        Self { unwinder, cache, counts: HashMap::new(), threads: HashMap::new(), lost: 0 }
    }

    fn add(&mut self, sample: &Sample<'_>) {
        let thread = sample.thread();
        self.threads.entry(thread).or_insert_with(|| {
            let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
            name.trim_end().to_owned()
        });
        let stack = self.unwind(sample);
        if self.counts.len() < STACKS || self.counts.contains_key(&(thread, stack.clone())) {
            *self.counts.entry((thread, stack)).or_default() += 1;
        } else {
            self.lost += 1;
        }
    }

    /// The innermost first. Addresses of callers are inside of the call, not after it.
    fn unwind(&mut self, sample: &Sample<'_>) -> Vec<u64> {
        let registers = sample.registers();
        let mut read = |address| sample.word(address).ok_or(());
        let mut frames = self.unwinder.iter_frames(registers.pc, native(registers), &mut self.cache, &mut read);
        let mut stack = Vec::new();
        while let Ok(Some(frame)) = frames.next()
            && stack.len() < DEPTH
        {
            stack.push(frame.address_for_lookup());
        }
        stack
    }

    fn named(self) -> Vec<Stack> {
        let thread = |number: i32| self.threads.get(&number).cloned().unwrap_or_default();
        let stacks = self.counts.iter();
        stacks
            .map(|((number, addresses), count)| Stack {
                thread: thread(*number),
                addresses: addresses.clone(),
                count: *count,
            })
            .collect()
    }
}

#[cfg(target_arch = "x86_64")]
fn native(registers: Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(registers.pc, registers.sp, registers.fp)
}

#[cfg(target_arch = "aarch64")]
fn native(registers: Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(registers.lr, registers.sp, registers.fp)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use prost::Message;

    use super::*;

    /// Keeps a processor busy in a function that is not inlined, called by one that is not either.
    #[inline(never)]
    fn spin(until: &AtomicBool) -> u64 {
        let mut number = 1u64;
        while !until.load(Ordering::Relaxed) {
            for step in 0..1000 {
                number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step));
            }
        }
        number
    }

    #[inline(never)]
    fn caller(until: &AtomicBool) -> u64 {
        std::hint::black_box(spin(until)) + 1
    }

    /// One test for all of it: the timer is the process's.
    #[test]
    fn a_profile_shows_the_busy_function_its_caller_and_its_thread() {
        let turn = Turn::take().unwrap();
        assert!(Turn::take().is_none());
        let stop = AtomicBool::new(false);
        let bytes = thread::scope(|scope| {
            let busy = thread::Builder::new().name("busy-thread".to_owned());
            busy.spawn_scoped(scope, || caller(&stop)).unwrap();
            let bytes = take(&turn, Duration::from_secs(1), &AtomicBool::new(false)).unwrap();
            stop.store(true, Ordering::Relaxed);
            bytes
        });
        drop(turn);
        assert!(Turn::take().is_some());
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
        let profile = pprof::messages::Profile::decode(plain.as_slice()).unwrap();
        let stacks = profile.stacks();
        let found = stacks.iter().find(|(thread, names)| {
            let at = |wanted: &str| names.iter().position(|name| name.ends_with(wanted));
            let (spin, caller) = (at("profile::tests::spin"), at("profile::tests::caller"));
            thread == "busy-thread" && spin.is_some() && caller > spin
        });
        assert!(found.is_some(), "{stacks:#?}");
    }
}
