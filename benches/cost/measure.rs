//! A piece of work → the processor time it takes, and what it allocates.

use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

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

/// Which cores a process may use.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Cores {
    /// One.
    One,
    /// Those that this process may.
    All,
}

/// The best of several runs of the agent on a file, with all that it does but sending.
pub fn process(runs: usize, file: &Path, cores: Cores) -> Option<Process> {
    (0..runs).filter_map(|_| run(file, cores)).min_by_key(|process| process.time)
}

fn run(file: &Path, cores: Cores) -> Option<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_network-agent"));
    command.arg("--read").arg(file).args(["--export", "none"]).stdout(Stdio::null()).stderr(Stdio::null());
    if cores == Cores::One {
        #[expect(unsafe_code, reason = "the standard library does not offer it")]
        // SAFETY: what runs between fork and exec makes system calls alone, and takes no lock and no memory.
        unsafe {
            command.pre_exec(stay_on_one_core);
        }
    }
    let mut child = command.spawn().ok()?;
    let id = i32::try_from(child.id()).ok()?;
    let (mut status, mut usage, mut peak) = (0, MaybeUninit::<libc::rusage>::zeroed(), 0);
    let ended = loop {
        // What the system tells of an ended child's memory begins with that of this process.
        peak = peak.max(peak_of(id));
        #[expect(unsafe_code, reason = "the standard library does not tell what a child took")]
        // SAFETY: both places are of the types that the call writes; the child is this process's and was not waited for.
        let ended = unsafe { libc::wait4(id, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
        if ended != 0 {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if ended != id || status != 0 {
        let _ = child.wait();
        return None;
    }
    #[expect(unsafe_code, reason = "as above")]
    // SAFETY: it was zeroed, which is valid, and written since.
    let usage = unsafe { usage.assume_init() };
    let nanos = |time: libc::timeval| u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_usec * 1_000).unwrap_or(0);
    let time = nanos(usage.ru_utime) + nanos(usage.ru_stime);
    Some(Process { time, peak })
}

/// From now on this process stays where it is.
fn stay_on_one_core() -> std::io::Result<()> {
    let mut cores = MaybeUninit::<libc::cpu_set_t>::zeroed();
    #[expect(unsafe_code, reason = "the standard library does not offer it")]
    // SAFETY: a zeroed set is one of no cores; the calls write and read that one alone.
    let failed = unsafe {
        let core = usize::try_from(libc::sched_getcpu()).unwrap_or(0);
        libc::CPU_SET(core, cores.assume_init_mut());
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cores.as_ptr()) != 0
    };
    if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// `VmHWM` of a process that runs.
fn peak_of(id: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
