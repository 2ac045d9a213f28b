//! Link types and errors of libpcap → words for the user.

use pcap::Linktype;

/// The link type's number with libpcap's name for it, such as `220 (USB_LINUX_MMAPPED)`.
pub(super) fn link_name(code: u32) -> String {
    match i32::try_from(code).map(|code| Linktype(code).get_name()) {
        Ok(Ok(name)) => format!("{code} ({name})"),
        _ => code.to_string(),
    }
}

/// Why packets of this link type cannot be read.
pub(super) fn unsupported_link(code: u32) -> String {
    format!(
        "its link type {} cannot be read; understood are Ethernet, Linux cooked capture (SLL, SLL2), raw IP and BSD \
         loopback",
        link_name(code)
    )
}

/// What libpcap says, without the crate's own words around it.
pub(super) fn reason(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(words) => words.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_type_is_told_by_number_and_name() {
        assert_eq!(link_name(220), "220 (USB_LINUX_MMAPPED)");
        assert_eq!(link_name(65_000), "65000");
        assert!(unsupported_link(127).starts_with("its link type 127 (IEEE802_11_RADIO) cannot be read"));
    }
}
