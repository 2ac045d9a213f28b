//! Histories of objects, and what an address meant in them: row by row of what is promised, and against a model.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::metadata::timeline::{GRACE, LEAD};
use crate::span::{Endpoint, EndpointLookup};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

/// A book with its directory, on node `here`.
struct Cluster {
    book: Book,
    directory: Arc<Directory>,
}

impl Cluster {
    fn new() -> Self {
        let directory = Arc::new(Directory::new(Some("here")));
        Self { book: Book::new(directory.clone(), Vec::new()), directory }
    }

    fn pod(&mut self, object: &Value, seconds: u64) {
        self.book.pod(&serde_json::from_value(object.clone()).unwrap(), at(seconds));
        self.book.publish();
    }

    fn without_pod(&mut self, object: &Value, seconds: u64) {
        self.book.without_pod(&serde_json::from_value(object.clone()).unwrap(), at(seconds));
        self.book.publish();
    }

    fn service(&mut self, object: &Value, seconds: u64) {
        self.book.service(&serde_json::from_value(object.clone()).unwrap(), at(seconds));
        self.book.publish();
    }

    fn node(&mut self, object: &Value, seconds: u64) {
        self.book.node(&serde_json::from_value(object.clone()).unwrap(), at(seconds));
        self.book.publish();
    }

    /// Kind and name of what stood there.
    fn at(&self, socket: &str, seconds: u64) -> String {
        match self.directory.endpoint(socket.parse().unwrap(), at(seconds)) {
            None => "-".to_owned(),
            Some(Endpoint::Pod(pod)) => format!("pod {}/{}", pod.template.namespace, pod.name),
            Some(Endpoint::Service(service)) => format!("service {}/{}", service.namespace, service.name),
            Some(Endpoint::Node(node)) => format!("node {}", node.name),
        }
    }

    /// The Service that is named for the pod at `socket`.
    fn service_at(&self, socket: &str, seconds: u64) -> String {
        let socket: SocketAddr = socket.parse().unwrap();
        let Some(Endpoint::Pod(pod)) = self.directory.endpoint(socket, at(seconds)) else { return "no pod".to_owned() };
        let service = self.directory.service_of(&pod, Some(socket.port()), at(seconds));
        service.map_or_else(|| "-".to_owned(), |service| format!("{}/{}", service.namespace, service.name))
    }

    fn dialled(&self, socket: &str, seconds: u64) -> String {
        let service = self.directory.dialled(socket.parse().unwrap(), at(seconds));
        service.map_or_else(|| "-".to_owned(), |service| format!("{}/{}", service.namespace, service.name))
    }
}

fn pod(name: &str, addresses: &[&str]) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "web", "tier": "front"}},
        "spec": {"nodeName": "here", "containers": [
            {"name": "app", "ports": [{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}]}]},
        "status": {"phase": "Running", "podIPs": addresses}})
}

fn service(name: &str, addresses: &[&str], selector: &Value, target: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("service {name}")},
        "spec": {"clusterIPs": addresses, "selector": selector, "ports": [{"port": 80, "targetPort": target}]}})
}

