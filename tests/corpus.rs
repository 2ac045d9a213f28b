//! The kept inputs of the fuzzer through its targets. `UPDATE_CORPUS=1` writes the seeds anew, from what the other tests
//! say; `regression-…` are inputs that once failed.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

mod support;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::fs;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use network_agent::packet::LinkType;
use support::frames::{in_fragments, in_vxlan, ipv4, tagged};
use support::{Conversation, Frame, Random, Side, files, snap};
use targets::TARGETS;

/// Bytes of all kept inputs.
const MAX_CORPUS: u64 = 300_000;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Runs every input of a target; the seeds are written first when that is asked for.
fn run(name: &str, seeds: &[(&str, Vec<u8>)]) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let folder = folder(name);
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (seed, bytes) in seeds {
            fs::write(folder.join(seed), bytes).unwrap();
        }
    }
    let kept: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for (seed, bytes) in seeds {
        let found = fs::read(folder.join(seed)).ok();
        assert!(found.as_ref() == Some(bytes), "{name}/{seed} is not what it was (UPDATE_CORPUS=1 writes it anew)");
    }
    for path in kept {
        let input = fs::read(&path).unwrap();
        let outcome = catch_unwind(|| (target.run)(&input));
        assert!(outcome.is_ok(), "{} fails", path.display());
    }
}

