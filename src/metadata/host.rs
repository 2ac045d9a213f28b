//! This machine's interfaces → which addresses are its own.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::span::LocalAddresses;

/// The addresses of this machine.
#[derive(Clone, Debug, Default)]
pub struct HostAddresses {
    own: HashSet<IpAddr>,
}

impl HostAddresses {
    /// The addresses that the interfaces have now, and `further` ones.
    pub fn of_interfaces(further: impl IntoIterator<Item = IpAddr>) -> Self {
        let devices = pcap::Device::list().unwrap_or_else(|error| {
            tracing::warn!(%error, "Cannot list the interfaces; spans are reported from the server's side.");
            Vec::new()
        });
        let of_devices = devices.into_iter().flat_map(|device| device.addresses).map(|address| address.addr);
        Self { own: of_devices.chain(further).map(|address| address.to_canonical()).collect() }
    }
}

impl LocalAddresses for HostAddresses {
    fn is_local(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.own.contains(&address)
    }
}

/// No address is local: the packets are from somewhere else.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAddresses;

impl LocalAddresses for NoAddresses {
    fn is_local(&self, _: IpAddr) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_what_was_named_are_local_and_others_are_not() {
        let named: IpAddr = "203.0.113.9".parse().unwrap();
        let host = HostAddresses::of_interfaces([named]);
        assert!(host.is_local(named) && host.is_local("127.0.0.5".parse().unwrap()));
        assert!(host.is_local("::ffff:203.0.113.9".parse().unwrap()));
        assert!(!host.is_local("198.51.100.1".parse().unwrap()));
        assert!(!NoAddresses.is_local("127.0.0.1".parse().unwrap()));
    }
}
