//! Objects as the API writes them, and what is kept of them.

use serde_json::{Value, json};

use super::*;

fn pod_of(object: Value) -> (Pod, Option<Timestamp>) {
    Recorder::default().pod(&serde_json::from_value(object).unwrap())
}

fn owned_by(kind: &str, name: &str, labels: &Value) -> Option<(OwnerKind, String)> {
    let owner = json!([{"kind": kind, "name": name, "uid": "1", "apiVersion": "x/v1", "controller": true}]);
    let made = "2026-11-25T08:00:30Z";
    let (pod, _) = pod_of(json!({"metadata":
        {"name": "p", "labels": labels, "ownerReferences": owner, "creationTimestamp": made}}));
    pod.template.owner.as_ref().map(|owner| (owner.kind, owner.name.to_string()))
}

#[test]
fn the_owner_is_found_by_the_names_that_controllers_give() {
    // 2026-11-25T08:00:00Z is minute 29926560.
    for (kind, name, labels, wanted) in [
        ("ReplicaSet", "web-5d4f", json!({"pod-template-hash": "5d4f"}), Some((OwnerKind::Deployment, "web"))),
        ("ReplicaSet", "web-5d4f", json!({"pod-template-hash": "other"}), Some((OwnerKind::ReplicaSet, "web-5d4f"))),
        ("ReplicaSet", "web-5d4f", json!({}), Some((OwnerKind::ReplicaSet, "web-5d4f"))),
        ("Job", "backup-29926560", json!({}), Some((OwnerKind::CronJob, "backup"))),
        ("Job", "backup-29926000", json!({}), Some((OwnerKind::CronJob, "backup"))),
        ("Job", "backup-20261125", json!({}), Some((OwnerKind::Job, "backup-20261125"))),
        ("Job", "migrate-7", json!({}), Some((OwnerKind::Job, "migrate-7"))),
        ("StatefulSet", "db", json!({}), Some((OwnerKind::StatefulSet, "db"))),
        ("DaemonSet", "proxy", json!({}), Some((OwnerKind::DaemonSet, "proxy"))),
        ("Node", "node-a", json!({}), None),
    ] {
        assert_eq!(owned_by(kind, name, &labels), wanted.map(|(kind, name)| (kind, name.to_owned())), "{kind} {name}");
    }
}

#[test]
fn an_owner_that_is_not_the_controller_is_none() {
    let (pod, _) = pod_of(json!({"metadata": {"ownerReferences": [
        {"kind": "DaemonSet", "name": "x", "uid": "1", "apiVersion": "apps/v1"}]}}));
    assert_eq!(pod.template.owner, None);
}

