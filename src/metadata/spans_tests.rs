//! Exchanges between what stands in a small cluster, and the spans that each node makes of them, in both layouts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::NoAddresses;
use super::book::{Book, Kind};
use super::directory::Directory;
use crate::exchange::{Exchange, ExchangeId, Outcome, RequestPart, ResponsePart, Transfer, Translated};
use crate::http::{RequestHead, ResponseHead};
use crate::span::{self, Layout, LeftOut, LocalAddresses, Made, Resource, SpanBuilder, SpanKind, SpanSettings};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

/// A span, as texts.
#[derive(Debug)]
struct Seen {
    name: String,
    kind: SpanKind,
    ids: ([u8; 16], [u8; 8], Option<[u8; 8]>),
    attributes: BTreeMap<String, String>,
    resource: Option<BTreeMap<String, String>>,
}

impl Seen {
    fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("-", String::as_str)
    }

    fn of_resource(&self, key: &str) -> &str {
        self.resource.as_ref().and_then(|all| all.get(key)).map_or("-", String::as_str)
    }

    /// What stands below `source.k8s.` or `destination.k8s.`.
    fn end(&self, prefix: &str) -> Vec<String> {
        let own = self.attributes.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
        own.map(|(key, value)| format!("{key}={value}")).collect()
    }
}

struct Node(IpAddr);

impl LocalAddresses for Node {
    fn is_local(&self, address: IpAddr) -> bool {
        address == self.0
    }
}

