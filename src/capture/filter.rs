//! BPF expressions: the default of live capture, and a filter for packets that come from a file.

use std::net::SocketAddr;

use pcap::{BpfProgram, Capture, Linktype};

use super::CaptureError;
use crate::packet::{LinkType, RawPacket};

/// What the agent captures by default, for any link type: every packet that may carry TCP, so that nothing is missing
/// when a stream is put together again.
///
/// - TCP over IPv4 and IPv6, whatever the ports
/// - every IPv4 and IPv6 fragment, because only the first shows the ports
/// - IPv6 with extension headers, because BPF cannot walk them
/// - the tunnels that are looked into: VXLAN, Geneve, IP-in-IP, 6in4, GRE
/// - frames with a VLAN tag; `ether proto` rather than `vlan`, which moves the offsets of all that follows it and is
///   refused for cooked captures. A tag that the network card took off is no longer there when the filter runs.
///
/// Less the connections to `export`, the addresses the agent itself sends to, where no tag or tunnel hides them.
pub fn default_filter(export: &[SocketAddr]) -> String {
    let wanted = [
        "tcp",
        "ip[6:2] & 0x3fff != 0",
        "ip proto 4 or ip proto 41 or ip proto 47 or ip proto 51",
        "udp port 4789 or udp port 8472 or udp port 6081",
        "ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 51 or ip6[6] = 60",
        "ip6[6] = 4 or ip6[6] = 41 or ip6[6] = 47",
        "ether proto 0x8100 or ether proto 0x88a8 or ether proto 0x9100",
    ];
    let mut filter = format!("({})", wanted.join(" or "));
    for address in export {
        let (host, port) = (address.ip().to_canonical(), address.port());
        filter.push_str(" and not ");
        filter.push_str(&format!(
            "((dst host {host} and tcp dst port {port}) or (src host {host} and tcp src port {port}))"
        ));
    }
    filter
}

/// Decides which packets of a file are handed over, whatever their link types.
pub(super) struct PacketFilter {
    expression: Option<String>,
    /// Compiled for each link type when it is first seen; there are six.
    programs: Vec<(LinkType, BpfProgram)>,
}

impl PacketFilter {
    /// Without an expression every packet passes.
    pub(super) const fn new(expression: Option<String>) -> Self {
        Self { expression, programs: Vec::new() }
    }

    /// Whether `packet` passes. Lengths in the expression (`greater`, `less`) mean captured bytes.
    ///
    /// # Errors
    /// [`CaptureError::Filter`] for the first packet of a link type for which the expression does not compile.
    pub(super) fn passes(&mut self, packet: &RawPacket<'_>) -> Result<bool, CaptureError> {
        if self.expression.is_none() {
            return Ok(true);
        }
        self.compile(packet.link)?;
        let program = self.programs.iter().find(|(link, _)| *link == packet.link);
        let bytes = packet.data.get(Dialect::of(packet.link).skip..).unwrap_or_default();
        Ok(program.is_none_or(|(_, program)| program.filter(bytes)))
    }

    /// Makes sure that the expression is compiled for `link`.
    ///
    /// # Errors
    /// [`CaptureError::Filter`]
    pub(super) fn compile(&mut self, link: LinkType) -> Result<(), CaptureError> {
        let Some(expression) = &self.expression else { return Ok(()) };
        if self.programs.iter().any(|(known, _)| *known == link) {
            return Ok(());
        }
        let program = Capture::dead(Dialect::of(link).code)
            .and_then(|capture| capture.compile(expression, true))
            .map_err(|error| filter_error(expression, &error))?;
        self.programs.push((link, program));
        Ok(())
    }
}

pub(super) fn filter_error(expression: &str, error: &pcap::Error) -> CaptureError {
    let reason = match error {
        pcap::Error::PcapError(words) => words.clone(),
        other => other.to_string(),
    };
    CaptureError::Filter { filter: expression.to_owned(), reason }
}

/// How libpcap is asked to look at packets of a link type.
struct Dialect {
    code: Linktype,
    /// Bytes to leave out before libpcap sees the packet.
    skip: usize,
}

impl Dialect {
    fn of(link: LinkType) -> Self {
        let (code, skip) = match link {
            LinkType::Ethernet => (1, 0),
            LinkType::LinuxSll => (113, 0),
            LinkType::LinuxSll2 => (276, 0),
            LinkType::Raw => (12, 0),
            // The address family of these says IPv6 in a number and a byte order of the machine that captured, and
            // libpcap knows only this machine's: it is told of raw IP, and looks at the version there.
            LinkType::Null | LinkType::Loop => (12, 4),
        };
        Self { code: Linktype(code), skip }
    }
}
