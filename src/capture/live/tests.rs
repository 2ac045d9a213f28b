//! Capture on real interfaces. Without the right to capture, the refusal must tell what to do.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;

use super::*;
use crate::capture::OwnedPacket;
use crate::packet::{LinkType, SequenceNumber};

/// More waits than any test needs; bounds a test that goes wrong.
const PATIENCE: usize = 100;
const WAIT: Duration = Duration::from_millis(100);

fn config(interfaces: &[&str], filter: String) -> LiveConfig {
    LiveConfig {
        interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
        without: Vec::new(),
        workers: 1,
        filter,
        snap_length: 262_144,
        ring_bytes: 8 << 20,
        promiscuous: false,
    }
}

/// The source, or nothing where capture is not permitted and the refusal is as it should be.
fn open(config: &LiveConfig) -> Option<LiveSource> {
    match LiveSource::open(config) {
        Ok(mut sources) => sources.pop(),
        Err(CaptureError::NotPermitted(message)) => {
            assert!(message.contains("CAP_NET_RAW") && message.contains("--read FILE"), "{message}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// Receives until `enough` is true of the packets.
fn receive(source: &mut LiveSource, enough: impl Fn(&[OwnedPacket]) -> bool) -> Vec<OwnedPacket> {
    let mut packets = Vec::new();
    for _ in 0..PATIENCE {
        if enough(&packets) {
            return packets;
        }
        source.receive(WAIT, &mut |packet| packets.push(packet.into())).unwrap();
    }
    panic!("only {} packets came", packets.len());
}

/// Sends `count` datagrams to a port of this machine.
fn send(socket: &UdpSocket, count: u8) {
    for number in 0..count {
        socket.send_to(&[number; 100], socket.local_addr().unwrap()).unwrap();
    }
}

fn interface_of(packet: &OwnedPacket) -> u32 {
    u32::from_be_bytes(packet.data[4..8].try_into().unwrap())
}

fn loopback() -> u32 {
    system::interfaces().into_iter().find(|interface| interface.name == "lo").unwrap().index
}

fn local_socket() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn the_loopback_interface_gives_every_datagram_once() {
    let (socket, port) = local_socket();
    let Some(mut source) = open(&config(&["lo", "lo"], format!("udp port {port}"))) else { return };
    let before = present();
    send(&socket, 50);
    let packets = receive(&mut source, |packets| packets.len() >= 50);
    assert_eq!(packets.len(), 50);
    for (number, packet) in packets.iter().enumerate() {
        assert_eq!((packet.link, packet.wire_length, packet.data.len()), (LinkType::LinuxSll2, 148, 148));
        assert_eq!(usize::from(packet.data[147]), number);
        assert_eq!(interface_of(packet), loopback());
        assert!(packet.at > before, "{packet:?}");
    }
    let statistics = source.statistics();
    // The kernel copies none of them twice.
    assert_eq!((statistics.received, statistics.dropped_by_kernel), (50, 0));
}

#[test]
fn of_streams_that_nobody_reads_the_kernel_copies_the_beginning_of_packets_only() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let server = listener.local_addr().unwrap();
        let Some(mut source) = open(&config(&["lo"], format!("tcp port {}", server.port()))) else { return };
        let [mut named, mut other] = [(); 2].map(|()| TcpStream::connect(server).unwrap());
        let [mut named_end, mut other_end] = [(); 2].map(|()| listener.accept().unwrap().0);
        let client = named.local_addr().unwrap();
        let mut buffer = vec![0; 30_000];
        let mut say = |from: &mut TcpStream, to: &mut TcpStream| {
            from.write_all(&vec![7; 30_000]).unwrap();
            to.read_exact(&mut buffer).unwrap();
        };
        say(&mut named, &mut named_end);
        let sent_by = |packet: &OwnedPacket, port: u16| {
            let header = if address.starts_with('[') { 40 } else { 20 };
            packet.wire_length > 5000 && packet.data[20 + header..22 + header] == port.to_be_bytes()
        };
        let before = receive(&mut source, |packets| packets.iter().any(|packet| sent_by(packet, client.port())));
        let first = before.iter().find(|packet| sent_by(packet, client.port())).unwrap();
        let at = if address.starts_with('[') { 64 } else { 44 };
        let from = SequenceNumber::new(u32::from_be_bytes(first.data[at..at + 4].try_into().unwrap()));
        source.leave_out(&[Bulk { source: client, destination: server, from, length: 1 << 20 }]).unwrap();
        say(&mut named, &mut named_end);
        say(&mut named_end, &mut named);
        say(&mut other, &mut other_end);
        let other_port = other.local_addr().unwrap().port();
        let packets = receive(&mut source, |packets| packets.iter().any(|packet| sent_by(packet, other_port)));
        let shortened = packets.iter().filter(|packet| packet.data.len() < packet.wire_length as usize);
        assert!(shortened.clone().count() > 0);
        assert!(shortened.clone().all(|packet| sent_by(packet, client.port()) && packet.data.len() == 256 + 20));
        assert!(packets.iter().any(|packet| sent_by(packet, server.port())), "the answers are whole");
        source.leave_out(&[]).unwrap();
        say(&mut named, &mut named_end);
        let packets = receive(&mut source, |packets| packets.iter().any(|packet| sent_by(packet, client.port())));
        assert!(packets.iter().all(|packet| packet.data.len() == packet.wire_length as usize));
    }
}

#[test]
fn any_is_a_cooked_capture_that_names_the_interface() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let Some(mut source) = open(&config(&["any"], format!("tcp port {}", address.port()))) else { return };
    let client = thread::spawn(move || TcpStream::connect(address).unwrap().write_all(b"hello").unwrap());
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    client.join().unwrap();
    assert_eq!(text, "hello");
    let holds = |packet: &OwnedPacket, bytes: &[u8]| packet.data.windows(bytes.len()).any(|window| window == bytes);
    let packets = receive(&mut source, |packets| packets.iter().any(|packet| holds(packet, b"hello")));
    for packet in packets {
        assert_eq!(packet.link, LinkType::LinuxSll2);
        assert_eq!(interface_of(&packet), loopback());
    }
}

#[test]
fn the_default_filter_is_taken_for_every_interface() {
    let (socket, port) = local_socket();
    for interface in ["lo", "any"] {
        let link_header = 20;
        let filter = crate::capture::default_filter(&[socket.local_addr().unwrap()]);
        let Some(mut source) = open(&config(&[interface], filter)) else { return };
        send(&socket, 5);
        // VXLAN by its port; nobody needs to listen.
        socket.send_to(b"a tunnel", "127.0.0.1:4789").unwrap();
        let from_here = |packet: &OwnedPacket| {
            let ip = &packet.data[link_header..];
            ip[9] == 17 && ip[20..22] == port.to_be_bytes()
        };
        let packets = receive(&mut source, |packets| packets.iter().any(from_here));
        let ours = packets.iter().filter(|packet| from_here(packet));
        assert!(ours.clone().all(|packet| packet.data.ends_with(b"a tunnel")), "{interface}");
        assert_eq!(ours.count(), 1);
    }
}

#[test]
fn an_idle_source_tells_a_time_that_no_packet_will_come_before() {
    let (socket, port) = local_socket();
    let Some(mut source) = open(&config(&["lo"], format!("udp port {port}"))) else { return };
    let received = source.receive(Duration::ZERO, &mut |_| ()).unwrap();
    let Received::Idle { at } = received else { panic!("{received:?}") };
    send(&socket, 1);
    // The packet is in the ring, where the kernel keeps it for a while.
    let Received::Idle { at: with_a_packet_waiting } = source.receive(Duration::ZERO, &mut |_| ()).unwrap() else {
        return;
    };
    let packets = receive(&mut source, |packets| !packets.is_empty());
    assert!(at <= with_a_packet_waiting && with_a_packet_waiting < packets[0].at);
}

#[test]
fn packets_are_cut_to_the_snap_length() {
    let (socket, port) = local_socket();
    let short = LiveConfig { snap_length: 64, ..config(&["lo"], format!("udp port {port}")) };
    let Some(mut source) = open(&short) else { return };
    send(&socket, 1);
    let packets = receive(&mut source, |packets| !packets.is_empty());
    assert_eq!((packets[0].data.len(), packets[0].wire_length), (64, 148));
}

/// The smallest ring has eight blocks.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long packets come is a matter of the real clock")]
fn who_is_starved_for_half_a_second_and_more_loses_nothing_of_little_traffic() {
    let (socket, port) = local_socket();
    let small = LiveConfig { ring_bytes: 1 << 20, ..config(&["lo"], format!("udp port {port}")) };
    let Some(mut source) = open(&small) else { return };
    let begun = std::time::Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_millis(650) {
        send(&socket, 1);
        sent += 1;
        thread::sleep(Duration::from_millis(5));
    }
    receive(&mut source, |packets| packets.len() == sent);
    assert_eq!(source.statistics().dropped_by_kernel, 0);
}

#[test]
fn an_interface_that_does_not_exist_is_told_with_those_that_do() {
    let Err(error) = LiveSource::open(&config(&["lo", "none0"], String::new())) else { panic!("it was opened") };
    let message = error.to_string();
    if matches!(error, CaptureError::NotPermitted(_)) {
        return;
    }
    assert!(message.starts_with("there is no interface none0; choose from "), "{message}");
    let Err(error) = LiveSource::open(&config(&[], String::new())) else { panic!("it was opened") };
    assert!(error.to_string().starts_with("no interface is named; choose from "), "{error}");
}

#[test]
fn a_filter_that_does_not_compile_is_told_with_the_reason() {
    match LiveSource::open(&config(&["lo"], "tcp prot 80".to_owned())).map(|_| ()) {
        Err(CaptureError::Filter { filter, reason }) => {
            assert_eq!(filter, "tcp prot 80");
            assert!(reason.contains("syntax error"), "{reason}");
        }
        Err(CaptureError::NotPermitted(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// Runs `test` in a network of its own, with a pair of joined interfaces `left` and `right`. Without the right to make
/// networks there is nothing to test.
fn with_a_pair(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        #[expect(unsafe_code, reason = "the standard library has no unshare")]
        // SAFETY: the call takes a number and changes only the network that this thread sees.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            assert_eq!(std::io::Error::last_os_error().kind(), std::io::ErrorKind::PermissionDenied);
            return;
        }
        for command in ["link add left type veth peer name right", "link set left up", "link set right up"] {
            ip(command);
        }
        test();
    };
    thread::spawn(run).join().unwrap();
}

fn ip(arguments: &str) {
    assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success(), "ip {arguments}");
}

/// Receives from a source of which no more is expected than that its time goes on.
fn pass_time(source: &mut LiveSource) -> Result<Received, CaptureError> {
    source.receive(WAIT, &mut |_| ())
}

/// Receives until `source` takes from so many interfaces.
fn wait_for_choice(source: &mut LiveSource, count: usize) {
    for _ in 0..PATIENCE {
        if matches!(&source.choice, Choice::Only(indices) if indices.len() == count) {
            return;
        }
        pass_time(source).unwrap();
    }
    panic!("{:?} has not {count} interfaces", source.choice);
}

#[test]
fn interfaces_that_go_and_come_back_are_captured_again_without_a_restart() {
    with_a_pair(|| {
        ip("link set lo up");
        let (socket, port) = local_socket();
        let mut source = open(&config(&["left", "lo"], format!("udp port {port}"))).unwrap();
        send(&socket, 3);
        receive(&mut source, |packets| packets.len() == 3);
        ip("link del left");
        wait_for_choice(&mut source, 1);
        send(&socket, 3);
        receive(&mut source, |packets| packets.len() == 3);
        ip("link add left type veth peer name right");
        wait_for_choice(&mut source, 2);
        let taken = system::interfaces().into_iter().find(|interface| interface.name == "left").unwrap();
        assert!(source.choice.takes(taken.index));
    });
}

#[test]
fn a_pattern_takes_interfaces_that_come_later_and_leaves_others_out() {
    with_a_pair(|| {
        ip("link set lo up");
        let (socket, port) = local_socket();
        let mut source = open(&config(&["late*"], format!("udp port {port}"))).unwrap();
        send(&socket, 3);
        assert!(matches!(pass_time(&mut source), Ok(Received::Idle { .. })));
        ip("link add late0 type veth peer name early0");
        ip("link set early0 up");
        wait_for_choice(&mut source, 1);
        ip("link set late0 up");
        ip("addr add 192.0.2.1/24 dev late0");
        ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev late0");
        let other = UdpSocket::bind("192.0.2.1:0").unwrap();
        other.send_to(b"hello", format!("192.0.2.2:{port}")).unwrap();
        send(&socket, 3);
        let packets = receive(&mut source, |packets| !packets.is_empty());
        assert!(packets.iter().all(|packet| packet.data.ends_with(b"hello")), "nothing of loopback");
    });
}

#[test]
fn what_is_excluded_is_left_out() {
    with_a_pair(|| {
        ip("link set lo up");
        let (socket, port) = local_socket();
        let without = LiveConfig { without: vec!["l?".to_owned()], ..config(&["any"], format!("udp port {port}")) };
        let mut source = open(&without).unwrap();
        send(&socket, 3);
        for _ in 0..3 {
            assert!(matches!(pass_time(&mut source), Ok(Received::Idle { .. })));
        }
    });
}

/// The bound on a socket's filter is the network's own since Linux 6.7; before, there is nothing to test.
#[test]
fn where_the_kernel_cannot_name_so_many_interfaces_all_are_captured_until_it_can() {
    with_a_pair(|| {
        let bound = |bytes: u32| std::fs::write("/proc/sys/net/core/optmem_max", bytes.to_string()).is_ok();
        if !bound(131_072) {
            return;
        }
        ip("link set lo up");
        let (socket, port) = local_socket();
        let Some(mut source) = open(&config(&["left", "right", "many*"], format!("udp port {port}"))) else { return };
        assert!(bound(4096));
        let folder = tempfile::tempdir().unwrap();
        let (batch, add) =
            (folder.path().join("batch"), |pair| format!("link add many{pair} type veth peer name manypeer{pair}\n"));
        std::fs::write(&batch, (0..150).map(add).collect::<String>()).unwrap();
        ip(&format!("-batch {}", batch.display()));
        wait_for_choice(&mut source, 302);
        assert_eq!(source.taken, Taken::All);
        send(&socket, 3);
        receive(&mut source, |packets| packets.len() == 3);
        assert!(bound(131_072));
        ip("link del many0");
        wait_for_choice(&mut source, 300);
        assert_eq!(source.taken, Taken::Chosen);
        send(&socket, 3);
        assert!(matches!(pass_time(&mut source), Ok(Received::Idle { .. })), "loopback is not among them");
    });
}

#[test]
fn an_interface_that_comes_later_is_made_promiscuous_too() {
    with_a_pair(|| {
        let promiscuous = LiveConfig { promiscuous: true, ..config(&["any"], "tcp".to_owned()) };
        let Some(mut source) = open(&promiscuous) else { return };
        let is_promiscuous = |name: &str| {
            let shown = Command::new("ip").args(["-d", "link", "show", name]).output().unwrap();
            String::from_utf8_lossy(&shown.stdout).contains("promiscuity 1")
        };
        assert!(is_promiscuous("left"));
        ip("link add late type veth peer name early");
        let mut waits = 0..PATIENCE;
        while !is_promiscuous("late") {
            assert!(waits.next().is_some(), "it was not asked");
            pass_time(&mut source).unwrap();
        }
    });
}

#[test]
fn capture_goes_on_when_an_interface_went_down_and_came_up() {
    with_a_pair(|| {
        let mut source = open(&config(&["left"], "ip".to_owned())).unwrap();
        ip("link set left down");
        assert!(matches!(pass_time(&mut source), Ok(Received::Idle { .. })));
        assert!(matches!(pass_time(&mut source), Ok(Received::Idle { .. })));
        ip("link set left up");
        ip("addr add 192.0.2.1/24 dev left");
        ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev left");
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.send_to(b"hello", "192.0.2.2:9").unwrap();
        receive(&mut source, |packets| !packets.is_empty());
    });
}

#[test]
fn workers_see_every_packet_once_and_both_directions_of_a_connection_together() {
    with_a_pair(|| {
        ip("link set lo up");
        let shared = LiveConfig { workers: 3, ..config(&["any"], "tcp".to_owned()) };
        let mut sources = LiveSource::open(&shared).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..40 {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"ask").unwrap();
            let mut server = listener.accept().unwrap().0;
            server.write_all(b"answer").unwrap();
            drop(client);
        }
        let mut of_port: HashMap<u16, Vec<usize>> = HashMap::new();
        let mut seen = HashMap::new();
        for _ in 0..PATIENCE {
            for (worker, source) in sources.iter_mut().enumerate() {
                let mut take = |packet: &RawPacket<'_>| {
                    let (ip, tcp) = packet.data[20..].split_at(20);
                    let ports = [u16::from_be_bytes([tcp[0], tcp[1]]), u16::from_be_bytes([tcp[2], tcp[3]])];
                    let client = ports.into_iter().find(|port| *port != address.port()).unwrap();
                    if tcp.len() > usize::from(tcp[12] >> 4) * 4 {
                        // Sent again, by a machine that is all busy, it would come much later.
                        let before = seen.insert((ports, [ip[4], ip[5]]), packet.at);
                        let apart = before.map(|before| packet.at.saturating_since(before));
                        assert!(
                            apart.is_none_or(|apart| apart.as_millis() > 100),
                            "a packet was seen twice: {apart:?}"
                        );
                        of_port.entry(client).or_default().push(worker);
                    }
                };
                source.receive(WAIT / 4, &mut take).unwrap();
            }
            if of_port.len() == 40 && of_port.values().all(|workers| workers.len() >= 2) {
                break;
            }
        }
        assert_eq!(of_port.len(), 40);
        for workers in of_port.values() {
            assert!(workers.len() >= 2 && workers.iter().all(|worker| *worker == workers[0]), "{workers:?}");
        }
        let used: BTreeSet<usize> = of_port.values().flatten().copied().collect();
        assert!(used.len() > 1, "all connections on one worker");
    });
}

