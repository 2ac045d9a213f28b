//! Calls of the allocator → how many there were, of which sizes, and how much is held, counted only when that is asked for.
//!
//! The program makes [`CountingAllocator`] its allocator. Until [`count`] is called it only looks at one flag, and everything
//! goes to the system's allocator as it comes. Counters are split among threads, which would else wait for each other's
//! cache lines; sums are therefore not of one instant.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Sizes up to 16 bytes, up to 32 and so on; the last takes all that is larger.
const CLASSES: usize = 24;
/// The smallest class takes `1 << SMALLEST` bytes.
const SMALLEST: u32 = 4;
/// Parts of the counters; threads share them when there are more.
const SHARDS: usize = 8;

static COUNTS: AtomicBool = AtomicBool::new(false);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static TALLIES: [Tally; SHARDS] = [const { Tally::new() }; SHARDS];

thread_local! {
    /// The thread's part of the counters. It has no destructor, so that it can be used as long as the thread lives.
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Begins to count. What was allocated before is in no count until it is given back.
pub fn count() {
    COUNTS.store(true, Relaxed);
}

/// Gives memory that is free back to the system: after a burst glibc keeps it in the arenas of the threads that asked for it.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "the standard library does not offer it")]
        // SAFETY: it may be called by any thread at any time.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// The system's allocator, and the counts of what it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct CountingAllocator;

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: every call goes to the system's allocator with the arguments it came with; counting allocates nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Relaxed) {
            tally(|tally| tally.allocated(layout.size()));
        }
        // SAFETY: the caller's promises for this call are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Relaxed) {
            tally(|tally| tally.allocated(layout.size()));
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if COUNTS.load(Relaxed) {
            tally(|tally| tally.freed(layout.size()));
        }
        // SAFETY: as above; the pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if COUNTS.load(Relaxed) {
            tally(|tally| tally.resized(layout.size(), size));
        }
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Counters of some threads, on cache lines of their own.
#[repr(align(128))]
struct Tally {
    reallocations: AtomicU64,
    bytes: AtomicU64,
    bytes_freed: AtomicU64,
    /// By class.
    allocations: [AtomicU64; CLASSES],
    frees: [AtomicU64; CLASSES],
}

impl Tally {
    const fn new() -> Self {
        Self {
            reallocations: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_freed: AtomicU64::new(0),
            allocations: [const { AtomicU64::new(0) }; CLASSES],
            frees: [const { AtomicU64::new(0) }; CLASSES],
        }
    }

    fn allocated(&self, size: usize) {
        add(&self.bytes, size as u64);
        if let Some(class) = self.allocations.get(class_of(size)) {
            add(class, 1);
        }
    }

    fn freed(&self, size: usize) {
        add(&self.bytes_freed, size as u64);
        if let Some(class) = self.frees.get(class_of(size)) {
            add(class, 1);
        }
    }

    /// A reallocation is the end of one size and the begin of another.
    fn resized(&self, before: usize, after: usize) {
        add(&self.reallocations, 1);
        self.freed(before);
        self.allocated(after);
    }
}

#[cold]
#[inline(never)]
fn tally(count: impl FnOnce(&Tally)) {
    let shard = SHARD.get();
    let shard = if shard < SHARDS {
        shard
    } else {
        let next = NEXT.fetch_add(1, Relaxed) % SHARDS;
        SHARD.set(next);
        next
    };
    if let Some(tally) = TALLIES.get(shard) {
        count(tally);
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Relaxed);
}