fn node(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name, "uid": format!("node {name}")}, "status": {"addresses": [
        {"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]}})
}

#[test]
fn both_addresses_of_a_pod_are_its_own() {
    let mut cluster = Cluster::new();
    cluster.pod(&pod("a", &["10.0.0.1", "fd00::1"]), 100);
    for socket in ["10.0.0.1:1", "[fd00::1]:2", "[::ffff:10.0.0.1]:3"] {
        assert_eq!(cluster.at(socket, 100), "pod shop/a");
    }
    assert_eq!(cluster.at("10.0.0.2:1", 100), "-");
}

#[test]
fn an_address_belongs_to_the_pod_that_had_it_at_the_time() {
    let mut cluster = Cluster::new();
    cluster.pod(&pod("a", &["10.0.0.1"]), 100);
    cluster.without_pod(&pod("a", &[]), 200);
    cluster.pod(&pod("b", &["10.0.0.1"]), 210);
    let seen: Vec<String> = [150, 200, 205, 210, 900].iter().map(|time| cluster.at("10.0.0.1:80", *time)).collect();
    assert_eq!(seen, ["pod shop/a", "pod shop/a", "pod shop/a", "pod shop/b", "pod shop/b"]);
}

#[test]
fn a_deleted_pod_is_found_for_half_a_minute() {
    let mut cluster = Cluster::new();
    cluster.pod(&pod("a", &["10.0.0.1"]), 100);
    cluster.without_pod(&pod("a", &[]), 200);
    assert_eq!((cluster.at("10.0.0.1:80", 230), cluster.at("10.0.0.1:80", 231)), ("pod shop/a".into(), "-".into()));
    cluster.book.forget(at(200 + 11 * 60 + 1));
    assert_eq!(cluster.at("10.0.0.1:80", 150), "-", "forgotten");
    assert_eq!(cluster.directory.addresses(), 0);
}

#[test]
fn pods_that_have_ended_own_no_address() {
    let mut cluster = Cluster::new();
    for phase in ["Succeeded", "Failed"] {
        let mut ended = pod("job", &["10.0.0.1"]);
        ended["status"]["phase"] = json!(phase);
        cluster.pod(&pod("job", &["10.0.0.1"]), 100);
        cluster.pod(&ended, 200);
        assert_eq!(cluster.at("10.0.0.1:80", 250), "-", "{phase}");
    }
}

#[test]
fn a_pod_whose_address_changes_had_the_old_one_before() {
    let mut cluster = Cluster::new();
    cluster.pod(&pod("a", &["10.0.0.1"]), 100);
    cluster.pod(&pod("a", &["10.0.0.2"]), 200);
    assert_eq!((cluster.at("10.0.0.1:80", 150), cluster.at("10.0.0.1:80", 300)), ("pod shop/a".into(), "-".into()));
    assert_eq!((cluster.at("10.0.0.2:80", 150), cluster.at("10.0.0.2:80", 300)), ("-".into(), "pod shop/a".into()));
}

#[test]
fn the_name_of_a_pod_may_come_again_with_another_pod() {
    let mut cluster = Cluster::new();
    let mut again = pod("db-0", &["10.0.0.2"]);
    again["metadata"]["uid"] = json!("another");
    cluster.pod(&pod("db-0", &["10.0.0.1"]), 100);
    cluster.pod(&again, 200);
    cluster.without_pod(&pod("db-0", &[]), 201);
    assert_eq!((cluster.at("10.0.0.1:1", 240), cluster.at("10.0.0.2:1", 240)), ("-".into(), "pod shop/db-0".into()));
}

#[test]
fn a_list_that_is_read_again_tells_what_has_gone() {
    let mut cluster = Cluster::new();
    let pods = [pod("a", &["10.0.0.1"]), pod("b", &["10.0.0.2"])];
    for pod in &pods {
        cluster.pod(pod, 100);
    }
    assert!(!cluster.directory.knows_places());
    cluster.book.begin(Kind::Pods);
    cluster.pod(&pods[1], 200);
    cluster.book.complete(Kind::Pods, at(200));
    assert_eq!((cluster.at("10.0.0.1:1", 231), cluster.at("10.0.0.2:1", 231)), ("-".into(), "pod shop/b".into()));
    assert!(cluster.directory.knows_places());
}

#[test]
fn every_address_of_a_service_and_of_a_node_is_its_own() {
    let mut cluster = Cluster::new();
    let mut web = service("web", &["10.96.0.1", "fd00::96"], &json!({"app": "web"}), &json!(8080));
    web["spec"]["externalIPs"] = json!(["192.0.2.1"]);
    web["status"] = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}});
    cluster.service(&web, 100);
    cluster.node(&node("there", "10.89.0.12"), 100);
    for address in ["10.96.0.1:80", "[fd00::96]:80", "192.0.2.1:80", "203.0.113.1:80", "10.96.0.1:9"] {
        assert_eq!(cluster.at(address, 100), "service shop/web", "{address}");
    }
    assert_eq!(cluster.at("10.89.0.12:80", 100), "node there");
}