/// A request and its response, with the handshake and the end.
fn talk(link: LinkType, client: &str, server: &str) -> Vec<Frame> {
    Conversation::between(client, server)
        .on(link)
        .handshake()
        .client("GET /a HTTP/1.1\r\nHost: shop\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        .close()
        .frames
}

fn simple(link: LinkType) -> Vec<Frame> {
    talk(link, "10.0.0.1:4000", "10.0.0.2:80")
}

/// Bytes without meaning, which a target reads as choices.
fn noise(first: u8, seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let byte = |_| u8::try_from(random.below(256)).unwrap();
    std::iter::once(first).chain((1..length).map(byte)).collect()
}

#[test]
fn packets() {
    let request = |frames: Vec<Frame>| frames[3].data.clone();
    let plain = request(simple(LinkType::Ethernet));
    let six = request(talk(LinkType::Ethernet, "[fd00::1]:4000", "[fd00::2]:80"));
    let raw = request(simple(LinkType::Raw));
    let raw_six = request(talk(LinkType::Raw, "[fd00::1]:4000", "[fd00::2]:80"));
    let ends = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let gre = [&[0, 0, 8, 0][..], &raw].concat();
    let [first, last] = in_fragments(&plain, 24);
    let mut extended = raw_six.clone();
    extended[6] = 0;
    extended.splice(40..40, [6, 0, 1, 4, 0, 0, 0, 0]);
    let length = u16::try_from(extended.len() - 40).unwrap().to_be_bytes();
    extended[4..6].copy_from_slice(&length);
    run(
        "packet",
        &[
            ("ethernet", plain.clone()),
            ("ethernet-ipv6", six),
            ("sll", request(simple(LinkType::LinuxSll))),
            ("sll2", request(simple(LinkType::LinuxSll2))),
            ("raw", raw.clone()),
            ("null", request(simple(LinkType::Null))),
            ("loop", request(simple(LinkType::Loop))),
            ("tags", tagged(&plain, &[7, 9])),
            ("vxlan", in_vxlan(&plain)),
            ("vxlan-twice", in_vxlan(&in_vxlan(&plain))),
            ("ip-in-ip", ipv4(ends.0, ends.1, 4, &raw)),
            ("6in4", ipv4(ends.0, ends.1, 41, &raw_six)),
            ("gre", ipv4(ends.0, ends.1, 47, &gre)),
            ("hop-by-hop", extended),
            ("first-fragment", first),
            ("last-fragment", last),
        ],
    );
}

#[test]
fn segments() {
    run(
        "reassembler",
        &[
            ("honest", noise(0, 1, 60)),
            ("honest-long", noise(4, 2, 300)),
            ("honest-late", [noise(0, 3, 30), vec![0xf0; 100]].concat()),
            ("hostile", noise(1, 4, 100)),
            ("hostile-long", noise(1, 5, 600)),
            ("hostile-other", noise(3, 6, 600)),
        ],
    );
}

#[test]
fn http1() {
    let cases: [(&str, &[u8]); 14] = [
        ("get", b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\xf8HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        ("chunked", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n\xf8HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("head", b"HEAD / HTTP/1.1\r\n\r\n\xf8HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n\xf8GET / HTTP/1.1\r\n\r\n\xf8HTTP/1.1 304 No\r\n\r\n"),
        ("until-close", b"GET / HTTP/1.0\r\n\r\n\xf8HTTP/1.0 200 OK\r\n\r\nall of it\xfb\xf8\xfb"),
        ("continue", b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n\xf8HTTP/1.1 100 Continue\r\n\r\n\xf8body\xf8HTTP/1.1 204 No\r\n\r\n"),
        ("pipelined", b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n\xf8HTTP/1.1 211 X\r\nContent-Length: 1\r\n\r\naHTTP/1.1 212 X\r\nContent-Length: 0\r\n\r\n"),
        ("upgrade", b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\xf8HTTP/1.1 101 Switching\r\n\r\n\x81\x05hello"),
        ("connect", b"CONNECT h:443 HTTP/1.1\r\n\r\n\xf8HTTP/1.1 200 OK\r\n\r\n\xf8\x16\x03\x01\x02"),
        ("http2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        ("lenient", b"\r\n\r\nGET /a b HTTP/1.1\n X: folded\n Y : 1\nZ\n\n\xf8HTTP/1.1 200\nContent-Length: 2, 2\n\nok"),
        ("gap-in-body", b"GET / HTTP/1.1\r\n\r\n\xf8HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nabc\xfa\x0dlast\xf8GET / HTTP/1.1\r\n\r\n"),
        ("gap-in-head", b"GET / HTTP/1.1\r\nX\xfa\x09\xf9: y\r\n\r\n\xf8HTTP/1.1 200 OK\r\n\xfa\x02Content-Length: 0\r\n\r\n"),
        ("long-head", b"GET / HTTP/1.1\r\nLong: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("other", b"220 mail ESMTP\r\n\xf8EHLO there\r\n"),
    ];
    let seeds: Vec<(&str, Vec<u8>)> = cases.into_iter().map(|(name, text)| (name, text.to_vec())).collect();
    run("http1", &seeds);
}

#[test]
fn pipelines() {
    let mut cut = simple(LinkType::Ethernet);
    snap(&mut cut, 70);
    let talks = [simple(LinkType::Ethernet), talk(LinkType::Ethernet, "[fd00::1]:4000", "[fd00::2]:80")].concat();
    run(
        "pipeline",
        &[
            ("records", files::pcap(&talks)),
            ("records-cut", files::pcap(&cut)),
            ("harmless", noise(0, 1, 200)),
            ("harmless-long", noise(2, 2, 600)),
            ("harmless-other", noise(4, 3, 300)),
            ("lossy", noise(1, 4, 200)),
            ("lossy-long", noise(3, 5, 600)),
            ("lossy-other", noise(5, 6, 300)),
        ],
    );
}

#[test]
fn capture_files() {
    let frames = simple(LinkType::Ethernet);
    let mixed: Vec<Frame> =
        [LinkType::Ethernet, LinkType::LinuxSll2, LinkType::Raw].into_iter().flat_map(simple).collect();
    let (pcap, pcapng) = (files::pcap(&frames), files::pcapng(&mixed));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&pcap).unwrap();
    let mut cut = pcapng.clone();
    cut.truncate(500);
    let told = Conversation::new().on(LinkType::Null).handshake().ack(Side::Server).frames;
    run(
        "files",
        &[
            ("pcap", pcap),
            ("pcap-null", files::pcap(&told)),
            ("pcapng", pcapng),
            ("pcapng-cut", cut),
            ("gzip", encoder.finish().unwrap()),
            ("no-capture", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("empty", Vec::new()),
        ],
    );
}

#[test]
fn configurations() {
    let cases = [
        ("honeycomb", "HONEYCOMB_API_KEY=s3cr3t\nHONEYCOMB_DATASET=traffic\nAGENT_NODE_NAME=node-1"),
        (
            "collector",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317\nOTEL_EXPORTER_OTLP_HEADERS=x-key=s3cr3t\nOTEL_TRACES_SAMPLER=parentbased_traceidratio\nOTEL_TRACES_SAMPLER_ARG=0.25\nOTEL_PROPAGATORS=b3,b3multi",
        ),
        ("file", "!\n--read=x.pcap\n--export=pretty\n--stats=json\n-vv"),
        (
            "limits",
            "--read=-\nAGENT_MAX_HEAD_BYTES=1KiB\nAGENT_EXCHANGE_TIMEOUT=5s\n--max-connections=9\n--loss-grace=1ms",
        ),
        (
            "interfaces",
            "--interface=eth0,lo\n--promiscuous\n--filter=tcp\n--snap-length=96\nAGENT_RING_BYTES=64KiB\n--export=none",
        ),
        (
            "faults",
            "AGENT_MAX_HEAD_BYTES=big\nAGENT_IDLE_TIMEOUT=5\nAGENT_SNAP_LENGTH=1\nHONEYCOMB_API_ENDPOINT=://\nLOG_LEVEL=loud\nINCLUDE_REQUEST_URL=maybe",
        ),
        (
            "warnings",
            "--read=x\nOTEL_BSP_SCHEDULE_DELAY=soon\nHANDLER_TYPE=libhoney\nOTEL_RESOURCE_ATTRIBUTES=a=%ff\nADDITIONAL_ATTRIBUTES=a=1,b=2",
        ),
        ("arguments", "--raed=x\n--export"),
        (
            "client-key",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY=key.pem\nOTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\nAGENT_NODE_IP=10.0.0.1,fd00::1,x",
        ),
    ];
    let seeds: Vec<(&str, Vec<u8>)> = cases.into_iter().map(|(name, text)| (name, text.as_bytes().to_vec())).collect();
    run("configuration", &seeds);
}

#[test]
fn the_corpus_is_small() {
    let files = TARGETS.iter().flat_map(|target| fs::read_dir(folder(target.name)).unwrap());
    let bytes: u64 = files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < MAX_CORPUS, "{bytes} bytes");
}