/// On `node-a` checkout and a client, on `node-b` inventory; the Service inventory leads to both of its ports.
fn cluster(here: Option<&str>) -> Arc<Directory> {
    let directory = Arc::new(Directory::new(here));
    let mut book = Book::new(directory.clone(), Vec::new());
    let pod = |name: &str, node: &str, address: &str, owner: &str| -> Value {
        json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"),
                "labels": {"app": owner, "pod-template-hash": "5d4f", "app.kubernetes.io/name": "labelled"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": format!("{owner}-5d4f"), "uid": "1",
                    "apiVersion": "apps/v1", "controller": true}]},
            "spec": {"nodeName": node, "containers": [
                {"name": "app", "image": "app:1.9.2", "ports": [{"containerPort": 8080}]},
                {"name": "sidecar", "ports": [{"containerPort": 9090}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": address}]}})
    };
    let mut quiet = pod("quiet", "node-a", "10.244.0.9", "quiet");
    quiet["metadata"]["annotations"] = json!({"network-agent/ignore": "true"});
    let mut named = pod("named", "node-a", "10.244.0.8", "named");
    named["spec"]["containers"][0]["env"] = json!([{"name": "OTEL_SERVICE_NAME", "value": "till"}, {"name": "OTEL_RESOURCE_ATTRIBUTES",
            "value": "service.namespace=front,deployment.environment.name=prod"}]);
    book.begin(Kind::Pods);
    for object in [
        pod("checkout-1", "node-a", "10.244.0.4", "checkout"),
        pod("inventory-1", "node-b", "10.244.1.5", "inventory"),
        pod("inventory-2", "node-a", "10.244.0.5", "inventory"),
        quiet,
        named,
    ] {
        book.pod(&serde_json::from_value(object).unwrap(), NOW);
    }
    let service = json!({"metadata": {"name": "inventory", "namespace": "shop", "uid": "uid-service"},
        "spec": {"clusterIPs": ["10.96.0.10"], "selector": {"app": "inventory"},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]}});
    book.service(&serde_json::from_value(service).unwrap(), NOW);
    for (name, address) in [("node-a", "10.89.0.11"), ("node-b", "10.89.0.12")] {
        let node = json!({"metadata": {"name": name, "uid": format!("uid-{name}")},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        book.node(&serde_json::from_value(node).unwrap(), NOW);
    }
    book.complete(Kind::Pods, NOW);
    directory
}

fn exchange(client: &str, server: &str, translated: Option<(&str, &str)>) -> Exchange {
    let transfer = Transfer { first_byte: NOW, last_byte: NOW, ..Transfer::default() };
    let head = b"GET /items/42 HTTP/1.1\r\nHost: inventory\r\nUser-Agent: test/1\r\n\r\n";
    Exchange {
        id: ExchangeId(std::array::from_fn(|place| u8::try_from(place + 1).unwrap())),
        request_key: 1,
        client: client.parse().unwrap(),
        server: server.parse().unwrap(),
        translated: translated.map(|(client, server)| {
            Box::new(Translated { client: client.parse().unwrap(), server: server.parse().unwrap(), seen: NOW })
        }),
        interface: 1,
        request: RequestPart { head: RequestHead::parse(head).unwrap(), transfer, ended: NOW },
        response: Some(ResponsePart { head: ResponseHead::parse(b"HTTP/1.1 200 OK\r\n\r\n").unwrap(), transfer }),
        outcome: Outcome::Complete,
        incomplete: false,
        retransmits: 0,
        handshake_rtt: None,
    }
}

fn texts(attributes: &[span::Attribute<'_>]) -> BTreeMap<String, String> {
    let text = |value: &span::Value<'_>| match value {
        span::Value::String(text) => text.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.to_string(), text(&attribute.value))).collect()
}

/// What the agent on `here` makes of `exchange`.
fn made(settings: &SpanSettings, here: Option<&str>, exchange: &Exchange) -> (Made, Vec<Seen>) {
    let mut own = Resource::default();
    own.set("service.name", "hny-network-agent");
    let mut further = Resource::default();
    further.set("k8s.cluster.name", "test");
    further.set("service.version", "not theirs");
    let builder = SpanBuilder::new(settings.clone()).with_workloads(own, further);
    let local: Box<dyn LocalAddresses> = match here {
        Some("node-a") => Box::new(Node("10.89.0.11".parse().unwrap())),
        Some(_) => Box::new(Node("10.89.0.12".parse().unwrap())),
        None => Box::new(NoAddresses),
    };
    let mut seen = Vec::new();
    let made = builder.spans(exchange, &*local, &*cluster(here), &mut |span| {
        seen.push(Seen {
            name: span.name.to_string(),
            kind: span.kind,
            ids: (span.trace_id, span.span_id, span.parent),
            attributes: texts(&span.attributes),
            resource: span.resource.as_ref().map(|resource| texts(&resource.attributes)),
        });
    });
    (made, seen)
}

fn agent(here: &str, exchange: &Exchange) -> Vec<Seen> {
    made(&SpanSettings::default(), Some(here), exchange).1
}

fn workload(here: &str, exchange: &Exchange) -> Vec<Seen> {
    let settings = SpanSettings { layout: Layout::Workload, ..SpanSettings::default() };
    made(&settings, Some(here), exchange).1
}

/// From checkout on node-a to inventory on node-b, by the Service: what node-a and node-b see.
fn through_the_service() -> [Exchange; 2] {
    let (client, behind) = ("10.244.0.4:40000", "10.244.1.5:8080");
    [exchange(client, "10.96.0.10:80", Some((client, behind))), exchange(client, behind, None)]
}

#[test]
fn both_ends_are_named_on_both_nodes() {
    let [on_a, on_b] = through_the_service();
    let source = [
        "deployment.name=checkout",
        "namespace.name=shop",
        "node.name=node-a",
        "node.uid=uid-node-a",
        "pod.name=checkout-1",
        "pod.uid=uid-checkout-1",
        "resource.type=pod",
    ];
    let destination = [
        "container.name=app",
        "deployment.name=inventory",
        "namespace.name=shop",
        "node.name=node-b",
        "node.uid=uid-node-b",
        "pod.name=inventory-1",
        "pod.uid=uid-inventory-1",
        "resource.type=pod",
        "service.name=inventory",
        "service.uid=uid-service",
    ];
    for (node, exchange) in [("node-a", on_a), ("node-b", on_b)] {
        let [span] = &agent(node, &exchange)[..] else { panic!("one span") };
        assert_eq!(span.end("source.k8s."), source, "{node}");
        assert_eq!(span.end("destination.k8s."), destination, "{node}");
    }
}

#[test]
fn each_node_reports_its_side_and_both_are_one_trace() {
    let [on_a, on_b] = through_the_service();
    for spans in [agent, workload] {
        let (a, b) = (spans("node-a", &on_a), spans("node-b", &on_b));
        let ([client], [server]) = (&a[..], &b[..]) else { panic!("one span each: {a:?} {b:?}") };
        assert_eq!((client.kind, server.kind), (SpanKind::Client, SpanKind::Server));
        assert_eq!((client.ids.0, client.ids.2), (server.ids.0, None));
        assert_eq!(server.ids.2, Some(client.ids.1), "the client's span is the parent");
    }
}

#[test]
fn what_only_passes_a_node_is_reported_by_others() {
    let passing = exchange("10.244.9.1:1", "10.244.1.5:8080", None);
    assert_eq!(made(&SpanSettings::default(), Some("node-a"), &passing).0, Made::InTransit);
    // A node port of node-a whose pod is on node-b: masqueraded, and answered there.
    let forwarded = exchange("192.0.2.1:5", "10.89.0.11:30080", Some(("10.89.0.11:7", "10.244.1.5:8080")));
    assert_eq!(made(&SpanSettings::default(), Some("node-a"), &forwarded).0, Made::InTransit);
    let arrived = exchange("10.89.0.11:7", "10.244.1.5:8080", None);
    let [span] = &agent("node-b", &arrived)[..] else { panic!("one span") };
    assert_eq!((span.kind, span.ids.2, span.get("source.k8s.resource.type")), (SpanKind::Server, None, "node"));
}

#[test]
fn what_a_node_masquerades_is_its_child_unless_it_may_have_come_from_outside() {
    // From a pod of node-a, masqueraded, or from a process of node-a: it makes the client's span.
    let to_checkout = exchange("10.89.0.12:7", "10.244.0.4:8080", None);
    let [span] = &agent("node-a", &to_checkout)[..] else { panic!("one span") };
    assert!(span.ids.2.is_some(), "no Service leads there from outside");
    let to_inventory = exchange("10.89.0.12:7", "10.244.0.5:8080", None);
    let [span] = &agent("node-a", &to_inventory)[..] else { panic!("one span") };
    assert_eq!(span.ids.2, None, "it may have come by the node port");
}

#[test]
fn a_node_port_tells_the_service_that_was_asked() {
    let ingress = exchange("192.0.2.1:5", "10.89.0.11:30080", Some(("10.244.0.1:7", "10.244.0.5:8080")));
    let [span] = &agent("node-a", &ingress)[..] else { panic!("one span") };
    assert_eq!(span.kind, SpanKind::Server);
    assert_eq!(span.get("source.k8s.resource.type"), "-", "it comes from outside");
    assert_eq!(span.get("destination.k8s.pod.name"), "inventory-2");
    assert_eq!(span.get("destination.k8s.service.name"), "inventory");
    assert_eq!(span.get("destination.address"), "10.89.0.11");
    assert_eq!(span.get("network.local.address"), "10.244.0.5");
}

#[test]
fn what_leaves_the_cluster_is_the_client_s_alone() {
    for spans in [agent, workload] {
        let egress = exchange("10.244.0.4:40000", "203.0.113.9:80", Some(("10.89.0.11:40000", "203.0.113.9:80")));
        let [span] = &spans("node-a", &egress)[..] else { panic!("one span") };
        assert_eq!((span.kind, span.ids.2), (SpanKind::Client, None));
        assert_eq!((span.get("destination.k8s.resource.type"), span.get("service.peer.name")), ("-", "-"));
    }
}

#[test]
fn a_service_whose_pod_is_not_seen_is_a_service() {
    let dialled = exchange("10.244.0.4:40000", "10.96.0.10:80", None);
    let [span] = &agent("node-a", &dialled)[..] else { panic!("one span") };
    let wanted = ["namespace.name=shop", "resource.type=service", "service.name=inventory", "service.uid=uid-service"];
    assert_eq!(span.end("destination.k8s."), wanted);
}

#[test]
fn with_both_pods_on_one_node_the_agent_makes_one_span_and_workloads_two() {
    let local = exchange("10.244.0.4:40000", "10.244.0.5:8080", None);
    let [span] = &agent("node-a", &local)[..] else { panic!("one span") };
    assert_eq!((span.kind, span.ids.2), (SpanKind::Server, None));
    let [client, server] = &workload("node-a", &local)[..] else { panic!("two spans") };
    assert_eq!((client.kind, server.kind), (SpanKind::Client, SpanKind::Server));
    assert_eq!(server.ids.2, Some(client.ids.1));
    assert_eq!(client.of_resource("service.name"), "checkout");
    assert_eq!(server.of_resource("service.name"), "inventory");
}

#[test]
fn a_workload_s_resource_is_its_own_and_the_other_is_its_peer() {
    let [on_a, on_b] = through_the_service();
    let [client] = &workload("node-a", &on_a)[..] else { panic!("one span") };
    let [server] = &workload("node-b", &on_b)[..] else { panic!("one span") };
    for (key, value) in [
        ("service.name", "inventory"),
        ("service.namespace", "shop"),
        ("service.version", "1.9.2"),
        ("service.instance.id", "shop.inventory-1.app"),
        ("k8s.namespace.name", "shop"),
        ("k8s.pod.name", "inventory-1"),
        ("k8s.pod.uid", "uid-inventory-1"),
        ("k8s.container.name", "app"),
        ("k8s.deployment.name", "inventory"),
        ("k8s.node.name", "node-b"),
        ("k8s.cluster.name", "test"),
    ] {
        assert_eq!(server.of_resource(key), value, "{key}");
    }
    // Which of the two containers asked is not known.
    let absent = ["k8s.container.name", "service.instance.id", "service.version"];
    assert_eq!(absent.map(|key| client.of_resource(key)), ["-"; 3]);
    assert_eq!((client.get("service.peer.name"), client.get("service.peer.namespace")), ("inventory", "shop"));
    assert_eq!((server.get("service.peer.name"), server.get("service.peer.namespace")), ("checkout", "shop"));
    for span in [client, server] {
        let agent_s = ["source.address", "destination.address", "source.k8s.pod.name", "destination.k8s.pod.name"];
        assert_eq!(agent_s.map(|key| span.get(key)), ["-"; 4]);
    }
    assert_eq!(client.get("url.path"), "-");
    assert_eq!(client.get("network.peer.address"), "10.96.0.10");
}

#[test]
fn services_are_called_what_they_call_themselves_then_by_labels_if_asked_then_by_owner() {
    let from = |client: &str, names_from_labels| {
        let settings = SpanSettings { layout: Layout::Workload, names_from_labels, ..SpanSettings::default() };
        let (_, spans) = made(&settings, Some("node-a"), &exchange(client, "203.0.113.9:80", None));
        let of = |key| spans[0].of_resource(key).to_owned();
        [of("service.name"), of("service.namespace"), of("deployment.environment.name")]
    };
    assert_eq!(from("10.244.0.8:1", false), ["till", "front", "prod"]);
    assert_eq!(from("10.244.0.8:1", true), ["till", "front", "prod"]);
    assert_eq!(from("10.244.0.4:1", false), ["checkout", "shop", "-"]);
    assert_eq!(from("10.244.0.4:1", true), ["labelled", "shop", "-"]);
}

#[test]
fn a_node_s_own_processes_have_the_node_as_resource() {
    let probe = exchange("10.89.0.11:5", "10.244.0.4:8080", None);
    let [client, _] = &workload("node-a", &probe)[..] else { panic!("two spans") };
    assert_eq!(client.of_resource("k8s.node.name"), "node-a");
    assert_eq!(client.of_resource("service.name"), "hny-network-agent");
}

#[test]
fn of_a_file_without_a_place_every_exchange_is_one_server_span_with_names() {
    for exchange in through_the_service() {
        let (_, spans) = made(&SpanSettings::default(), None, &exchange);
        let [span] = &spans[..] else { panic!("one span") };
        assert_eq!((span.kind, span.ids.2), (SpanKind::Server, None));
        assert_eq!(span.get("source.k8s.pod.name"), "checkout-1");
        assert_eq!(span.get("destination.k8s.pod.name"), "inventory-1");
    }
}

#[test]
fn names_beyond_the_bound_are_the_fallback_s() {
    let directory = Arc::new(Directory::new(Some("here")));
    let mut book = Book::new(directory.clone(), Vec::new());
    let count = span::MOST_NAMES + 5;
    for number in 0..count {
        let object = json!({"metadata": {"name": format!("pod-{number}"), "uid": number.to_string()},
            "spec": {"nodeName": "here"},
            "status": {"podIPs": [{"ip": format!("10.0.{}.{}", number / 200, number % 200)}]}});
        book.pod(&serde_json::from_value(object).unwrap(), NOW);
    }
    book.publish();
    let mut own = Resource::default();
    own.set("service.name", "rest");
    let settings = SpanSettings { layout: Layout::Workload, ..SpanSettings::default() };
    let builder = SpanBuilder::new(settings).with_workloads(own, Resource::default());
    let mut names = BTreeMap::<String, usize>::new();
    for _ in 0..2 {
        for number in 0..count {
            let client = format!("10.0.{}.{}:1", number / 200, number % 200);
            builder.spans(&exchange(&client, "203.0.113.9:80", None), &NoAddresses, &*directory, &mut |span| {
                let name = texts(&span.resource.as_ref().unwrap().attributes).remove("service.name").unwrap();
                *names.entry(name).or_default() += 1;
            });
        }
    }
    assert_eq!(names.len(), span::MOST_NAMES + 1);
    assert_eq!((names["rest"], builder.unnamed()), (10, 5));
}

fn left_out(change: impl Fn(&mut SpanSettings), exchange: &Exchange) -> Option<LeftOut> {
    let mut settings = SpanSettings::default();
    change(&mut settings);
    match made(&settings, Some("node-a"), exchange).0 {
        Made::LeftOut(reason) => Some(reason),
        made => {
            assert_eq!(made, Made::Spans(1));
            None
        }
    }
}

#[test]
fn what_is_included_and_excluded_is_chosen_by_either_end() {
    type Change<'a> = &'a dyn Fn(&mut SpanSettings);
    let [exchange, _] = through_the_service();
    let like = |text: &str| vec![wildmatch::WildMatch::new(text)];
    let cases: [(Change<'_>, Option<LeftOut>); 14] = [
        (&|_| {}, None),
        (&|it| it.selection.exclude.namespaces = like("sh*"), Some(LeftOut::Namespace)),
        (&|it| it.selection.exclude.namespaces = like("kube-*"), None),
        (&|it| it.selection.include.namespaces = like("shop"), None),
        (&|it| it.selection.include.namespaces = like("other"), Some(LeftOut::Namespace)),
        (
            &|it| it.selection.exclude.pod_labels = vec![("app".into(), Some("checkout".into()))],
            Some(LeftOut::PodLabel),
        ),
        (&|it| it.selection.exclude.pod_labels = vec![("app".into(), Some("other".into()))], None),
        (&|it| it.selection.include.pod_labels = vec![("nothing".into(), None)], Some(LeftOut::PodLabel)),
        (&|it| it.selection.exclude.ports = vec![80], Some(LeftOut::Port)),
        (&|it| it.selection.exclude.ports = vec![8080], Some(LeftOut::Port)),
        (&|it| it.selection.include.ports = vec![9000], Some(LeftOut::Port)),
        (&|it| it.selection.exclude.paths = like("/items/*"), Some(LeftOut::Path)),
        (&|it| it.selection.include.paths = like("/healthz"), Some(LeftOut::Path)),
        (&|it| it.selection.exclude.user_agents = like("test/*"), Some(LeftOut::UserAgent)),
    ];
    for (number, (change, wanted)) in cases.into_iter().enumerate() {
        assert_eq!(left_out(change, &exchange), wanted, "case {number}");
    }
}

#[test]
fn exports_of_telemetry_are_left_out_unless_asked_for() {
    let [template, _] = through_the_service();
    let with = |head: &str| {
        let request = RequestPart { head: RequestHead::parse(head.as_bytes()).unwrap(), ..template.request.clone() };
        Exchange { request, ..template.clone() }
    };
    let otlp = |line: &str, kind: &str| with(&format!("{line} HTTP/1.1\r\nContent-Type: {kind}\r\n\r\n"));
    for signal in ["/v1/traces", "/v1/metrics", "/v1/logs", "/otlp/v1/traces", "/v1/traces?x=1"] {
        for kind in ["application/x-protobuf", "application/json; charset=utf-8"] {
            let export = otlp(&format!("POST {signal}"), kind);
            assert_eq!(left_out(|_| {}, &export), Some(LeftOut::Telemetry), "{signal} {kind}");
            assert_eq!(left_out(|it| it.selection.telemetry = true, &export), None);
        }
    }
    let own = with("POST /v1/traces HTTP/1.1\r\nContent-Type: application/json\r\nUser-Agent: network-agent/1\r\n\r\n");
    assert_eq!(left_out(|it| it.selection.telemetry = true, &own), Some(LeftOut::Telemetry));
    for other in [
        otlp("GET /v1/traces", "application/json"),
        otlp("POST /v1/traces/7", "application/json"),
        otlp("POST /v1/traces", "text/html"),
        with("POST /v1/traces HTTP/1.1\r\n\r\n"),
    ] {
        assert_eq!(left_out(|_| {}, &other), None);
    }
}

#[test]
fn a_pod_that_asks_for_it_is_left_out_at_either_end() {
    for exchange in
        [exchange("10.244.0.9:1", "203.0.113.9:80", None), exchange("10.244.0.4:1", "10.244.0.9:8080", None)]
    {
        assert_eq!(left_out(|_| {}, &exchange), Some(LeftOut::Annotation));
    }
}

#[test]
fn a_route_names_the_server_s_span_and_its_template_the_client_s() {
    let [on_a, on_b] = through_the_service();
    let routes = span::Routes(vec!["/items/{id}".parse().unwrap()]);
    let settings = SpanSettings { routes, ..SpanSettings::default() };
    let (_, client) = made(&settings, Some("node-a"), &on_a);
    let (_, server) = made(&settings, Some("node-b"), &on_b);
    assert_eq!((client[0].name.as_str(), server[0].name.as_str()), ("GET /items/{id}", "GET /items/{id}"));
    assert_eq!((client[0].get("url.template"), client[0].get("http.route")), ("/items/{id}", "-"));
    assert_eq!((server[0].get("url.template"), server[0].get("http.route")), ("-", "/items/{id}"));
}
