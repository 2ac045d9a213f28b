//! The API's objects → records: slim, and equal parts held once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use percent_encoding::percent_decode_str;

use super::intern::Interner;
use super::objects::{self, ContainerObject, NodeObject, PodObject, ServiceObject, SliceObject, Target};
use crate::span::{
    Container, Label, Labels, Node, Owner, OwnerKind, Pod, Service, ServicePort, TargetPort, Template, Uid,
};
use crate::time::Timestamp;

/// A pod's annotation that, when it is `true`, asks for not being observed.
pub(super) const IGNORE: &str = "network-agent/ignore";
/// Annotations of a node with the addresses of its devices that lead to other nodes, as Calico and Cilium write them.
const TUNNELS: [&str; 6] = [
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "projectcalico.org/IPv4WireguardInterfaceAddr",
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
];

/// What stands before the name of a resource attribute in an annotation (conventions, Kubernetes attributes).
const ATTRIBUTE: &str = "resource.opentelemetry.io/";

/// Makes records. What equal ones share is kept here for as long as one of them lives.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    names: Interner<str>,
    label: Interner<Label>,
    labels: Interner<Labels>,
    templates: Interner<Template>,
}

impl Recorder {
    /// A pod, and since when it has its addresses as far as it says.
    pub(super) fn pod(&mut self, object: &PodObject) -> (Pod, Option<Timestamp>) {
        let meta = &object.metadata;
        let labels = Labels(self.label_list(meta.labels.as_ref()));
        let template = self.template(object);
        let mut addresses = [None; 2];
        if !matches!(object.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            let all = object.status.pod_ips.iter().flatten().filter_map(|address| address.ip.as_deref());
            let listed = all.chain(object.status.pod_ip.as_deref()).filter_map(objects::address);
            for address in listed {
                if !addresses.contains(&Some(address))
                    && let Some(place) = addresses.iter_mut().find(|place| place.is_none())
                {
                    *place = Some(address);
                }
            }
        }
        let pod = Pod {
            template: self.templates.get(template),
            labels: self.labels.get(labels),
            name: name(meta).into(),
            uid: uid(meta),
            node: self.names.get(object.spec.node_name.as_deref().unwrap_or_default()),
            addresses,
        };
        (pod, network_since(object))
    }