#[test]
fn every_address_counts_until_the_pod_has_ended() {
    let of = |phase: &str| {
        let status = json!({"phase": phase, "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]});
        pod_of(json!({"status": status})).0.addresses
    };
    let both = ["10.0.0.1", "fd00::1"].map(|address| Some(address.parse().unwrap()));
    assert_eq!(of("Running"), both);
    assert_eq!(of("Pending"), both);
    assert_eq!((of("Succeeded"), of("Failed")), ([None; 2], [None; 2]));
    let (old, _) = pod_of(json!({"status": {"podIP": "10.0.0.1"}}));
    assert_eq!(old.addresses, [both[0], None]);
}

#[test]
fn a_pod_has_its_addresses_since_its_network_was_made() {
    let seconds = |status: Value| pod_of(json!({"status": status})).1.map(|at| at.as_nanos() / 1_000_000_000);
    let condition = json!([{"type": "PodReadyToStartContainers", "status": "True",
        "lastTransitionTime": "1970-01-01T00:02:00Z"}]);
    assert_eq!(seconds(json!({"startTime": "1970-01-01T00:01:00Z", "conditions": condition})), Some(120));
    assert_eq!(seconds(json!({"startTime": "1970-01-01T00:01:00Z"})), Some(60));
    assert_eq!(seconds(json!({})), None);
}

#[test]
fn containers_keep_their_tcp_ports_and_their_version() {
    let (pod, _) = pod_of(json!({"spec": {"containers": [
        {"name": "app", "image": "registry:5000/shop/app:1.9.2@sha256:abc", "ports": [
            {"name": "http", "containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}]},
        {"name": "side", "image": "side@sha256:def"},
        {"name": "bare", "image": "registry:5000/bare"}]}}));
    let containers = &pod.template.containers;
    assert_eq!(&*containers[0].ports, &[(8080, Arc::from("http"))]);
    assert_eq!(containers.iter().map(|one| &*one.version).collect::<Vec<_>>(), ["1.9.2", "sha256:def", ""]);
    assert_eq!(pod.container(8080).map(|one| &*one.name), Some("app"));
    assert_eq!(pod.container(9090), None, "three could answer there");
}

#[test]
fn what_the_sdk_is_told_is_read_and_what_is_put_together_is_not() {
    let attributes = |env: Value| {
        let (pod, _) = pod_of(json!({"spec": {"containers": [{"name": "app", "env": env}]}}));
        let container = &pod.template.containers[0];
        container.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    let resource = json!({"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "service.name=a,service.version=1%2C2"});
    let name = json!({"name": "OTEL_SERVICE_NAME", "value": "b"});
    assert_eq!(attributes(json!([resource])), "service.name=a service.version=1,2");
    assert_eq!(attributes(json!([resource, name])), "service.version=1,2 service.name=b");
    assert_eq!(attributes(json!([{"name": "OTEL_SERVICE_NAME", "value": "x-$(POD)"}])), "");
    assert_eq!(attributes(json!([{"name": "OTEL_SERVICE_NAME", "valueFrom": {"fieldRef": {}}}])), "");
    assert_eq!(attributes(json!([{"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "nonsense"}])), "");
}

#[test]
fn annotations_give_attributes_and_ask_for_being_left_out() {
    let (pod, _) = pod_of(json!({"metadata": {"annotations": {
        "resource.opentelemetry.io/service.name": "till", "network-agent/ignore": "true", "other": "x"}}}));
    assert_eq!(&*pod.template.attributes, &[(Arc::from("service.name"), Arc::from("till"))]);
    assert!(pod.template.left_out);
}

#[test]
fn a_service_has_all_its_addresses_and_where_its_ports_lead() {
    let object = json!({"metadata": {"name": "s", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::2"], "externalIPs": ["192.0.2.1"],
            "selector": {"app": "web"}, "ports": [
                {"port": 80, "targetPort": "http", "nodePort": 30080}, {"port": 81, "targetPort": 8081},
                {"port": 82}, {"port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"hostname": "lb.example"}]}}});
    let service = Recorder::default().service(&serde_json::from_value(object).unwrap());
    let addresses: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.96.0.1", "192.0.2.1", "203.0.113.1", "fd00::2"]);
    let targets: Vec<_> = service.ports.iter().map(|port| (port.port, port.target.clone(), port.node_port)).collect();
    let number = TargetPort::Number;
    assert_eq!(targets, [(80, TargetPort::Name("http".into()), 30080), (81, number(8081), 0), (82, number(82), 0)]);
}

#[test]
fn a_headless_service_has_no_address() {
    let object = json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": null, "selector": null}});
    let service = Recorder::default().service(&serde_json::from_value(object).unwrap());
    assert!(service.addresses.is_empty() && service.selector.is_empty() && service.ports.is_empty());
}

#[test]
fn pods_of_one_template_share_it() {
    let mut recorder = Recorder::default();
    let mut pod = |name: &str| {
        let object = json!({"metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app"}]}});
        recorder.pod(&serde_json::from_value(object).unwrap()).0
    };
    let (one, other) = (pod("a"), pod("b"));
    assert!(Arc::ptr_eq(&one.template, &other.template) && Arc::ptr_eq(&one.labels, &other.labels));
}
