//! Two nodes joined by an overlay, and a node whose pods come and go → one span an exchange and node, in one trace.
//!
//! Needs Linux, root and `ip`, and says so where it has them not.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and says what it saw")]

mod laboratory;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use laboratory::web::{CONNECTIONS, Completed, Load, serve};
use laboratory::{Agent, Namespace, attribute, ip, skip, wait_for};
use serde_json::Value;
use tempfile::TempDir;

/// Beside what each test asks of the agent: an agent built without optimisation shall lose nothing.
const ROOM: [&str; 4] = ["--ring-bytes", "128MiB", "--queue-bytes", "256MiB"];
const REQUESTS: usize = 400;

const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// A node with a bridge, and a pod on it whose packets reach other nodes' pods through VXLAN.
struct Node {
    namespace: Namespace,
    pod: Namespace,
    number: usize,
}

impl Node {
    fn new(number: usize) -> Option<Self> {
        Some(Self { namespace: Namespace::new()?, pod: Namespace::new()?, number })
    }

    fn pod_address(&self) -> String {
        format!("10.244.{}.2", self.number)
    }

    /// Makes all but the underlay, which is there; whether the kernel can.
    fn join_overlay(&self, peer: usize) -> bool {
        let (Self { number, .. }, name, pod) = (self, &self.namespace.name, &self.pod.name);
        let underlay = format!("local 192.0.2.{number} remote 192.0.2.{peer} dev underlay");
        let vxlan = format!("-n {name} link add vxlan0 type vxlan id 42 {underlay} dstport 4789");
        let added = Command::new("ip").args(vxlan.split(' ')).output().unwrap();
        if !added.status.success() {
            skip(&format!("VXLAN: {}", String::from_utf8_lossy(&added.stderr).trim()));
            return false;
        }
        for words in [
            format!("-n {name} link add cni0 type bridge"),
            format!("-n {name} link add veth0 type veth peer name eth0 netns {pod}"),
            format!("-n {name} link set veth0 master cni0"),
            format!("-n {name} link set vxlan0 master cni0"),
            format!("-n {name} link set cni0 up"),
            format!("-n {name} link set veth0 up"),
            format!("-n {name} link set vxlan0 up"),
            format!("-n {pod} address add {}/16 dev eth0", self.pod_address()),
            // What VXLAN adds must fit as well.
            format!("-n {pod} link set eth0 mtu 1450 up"),
        ] {
            ip(&words.split(' ').collect::<Vec<_>>());
        }
        true
    }

    /// Captures on everything, as a pod of a daemon set on the host's network does.
    fn agent(&self, folder: &Path, workers: &str) -> Agent {
        let (own, local) = (format!("192.0.2.{}", self.number), format!("10.244.{}.0/24", self.number));
        let mut flags = vec!["--node-ip", &own, "--local-networks", &local, "--cluster-networks", "10.244.0.0/16"];
        flags.extend(["--workers", workers]);
        flags.extend(ROOM);
        Agent::start_with(&self.namespace, "any", &folder.join(self.number.to_string()), &flags)
    }
}

/// Nodes 1 and 2, each with a pod.
fn two_nodes() -> Option<[Node; 2]> {
    let nodes = [Node::new(1)?, Node::new(2)?];
    let [one, two] = nodes.each_ref().map(|node| node.namespace.name.as_str());
    ip(&["-n", one, "link", "add", "underlay", "type", "veth", "peer", "name", "underlay", "netns", two]);
    for (name, address) in [(one, "192.0.2.1/24"), (two, "192.0.2.2/24")] {
        ip(&["-n", name, "address", "add", address, "dev", "underlay"]);
        ip(&["-n", name, "link", "set", "underlay", "up"]);
    }
    (nodes[0].join_overlay(2) && nodes[1].join_overlay(1)).then_some(nodes)
}