/// Which class a size is of: the first whose bound is not below it.
fn class_of(size: usize) -> usize {
    let bits = usize::BITS - size.saturating_sub(1).leading_zeros();
    (bits.saturating_sub(SMALLEST) as usize).min(CLASSES - 1)
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Allocations {
    /// Calls that moved or resized; each counts as a free and as an allocation, too.
    pub reallocations: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Bytes given back.
    pub bytes_freed: u64,
    /// Calls by class: allocations, and frees.
    classes: [(u64, u64); CLASSES],
}

impl Allocations {
    /// The sums over all threads.
    pub fn now() -> Self {
        let mut all = Self::default();
        for tally in &TALLIES {
            all.reallocations += tally.reallocations.load(Relaxed);
            all.bytes += tally.bytes.load(Relaxed);
            all.bytes_freed += tally.bytes_freed.load(Relaxed);
            for ((allocations, frees), (made, given)) in
                all.classes.iter_mut().zip(tally.allocations.iter().zip(&tally.frees))
            {
                *allocations += made.load(Relaxed);
                *frees += given.load(Relaxed);
            }
        }
        all
    }

    /// Calls that asked for memory, reallocations included.
    pub fn calls(&self) -> u64 {
        self.classes.iter().map(|(allocations, _)| allocations).sum()
    }

    /// A line for each number, then a table of the sizes that there were.
    pub fn report(&self) -> String {
        let (allocations, frees) = self.classes.iter().fold((0, 0), |sum, class| (sum.0 + class.0, sum.1 + class.1));
        let mut text = String::new();
        for (name, number, words) in [
            ("allocations", allocations, "calls, reallocations included"),
            ("reallocations", self.reallocations, "of them"),
            ("frees", frees, "calls, reallocations included"),
            ("bytes", self.bytes, "asked for"),
            ("bytes_freed", self.bytes_freed, "given back"),
        ] {
            let _ = writeln!(text, "{name:<14} {number:>16}  {words}");
        }
        // What was allocated before the count began and is freed now counts against this.
        let live = i128::from(self.bytes) - i128::from(self.bytes_freed);
        let _ = writeln!(text, "{:<14} {live:>16}  held of what was asked for since the count began", "live_bytes");
        let _ = writeln!(text, "\n{:>12} {:>16} {:>16} {:>12}", "up to bytes", "allocations", "frees", "live");
        for (number, (allocations, frees)) in self.classes.iter().enumerate() {
            if *allocations + *frees == 0 {
                continue;
            }
            let bound =
                if number + 1 == CLASSES { "more".to_owned() } else { (1u64 << SMALLEST << number).to_string() };
            let live = i128::from(*allocations) - i128::from(*frees);
            let _ = writeln!(text, "{bound:>12} {allocations:>16} {frees:>16} {live:>12}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_takes_sizes_up_to_its_bound() {
        for (size, class) in [(0, 0), (1, 0), (16, 0), (17, 1), (32, 1), (33, 2), (64, 2), (4096, 8), (4097, 9)] {
            assert_eq!(class_of(size), class, "{size}");
        }
        assert_eq!((class_of(usize::MAX), class_of(1 << 26)), (CLASSES - 1, 22));
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn what_a_burst_has_left_free_is_given_back() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap();
            4096 * status.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
        };
        let burst: Vec<Vec<u8>> = (0..200_000).map(|_| vec![1; 1000]).collect();
        // What is used still, at the end, keeps all of it.
        let last = vec![1_u8; 1000];
        drop(burst);
        let before = resident();
        give_back();
        let after = resident();
        assert!(after + (100 << 20) < before, "{before} bytes, then {after}");
        drop(last);
    }

    /// The tests' own allocator is another one, so nothing else counts here.
    #[test]
    fn calls_are_counted_once_that_was_asked_for() {
        let layout = Layout::from_size_align(100, 8).unwrap();
        let exercise = move || {
            #[expect(unsafe_code, reason = "the allocator is what is tested")]
            // SAFETY: the pointers are of this allocator, and of the layouts that they are given back with.
            unsafe {
                let pointer = CountingAllocator.alloc(layout);
                let pointer = CountingAllocator.realloc(pointer, layout, 1000);
                CountingAllocator.dealloc(pointer, Layout::from_size_align(1000, 8).unwrap());
                let zeroed = CountingAllocator.alloc_zeroed(layout);
                assert_eq!(*zeroed, 0);
            }
        };
        exercise();
        assert_eq!(Allocations::now(), Allocations::default());
        count();
        std::thread::spawn(exercise).join().unwrap();
        exercise();
        let now = Allocations::now();
        assert_eq!((now.reallocations, now.bytes, now.bytes_freed), (2, 2 * 1200, 2 * 1100));
        assert_eq!((now.classes[3], now.classes[6]), ((4, 2), (2, 2)));
        let report = now.report();
        assert!(report.contains("live_bytes                  200"), "{report}");
        assert!(report.contains("         128                4                2            2"), "{report}");
    }
}
