//! The processor's time → samples: where a thread was whenever the process had used another hundredth of a second.
//!
//! The kernel's timer (`ITIMER_PROF`) sends `SIGPROF` to the thread that is running. The handler copies three registers and the
//! top of the stack into a slot and does nothing else: it takes no lock, allocates nothing, and reads the stack by a system
//! call, which refuses what is not mapped instead of failing. Unwinding is done later, from the copy, by who takes the
//! profile; so no unwinder can harm the thread that it interrupted. Without a profile there is no timer and no signal.
//!
//! ```text
//! slot:  FREE ─handler─▶ WRITING ─handler─▶ FULL ─reader─▶ FREE
//! ```

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t, ucontext_t};

/// Samples in a second of processor time.
pub(super) const FREQUENCY: u32 = 100;

/// Words of the stack that are kept: 32 KiB. Deeper stacks lose their outermost functions.
const WORDS: usize = 4096;
const WORD: usize = size_of::<u64>();
/// Samples that may wait for the reader; what comes on top is counted and lost. 2 MiB in all.
const SLOTS: usize = 64;
/// Pages, at most, that the part of the stack that is kept lies in. Larger pages than these are read in parts.
const PAGES: usize = WORDS * WORD / PAGE + 1;
const PAGE: usize = 4096;

const FREE: u8 = 0;
const WRITING: u8 = 1;
const FULL: u8 = 2;

/// Made by the first profile, and kept: a signal that comes late must find it.
static STORE: OnceLock<Store> = OnceLock::new();

/// What the handler and the reader share.
#[derive(Debug)]
struct Store {
    /// Whether a profile is being taken.
    open: AtomicBool,
    slots: Box<[Slot]>,
    lost: AtomicU64,
}

impl Store {
    fn new() -> Self {
        Self { open: AtomicBool::new(false), slots: (0..SLOTS).map(|_| Slot::new()).collect(), lost: AtomicU64::new(0) }
    }
}

/// Room for one sample. Only who has moved `state` to `WRITING` writes the other fields.
#[derive(Debug)]
struct Slot {
    state: AtomicU8,
    thread: AtomicI32,
    pc: AtomicU64,
    sp: AtomicU64,
    fp: AtomicU64,
    lr: AtomicU64,
    /// Words of `stack` that were read.
    length: AtomicUsize,
    /// What is at `sp` and above.
    stack: Box<[AtomicU64]>,
}

impl Slot {
    fn new() -> Self {
        Self {
            state: AtomicU8::new(FREE),
            thread: AtomicI32::new(0),
            pc: AtomicU64::new(0),
            sp: AtomicU64::new(0),
            fp: AtomicU64::new(0),
            lr: AtomicU64::new(0),
            length: AtomicUsize::new(0),
            stack: empty(),
        }
    }
}

fn empty() -> Box<[AtomicU64]> {
    (0..WORDS).map(|_| AtomicU64::new(0)).collect()
}

/// A sample, to be read while its slot is kept.
pub(super) struct Sample<'a>(&'a Slot);

impl Sample<'_> {
    /// The system's number of the thread.
    pub(super) fn thread(&self) -> i32 {
        self.0.thread.load(Ordering::Relaxed)
    }

    /// The registers that unwinding begins with.
    pub(super) fn registers(&self) -> Registers {
        let of = |register: &AtomicU64| register.load(Ordering::Relaxed);
        Registers { pc: of(&self.0.pc), sp: of(&self.0.sp), fp: of(&self.0.fp), lr: of(&self.0.lr) }
    }

    /// The word of the stack at `address`, if it was kept.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.registers().sp)?).ok()?;
        let index = offset / WORD;
        let kept = offset.is_multiple_of(WORD) && index < self.0.length.load(Ordering::Relaxed);
        self.0.stack.get(index).filter(|_| kept).map(|word| word.load(Ordering::Relaxed))
    }
}

/// Where a thread is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    pub(super) pc: u64,
    pub(super) sp: u64,
    pub(super) fp: u64,
    /// The return address of a function that has called none; on `x86_64` it is on the stack and this is 0.
    pub(super) lr: u64,
}