/// What the agents of the client's and the server's node say of `REQUESTS` requests, by path; each path is there once.
fn over_vxlan(headers: &[&str]) -> Option<[BTreeMap<String, Value>; 2]> {
    let nodes = two_nodes()?;
    let folder = TempDir::new().unwrap();
    let _server = serve(&nodes[1].pod, folder.path());
    // With two workers the tunnel and what comes out of it are seen by different ones.
    let agents = [nodes[0].agent(folder.path(), "1"), nodes[1].agent(folder.path(), "2")];
    let address = nodes[1].pod_address();
    let load = Load::start_with(&nodes[0].pod, &address, "n", folder.path(), Some(REQUESTS), headers);
    assert_eq!(load.finish().len(), REQUESTS);
    Some(agents.map(|agent| {
        let spans = by_path(agent.stop());
        assert_eq!(spans.len(), REQUESTS, "an exchange is missing");
        spans.into_iter().map(|(path, mut spans)| (path, only(&mut spans))).collect()
    }))
}

#[test]
fn agents_on_two_nodes_make_one_trace_of_an_exchange_without_a_header() {
    let Some([clients, servers]) = over_vxlan(&[]) else { return };
    for (path, client) in &clients {
        let server = &servers[path];
        assert_eq!((&client["kind"], &server["kind"]), (&CLIENT.into(), &SERVER.into()), "{path}");
        assert_eq!(client["traceId"], server["traceId"], "{path}");
        assert_eq!(server["parentSpanId"], client["spanId"], "{path}");
        assert_eq!(text(client, "parentSpanId"), "", "{path}: it is the root");
        assert_ne!(client["spanId"], server["spanId"], "{path}");
        assert_eq!(attribute(client, "network_agent.exchange.id"), attribute(server, "network_agent.exchange.id"));
    }
    let mut traces: Vec<_> = clients.values().map(|client| text(client, "traceId")).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), REQUESTS, "each exchange is a trace of its own");
}

#[test]
fn agents_on_two_nodes_are_children_of_the_caller_that_the_request_names() {
    let Some([clients, servers]) = over_vxlan(&["traceparent: 00-NUMBER-SHORT-01"]) else { return };
    for (path, client) in &clients {
        let server = &servers[path];
        let number: usize = path.trim_start_matches("/n/").parse().unwrap();
        for (span, kind) in [(client, CLIENT), (server, SERVER)] {
            assert_eq!(span["kind"], kind, "{path}");
            let ids = (text(span, "traceId"), text(span, "parentSpanId"));
            assert_eq!(ids, (&*format!("{number:032}"), &*format!("{number:016}")), "{path}");
        }
        assert_ne!(client["spanId"], server["spanId"], "{path}");
    }
}

/// A pod of a node, on a veth pair of its own.
struct Pod<'a> {
    namespace: Namespace,
    node: &'a Namespace,
    number: usize,
}

impl<'a> Pod<'a> {
    fn new(node: &'a Namespace, number: usize) -> Option<Self> {
        let pod = Self { namespace: Namespace::new()?, node, number };
        let (node, name) = (&node.name, &pod.namespace.name);
        for words in [
            format!("-n {node} link add veth{number} type veth peer name eth0 netns {name}"),
            format!("-n {node} address add 10.244.{number}.1/24 dev veth{number}"),
            format!("-n {node} link set veth{number} up"),
            format!("-n {name} address add 10.244.{number}.2/24 dev eth0"),
            format!("-n {name} link set eth0 up"),
        ] {
            ip(&words.split(' ').collect::<Vec<_>>());
        }
        Some(pod)
    }

    /// Asks the server on the node, again and again, for paths that begin with `prefix`.
    fn load(&self, prefix: &str, folder: &Path) -> Load {
        Load::start(&self.namespace, &format!("10.244.{}.1", self.number), prefix, folder, None)
    }

    /// Takes its interface away, whatever passes there.
    fn cut(&self) {
        ip(&["-n", &self.node.name, "link", "del", &format!("veth{}", self.number)]);
    }
}

