//! The kernel's notices that interfaces or addresses have changed (rtnetlink(7)).
//!
//! What they say is not read: whoever hears one looks again at what there is. So nothing is missed when notices are lost
//! (`ENOBUFS`), and one look serves many of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};

/// Multicast groups (`linux/rtnetlink.h`).
const LINK: u32 = 0x1;
const IPV4_ADDRESS: u32 = 0x10;
const IPV6_ADDRESS: u32 = 0x100;

/// What notices are wanted of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    /// Interfaces that come, go, or change their names.
    Interfaces,
    /// Addresses that come and go.
    Addresses,
}

/// A socket on which notices arrive; readable when there are any. Needs no right.
#[derive(Debug)]
pub(crate) struct Notices {
    socket: OwnedFd,
}

impl Notices {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system has no such sockets, or no descriptor left.
    pub(crate) fn of(subject: Subject) -> io::Result<Self> {
        let groups = match subject {
            Subject::Interfaces => LINK,
            Subject::Addresses => IPV4_ADDRESS | IPV6_ADDRESS,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { socket })
    }

    /// Takes all notices that have come; whether there were any, or some were lost.
    pub(crate) fn drain(&self) -> bool {
        let mut buffer = [0; 8192];
        let mut any = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EINTR) => {}
                Err(_) => return any,
            }
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Notices {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_changes_there_are_no_notices() {
        for subject in [Subject::Interfaces, Subject::Addresses] {
            assert!(Notices::of(subject).is_ok_and(|notices| notices.as_raw_fd() >= 0));
        }
    }
}
