//! Signals of the system → when to stop, and with which exit code when at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Signals that come so close to each other are one: a terminal, `timeout(1)` and a parent that passes it on send it to the
/// process and to its group.
const SAME: Duration = Duration::from_millis(100);

/// What tells the agent to stop.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None where whoever started the agent wants it to outlive the terminal (`nohup(1)`).
    hangup: Option<Signal>,
    last: Option<Instant>,
}

impl Signals {
    /// Listens from now on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(crate) fn new() -> std::io::Result<Self> {
        let hangup = (!is_hangup_ignored()).then(|| signal(SignalKind::hangup())).transpose()?;
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup, last: None })
    }

    /// The next signal, as the exit code of a program that it ended. May be cancelled and called again.
    pub(crate) async fn next(&mut self) -> u8 {
        loop {
            let code = tokio::select! {
                _ = self.interrupt.recv() => 130,
                _ = self.terminate.recv() => 143,
                () = hung_up(&mut self.hangup) => 129,
            };
            let now = Instant::now();
            let last = self.last.replace(now);
            if last.is_none_or(|last| now.duration_since(last) > SAME) {
                return code;
            }
        }
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// What the process was started with (proc(5)); where the system does not tell, it is not ignored.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 != 0)
}