/// One pod stays, and others come and go in mid-load. An agent on all interfaces and one on a pattern miss nothing.
#[test]
fn pods_that_come_and_go_under_load_are_reported_and_cost_nothing() {
    const LAST: usize = 5;
    let Some(node) = Namespace::new() else { return };
    let folder = TempDir::new().unwrap();
    let _server = serve(&node, folder.path());
    let Some(steady) = Pod::new(&node, 1) else { return };
    let agents = [("any", "any"), ("veth*", "pattern")]
        .map(|(interface, name)| talkative(&node, interface, &folder.path().join(name)));
    let load = steady.load("pod1", folder.path());
    let (mut completed, mut before) = (Vec::new(), Vec::new());
    for number in 2..=LAST {
        let Some(pod) = Pod::new(&node, number) else { return };
        wait_for("the agent to notice the pod", || follows(&agents[1], &format!("veth{number}")));
        let coming = pod.load(&format!("pod{number}"), folder.path());
        coming.wait_for(100);
        pod.cut();
        completed.extend(coming.stop());
        if number == 2 {
            before = agents.iter().map(|agent| (agent.memory(), agent.descriptors())).collect();
        }
    }
    let so_far = load.completed().len();
    load.wait_for(so_far + 100);
    let after: Vec<_> = agents.iter().map(|agent| (agent.memory(), agent.descriptors())).collect();
    completed.extend(load.stop());
    println!("memory and descriptors {before:?}, then {after:?}; {} requests", completed.len());
    for agent in agents {
        let open = assert_each_once(&completed, agent.stop());
        assert!(open <= CONNECTIONS * LAST, "{open} spans of requests that were cut off");
    }
    for ((memory, descriptors), (later, then)) in before.into_iter().zip(after) {
        assert!(later < memory + (16 << 20), "memory grew from {memory} to {later} bytes");
        assert!(then <= descriptors, "there were {descriptors} descriptors, and then {then}");
    }
}

#[test]
fn an_interface_that_is_taken_away_in_mid_load_is_captured_again_when_it_is_back() {
    let Some(node) = Namespace::new() else { return };
    let folder = TempDir::new().unwrap();
    let _server = serve(&node, folder.path());
    let Some(pod) = Pod::new(&node, 1) else { return };
    let agent = talkative(&node, "veth1", folder.path());
    let load = pod.load("before", folder.path());
    load.wait_for(200);
    pod.cut();
    let mut completed = load.stop();
    wait_for("the agent to say so", || agent.messages().contains("Interface veth1 is gone"));
    let Some(pod) = Pod::new(&node, 1) else { return };
    wait_for("the agent to notice the interface", || follows(&agent, "veth1"));
    let load = pod.load("after", folder.path());
    load.wait_for(200);
    completed.extend(load.stop());
    let open = assert_each_once(&completed, agent.stop());
    assert!(open <= 2 * CONNECTIONS, "{open} spans of requests that were cut off");
}

/// An agent that says which interfaces it follows.
fn talkative(node: &Namespace, interface: &str, folder: &Path) -> Agent {
    let flags = [&ROOM[..], &["--admin-address", "off", "--log-level", "debug"]].concat();
    Agent::start_with(node, interface, folder, &flags)
}

/// Whether the agent has said that it captures on an interface that came later.
fn follows(agent: &Agent, interface: &str) -> bool {
    let messages = agent.messages();
    messages.lines().any(|line| line.contains("have changed") && line.contains(interface))
}

/// Each completed request is one whole span. How many others there are, which may be requests that were cut off.
fn assert_each_once(completed: &[Completed], spans: Vec<Value>) -> usize {
    let mut spans = by_path(spans);
    let missing: Vec<_> = completed.iter().filter(|request| !spans.contains_key(&request.path)).take(5).collect();
    assert!(missing.is_empty(), "of {} requests these are missing: {missing:?}", completed.len());
    for request in completed {
        let span = only(&mut spans.remove(&request.path).unwrap());
        let status = attribute(&span, "http.response.status_code").and_then(|value| value["intValue"].as_str());
        assert_eq!(status, Some("200"), "{span}");
        assert!(attribute(&span, "network_agent.capture.incomplete").is_none(), "{span}");
    }
    spans.into_values().map(|mut spans| only(&mut spans)).count()
}

fn by_path(spans: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut by_path: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for span in spans {
        let path = attribute(&span, "url.path").and_then(|value| value["stringValue"].as_str()).unwrap().to_owned();
        by_path.entry(path).or_default().push(span);
    }
    by_path
}

fn only(spans: &mut Vec<Value>) -> Value {
    assert_eq!(spans.len(), 1, "an exchange was reported more than once: {spans:#?}");
    spans.remove(0)
}

fn text<'a>(span: &'a Value, key: &str) -> &'a str {
    span[key].as_str().unwrap_or_default()
}