/// An Ethernet frame with `part` of a TCP segment from port `port` to port 80, cut into fragments or not.
fn frame_of_tcp(identification: u16, fragment: u16, part: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + part.len()).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1]];
    header.extend(identification.to_be_bytes());
    header.extend(fragment.to_be_bytes());
    header.extend([64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    let words = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [[0xff; 6].as_slice(), &[2, 0, 0, 0, 0, 1, 8, 0], &header, part].concat()
}

#[test]
fn fragments_of_tcp_come_whole_to_the_worker_of_their_connection() {
    with_a_pair(|| {
        let filter = crate::capture::default_filter(&[]);
        let mut sources = LiveSource::open(&LiveConfig { workers: 3, ..config(&["any"], filter) }).unwrap();
        let mut wire = pcap::Capture::from_device("left").unwrap().open().unwrap();
        for number in 0..30_u16 {
            let mut segment = vec![0; 20 + 600];
            segment[..2].copy_from_slice(&(40_000 + number).to_be_bytes());
            (segment[3], segment[12], segment[13]) = (80, 0x50, 0x10);
            wire.sendpacket(frame_of_tcp(number * 2, 0, &segment)).unwrap();
            wire.sendpacket(frame_of_tcp(number * 2 + 1, 0x2000, &segment[..400])).unwrap();
            wire.sendpacket(frame_of_tcp(number * 2 + 1, 400 / 8, &segment[400..])).unwrap();
        }
        let mut of_port: HashMap<u16, Vec<usize>> = HashMap::new();
        for _ in 0..PATIENCE {
            for (worker, source) in sources.iter_mut().enumerate() {
                let mut take = |packet: &RawPacket<'_>| {
                    let (ip, tcp) = packet.data[20..].split_at(20);
                    if ip[9] == 6 {
                        assert_eq!((&ip[6..8], tcp.len()), (&[0, 0][..], 620), "a fragment");
                        of_port.entry(u16::from_be_bytes([tcp[0], tcp[1]])).or_default().push(worker);
                    }
                };
                source.receive(WAIT / 4, &mut take).unwrap();
            }
            if of_port.values().map(Vec::len).sum::<usize>() >= 90 {
                break;
            }
        }
        assert_eq!(of_port.len(), 30);
        // Both ends show what is whole; what is in fragments is put together where its last one is seen first.
        let together = |workers: &Vec<usize>| workers.len() == 3 && workers.iter().all(|it| *it == workers[0]);
        assert!(of_port.values().all(together), "{of_port:?}");
    });
}

#[test]
fn tunnels_and_fragments_go_to_the_first_worker() {
    with_a_pair(|| {
        ip("link set lo up");
        ip("link set lo mtu 1500");
        let (socket, _) = local_socket();
        let filter = crate::capture::default_filter(&[]);
        let mut sources = LiveSource::open(&LiveConfig { workers: 3, ..config(&["any"], filter) }).unwrap();
        for number in 0..20_u8 {
            let from = UdpSocket::bind("127.0.0.1:0").unwrap();
            from.send_to(&[number; 50], "127.0.0.1:4789").unwrap();
            socket.send_to(&[number; 3000], "127.0.0.1:9").unwrap();
        }
        let mut counts = [0; 3];
        for _ in 0..PATIENCE {
            for (count, source) in counts.iter_mut().zip(&mut sources) {
                // Loopback speaks IPv6 of its own accord.
                let mut take = |packet: &RawPacket<'_>| *count += u32::from(packet.data[20] >> 4 == 4);
                source.receive(WAIT / 4, &mut take).unwrap();
            }
            if counts[0] >= 20 + 2 * 20 {
                break;
            }
        }
        assert_eq!(counts[1..], [0, 0]);
        assert!(counts[0] >= 20 + 2 * 20, "{counts:?}");
    });
}
