//! Sample captures → the spans they must give. `UPDATE_GOLDEN=1` writes captures and expectations anew.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use network_agent::packet::LinkType;
use serde_json::Value;
use support::frames::tagged;
use support::{Conversation, Frame, Side, files};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares with the file, or writes it.
fn compare(name: &str, found: &[u8]) {
    let path = path(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read(&path).unwrap_or_else(|error| panic_with(name, &error.to_string()));
    if wanted != found {
        let (wanted, found) = (String::from_utf8_lossy(&wanted), String::from_utf8_lossy(found));
        let place = wanted.lines().zip(found.lines()).position(|(wanted, found)| wanted != found);
        let line = place.unwrap_or_else(|| wanted.lines().count().min(found.lines().count()));
        let at = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
        panic_with::<()>(name, &format!("line {}: wanted {:?}, found {:?}", line + 1, at(&wanted), at(&found)));
    }
}

#[expect(clippy::panic, reason = "this is how a test fails")]
fn panic_with<T>(name: &str, words: &str) -> T {
    panic!("{name}: {words} (UPDATE_GOLDEN=1 writes it anew)")
}

/// A morning in a small shop: a gateway, an inventory, a payment service.
fn shop() -> Vec<Frame> {
    let json = |body: &str| format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let products = "x".repeat(3100);
    let gateway = Conversation::between("203.0.113.9:51422", "10.244.0.4:8080")
        .handshake()
        .client("GET /products?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\n\r\n")
        .wait(11_000_000)
        .server(format!("HTTP/1.1 200 OK\r\n{}", json(&products)))
        .wait(800_000_000)
        .client("GET /products/42 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\n\r\n")
        .wait(4_000_000)
        .server(format!("HTTP/1.1 404 Not Found\r\n{}", json("{\"error\":\"no such product\"}")))
        .client("GET /images/logo.png HTTP/1.1\r\nHost: shop.example\r\nIf-None-Match: \"7\"\r\n\r\n")
        .server("HTTP/1.1 304 Not Modified\r\nETag: \"7\"\r\n\r\n")
        .wait(1_200_000_000)
        .client(format!("POST /cart HTTP/1.1\r\nHost: shop.example\r\n{}", json("{\"product\":7,\"count\":2}")))
        .wait(38_000_000)
        .server(format!("HTTP/1.1 201 Created\r\nLocation: /cart/1\r\n{}", json("{\"items\":2}")))
        .wait(2_000_000_000)
        .client(format!("POST /checkout HTTP/1.1\r\nHost: shop.example\r\n{}", json("{\"card\":\"1234\"}")))
        .wait(352_000_000)
        .server(format!("HTTP/1.1 502 Bad Gateway\r\n{}", json("{\"error\":\"payment\"}")))
        .close();
    let traceparent =
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: ot=th:8,vendor=1\r\n";
    let mut inventory = Conversation::between("10.244.0.4:40112", "10.244.1.5:8080")
        .wait(3_000_000)
        .handshake()
        .client(format!("GET /items/42?sig=secret HTTP/1.1\r\nHost: inventory.shop\r\n{traceparent}\r\n"))
        .server(format!("HTTP/1.1 404 Not Found\r\n{}", json("{}")))
        .wait(2_030_000_000)
        .client(format!("PUT /reservations/7 HTTP/1.1\r\nHost: inventory.shop\r\nTransfer-Encoding: chunked\r\n{traceparent}\r\n9\r\n{{\"n\":2}}  \r\n0\r\n\r\n"))
        .wait(18_000_000)
        .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsaved\r\n0\r\n\r\n")
        .client("HEAD /healthz HTTP/1.1\r\nHost: inventory.shop\r\nUser-Agent: kube-probe/1.34\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        .client("DELETE /reservations/6 HTTP/1.1\r\nHost: inventory.shop\r\n\r\n")
        .server("HTTP/1.1 204 No Content\r\n\r\n")
        .close()
        .frames;
    let payment = Conversation::between("10.244.0.4:40996", "10.244.2.9:9000")
        .wait(4_060_000_000)
        .handshake()
        .client(format!("POST /charge HTTP/1.1\r\nHost: payment.shop\r\n{}", json("{\"amount\":1999}")))
        .wait(340_000_000)
        .rst(Side::Server)
        .frames;
    let stream = Conversation::between("10.244.0.4:41110", "10.244.3.2:8000")
        .wait(500_000_000)
        .handshake()
        .client("GET /recommendations?for=7 HTTP/1.0\r\nHost: ml.shop\r\n\r\n")
        .wait(120_000_000)
        .server("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")
        .fin(Side::Server)
        .fin(Side::Client)
        .frames;
    inventory.extend(gateway.frames);
    inventory.extend(payment);
    inventory.extend(stream);
    inventory.sort_by_key(|frame| frame.at);
    inventory
}

/// Every third exchange has lost something.
fn loss() -> Vec<Frame> {
    let mut conversation = Conversation::new().handshake();
    for number in 0..12 {
        let body = "y".repeat(2000);
        conversation = conversation
            .client(format!("GET /item/{number} HTTP/1.1\r\nHost: shop\r\n\r\n"))
            .server(format!("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\nX-Number: {number}\r\n\r\n{body}"))
            .wait(400_000_000);
    }
    let mut frames = conversation.close().frames;
    let lost = [6, 13, 19, 24, 25];
    let mut place = 0;
    frames.retain(|_| {
        place += 1;
        !lost.contains(&(place - 1))
    });
    frames
}

fn mixed_links() -> Vec<Frame> {
    let links = [LinkType::Ethernet, LinkType::LinuxSll2, LinkType::Raw, LinkType::Null];
    let mut frames: Vec<Frame> = links
        .into_iter()
        .zip(0_u64..)
        .flat_map(|(link, number)| {
            Conversation::between(&format!("[fd00::{number}]:4000"), "[fd00::80]:80")
                .wait(number * 100_000_000)
                .on(link)
                .handshake()
                .client(format!("GET /link/{} HTTP/1.1\r\nHost: v6.example\r\n\r\n", link.code()))
                .server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .close()
                .frames
        })
        .collect();
    for frame in frames.iter_mut().filter(|frame| frame.link == LinkType::Ethernet) {
        frame.data = tagged(&frame.data, &[100, 7]);
        frame.wire_length = u32::try_from(frame.data.len()).unwrap();
    }
    frames
}

/// Output of `network-agent --read FILE --export KIND`.
fn read(file: &str, kind: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_network-agent"))
        .env_clear()
        .env("AGENT_NODE_NAME", "n1")
        .args(["--read", path(file).to_str().unwrap(), "--export", kind])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every span on its own, readable in a diff; the agent's version is masked.
fn spans(file: &str) -> String {
    let mut text = String::new();
    for line in read(file, "json").lines() {
        let mut request: Value = serde_json::from_str(line).unwrap();
        for scope in request.pointer_mut("/resourceSpans/0/scopeSpans").unwrap().as_array_mut().unwrap() {
            for span in scope["spans"].as_array_mut().unwrap() {
                text.push_str(&serde_json::to_string_pretty(span).unwrap());
                text.push('\n');
            }
        }
    }
    text
}

#[test]
fn the_shop_s_morning() {
    compare("examples/shop.pcap", &files::pcap(&shop()));
    compare("tests/golden/shop.json", spans("examples/shop.pcap").as_bytes());
    compare("tests/golden/shop.txt", read("examples/shop.pcap", "pretty").as_bytes());
}

#[test]
fn a_capture_with_holes() {
    compare("examples/loss.pcap", &files::pcap(&loss()));
    compare("tests/golden/loss.json", spans("examples/loss.pcap").as_bytes());
}

#[test]
fn several_link_types_in_one_file() {
    compare("examples/mixed-links.pcapng", &files::pcapng(&mixed_links()));
    compare("tests/golden/mixed-links.json", spans("examples/mixed-links.pcapng").as_bytes());
}

#[test]
fn the_resource_says_who_observed() {
    let line = read("examples/shop.pcap", "json");
    let request: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let attributes = request.pointer("/resourceSpans/0/resource/attributes").unwrap().as_array().unwrap();
    let value = |key: &str| {
        let found = attributes.iter().find(|attribute| attribute["key"] == key).unwrap();
        found["value"]["stringValue"].as_str().unwrap().to_owned()
    };
    assert_eq!(value("service.name"), "hny-network-agent");
    assert_eq!((value("k8s.node.name"), value("host.name")), ("n1".to_owned(), "n1".to_owned()));
    assert_eq!(value("telemetry.distro.name"), "network-agent");
}
