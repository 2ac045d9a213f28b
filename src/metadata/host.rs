//! This machine's interfaces → which addresses are its own, as they are now.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::RandomState;
use nix::ifaddrs::getifaddrs;
use tokio::io::unix::AsyncFd;

use super::Networks;
use crate::netlink::{Notices, Subject};
use crate::span::LocalAddresses;

/// Where kube-proxy puts the addresses of all Services when it works with IPVS: whoever answers there may be anywhere.
const OF_SERVICES: &str = "kube-ipvs0";

/// The addresses of this machine.
#[derive(Clone, Debug, Default)]
pub struct HostAddresses {
    /// Given by the user; they stay.
    further: Vec<IpAddr>,
    /// Given by the user, likewise.
    networks: Networks,
    own: Arc<RwLock<HashSet<IpAddr, RandomState>>>,
}

impl HostAddresses {
    /// The addresses that the interfaces have now, and `further` ones.
    pub fn of_interfaces(further: impl IntoIterator<Item = IpAddr>) -> Self {
        let further = further.into_iter().collect();
        let host = Self { further, networks: Networks::default(), own: Arc::default() };
        host.look();
        host
    }

    /// Together with the addresses of `networks`.
    #[must_use]
    pub fn with(self, networks: Networks) -> Self {
        Self { networks, ..self }
    }

    /// Follows the changes that the kernel tells of, for as long as the agent runs. Must be called within a tokio runtime.
    pub async fn follow(self) {
        let notices = Notices::of(Subject::Addresses).and_then(|notices| {
            #[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
            // SAFETY: `Notices` owns its descriptor and keeps it open and the same until it is dropped.
            let registered = unsafe { AsyncFd::register(notices) };
            registered.map_err(std::io::Error::from)
        });
        let notices = match notices {
            Ok(notices) => notices,
            Err(error) => {
                tracing::warn!(%error, "The kernel gives no notices of addresses: those of later interfaces are not known.");
                return;
            }
        };
        // What changed before the socket was there.
        self.look();
        while let Ok(mut ready) = notices.readable().await {
            if ready.get_inner().drain() {
                self.look();
            }
            ready.clear_ready();
        }
    }

    /// Reads all addresses anew.
    fn look(&self) {
        let listed = match getifaddrs() {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "Cannot list the addresses; spans are reported from the server's side.");
                return;
            }
        };
        let of_interfaces =
            listed.filter(|interface| interface.interface_name != OF_SERVICES).filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
            });
        let own = of_interfaces.chain(self.further.iter().copied()).map(|address| address.to_canonical()).collect();
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
    }
}

impl LocalAddresses for HostAddresses {
    fn is_local(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback()
            || self.own.read().unwrap_or_else(PoisonError::into_inner).contains(&address)
            || self.networks.local.iter().any(|network| network.contains(address))
    }

    fn is_reported_elsewhere(&self, address: IpAddr) -> bool {
        self.networks.cluster.iter().any(|network| network.contains(address)) && !self.is_local(address)
    }
}

/// No address is local: the packets are from somewhere else.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAddresses;

impl LocalAddresses for NoAddresses {
    fn is_local(&self, _: IpAddr) -> bool {
        false
    }

    fn is_known(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

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

    #[test]
    fn networks_tell_what_is_local_and_what_other_agents_report() {
        let network = |text: &str| text.parse().unwrap();
        let networks = Networks { local: vec![network("10.244.1.0/24")], cluster: vec![network("10.244.0.0/16")] };
        let host = HostAddresses::of_interfaces([]).with(networks);
        let both = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            (host.is_local(address), host.is_reported_elsewhere(address))
        };
        assert_eq!(both("10.244.1.7"), (true, false));
        assert_eq!(both("10.244.2.7"), (false, true));
        assert_eq!(both("198.51.100.1"), (false, false));
    }

    /// In a network of its own; without the right to make one there is nothing to test.
    fn in_a_network(test: impl FnOnce() + Send + 'static) {
        let run = move || {
            #[expect(unsafe_code, reason = "the standard library has no unshare")]
            // SAFETY: the call takes a number and changes only the network that this thread sees.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
                test();
            }
        };
        thread::spawn(run).join().unwrap();
    }

    fn ip(arguments: &str) {
        assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success(), "ip {arguments}");
    }

    #[test]
    fn addresses_of_services_are_not_this_machine_s() {
        in_a_network(|| {
            ip("link add kube-ipvs0 type veth peer name other");
            ip("address add 10.96.0.10/32 dev kube-ipvs0");
            ip("address add 192.0.2.7/24 dev other");
            let host = HostAddresses::of_interfaces([]);
            assert!(host.is_local("192.0.2.7".parse().unwrap()));
            assert!(!host.is_local("10.96.0.10".parse().unwrap()));
        });
    }

    #[test]
    fn addresses_that_come_and_go_are_followed() {
        in_a_network(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let host = HostAddresses::of_interfaces([]);
                let address: IpAddr = "192.0.2.7".parse().unwrap();
                tokio::spawn(host.clone().follow());
                for (verb, expected) in [("add", true), ("del", false)] {
                    ip(&format!("address {verb} 192.0.2.7/24 dev lo"));
                    let mut looks = 0;
                    while host.is_local(address) != expected {
                        looks += 1;
                        assert!(looks < 500, "{verb} was not noticed");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            });
        });
    }
}