    pub(super) fn service(&mut self, object: &ServiceObject) -> Service {
        let spec = &object.spec;
        let ports = spec.ports.iter().flatten().filter(|port| is_tcp(port.protocol.as_deref()));
        let ports_are_on_nodes = ports.clone().any(|port| port.node_port.is_some_and(|port| port != 0));
        let ports = ports.map(|port| ServicePort {
            port: port.port,
            target: match &port.target_port {
                Some(Target::Number(0)) | None => TargetPort::Number(port.port),
                Some(Target::Number(number)) => TargetPort::Number(*number),
                Some(Target::Name(name)) => TargetPort::Name(name.as_str().into()),
            },
            node_port: port.node_port.unwrap_or(0),
        });
        let ingress = object.status.load_balancer.ingress.iter().flatten().filter_map(|address| address.ip.as_deref());
        let own = spec.cluster_ips.iter().flatten().map(String::as_str).chain(spec.cluster_ip.as_deref());
        let outer = spec.external_ips.iter().flatten().map(String::as_str).chain(ingress);
        let external = outer.clone().find_map(objects::address);
        let mut addresses: Vec<IpAddr> = own.chain(outer).filter_map(objects::address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Service {
            namespace: self.names.get(object.metadata.namespace.as_deref().unwrap_or_default()),
            name: name(&object.metadata).into(),
            uid: uid(&object.metadata),
            selector: self.label_list(spec.selector.as_ref()),
            ports: ports.collect(),
            is_exposed: external.is_some() || ports_are_on_nodes,
            addresses: addresses.into(),
        }
    }

    pub(super) fn node(&mut self, object: &NodeObject) -> Node {
        // A name among the addresses is none.
        let listed = object.status.addresses.iter().flatten();
        let listed = listed.filter_map(|address| objects::address(&address.address));
        let networks = object.spec.pod_cidrs.iter().flatten();
        let tunnels = object.metadata.annotations.iter().flatten();
        let tunnels = tunnels.filter(|(key, _)| TUNNELS.contains(&key.as_str()));
        let tunnels = tunnels.filter_map(|(_, value)| objects::address(value));
        let mut addresses: Vec<IpAddr> =
            listed.chain(networks.flat_map(|network| ends_of_bridge(network)).flatten()).chain(tunnels).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Node { name: self.names.get(name(&object.metadata)), uid: uid(&object.metadata), addresses: addresses.into() }
    }

    fn template(&mut self, object: &PodObject) -> Template {
        let meta = &object.metadata;
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|all| all.get(key));
        let attributes = meta.annotations.iter().flatten();
        let attributes = attributes.filter_map(|(key, value)| Some((key.strip_prefix(ATTRIBUTE)?, value.as_str())));
        let containers = object.spec.containers.iter().flatten();
        Template {
            namespace: self.names.get(meta.namespace.as_deref().unwrap_or_default()),
            owner: owner(meta).map(|(kind, name)| Owner { kind, name: self.names.get(name) }),
            containers: containers.map(|container| self.container(container)).collect(),
            attributes: attributes.map(|(key, value)| (self.names.get(key), self.names.get(value))).collect(),
            host_network: object.spec.host_network.unwrap_or(false),
            left_out: annotation(IGNORE).is_some_and(|value| value == "true"),
        }
    }

    fn container(&mut self, object: &ContainerObject) -> Container {
        let ports = object.ports.iter().flatten().filter(|port| is_tcp(port.protocol.as_deref()));
        let ports = ports.map(|port| (port.port, self.names.get(port.name.as_deref().unwrap_or_default()))).collect();
        Container {
            name: self.names.get(object.name.as_str()),
            ports,
            version: self.names.get(object.image.as_deref().map_or("", version)),
            attributes: own_attributes(object)
                .into_iter()
                .map(|(key, value)| (self.names.get(key.as_str()), self.names.get(value.as_str())))
                .collect(),
        }
    }

    fn label_list(&mut self, labels: Option<&BTreeMap<String, String>>) -> Box<[Arc<Label>]> {
        let labels = labels.into_iter().flatten();
        labels
            .map(|(key, value)| self.label.get(Label { key: key.as_str().into(), value: value.as_str().into() }))
            .collect()
    }
}

/// The Service that a slice belongs to, and its addresses; those that are not ready, too, for they may still answer.
pub(super) fn slice(object: &SliceObject) -> Option<(String, Vec<IpAddr>)> {
    let service = object.metadata.labels.as_ref()?.get(objects::SERVICE_LABEL)?.clone();
    let all = object.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.iter().flatten());
    Some((service, all.filter_map(|text| objects::address(text)).collect()))
}

pub(super) fn uid(meta: &ObjectMeta) -> Uid {
    meta.uid.as_deref().unwrap_or_default().into()
}

fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

pub(super) fn timestamp(time: &Time) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(time.0.as_nanosecond()).unwrap_or(0))
}

/// Of a network of pods, the addresses that its node keeps for itself: that of the overlay's device (as flannel has it) and
/// that of the bridge, the gateway of its pods. What a node masquerades on its way to another node's pod comes from there.
fn ends_of_bridge(network: &str) -> [Option<IpAddr>; 2] {
    let first = network.split_once('/').and_then(|(first, _)| objects::address(first));
    let second = first.map(|first| match first {
        IpAddr::V4(first) => IpAddr::from(Ipv4Addr::from_bits(first.to_bits() | 1)),
        IpAddr::V6(first) => IpAddr::from(Ipv6Addr::from_bits(first.to_bits() | 1)),
    });
    [first, second]
}

