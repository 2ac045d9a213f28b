//! BPF expressions: the default of live capture, and a filter for packets that come from a file.

use std::net::SocketAddr;

use pcap::{BpfProgram, Capture, Linktype};

use super::CaptureError;
use super::words::reason;
use crate::packet::{LinkType, RawPacket};

/// What the agent captures by default, for any link type: every packet that may carry TCP, so that nothing is missing
/// when a stream is put together again.
///
/// - TCP over IPv4 and IPv6, whatever the ports
/// - every IPv4 and IPv6 fragment, because only the first shows the ports
/// - IPv6 with extension headers, because BPF cannot walk them
/// - the tunnels that are looked into: VXLAN, Geneve, GTP-U, MPLS in UDP, IP-in-IP, 6in4, GRE
/// - frames with a VLAN tag; `ether proto` rather than `vlan`, which moves the offsets of all that follows it and is
///   refused for cooked captures. A tag that the network card took off is no longer there when the filter runs.
///
/// Less the connections to `export`, the addresses the agent itself sends to, where no tag or tunnel hides them.
pub fn default_filter(export: &[SocketAddr]) -> String {
    let wanted = [
        "tcp",
        "ip[6:2] & 0x3fff != 0",
        "ip proto 4 or ip proto 41 or ip proto 47 or ip proto 51",
        "udp port 4789 or udp port 8472 or udp port 6081 or udp port 2152 or udp port 6635",
        "ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 51 or ip6[6] = 60",
        "ip6[6] = 4 or ip6[6] = 41 or ip6[6] = 47",
        "ether proto 0x8100 or ether proto 0x88a8 or ether proto 0x9100",
    ];
    let exclusions = export.iter().map(|address| {
        let (host, port) = (address.ip().to_canonical(), address.port());
        format!(" and not ((dst host {host} and tcp dst port {port}) or (src host {host} and tcp src port {port}))")
    });
    [format!("({})", wanted.join(" or "))].into_iter().chain(exclusions).collect()
}

/// What the kernel's hash of addresses and ports cannot keep together beside fragments of IPv4: tunnels, whose inner
/// addresses it does not see, and fragments of IPv6, most of which have no ports.
const WITHOUT_PORTS: &str = "ip proto 4 or ip proto 41 or ip proto 47 \
    or ip6[6] = 44 or ip6[6] = 4 or ip6[6] = 41 or ip6[6] = 47 \
    or udp port 4789 or udp port 8472 or udp port 6081 or udp port 2152 or udp port 6635";

