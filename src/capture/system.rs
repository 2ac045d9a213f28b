//! The two system calls capture needs and the standard library does not offer: `poll` and `if_nametoindex`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use smallvec::SmallVec;

/// Waits at most `wait` until one of `descriptors` has something to read, has ended or has failed.
/// Gives which of them, in their order; none when the time has passed or a signal came.
///
/// # Errors
/// What `poll` reports, such as too many descriptors.
pub(super) fn wait_readable(descriptors: &[BorrowedFd<'_>], wait: Duration) -> io::Result<SmallVec<[bool; 8]>> {
    let asked =
        |descriptor: &BorrowedFd<'_>| libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polled: SmallVec<[libc::pollfd; 8]> = descriptors.iter().map(asked).collect();
    let count = libc::nfds_t::try_from(polled.len()).unwrap_or(libc::nfds_t::MAX);
    let milliseconds = libc::c_int::try_from(wait.as_millis()).unwrap_or(libc::c_int::MAX);
    #[expect(unsafe_code, reason = "the standard library has no poll")]
    // SAFETY: `polled` is a valid array of `count` entries for the length of the call, and the descriptors in it
    // are open because they are borrowed.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), count, milliseconds) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        return Ok(SmallVec::from_elem(false, descriptors.len()));
    }
    Ok(polled.iter().map(|entry| entry.revents != 0).collect())
}

/// The kernel's index of the interface with this name; `None` when there is none.
pub(super) fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    #[expect(unsafe_code, reason = "the standard library does not know interfaces")]
    // SAFETY: `name` is a string that ends with NUL and lives during the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn poll_tells_which_descriptor_is_readable() {
        let (quiet, _kept) = io::pipe().unwrap();
        let (loud, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let ready = wait_readable(&[quiet.as_fd(), loud.as_fd()], Duration::ZERO).unwrap();
        assert_eq!(ready.as_slice(), [false, true]);
    }

    #[test]
    fn poll_calls_the_end_of_a_pipe_readable() {
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        assert_eq!(wait_readable(&[reader.as_fd()], Duration::ZERO).unwrap().as_slice(), [true]);
    }

    #[test]
    fn interfaces_are_known_by_name() {
        assert!(interface_index("lo").is_some());
        assert_eq!(interface_index("no-such-interface"), None);
        assert_eq!(interface_index("nul\0inside"), None);
    }
}
