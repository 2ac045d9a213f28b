//! The one right that the agent needs, and only while it opens its sockets.
//!
//! The binary may carry `cap_net_raw=p`: the capability is then permitted and not yet in effect, so that a container
//! without it can start the program and be told what is missing. It is raised before capture begins and given up, with
//! all others, when the sockets are open. They stay open: interfaces that come later need no new one, only another filter
//! on those there are, and for that no right is needed.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

/// Puts `CAP_NET_RAW` into effect if it is permitted; whether it is in effect.
pub(crate) fn raise() -> bool {
    if caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_RAW).unwrap_or(false) {
        // What is refused shows when the sockets are opened, with its remedy.
        let _ = caps::raise(None, CapSet::Effective, Capability::CAP_NET_RAW);
    }
    caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap_or(false)
}

/// Gives up every capability, and the way to any: also those that programs give that are started later. Threads that were
/// started before keep theirs, so this comes before them.
///
/// # Errors
/// What the kernel says; what could be given up is gone.
pub(crate) fn give_up() -> io::Result<()> {
    let none = CapsHashSet::new();
    let failed = |error: caps::errors::CapsError| io::Error::other(error.to_string());
    // Ambient ones go first: they follow the permitted and inheritable ones.
    let ambient = caps::clear(None, CapSet::Ambient);
    let effective = caps::set(None, CapSet::Effective, &none);
    let permitted = caps::set(None, CapSet::Permitted, &none);
    let inheritable = caps::set(None, CapSet::Inheritable, &none);
    no_new_privileges()?;
    // Kernels without ambient capabilities have none to clear.
    drop(ambient);
    effective.and(permitted).and(inheritable).map_err(failed)
}

/// Neither this thread nor what it starts can gain rights any more (`prctl(2)`).
fn no_new_privileges() -> io::Result<()> {
    #[expect(unsafe_code, reason = "the standard library has no prctl")]
    // SAFETY: the call takes numbers and no pointer.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// On a thread of its own, because rights are the thread's.
    #[test]
    fn what_is_given_up_is_gone() {
        thread::spawn(|| {
            give_up().unwrap();
            for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
                assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
            }
            assert!(!raise());
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        })
        .join()
        .unwrap();
    }
}
