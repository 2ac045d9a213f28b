//! The system calls that capture needs and the standard library does not offer: `poll`, the list of interfaces, and the
//! options of packet sockets (packet(7)).

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::net::if_::InterfaceFlags;
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

/// An interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Interface {
    /// The kernel's number for it.
    pub(super) index: u32,
    pub(super) name: String,
}

/// The interfaces that there are now; none when they cannot be listed.
pub(super) fn interfaces() -> Vec<Interface> {
    let Ok(list) = nix::net::if_::if_nameindex() else { return Vec::new() };
    let interface = |entry: &nix::net::if_::Interface| Interface {
        index: entry.index(),
        name: entry.name().to_string_lossy().into_owned(),
    };
    list.iter().map(interface).collect()
}

/// The names of the interfaces that are not up; none when they cannot be asked.
pub(super) fn down() -> HashSet<String> {
    let Ok(addresses) = nix::ifaddrs::getifaddrs() else { return HashSet::new() };
    let is_down = |flags: InterfaceFlags| !flags.contains(InterfaceFlags::IFF_UP);
    addresses.filter(|address| is_down(address.flags)).map(|address| address.interface_name).collect()
}

/// Sets the program that decides which packets `socket` gets, in place of the one before.
///
/// # Errors
/// What the kernel says, such as of a program that is too long.
pub(super) fn attach_filter(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The kernel only reads through the pointer.
    let option = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &option)
}

/// Lets `socket` share the packets with the others of `group`, by a hash of addresses and ports that is the same for both
/// directions; without a group, founds one. Gives the group. `joins_fragments`: those of IPv4 are put together before, whatever
/// the interfaces that show them; a filter sees them whole.
///
/// # Errors
/// What the kernel says.
pub(super) fn join_fanout(socket: BorrowedFd<'_>, group: Option<u16>, joins_fragments: bool) -> io::Result<u16> {
    let kind = libc::PACKET_FANOUT_HASH | if joins_fragments { libc::PACKET_FANOUT_FLAG_DEFRAG } else { 0 };
    let flags = match group {
        Some(_) => kind,
        // The kernel chooses a number that nobody has.
        None => kind | libc::PACKET_FANOUT_FLAG_UNIQUEID,
    };
    let option: libc::c_int = libc::c_int::from_ne_bytes((u32::from(group.unwrap_or(0)) | flags << 16).to_ne_bytes());
    set_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &option)?;
    if let Some(group) = group {
        return Ok(group);
    }
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    #[expect(unsafe_code, reason = "the standard library does not know options of packet sockets")]
    // SAFETY: `value` and `length` are valid for the call, and `length` says how long `value` is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let [low, high, ..] = value.to_le_bytes();
    Ok(u16::from_le_bytes([low, high]))
}

/// Asks the card of interface `index` for what is addressed to others, as long as `socket` is open.
///
/// # Errors
/// What the kernel says.
pub(super) fn make_promiscuous(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let index = libc::c_int::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let kind = libc::c_ushort::try_from(libc::PACKET_MR_PROMISC).unwrap_or_default();
    let option = libc::packet_mreq { mr_ifindex: index, mr_type: kind, mr_alen: 0, mr_address: [0; 8] };
    set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &option)
}

fn set_option<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    #[expect(unsafe_code, reason = "the standard library does not know options of packet sockets")]
    // SAFETY: `value` is valid for the call and as long as `length` says; what it points to lives as long.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
    fn loopback_is_listed_and_up() {
        let loopback = interfaces().into_iter().find(|interface| interface.name == "lo").unwrap();
        assert!(loopback.index > 0 && !down().contains("lo"));
    }
}