/// Samples are taken as long as this lives. Only one may.
#[derive(Debug)]
pub(super) struct Sampler(&'static Store);

impl Sampler {
    /// Starts the timer.
    pub(super) fn start() -> io::Result<Self> {
        let store = STORE.get_or_init(Store::new);
        install()?;
        for slot in &store.slots {
            // Left over by the profile before.
            let _ = slot.state.compare_exchange(FULL, FREE, Ordering::Acquire, Ordering::Relaxed);
        }
        store.lost.store(0, Ordering::Relaxed);
        store.open.store(true, Ordering::Release);
        let sampler = Self(store);
        set_timer(FREQUENCY)?;
        Ok(sampler)
    }

    /// Gives every sample that waits to `take`.
    pub(super) fn drain(&self, mut take: impl FnMut(&Sample<'_>)) {
        for slot in &self.0.slots {
            if slot.state.load(Ordering::Acquire) == FULL {
                take(&Sample(slot));
                slot.state.store(FREE, Ordering::Release);
            }
        }
    }

    /// Samples that found no room.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Stops the timer; what waits can still be drained.
    pub(super) fn stop(&self) {
        self.0.open.store(false, Ordering::Release);
        // Nothing can be done about it; the handler does nothing any more.
        let _ = set_timer(0);
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes [`on_signal`] the handler of `SIGPROF`, for good: a signal that comes late would end the process else.
fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    if INSTALLED.get().is_some() {
        return Ok(());
    }
    #[expect(unsafe_code, reason = "the standard library has no signals")]
    // SAFETY: the structure is plain numbers for which zero is valid; the handler has the signature that SA_SIGINFO asks for,
    // and does only what a handler may do (signal-safety(7)).
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_signal;
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let _ = INSTALLED.set(());
    Ok(())
}

/// Sends a signal `frequency` times in a second of the process's own time, by user and by system; 0 ends that.
fn set_timer(frequency: u32) -> io::Result<()> {
    let every = libc::timeval { tv_sec: 0, tv_usec: if frequency == 0 { 0 } else { 1_000_000 / i64::from(frequency) } };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    #[expect(unsafe_code, reason = "the standard library has no timers")]
    // SAFETY: the pointer is to a live value, the other may be null.
    let result = unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, ptr::null_mut()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs on the interrupted thread, at any of its instructions: no lock, no allocation, no panic, `errno` as it was.
extern "C" fn on_signal(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    let Some(store) = STORE.get().filter(|store| store.open.load(Ordering::Acquire)) else { return };
    if context.is_null() {
        return;
    }
    #[expect(unsafe_code, reason = "a signal handler is given pointers")]
    // SAFETY: the kernel gives a handler with SA_SIGINFO a pointer to the context, which lives until it returns; errno's
    // address is the thread's own.
    let (registers, errno) = unsafe {
        let errno = libc::__errno_location();
        (registers(&*context.cast::<ucontext_t>()), (errno, *errno))
    };
    let claim = |slot: &&Slot| slot.state.compare_exchange(FREE, WRITING, Ordering::Acquire, Ordering::Relaxed).is_ok();
    match store.slots.iter().find(claim) {
        Some(slot) => {
            fill(slot, registers);
            slot.state.store(FULL, Ordering::Release);
        }
        None => {
            store.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
    #[expect(unsafe_code, reason = "errno is the interrupted code's")]
    // SAFETY: as above.
    unsafe {
        *errno.0 = errno.1;
    }
}

fn fill(slot: &Slot, registers: Registers) {
    slot.pc.store(registers.pc, Ordering::Relaxed);
    slot.sp.store(registers.sp, Ordering::Relaxed);
    slot.fp.store(registers.fp, Ordering::Relaxed);
    slot.lr.store(registers.lr, Ordering::Relaxed);
    #[expect(unsafe_code, reason = "the standard library has no thread numbers")]
    // SAFETY: the call takes nothing.
    slot.thread.store(unsafe { libc::gettid() }, Ordering::Relaxed);
    slot.length.store(read(&slot.stack, registers.sp), Ordering::Relaxed);
}

/// Copies what is at `from` and above, up to the end of what is mapped; how many words. A page that is not there ends it
/// (`process_vm_readv(2)` is partial by whole parts). Nothing is read where a sandbox forbids the call: stacks then have one
/// function, that which ran.
fn read(stack: &[AtomicU64], from: u64) -> usize {
    let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    let mut parts = [nothing; PAGES];
    let mut used = 0;
    let Ok(mut at) = usize::try_from(from) else { return 0 };
    let mut left = size_of_val(stack);
    for part in &mut parts {
        let length = (PAGE - at % PAGE).min(left);
        *part = libc::iovec { iov_base: at as *mut c_void, iov_len: length };
        used += 1;
        let Some(next) = at.checked_add(length) else { break };
        at = next;
        left -= length;
        if left == 0 {
            break;
        }
    }
    let into = libc::iovec { iov_base: stack.as_ptr().cast_mut().cast(), iov_len: size_of_val(stack) };
    #[expect(unsafe_code, reason = "the kernel reads what may not be mapped, which no safe code can")]
    // SAFETY: the kernel writes no more than the atomics' bytes, which only this thread uses now; what it reads it looks up
    // itself and refuses where nothing is.
    let bytes = unsafe { libc::process_vm_readv(libc::getpid(), &raw const into, 1, parts.as_ptr(), used, 0) };
    usize::try_from(bytes).unwrap_or(0) / WORD
}

/// What is at `from` and above in this process: as much as is mapped, at most 32 KiB.
pub(super) fn memory(from: u64) -> Vec<u8> {
    let words = empty();
    let read = read(&words, from);
    words.iter().take(read).flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect()
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &ucontext_t) -> Registers {
    let of = |register: c_int| {
        let value = usize::try_from(register).ok().and_then(|register| context.uc_mcontext.gregs.get(register));
        value.copied().unwrap_or(0).cast_unsigned()
    };
    Registers { pc: of(libc::REG_RIP), sp: of(libc::REG_RSP), fp: of(libc::REG_RBP), lr: 0 }
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &ucontext_t) -> Registers {
    let of = |register: usize| context.uc_mcontext.regs.get(register).copied().unwrap_or(0);
    Registers { pc: context.uc_mcontext.pc, sp: context.uc_mcontext.sp, fp: of(29), lr: of(30) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_read_up_to_where_it_ends_and_what_is_not_mapped_is_not_read() {
        let slot = Box::new(Slot::new());
        let words = [1u64, 2, 3];
        slot.sp.store(words.as_ptr() as u64, Ordering::Relaxed);
        slot.length.store(read(&slot.stack, words.as_ptr() as u64), Ordering::Relaxed);
        let sample = Sample(&slot);
        let at = words.as_ptr() as u64;
        assert_eq!([0, 8, 16].map(|offset| sample.word(at + offset)), [Some(1), Some(2), Some(3)]);
        assert_eq!((sample.word(at - 8), sample.word(at + 1), sample.word(at + 8 * WORDS as u64)), (None, None, None));
        assert_eq!(read(&slot.stack, 8), 0, "nothing is at the null page");
        assert_eq!(read(&slot.stack, u64::MAX - 7), 0);
    }
}
