//! What the system says of this process (proc(5)).

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

/// What the process takes of the machine; `None` where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// Bytes.
    pub(super) resident_memory: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) threads: Option<u64>,
    /// Seconds of CPU time in the program.
    pub(super) user_time: Option<f64>,
    /// Seconds of CPU time in the kernel.
    pub(super) system_time: Option<f64>,
}

impl Process {
    /// As it is now.
    pub(super) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        let times = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(times);
        Self {
            resident_memory: of("VmRSS").map(|kibibytes| kibibytes * 1024),
            open_descriptors: fs::read_dir("/proc/self/fd").ok().map(|list| list.count() as u64),
            threads: of("Threads"),
            user_time: times.map(|(user, _)| user),
            system_time: times.map(|(_, system)| system),
        }
    }
}

/// Fields 14 and 15 of `stat`, in seconds; the name before them may hold anything but a newline.
#[expect(clippy::cast_precision_loss, reason = "a clock tick is exact for thousands of years")]
fn times(stat: &str) -> Option<(f64, f64)> {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().filter(|ticks| *ticks > 0)? as f64;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<u64>().ok()? as f64 / ticks);
    Some((seconds()?, seconds()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_descriptors_threads_and_time() {
        let before = Process::now();
        assert!(before.resident_memory.is_some_and(|bytes| bytes > 1 << 20), "{before:?}");
        assert!(before.open_descriptors.is_some_and(|count| count >= 3), "{before:?}");
        assert!(before.threads.is_some_and(|count| count >= 1), "{before:?}");
        assert!(before.system_time.is_some(), "{before:?}");
        let mut number = 1_u64;
        while Process::now().user_time <= before.user_time {
            (0..1_000_000).for_each(|step| number = std::hint::black_box(number.wrapping_mul(step | 1)));
        }
    }

    #[test]
    fn a_name_with_spaces_and_brackets_shifts_no_field() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 300 200 0 0 20 0 3 0 100 1000 10";
        let (user, system) = times(stat).unwrap();
        assert!((user / system - 1.5).abs() < 1e-9, "{user} {system}");
        assert_eq!(times("7 (cut"), None);
    }
}
