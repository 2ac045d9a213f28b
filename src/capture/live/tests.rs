//! Capture on real interfaces. Without the right to capture, the refusal must tell what to do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;

use super::*;
use crate::capture::OwnedPacket;
use crate::packet::LinkType;

/// More waits than any test needs; bounds a test that goes wrong.
const PATIENCE: usize = 100;
const WAIT: Duration = Duration::from_millis(100);

fn config(interfaces: &[&str], filter: String) -> LiveConfig {
    LiveConfig {
        interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
        filter,
        snap_length: 262_144,
        ring_bytes: 8 << 20,
        promiscuous: false,
    }
}

/// The source, or nothing where capture is not permitted and the refusal is as it should be.
fn open(config: &LiveConfig) -> Option<LiveSource> {
    match LiveSource::open(config) {
        Ok(source) => Some(source),
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
        assert_eq!((packet.link, packet.wire_length, packet.data.len()), (LinkType::Ethernet, 142, 142));
        assert_eq!(usize::from(packet.data[141]), number);
        assert_eq!(Some(packet.interface), system::interface_index("lo"));
        assert!(packet.at > before, "{packet:?}");
    }
    let statistics = source.statistics();
    assert!(statistics.received >= 50);
    assert_eq!(statistics.dropped_by_kernel, 0);
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
        let index = packet.data[4..8].try_into().map(u32::from_be_bytes).ok();
        assert_eq!(index, system::interface_index("lo"));
    }
}

#[test]
fn the_default_filter_is_taken_for_every_interface() {
    let (socket, port) = local_socket();
    for (interface, link_header) in [("lo", 14), ("any", 20)] {
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
    assert_eq!((packets[0].data.len(), packets[0].wire_length), (64, 142));
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

#[test]
fn capture_goes_on_when_one_of_several_interfaces_is_removed_and_fails_after_the_last() {
    with_a_pair(|| {
        ip("link set lo up");
        let (socket, port) = local_socket();
        let mut source = open(&config(&["left", "lo", "right"], format!("udp port {port}"))).unwrap();
        send(&socket, 3);
        receive(&mut source, |packets| packets.len() == 3);
        ip("link del left");
        for _ in 0..PATIENCE {
            pass_time(&mut source).unwrap();
            if source.interfaces.len() == 1 {
                break;
            }
        }
        assert_eq!(source.interfaces.iter().map(Interface::name).collect::<Vec<_>>(), ["lo"]);
        send(&socket, 3);
        receive(&mut source, |packets| packets.len() == 3);
    });
    with_a_pair(|| {
        let mut source = open(&config(&["left"], String::new())).unwrap();
        ip("link del left");
        let error = (0..PATIENCE).find_map(|_| pass_time(&mut source).err()).unwrap();
        let message = error.to_string();
        assert!(message.starts_with("capture failed: interface left is gone: "), "{message}");
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
fn an_interface_that_is_down_is_refused_with_the_way_to_bring_it_up() {
    with_a_pair(|| {
        ip("link set left down");
        let Err(error) = LiveSource::open(&config(&["left"], String::new())) else { panic!("it was opened") };
        let message = error.to_string();
        assert_eq!(message, "interface left is down; take another one, or bring it up: ip link set left up");
    });
}
