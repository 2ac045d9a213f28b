//! A piece of work → the processor time it takes, and what it allocates.

use std::mem::MaybeUninit;
use std::path::Path;
use std::process::{Command, Stdio};

use network_agent::telemetry::allocations::Allocations;

/// Processor time of this thread, in nanoseconds.
fn thread_time() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    #[expect(unsafe_code, reason = "the standard library does not offer it")]
    // SAFETY: the call writes one `timespec` where it is told to, and the zeroed one is valid whatever it does.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        time.assume_init()
    };
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}

/// The least processor time of several runs: what disturbs only ever adds.
pub fn best_of(runs: usize, mut work: impl FnMut()) -> u64 {
    let time = |work: &mut dyn FnMut()| {
        let begun = thread_time();
        work();
        thread_time() - begun
    };
    (0..runs.max(1)).map(|_| time(&mut work)).min().unwrap_or(0)
}

/// Calls of the allocator, and bytes kept, by `work`, whose result is dropped afterwards.
pub fn allocations<T>(work: impl FnOnce() -> T) -> (u64, u64) {
    let before = Allocations::now();
    let kept = work();
    let after = Allocations::now();
    drop(kept);
    let held = (after.bytes - after.bytes_freed).saturating_sub(before.bytes - before.bytes_freed);
    (after.calls() - before.calls(), held)
}

/// What a process took in all its threads.
#[derive(Clone, Copy)]
pub struct Process {
    /// Nanoseconds, of the user and of the system.
    pub time: u64,
    /// The most memory that was resident, in KiB.
    pub peak: u64,
}

/// The best of several runs of the agent on a file, with all that it does but sending.
pub fn process(runs: usize, file: &Path) -> Option<Process> {
    (0..runs).filter_map(|_| run(file)).min_by_key(|process| process.time)
}

fn run(file: &Path) -> Option<Process> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_network-agent"))
        .arg("--read")
        .arg(file)
        .args(["--export", "none"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let id = i32::try_from(child.id()).ok()?;
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    #[expect(unsafe_code, reason = "the standard library does not tell what a child took")]
    // SAFETY: both places are of the types that the call writes; the child is this process's and was not waited for.
    let (ended, usage) = unsafe {
        let ended = libc::wait4(id, &raw mut status, 0, usage.as_mut_ptr());
        (ended, usage.assume_init())
    };
    if ended != id || status != 0 {
        let _ = child.wait();
        return None;
    }
    let nanos = |time: libc::timeval| u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_usec * 1_000).unwrap_or(0);
    let time = nanos(usage.ru_utime) + nanos(usage.ru_stime);
    Some(Process { time, peak: u64::try_from(usage.ru_maxrss).unwrap_or(0) })
}
