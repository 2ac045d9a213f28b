//! What libpcap says when it does not open an interface → what is wrong and what to do.

use super::selection::{ANY, Interface};
use crate::capture::CaptureError;
use crate::capture::words::reason;

/// Why no ring was opened.
pub(super) fn of(error: &pcap::Error) -> CaptureError {
    let reason = reason(error);
    // libpcap 1.10 names the capability, older ones say "permission" or give the system's "not permitted".
    if ["CAP_NET_RAW", "permission", "permitted"].iter().any(|word| reason.contains(word)) {
        return CaptureError::NotPermitted(not_permitted());
    }
    CaptureError::Interface(format!("capture is not possible: {reason}"))
}

/// There are no interfaces of these names.
pub(super) fn no_such_interface(names: &[&str], there: &[Interface]) -> CaptureError {
    let example = names.first().unwrap_or(&"veth");
    CaptureError::Interface(format!(
        "there is no interface {}; {}; for one that comes later use a pattern, such as {example}*",
        names.join(" and no "),
        choices(there)
    ))
}

/// The interfaces there are, in words.
pub(super) fn choices(there: &[Interface]) -> String {
    let names: Vec<&str> = there.iter().map(|interface| interface.name.as_str()).chain([ANY]).collect();
    format!("choose from {}", names.join(", "))
}

fn not_permitted() -> String {
    let program =
        std::env::current_exe().map_or_else(|_| "network-agent".to_owned(), |path| path.display().to_string());
    format!(
        "capturing needs the capability CAP_NET_RAW, which this process does not have.\n  \
         In a shell:     sudo {program} …   or once: sudo setcap cap_net_raw=p {program}\n  \
         With Docker:    docker run --net=host --cap-add=NET_RAW …\n  \
         With containerd: nerdctl run --net=host --cap-add=NET_RAW …   or ctr run --cap-add CAP_NET_RAW …\n  \
         With systemd:   AmbientCapabilities=CAP_NET_RAW in the unit\n  \
         On Kubernetes:  hostNetwork: true, and in the container's securityContext\n                  \
         capabilities.add: [NET_RAW]; where that does not suffice runAsUser: 0 with it\n  \
         A capture file needs no right: --read FILE"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &str) -> CaptureError {
        of(&pcap::Error::PcapError(words.to_owned()))
    }

    #[test]
    fn a_missing_right_is_told_with_its_remedies() {
        let error = refused("Attempt to create packet socket failed - CAP_NET_RAW may be required");
        let CaptureError::NotPermitted(message) = error else { panic!("{error:?}") };
        let remedies =
            ["sudo setcap cap_net_raw=p /", "--cap-add=NET_RAW", "AmbientCapabilities", "[NET_RAW]", "--read FILE"];
        for remedy in remedies {
            assert!(message.contains(remedy), "{remedy} is not in: {message}");
        }
    }

    #[test]
    fn other_reasons_are_passed_on() {
        assert_eq!(refused("the moon is wrong").to_string(), "capture is not possible: the moon is wrong");
    }

    #[test]
    fn an_unknown_interface_is_told_with_the_known_ones() {
        let there = [Interface { index: 1, name: "lo".to_owned() }];
        let message = no_such_interface(&["eth99"], &there).to_string();
        let expected =
            "there is no interface eth99; choose from lo, any; for one that comes later use a pattern, such as eth99*";
        assert_eq!(message, expected);
        let message = no_such_interface(&["eth98", "eth99"], &there).to_string();
        assert!(message.starts_with("there is no interface eth98 and no eth99; choose"), "{message}");
    }
}
