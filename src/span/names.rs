//! Who is at an end → `source.k8s.…` and `destination.k8s.…`, or `service.peer.…`, and `service.name` by the conventions.

use super::attributes::{AttributeSink, Attributes};
use super::block::Block;
use super::ends::End;
use super::{BlockKey, Container, Endpoint, Held, Key, OwnerKind, Pod, Service, semconv};

/// Attribute names of one end.
pub(super) struct EndKeys {
    block: Block,
    resource_type: Key,
    namespace: Key,
    pod: Key,
    pod_uid: Key,
    container: Key,
    node: Key,
    node_uid: Key,
    service: Key,
    service_uid: Key,
    owners: [Key; 6],
}

macro_rules! keys {
    ($end:literal, $block:expr) => {
        &EndKeys {
            block: $block,
            resource_type: Key::new(concat!($end, ".k8s.resource.type")),
            namespace: Key::new(concat!($end, ".k8s.namespace.name")),
            pod: Key::new(concat!($end, ".k8s.pod.name")),
            pod_uid: Key::new(concat!($end, ".k8s.pod.uid")),
            container: Key::new(concat!($end, ".k8s.container.name")),
            node: Key::new(concat!($end, ".k8s.node.name")),
            node_uid: Key::new(concat!($end, ".k8s.node.uid")),
            service: Key::new(concat!($end, ".k8s.service.name")),
            service_uid: Key::new(concat!($end, ".k8s.service.uid")),
            owners: [
                Key::new(concat!($end, ".k8s.deployment.name")),
                Key::new(concat!($end, ".k8s.replicaset.name")),
                Key::new(concat!($end, ".k8s.statefulset.name")),
                Key::new(concat!($end, ".k8s.daemonset.name")),
                Key::new(concat!($end, ".k8s.cronjob.name")),
                Key::new(concat!($end, ".k8s.job.name")),
            ],
        }
    };
}

pub(super) const SOURCE: &EndKeys = keys!("source", Block::Source);
pub(super) const DESTINATION: &EndKeys = keys!("destination", Block::Destination);

/// Adds what is known of `end`; `port` is the one that it answers on.
pub(super) fn add_end<'a, S: AttributeSink<'a>>(
    list: &mut Attributes<'_, S>,
    keys: &'static EndKeys,
    end: &'a End,
    port: Option<u16>,
) {
    if end.endpoint.is_some() {
        let key = BlockKey::of_end(keys.block, end, port);
        list.block(key, || Held::of(end), |list| add_each(list, keys, end, port));
    }
}

fn add_each<'a, S: AttributeSink<'a>>(
    list: &mut Attributes<'_, S>,
    keys: &'static EndKeys,
    end: &'a End,
    port: Option<u16>,
) {
    match &end.endpoint {
        None => return,
        Some(Endpoint::Pod(pod)) => {
            list.text(&keys.resource_type, "pod");
            list.text(&keys.namespace, &*pod.template.namespace);
            list.text(&keys.pod, &*pod.name);
            list.text(&keys.pod_uid, pod.uid.to_string());
            if let Some(container) = container(pod, port) {
                list.text(&keys.container, &*container.name);
            }
            if let Some(owner) = &pod.template.owner
                && let Some(key) = keys.owners.get(owner.kind as usize)
            {
                list.text(key, &*owner.name);
            }
            if !pod.node.is_empty() {
                list.text(&keys.node, &*pod.node);
            }
            if let Some(node) = &end.node {
                list.text(&keys.node_uid, node.uid.to_string());
            }
        }
        Some(Endpoint::Service(service)) => {
            list.text(&keys.resource_type, "service");
            list.text(&keys.namespace, &*service.namespace);
        }
        Some(Endpoint::Node(node)) => {
            list.text(&keys.resource_type, "node");
            list.text(&keys.node, &*node.name);
            list.text(&keys.node_uid, node.uid.to_string());
            if let Some(service) = &end.service {
                list.text(&keys.namespace, &*service.namespace);
            }
        }
    }
    if let Some(service) = &end.service {
        add_service(list, keys, service);
    }
}

fn add_service<'a, S: AttributeSink<'a>>(list: &mut Attributes<'_, S>, keys: &'static EndKeys, service: &'a Service) {
    list.text(&keys.service, &*service.name);
    list.text(&keys.service_uid, service.uid.to_string());
}

/// Adds how the other end calls itself: by the same rules as its own `service.name`.
pub(super) fn add_peer<'a, S: AttributeSink<'a>>(
    list: &mut Attributes<'_, S>,
    peer: &'a End,
    port: Option<u16>,
    from_labels: bool,
) {
    let (name, namespace) = match &peer.endpoint {
        Some(Endpoint::Pod(pod)) => (
            service_name(pod, port, from_labels),
            text(pod, port, "service.namespace").unwrap_or(&pod.template.namespace),
        ),
        Some(Endpoint::Service(service)) => (&*service.name, &*service.namespace),
        Some(Endpoint::Node(_)) | None => return,
    };
    list.text(semconv::SERVICE_PEER_NAME, name);
    list.text(semconv::SERVICE_PEER_NAMESPACE, namespace);
}

/// The container behind `port`; of a client only the only one is known.
pub(super) fn container(pod: &Pod, port: Option<u16>) -> Option<&Container> {
    match port {
        Some(port) => pod.container(port),
        None => pod.template.containers.first().filter(|_| pod.template.containers.len() == 1),
    }
}

/// `service.name` of a pod (conventions, Kubernetes attributes): what its annotation says, what its SDK is told, its labels if
/// they are asked for, its owner, itself.
pub(super) fn service_name(pod: &Pod, port: Option<u16>, from_labels: bool) -> &str {
    let labels = ["app.kubernetes.io/instance", "app.kubernetes.io/name"];
    let labelled = || labels.iter().filter(|_| from_labels).find_map(|key| pod.label(key));
    let owner = || pod.template.owner.as_ref().map(|owner| &*owner.name);
    text(pod, port, "service.name").or_else(labelled).or_else(owner).unwrap_or(&pod.name)
}

/// A resource attribute that the pod's annotation gives, else its container's own variables.
pub(super) fn text<'p>(pod: &'p Pod, port: Option<u16>, key: &str) -> Option<&'p str> {
    let annotated = find(&pod.template.attributes, key);
    annotated.or_else(|| find(&speaking(pod, port)?.attributes, key))
}

/// The container whose variables count: the one behind the port, else the first that has any.
pub(super) fn speaking(pod: &Pod, port: Option<u16>) -> Option<&Container> {
    let any = || pod.template.containers.iter().find(|container| !container.attributes.is_empty());
    container(pod, port).or_else(any)
}

fn find<'p>(attributes: &'p [(std::sync::Arc<str>, std::sync::Arc<str>)], key: &str) -> Option<&'p str> {
    attributes.iter().find(|(name, _)| &**name == key).map(|(_, value)| &**value).filter(|value| !value.is_empty())
}

/// `k8s.deployment.name` and its like.
pub(super) const fn owner_key(kind: OwnerKind) -> &'static str {
    match kind {
        OwnerKind::Deployment => "k8s.deployment.name",
        OwnerKind::ReplicaSet => "k8s.replicaset.name",
        OwnerKind::StatefulSet => "k8s.statefulset.name",
        OwnerKind::DaemonSet => "k8s.daemonset.name",
        OwnerKind::CronJob => "k8s.cronjob.name",
        OwnerKind::Job => "k8s.job.name",
    }
}