/// Since when a pod has had its network: as its condition says (from Kubernetes 1.29), else since its node took it.
fn network_since(object: &PodObject) -> Option<Timestamp> {
    let conditions = object.status.conditions.iter().flatten();
    let mut ready =
        conditions.filter(|condition| condition.kind == "PodReadyToStartContainers" && condition.status == "True");
    let ready = ready.next().and_then(|condition| condition.last_transition_time.as_ref());
    ready.or(object.status.start_time.as_ref()).map(timestamp)
}

/// UDP has ports of its own.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

/// Who made the pod: of a `ReplicaSet` its Deployment, of a Job its `CronJob`, by the names that these give.
fn owner(meta: &ObjectMeta) -> Option<(OwnerKind, &str)> {
    let owners = meta.owner_references.as_ref()?;
    let OwnerReference { kind, name, .. } = owners.iter().find(|owner| owner.controller == Some(true))?;
    Some(match kind.as_str() {
        "ReplicaSet" => {
            let hash = meta.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
            let before = hash.and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-'));
            before.map_or((OwnerKind::ReplicaSet, name.as_str()), |deployment| (OwnerKind::Deployment, deployment))
        }
        "Job" => {
            let made = meta.creation_timestamp.as_ref().map(timestamp);
            let before = without_schedule(name, made);
            before.map_or((OwnerKind::Job, name.as_str()), |cron_job| (OwnerKind::CronJob, cron_job))
        }
        "StatefulSet" => (OwnerKind::StatefulSet, name),
        "DaemonSet" => (OwnerKind::DaemonSet, name),
        _ => return None,
    })
}

/// A `CronJob` names its Jobs by the minute that they were due: minutes since 1970. Another number that a Job's name ends
/// with is hardly the time at which its pod was made.
fn without_schedule(job: &str, made: Option<Timestamp>) -> Option<&str> {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    let (before, digits) = job.rsplit_once('-')?;
    let minutes: u64 = digits.parse().ok().filter(|_| digits.len() == 8)?;
    let due = Timestamp::from_nanos(minutes.checked_mul(60_000_000_000)?);
    let is_near = made
        .is_none_or(|made| made.saturating_since(due) <= WEEK && due.saturating_since(made) <= Duration::from_secs(60));
    (is_near && !before.is_empty()).then_some(before)
}

/// Tag or digest of an image, the tag when there are both.
fn version(image: &str) -> &str {
    let (image, digest) = image.split_once('@').map_or((image, ""), |(image, digest)| (image, digest));
    // A colon before the last slash is that of a registry's port.
    let last = image.rsplit_once('/').map_or(image, |(_, last)| last);
    last.split_once(':').map_or(digest, |(_, tag)| tag)
}

/// Resource attributes that the container's SDK is told; what comes from elsewhere or is put together is not known.
fn own_attributes(object: &ContainerObject) -> Vec<(String, String)> {
    let variable = |name: &str| {
        let mut all = object.env.iter().flatten().filter(|variable| variable.name == name);
        all.next_back()?.value.as_deref().filter(|value| !value.is_empty() && !value.contains("$("))
    };
    let mut attributes: Vec<(String, String)> = variable("OTEL_RESOURCE_ATTRIBUTES").map(pairs).unwrap_or_default();
    // It beats the other (OpenTelemetry specification, SDK environment variables).
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        attributes.retain(|(key, _)| key != "service.name");
        attributes.push(("service.name".to_owned(), name.to_owned()));
    }
    attributes
}

/// `name=value,…`, percent-decoded; a value that cannot be decoded is discarded whole (OpenTelemetry specification).
fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(String::from);
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let pairs: Option<Vec<_>> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decode(name)?, decode(value)?))
        })
        .collect();
    pairs.unwrap_or_default()
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
