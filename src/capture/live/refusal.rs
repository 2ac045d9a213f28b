//! What libpcap says when it does not open an interface → what is wrong and what to do.

use pcap::Device;

use super::interface::ANY;
use crate::capture::words::reason;
use crate::capture::{CaptureError, system};

/// Why `name` was not opened.
pub(super) fn of(name: &str, error: &pcap::Error) -> CaptureError {
    let reason = reason(error);
    // libpcap 1.10 names the capability, older ones say "permission" or give the system's "not permitted".
    if ["CAP_NET_RAW", "permission", "permitted"].iter().any(|word| reason.contains(word)) {
        return CaptureError::NotPermitted(not_permitted(name));
    }
    if devices().iter().any(|device| device.name == name && !device.flags.is_up()) {
        let up = format!("ip link set {name} up");
        return CaptureError::Interface(format!("interface {name} is down; take another one, or bring it up: {up}"));
    }
    CaptureError::Interface(format!("interface {name} cannot be captured: {reason}"))
}

/// There is no interface `name`.
pub(super) fn no_such_interface(name: &str) -> CaptureError {
    CaptureError::Interface(format!("there is no interface {name}; {}", choices()))
}

/// The interfaces there are, in words.
pub(super) fn choices() -> String {
    let existing =
        devices().into_iter().map(|device| device.name).filter(|name| system::interface_index(name).is_some());
    let names: Vec<String> = existing.chain([ANY.to_owned()]).collect();
    format!("choose from {}", names.join(", "))
}

fn devices() -> Vec<Device> {
    Device::list().unwrap_or_default()
}

fn not_permitted(name: &str) -> String {
    let program =
        std::env::current_exe().map_or_else(|_| "network-agent".to_owned(), |path| path.display().to_string());
    format!(
        "capturing on {name} needs the capability CAP_NET_RAW, which this process does not have.\n  \
         In a shell:     sudo {program} …   or once: sudo setcap cap_net_raw=ep {program}\n  \
         With Docker:    docker run --net=host --cap-add=NET_RAW …\n  \
         On Kubernetes:  hostNetwork: true, and in the container's securityContext\n                  \
         runAsUser: 0 and capabilities.add: [NET_RAW]\n  \
         A capture file needs no right: --read FILE"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, words: &str) -> CaptureError {
        of(name, &pcap::Error::PcapError(words.to_owned()))
    }

    #[test]
    fn a_missing_right_is_told_with_its_remedies() {
        let error = refused("eth0", "Attempt to create packet socket failed - CAP_NET_RAW may be required");
        let CaptureError::NotPermitted(message) = error else { panic!("{error:?}") };
        for remedy in ["on eth0", "sudo setcap cap_net_raw=ep /", "--cap-add=NET_RAW", "[NET_RAW]", "--read FILE"] {
            assert!(message.contains(remedy), "{remedy} is not in: {message}");
        }
    }

    #[test]
    fn other_reasons_are_passed_on() {
        let message = refused("lo", "the moon is wrong").to_string();
        assert_eq!(message, "interface lo cannot be captured: the moon is wrong");
    }

    #[test]
    fn an_unknown_interface_is_told_with_the_known_ones() {
        let message = no_such_interface("eth99").to_string();
        assert!(message.starts_with("there is no interface eth99; choose from "), "{message}");
        assert!(message.contains("lo") && message.ends_with(", any"), "{message}");
    }
}
