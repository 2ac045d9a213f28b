//! Link types the agent reads, by their numbers in capture files.

/// How a captured frame begins. The numbers are those of `LINKTYPE_…` in pcap and pcapng files;
/// where libpcap's live `DLT_…` number differs (raw IP is 12 there) both are accepted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LinkType {
    /// 1: Ethernet II, with any number of VLAN tags.
    Ethernet,
    /// 0: BSD loopback; the address family in the byte order of the machine that captured.
    Null,
    /// 108: OpenBSD loopback; the address family in network byte order.
    Loop,
    /// 101, 12, 14, 228, 229: IPv4 or IPv6 without a link header.
    Raw,
    /// 113: Linux "cooked" capture.
    LinuxSll,
    /// 276: Linux "cooked" capture, version 2; carries the interface's index.
    LinuxSll2,
}

impl LinkType {
    /// The link type with this number; `None` when the agent cannot read it.
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Null),
            1 => Some(Self::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(Self::Raw),
            108 => Some(Self::Loop),
            113 => Some(Self::LinuxSll),
            276 => Some(Self::LinuxSll2),
            _ => None,
        }
    }

    /// The number written to capture files.
    pub const fn code(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::Raw => 101,
            Self::Loop => 108,
            Self::LinuxSll => 113,
            Self::LinuxSll2 => 276,
        }
    }
}
