//! An address at a moment → what stood there: a pod, a Service, a node, with the names that a cluster has for them.
//!
//! Records are small, because an agent may hold those of a hundred thousand pods: what pods of one owner have in common
//! is held once ([`Template`], [`Labels`]).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::time::Timestamp;

/// Knows what stands behind addresses, now and a while ago.
pub trait EndpointLookup {
    /// What stood at `socket` at a time; `None` when nobody knows.
    fn endpoint(&self, socket: SocketAddr, at: Timestamp) -> Option<Endpoint>;

    /// The node of this name.
    fn node(&self, name: &str, at: Timestamp) -> Option<Arc<Node>>;

    /// The Service whose address, or whose port on a node, `socket` is.
    fn dialled(&self, socket: SocketAddr, at: Timestamp) -> Option<Arc<Service>>;

    /// A Service that chooses `pod` by its labels: one that leads to `port` before others, then the first by name.
    fn service_of(&self, pod: &Pod, port: Option<u16>, at: Timestamp) -> Option<Arc<Service>>;

    /// Whether a Service that can be asked from outside leads to `port` of `pod`. What comes there from a node may have come to
    /// that node from anywhere.
    fn is_exposed(&self, pod: &Pod, port: u16, at: Timestamp) -> bool;

    /// Whether it is known which node this is, and which pods are on it.
    fn knows_places(&self) -> bool;

    /// Whether `endpoint` is on this node.
    fn is_here(&self, endpoint: &Endpoint) -> bool;

    /// Whether it may know anything at all.
    fn knows_any(&self) -> bool {
        true
    }
}

/// What stands at one end of an exchange.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// A pod.
    Pod(Arc<Pod>),
    /// The address of a Service: who answers there is not known from it.
    Service(Arc<Service>),
    /// A node, or a process on its network that is no pod's by its port.
    Node(Arc<Node>),
}

/// A pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// What it has in common with others.
    pub template: Arc<Template>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Its name, unique in its namespace at any moment.
    pub name: Box<str>,
    /// Unique for ever.
    pub uid: Uid,
    /// The node that it was assigned to; empty before.
    pub node: Arc<str>,
    /// At most one of each family, as the API has it; none when the pod has ended.
    pub addresses: [Option<IpAddr>; 2],
}

/// What pods made from one template have in common.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Template {
    /// Their namespace.
    pub namespace: Arc<str>,
    /// Who made them.
    pub owner: Option<Owner>,
    /// Their containers, without those that only run at the start.
    pub containers: Box<[Container]>,
    /// Resource attributes that annotations `resource.opentelemetry.io/…` give.
    pub attributes: Box<[(Arc<str>, Arc<str>)]>,
    /// Whether they use their node's network and addresses.
    pub host_network: bool,
    /// Whether an annotation asks for being left out.
    pub left_out: bool,
}

/// A container of a pod.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Container {
    /// Its name.
    pub name: Arc<str>,
    /// Ports that it declares, with their names; these may be empty.
    pub ports: Box<[(u16, Arc<str>)]>,
    /// Tag or digest of its image; empty when there is none.
    pub version: Arc<str>,
    /// Resource attributes that its own `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` give.
    pub attributes: Box<[(Arc<str>, Arc<str>)]>,
}

/// The workload that a pod belongs to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Owner {
    /// What it is.
    pub kind: OwnerKind,
    /// Its name.
    pub name: Arc<str>,
}

/// Kinds of workloads.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OwnerKind {
    /// `apps/Deployment`.
    Deployment,
    /// `apps/ReplicaSet` without a Deployment.
    ReplicaSet,
    /// `apps/StatefulSet`.
    StatefulSet,
    /// `apps/DaemonSet`.
    DaemonSet,
    /// `batch/CronJob`.
    CronJob,
    /// `batch/Job` without a `CronJob`.
    Job,
}

/// A label, or one condition of a selector; equal ones are the same object.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Label {
    /// Its key.
    pub key: Box<str>,
    /// Its value.
    pub value: Box<str>,
}

/// All labels of a pod, in the order of their keys.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Labels(pub Box<[Arc<Label>]>);