#[test]
fn a_node_has_the_ends_of_its_bridge_and_of_its_tunnels() {
    let mut cluster = Cluster::new();
    let mut there = node("there", "10.89.0.12");
    there["spec"] = json!({"podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]});
    there["metadata"]["annotations"] =
        json!({"projectcalico.org/IPv4IPIPTunnelAddr": "10.244.1.77", "other": "10.9.9.9"});
    cluster.node(&there, 100);
    for address in ["10.244.1.0:1", "10.244.1.1:1", "[fd00:1::]:1", "[fd00:1::1]:1", "10.244.1.77:1"] {
        assert_eq!(cluster.at(address, 100), "node there", "{address}");
    }
    assert_eq!((cluster.at("10.244.1.2:1", 100), cluster.at("10.9.9.9:1", 100)), ("-".into(), "-".into()));
    cluster.pod(&pod("a", &["10.244.1.1"]), 100);
    assert_eq!(cluster.at("10.244.1.1:1", 100), "pod shop/a", "where the network is made otherwise");
}

#[test]
fn services_may_share_an_address_and_have_a_node_s() {
    let mut cluster = Cluster::new();
    let shared = [("one", 80), ("two", 443)].map(|(name, port)| {
        let mut service = service(name, &[], &json!({"app": name}), &json!(1));
        service["spec"]["ports"][0]["port"] = json!(port);
        service["spec"]["externalIPs"] = json!(["10.89.0.12"]);
        service
    });
    for service in &shared {
        cluster.service(service, 100);
    }
    cluster.node(&node("there", "10.89.0.12"), 100);
    let seen = ["10.89.0.12:80", "10.89.0.12:443", "10.89.0.12:22"].map(|socket| cluster.at(socket, 100));
    assert_eq!(seen, ["service shop/one", "service shop/two", "node there"]);
}

#[test]
fn pods_on_the_network_of_their_node_are_known_by_their_port() {
    let mut cluster = Cluster::new();
    cluster.node(&node("here", "10.89.0.11"), 100);
    let mut exporter = pod("exporter", &["10.89.0.11"]);
    exporter["spec"]["hostNetwork"] = json!(true);
    cluster.pod(&exporter, 100);
    let seen = ["10.89.0.11:8080", "10.89.0.11:9090", "10.89.0.11:55555"].map(|socket| cluster.at(socket, 100));
    assert_eq!(seen, ["pod shop/exporter", "pod shop/exporter", "node here"]);
}

#[test]
fn a_service_belongs_to_pods_of_its_own_namespace_only() {
    let mut cluster = Cluster::new();
    let mut other = service("other", &[], &json!({"app": "web"}), &json!(8080));
    other["metadata"]["namespace"] = json!("elsewhere");
    cluster.service(&other, 100);
    cluster.pod(&pod("a", &["10.0.0.1"]), 100);
    assert_eq!(cluster.service_at("10.0.0.1:8080", 100), "-");
    cluster.service(&service("web", &["None"], &json!({"app": "web", "tier": "front"}), &json!(8080)), 100);
    assert_eq!(cluster.service_at("10.0.0.1:8080", 100), "shop/web");
}

#[test]
fn of_several_services_the_one_that_leads_to_the_port_counts_then_the_first_by_name() {
    let mut cluster = Cluster::new();
    let web = json!({"app": "web"});
    cluster.service(&service("z-http", &[], &web, &json!("http")), 100);
    cluster.service(&service("m-admin", &[], &json!({"tier": "front"}), &json!(9090)), 100);
    cluster.service(&service("a-other", &[], &web, &json!(7)), 100);
    cluster.pod(&pod("a", &["10.0.0.1"]), 100);
    let seen = ["10.0.0.1:8080", "10.0.0.1:9090", "10.0.0.1:1"].map(|socket| cluster.service_at(socket, 100));
    assert_eq!(seen, ["shop/z-http", "shop/m-admin", "shop/a-other"]);
}

#[test]
fn services_choose_by_the_selector_that_they_had_at_the_time() {
    let mut cluster = Cluster::new();
    cluster.pod(&pod("a", &["10.0.0.1"]), 100);
    cluster.service(&service("web", &["10.96.0.1"], &json!({"app": "web"}), &json!(8080)), 100);
    cluster.service(&service("web", &["10.96.0.1"], &json!({"app": "other"}), &json!(8080)), 200);
    assert_eq!(cluster.service_at("10.0.0.1:8080", 150), "shop/web");
    assert_eq!(cluster.service_at("10.0.0.1:8080", 231), "-");
    assert_eq!(cluster.at("10.96.0.1:80", 231), "service shop/web");
}

#[test]
fn a_port_that_a_service_has_on_every_node_tells_what_was_dialled() {
    let mut cluster = Cluster::new();
    cluster.node(&node("here", "10.89.0.11"), 100);
    let mut web = service("web", &["10.96.0.1"], &json!({"app": "web"}), &json!(8080));
    web["spec"]["ports"][0]["nodePort"] = json!(30080);
    cluster.service(&web, 100);
    let seen = ["10.89.0.11:30080", "10.96.0.1:80", "10.89.0.11:22", "10.9.9.9:30080"];
    assert_eq!(seen.map(|socket| cluster.dialled(socket, 100)), ["shop/web", "shop/web", "-", "-"]);
}

#[test]
fn a_service_without_selector_has_the_addresses_that_its_slices_list() {
    let mut cluster = Cluster::new();
    cluster.service(&service("legacy", &["10.96.0.7"], &json!(null), &json!(8080)), 100);
    let slice = |addresses: &[&str]| -> SliceObject {
        let meta = json!({"namespace": "shop", "uid": "slice", "labels": {"kubernetes.io/service-name": "legacy"}});
        serde_json::from_value(json!({"metadata": meta, "endpoints": [{"addresses": addresses}]})).unwrap()
    };
    cluster.book.slice(&slice(&["192.0.2.7", "192.0.2.8"]), at(100));
    cluster.book.slice(&slice(&["192.0.2.8"]), at(200));
    cluster.book.publish();
    assert_eq!(cluster.at("192.0.2.7:8080", 150), "service shop/legacy");
    assert_eq!(cluster.at("192.0.2.7:8080", 231), "-");
    assert_eq!(cluster.at("192.0.2.8:8080", 231), "service shop/legacy");
    assert_eq!(cluster.book.without_selector().count(), 1);
}

#[test]
fn this_node_is_known_by_its_name_or_by_its_address() {
    let directory = Arc::new(Directory::new(None));
    let mut book = Book::new(directory.clone(), vec!["10.89.0.11".parse().unwrap()]);
    for object in [node("there", "10.89.0.12"), node("here", "10.89.0.11")] {
        book.node(&serde_json::from_value(object).unwrap(), at(1));
    }
    assert_eq!(directory.here().as_deref(), Some("here"));
    let mut cluster = Cluster::new();
    cluster.pod(&pod("mine", &["10.0.0.1"]), 100);
    let mut other = pod("other", &["10.0.0.2"]);
    other["spec"]["nodeName"] = json!("there");
    cluster.pod(&other, 100);
    cluster.node(&node("here", "10.89.0.11"), 100);
    let is_here = |socket: &str| {
        let endpoint = cluster.directory.endpoint(socket.parse().unwrap(), at(100)).unwrap();
        cluster.directory.is_here(&endpoint)
    };
    assert_eq!(["10.0.0.1:1", "10.0.0.2:1", "10.89.0.11:1"].map(is_here), [true, false, true]);
}

#[test]
fn an_object_that_says_nothing_new_changes_nothing() {
    let mut cluster = Cluster::new();
    cluster.pod(&pod("a", &["10.0.0.1"]), 100);
    let mut again = pod("a", &["10.0.0.1"]);
    again["metadata"]["resourceVersion"] = json!("77");
    cluster.book.pod(&serde_json::from_value(again).unwrap(), at(200));
    assert!(cluster.book.edits.addresses.is_empty());
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Pod { number: u8, address: Option<u8>, labels: u8 },
    PodGone { number: u8 },
    Service { number: u8, address: u8, selector: u8 },
    ServiceGone { number: u8 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u8, proptest::option::weighted(0.8, 0..4_u8), 0..3_u8)
            .prop_map(|(number, address, labels)| Step::Pod { number, address, labels }),
        2 => (0..6_u8).prop_map(|number| Step::PodGone { number }),
        2 => (0..4_u8, 0..2_u8, 0..3_u8)
            .prop_map(|(number, address, selector)| Step::Service { number, address, selector }),
        1 => (0..4_u8).prop_map(|number| Step::ServiceGone { number }),
    ]
}

/// The whole cluster as it was after every step: nothing is cleverly kept.
#[derive(Clone, Debug, Default)]
struct Moment {
    since: u64,
    /// Address and labels of pods, by number.
    pods: BTreeMap<u8, (Option<u8>, u8)>,
    /// Address and selector of Services, by number.
    services: BTreeMap<u8, (u8, u8)>,
}

/// What was true of somebody from when to when, of a history of moments.
fn periods<T: Ord>(moments: &[Moment], holds: impl Fn(&Moment) -> Vec<T>) -> Vec<(T, u64, Option<u64>)> {
    let mut periods: Vec<(T, u64, Option<u64>)> = Vec::new();
    for moment in moments {
        let holding = holds(moment);
        for (who, _, until) in &mut periods {
            if until.is_none() && !holding.contains(who) {
                *until = Some(moment.since);
            }
        }
        for who in holding {
            if !periods.iter().any(|(known, _, until)| *known == who && until.is_none()) {
                periods.push((who, moment.since, None));
            }
        }
    }
    periods
}

/// Who of several counts at a time, by the promise in words.
fn chosen<T: Copy>(periods: &[(T, u64, Option<u64>)], time: u64) -> Option<T> {
    let until = |end: &Option<u64>| end.unwrap_or(u64::MAX);
    let now = periods.iter().filter(|(_, since, end)| *since <= time && time <= until(end));
    let before = periods.iter().filter(|(_, _, end)| until(end) < time && time - until(end) <= GRACE.as_secs());
    let after = periods.iter().filter(|(_, since, _)| time < *since && since - time <= LEAD.as_secs());
    now.max_by_key(|(_, since, _)| *since)
        .or_else(|| before.max_by_key(|(_, _, end)| until(end)))
        .or_else(|| after.min_by_key(|(_, since, _)| *since))
        .map(|(who, _, _)| *who)
}

fn replay(steps: &[(u64, Step)]) -> (Cluster, Vec<Moment>) {
    let mut cluster = Cluster::new();
    let mut moments = vec![Moment::default()];
    let mut time = 1000;
    for (pause, step) in steps {
        // Two things never happen at the same moment: which was first would be a matter of taste.
        time += 1 + pause;
        let mut next = Moment { since: time, ..moments.last().cloned().unwrap_or_default() };
        match step {
            Step::Pod { number, address, labels } => {
                let addresses: Vec<String> = address.iter().map(|last| format!("10.0.0.{last}")).collect();
                let mut object = pod(&number.to_string(), &addresses.iter().map(String::as_str).collect::<Vec<_>>());
                object["metadata"]["labels"] = json!({"app": labels.to_string(), "all": "same"});
                cluster.pod(&object, time);
                next.pods.insert(*number, (*address, *labels));
            }
            Step::PodGone { number } => {
                cluster.without_pod(&pod(&number.to_string(), &[]), time);
                next.pods.remove(number);
            }
            Step::Service { number, address, selector } => {
                let selector_object = json!({"app": selector.to_string()});
                let addresses = [format!("10.96.0.{address}")];
                cluster.service(&service(&number.to_string(), &[&addresses[0]], &selector_object, &json!(1)), time);
                next.services.insert(*number, (*address, *selector));
            }
            Step::ServiceGone { number } => {
                let object = service(&number.to_string(), &[], &json!({}), &json!(1));
                cluster.book.without_service(&serde_json::from_value(object).unwrap(), at(time));
                cluster.book.publish();
                next.services.remove(number);
            }
        }
        moments.push(next);
    }
    (cluster, moments)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_history_gives_the_answers_of_the_model(
        steps in proptest::collection::vec((0..20_u64, any_step()), 1..40),
        times in proptest::collection::vec(990..1500_u64, 20),
    ) {
        let (cluster, moments) = replay(&steps);
        for time in times {
            for address in 0..4_u8 {
                let holds = |moment: &Moment| {
                    let pods = moment.pods.iter().filter(|(_, (at, _))| *at == Some(address));
                    pods.map(|(number, _)| *number).collect()
                };
                let pod = chosen(&periods(&moments, holds), time);
                let wanted = pod.map_or_else(|| "-".to_owned(), |number| format!("pod shop/{number}"));
                let socket = format!("10.0.0.{address}:8080");
                prop_assert_eq!(cluster.at(&socket, time), wanted, "{} at {}", address, time);
                let Some(Endpoint::Pod(found)) = cluster.directory.endpoint(socket.parse().unwrap(), at(time)) else {
                    continue;
                };
                let labels: u8 = found.label("app").unwrap().parse().unwrap();
                let candidates = (0..4_u8).filter(|number| {
                    let chooses = |moment: &Moment| {
                        let own = moment.services.get(number);
                        own.filter(|(_, selector)| *selector == labels).map(|_| 0).into_iter().collect()
                    };
                    chosen::<u8>(&periods(&moments, chooses), time).is_some()
                });
                let wanted = candidates.min().map_or_else(|| "-".to_owned(), |number| format!("shop/{number}"));
                prop_assert_eq!(cluster.service_at(&socket, time), wanted, "of {} at {}", address, time);
            }
            for address in 0..2_u8 {
                let holds = |moment: &Moment| {
                    let services = moment.services.iter().filter(|(_, (at, _))| *at == address);
                    services.map(|(number, _)| *number).collect()
                };
                let service = chosen(&periods(&moments, holds), time);
                let wanted = service.map_or_else(|| "-".to_owned(), |number| format!("service shop/{number}"));
                prop_assert_eq!(cluster.at(&format!("10.96.0.{address}:80"), time), wanted);
            }
        }
    }

    #[test]
    fn what_is_not_listed_any_more_is_forgotten_in_the_end(
        steps in proptest::collection::vec((0..20_u64, any_step()), 1..40),
    ) {
        let (mut cluster, moments) = replay(&steps);
        for kind in [Kind::Pods, Kind::Services] {
            cluster.book.begin(kind);
            cluster.book.complete(kind, at(5000));
        }
        cluster.book.forget(at(5000 + REMEMBERED.as_secs() + 1));
        prop_assert_eq!(cluster.directory.addresses.len() + cluster.directory.selectors.len(), 0, "{:?}", moments);
        prop_assert_eq!(cluster.book.sizes(), [0, 0, 0]);
    }
}
