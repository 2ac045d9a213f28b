//! Networks by their prefix, such as 10.244.1.0/24 → whether an address is in one.

use std::net::IpAddr;
use std::str::FromStr;

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    first: IpAddr,
    /// Bits that count; at most those of the address.
    prefix: u8,
}

/// Networks whose addresses are known without asking anybody.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks {
    /// Of pods and containers on this machine.
    pub local: Vec<Network>,
    /// Of machines, pods and containers where an agent runs, this machine's or another.
    pub cluster: Vec<Network>,
}

impl Network {
    /// Whether `address` is in it. An IPv4 address in IPv6 form is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (address, bits, width) = match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => (u128::from(address.to_bits()), first.to_bits().into(), 32),
            (IpAddr::V6(first), IpAddr::V6(address)) => (address.to_bits(), first.to_bits(), 128),
            _ => return false,
        };
        let free = width - u32::from(self.prefix);
        (address ^ bits).checked_shr(free).unwrap_or(0) == 0
    }
}

impl FromStr for Network {
    type Err = String;

    /// An address alone is a network of its own.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no network; use an address with the bits that count, such as 10.244.1.0/24");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(width), |bits| bits.parse().ok()).filter(|bits| *bits <= width);
        Ok(Self { first, prefix: prefix.ok_or_else(wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn the_bits_of_the_prefix_count_and_no_others() {
        for inside in ["10.244.1.0", "10.244.1.255", "::ffff:10.244.1.9"] {
            assert!(contains("10.244.1.0/24", inside), "{inside}");
        }
        for outside in ["10.244.0.255", "10.244.2.0", "::10.244.1.9", "fd00::1"] {
            assert!(!contains("10.244.1.0/24", outside), "{outside}");
        }
        assert!(contains("10.244.1.77/24", "10.244.1.1"), "a host's address names its network, too");
        assert!(contains("fd00:1::/32", "fd00:1:ffff::1") && !contains("fd00:1::/32", "fd00:2::1"));
    }

    #[test]
    fn a_prefix_may_be_nothing_or_everything() {
        assert!(contains("0.0.0.0/0", "203.0.113.1") && !contains("0.0.0.0/0", "fd00::1"));
        assert!(contains("::/0", "fd00::1") && !contains("::/0", "203.0.113.1"));
        assert!(contains("10.0.0.1", "10.0.0.1") && !contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("fd00::1/128", "fd00::1") && !contains("fd00::1", "fd00::2"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "fd00::/129", "10.0.0/8", "pods"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