/// A Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name, unique in its namespace at any moment.
    pub name: Box<str>,
    /// Unique for ever.
    pub uid: Uid,
    /// What its pods' labels must be; without any it chooses none.
    pub selector: Box<[Arc<Label>]>,
    /// Its ports.
    pub ports: Box<[ServicePort]>,
    /// Whether it can be asked from outside of the cluster: by a node's port, a load balancer, an external address.
    pub is_exposed: bool,
    /// Its cluster IPs, load balancer's and external ones.
    pub addresses: Box<[IpAddr]>,
}

/// A port of a Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServicePort {
    /// What clients dial.
    pub port: u16,
    /// Where it leads to on the pod.
    pub target: TargetPort,
    /// What clients dial on every node's address; 0 when nothing.
    pub node_port: u16,
}

/// Where a Service's port leads to on a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// The port that a container calls so.
    Name(Box<str>),
}

/// A node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Unique for ever.
    pub uid: Uid,
    /// Its addresses.
    pub addresses: Box<[IpAddr]>,
}

/// An object's identity; a UUID takes half of its text.
#[derive(Clone, Eq, Hash, PartialEq)]
pub enum Uid {
    /// A UUID in its usual form.
    Uuid([u8; 16]),
    /// Anything else.
    Text(Box<str>),
}

impl Pod {
    /// The container that answers on `port`: the one that declares it, else the only one.
    pub fn container(&self, port: u16) -> Option<&Container> {
        let containers = &self.template.containers;
        let mut declaring = containers.iter().filter(|container| container.declares(port));
        match (declaring.next(), declaring.next()) {
            (Some(one), None) => Some(one),
            (None, _) if containers.len() == 1 => containers.first(),
            _ => None,
        }
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.0.iter().find(|label| &*label.key == key).map(|label| &*label.value)
    }
}

impl Container {
    /// Whether it says that it listens there.
    pub fn declares(&self, port: u16) -> bool {
        self.ports.iter().any(|(declared, _)| *declared == port)
    }
}

impl Labels {
    /// Whether every condition is fulfilled; none chooses nothing.
    pub fn fulfil(&self, selector: &[Arc<Label>]) -> bool {
        !selector.is_empty() && selector.iter().all(|wanted| self.0.contains(wanted))
    }
}

impl Service {
    /// Whether one of its ports leads to `port` of `pod`.
    pub fn leads_to(&self, pod: &Pod, port: u16) -> bool {
        let is_called = |name: &str| {
            let mut ports = pod.template.containers.iter().flat_map(|container| &container.ports);
            ports.any(|(number, called)| *number == port && &**called == name)
        };
        self.ports.iter().any(|own| match &own.target {
            TargetPort::Number(number) => *number == port,
            TargetPort::Name(name) => is_called(name),
        })
    }

    /// Whether clients dial `port` at its own addresses.
    pub fn listens_on(&self, port: u16) -> bool {
        self.ports.iter().any(|own| own.port == port)
    }
}

impl OwnerKind {
    /// The kind as attribute names have it: `k8s.deployment.name`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::ReplicaSet => "replicaset",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::CronJob => "cronjob",
            Self::Job => "job",
        }
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        uuid(text).map_or_else(|| Self::Text(text.into()), Self::Uuid)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Uuid(bytes) => {
                let number = u128::from_be_bytes(*bytes);
                let part = |shift: u32, bits: u32| (number >> shift) & ((1 << bits) - 1);
                let [time, middle, high] = [part(96, 32), part(80, 16), part(64, 16)];
                write!(formatter, "{time:08x}-{middle:04x}-{high:04x}-{:04x}-{:012x}", part(48, 16), part(0, 48))
            }
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// `8-4-4-4-12` lower-case hexadecimal digits, so that the text can be had back.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let is_usual = text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    let digits = text.bytes().filter(|byte| *byte != b'-').filter_map(|byte| char::from(byte).to_digit(16));
    is_usual.then(|| digits.fold(0_u128, |number, digit| number << 4 | u128::from(digit)).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_reads_as_it_was_written() {
        for text in [
            "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "1B4E28BA-2FA1-11D2-883F-0016D3CCA427",
            "1b4e28ba2fa111d2883f0016d3cca427",
            "1b4e28ba-2fa1-11d2-883f-0016d3cca42g",
            "static",
            "",
        ] {
            assert_eq!(Uid::from(text).to_string(), text);
        }
    }
}