/// What must go to one worker alone. Fragments of TCP over IPv4 need not where the kernel puts them together before it
/// looks at the ports.
pub(super) fn to_one_worker(kernel_joins_fragments: bool) -> String {
    let fragments =
        if kernel_joins_fragments { "ip[6:2] & 0x3fff != 0 and not ip proto 6" } else { "ip[6:2] & 0x3fff != 0" };
    format!("({fragments}) or {WITHOUT_PORTS}")
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
    CaptureError::Filter { filter: expression.to_owned(), reason: reason(error) }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// DLT numbers of Ethernet, cooked captures, raw IP and BSD loopback: what live capture can meet.
    const LINKS: [i32; 6] = [1, 113, 276, 12, 0, 108];
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;

    /// A packet that begins as link type `link` says; nothing for a protocol that it cannot carry.
    fn frame(link: i32, protocol: u16, payload: &[u8]) -> Option<Vec<u8>> {
        let family: u32 = match protocol {
            IPV4 => 2,
            IPV6 => 10,
            _ => 0,
        };
        let header = match link {
            1 => [[2; 12].as_slice(), &protocol.to_be_bytes()].concat(),
            113 => [[0; 14].as_slice(), &protocol.to_be_bytes()].concat(),
            276 => [protocol.to_be_bytes().as_slice(), &[0; 18]].concat(),
            _ if family == 0 => return None,
            0 => family.to_ne_bytes().to_vec(),
            108 => family.to_be_bytes().to_vec(),
            _ => vec![],
        };
        Some([header.as_slice(), payload].concat())
    }

    fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let start = [0x45, 0, 0, 60, 0, 1];
        let rest = [64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&start, fragment.to_be_bytes().as_slice(), &rest, payload].concat()
    }

    fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let (mut source, mut destination) = ([0; 16], [0; 16]);
        (source[0], source[15], destination[0], destination[15]) = (0xfd, 1, 0xfd, 2);
        [[0x60, 0, 0, 0, 0, 40, next_header, 64].as_slice(), &source, &destination, payload].concat()
    }

    fn ports(source: u16, destination: u16) -> Vec<u8> {
        [source.to_be_bytes().as_slice(), &destination.to_be_bytes(), &[0; 36]].concat()
    }

    fn vlan(tags: usize, protocol: u16, payload: &[u8]) -> (u16, Vec<u8>) {
        let more = (1..tags).flat_map(|_| [0, 7, 0x81, 0x00]);
        (0x88a8, more.chain([0, 7]).chain(protocol.to_be_bytes()).chain(payload.iter().copied()).collect())
    }

    fn wanted() -> Vec<(&'static str, u16, Vec<u8>)> {
        let tcp = ports(40_000, 80);
        let mut wanted = vec![
            ("TCP", IPV4, ipv4(6, 0x4000, &tcp)),
            ("TCP over IPv6", IPV6, ipv6(6, &tcp)),
            ("a first fragment", IPV4, ipv4(6, 0x2000, &tcp)),
            ("a middle fragment", IPV4, ipv4(6, 0x2010, &[0; 40])),
            ("a last fragment", IPV4, ipv4(6, 0x0010, &[0; 40])),
            ("a last fragment of a tunnel", IPV4, ipv4(17, 0x0010, &[0; 40])),
            ("IP in IP", IPV4, ipv4(4, 0, &[0; 40])),
            ("6in4", IPV4, ipv4(41, 0, &[0; 40])),
            ("GRE", IPV4, ipv4(47, 0, &[0; 40])),
            ("4in6", IPV6, ipv6(4, &[0; 40])),
            ("6in6", IPV6, ipv6(41, &[0; 40])),
            ("GRE over IPv6", IPV6, ipv6(47, &[0; 40])),
        ];
        for port in [4789, 8472, 6081, 2152, 6635] {
            wanted.push(("a tunnel in UDP", IPV4, ipv4(17, 0, &ports(50_000, port))));
            wanted.push(("a tunnel in UDP over IPv6", IPV6, ipv6(17, &ports(50_000, port))));
        }
        for header in [0, 43, 44, 51, 60] {
            wanted.push(("an extension header", IPV6, ipv6(header, &[6; 40])));
        }
        for tags in 1..=3 {
            let (protocol, payload) = vlan(tags, IPV4, &ipv4(6, 0, &tcp));
            wanted.push(("TCP behind VLAN tags", protocol, payload.clone()));
            wanted.push(("TCP behind one kind of VLAN tag", 0x8100, payload.clone()));
            wanted.push(("TCP behind another kind of VLAN tag", 0x9100, payload));
        }
        wanted
    }

    fn compile(link: i32, filter: &str) -> BpfProgram {
        Capture::dead(Linktype(link)).unwrap().compile(filter, true).unwrap()
    }

    #[test]
    fn the_default_passes_all_that_may_carry_tcp_on_every_link_type() {
        let filter = default_filter(&["192.0.2.1:4317".parse().unwrap(), "[2001:db8::1]:4317".parse().unwrap()]);
        for link in LINKS {
            let program = compile(link, &filter);
            for (name, protocol, payload) in wanted() {
                if let Some(packet) = frame(link, protocol, &payload) {
                    assert!(program.filter(&packet), "{name} does not pass on link type {link}");
                }
            }
        }
    }

    #[test]
    fn the_default_stops_what_cannot_carry_tcp() {
        let unwanted = [
            ("DNS", IPV4, ipv4(17, 0, &ports(50_000, 53))),
            ("DNS over IPv6", IPV6, ipv6(17, &ports(50_000, 53))),
            ("ping", IPV4, ipv4(1, 0, &[0; 40])),
            ("ping over IPv6", IPV6, ipv6(58, &[0; 40])),
            ("ARP", 0x0806, vec![0; 28]),
        ];
        for link in LINKS {
            let program = compile(link, &default_filter(&[]));
            for (name, protocol, payload) in &unwanted {
                if let Some(packet) = frame(link, *protocol, payload) {
                    assert!(!program.filter(&packet), "{name} passes on link type {link}");
                }
            }
        }
    }

    #[test]
    fn the_default_stops_the_agents_own_export_both_ways_and_nothing_else() {
        let addresses = ["10.0.0.2:4317", "[fd00::2]:4317", "[::ffff:10.0.0.1]:443"];
        let filter = default_filter(&addresses.map(|address| address.parse().unwrap()));
        let own = [
            (IPV4, ipv4(6, 0, &ports(40_000, 4317))),
            (IPV6, ipv6(6, &ports(40_000, 4317))),
            (IPV4, ipv4(6, 0, &ports(443, 40_000))),
        ];
        let others = [
            (IPV4, ipv4(6, 0, &ports(4317, 40_000))),
            (IPV6, ipv6(6, &ports(4317, 40_000))),
            (IPV4, ipv4(6, 0, &ports(40_000, 443))),
            (IPV4, ipv4(6, 0, &ports(40_000, 4318))),
        ];
        for link in LINKS {
            let program = compile(link, &filter);
            for (protocol, payload) in &own {
                assert!(!program.filter(&frame(link, *protocol, payload).unwrap()));
            }
            for (protocol, payload) in &others {
                assert!(program.filter(&frame(link, *protocol, payload).unwrap()));
            }
        }
    }

    #[test]
    fn the_default_reads_of_cooked_headers_only_what_the_kernel_has() {
        // libpcap runs a filter in the kernel when it looks at nothing of an SLL2 header but its protocol, interface,
        // hardware and packet type; otherwise every packet would be copied to be looked at.
        let filter = default_filter(&["192.0.2.1:4317".parse().unwrap()]);
        let program = compile(276, &filter);
        let mut loads = 0;
        for instruction in program.get_instructions() {
            // Code, two jumps and the constant.
            let text = instruction.to_string();
            let fields: Vec<u32> = text.split(' ').map(|field| field.parse().unwrap()).collect();
            let (class, mode, offset) = (fields[0] & 0x07, fields[0] & 0xe0, fields[3]);
            let reads_packet = class <= 1 && [0x20, 0x40, 0xa0].contains(&mode);
            assert!(!reads_packet || [0, 4, 8, 10].contains(&offset) || offset >= 20, "{text}");
            loads += u32::from(reads_packet);
        }
        assert!(loads > 5);
    }
}
