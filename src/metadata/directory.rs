//! An address at a moment → the pod, Service or node that had it; read without a lock while the watches change it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use xxhash_rust::xxh3::Xxh3;

use super::timeline::{Entry, Identity, Timeline};
use crate::span::{Endpoint, EndpointLookup, Label, Node, Pod, Service};
use crate::time::Timestamp;

/// What is known of a cluster, now and a while ago.
#[derive(Debug, Default)]
pub struct Directory {
    pub(super) addresses: Timeline<Holder>,
    /// Services by one condition of their selector.
    pub(super) selectors: Timeline<Arc<Service>>,
    /// Services by the ports that they have on all nodes.
    pub(super) node_ports: Timeline<Arc<Service>>,
    /// Nodes by name.
    pub(super) nodes: Timeline<Arc<Node>>,
    /// This node's name.
    here: ArcSwapOption<Arc<str>>,
    /// Whether the list of pods has been whole once.
    complete: AtomicBool,
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Holder {
    /// A pod, for itself alone.
    Pod(Arc<Pod>),
    /// A pod that uses its node's.
    HostPod(Arc<Pod>),
    /// A Service.
    Service(Arc<Service>),
    /// An endpoint that a Service without selector lists.
    Listed(Arc<Service>),
    /// A node.
    Node(Arc<Node>),
}

impl Directory {
    /// Nothing is known yet, but perhaps this node's name.
    pub fn new(node: Option<&str>) -> Self {
        let directory = Self::default();
        if let Some(node) = node {
            directory.settle_here(&Arc::from(node));
        }
        directory
    }

    /// This node's name, when it is known.
    pub fn here(&self) -> Option<Arc<str>> {
        self.here.load().as_deref().cloned()
    }

    /// This is node `name`.
    pub(super) fn settle_here(&self, name: &Arc<str>) {
        self.here.store(Some(Arc::new(name.clone())));
    }

    /// The list of pods is whole.
    pub(super) fn completed(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Addresses with a meaning, those with several counted so often.
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// The Services whose selector chooses `pod`.
    fn services_of(&self, pod: &Pod, at: Timestamp, mut take: impl FnMut(&Arc<Service>)) {
        let namespace = &pod.template.namespace;
        for label in &pod.labels.0 {
            let Some(meanings) = self.selectors.get(selector_key(namespace, label)) else { continue };
            for Entry { what: service, .. } in meanings.entries().iter().filter(|entry| entry.fit(at).is_some()) {
                if service.namespace == *namespace && pod.labels.fulfil(&service.selector) {
                    take(service);
                }
            }
        }
    }

    /// What an address, and for those of nodes the port, means.
    fn holder(&self, socket: SocketAddr, at: Timestamp) -> Option<Holder> {
        let meanings = self.addresses.get(address_key(socket.ip()))?;
        let fits = meanings.entries().iter().filter_map(|entry| {
            let fit = (entry.what.rank(socket.port())?, entry.fit(at)?);
            Some((fit, &entry.what))
        });
        fits.max_by_key(|(fit, _)| *fit).map(|(_, what)| what.clone())
    }
}

impl EndpointLookup for Directory {
    fn endpoint(&self, socket: SocketAddr, at: Timestamp) -> Option<Endpoint> {
        Some(match self.holder(socket, at)? {
            Holder::Pod(pod) | Holder::HostPod(pod) => Endpoint::Pod(pod),
            Holder::Service(service) | Holder::Listed(service) => Endpoint::Service(service),
            Holder::Node(node) => Endpoint::Node(node),
        })
    }

    fn node(&self, name: &str, at: Timestamp) -> Option<Arc<Node>> {
        best(&self.nodes, name_key(name), at)
    }

    fn dialled(&self, socket: SocketAddr, at: Timestamp) -> Option<Arc<Service>> {
        match self.holder(socket, at)? {
            Holder::Service(service) => Some(service),
            // What a node's own processes answer on is no Service's port: kube-proxy would not let it through.
            Holder::Node(_) => best(&self.node_ports, u128::from(socket.port()), at),
            Holder::Pod(_) | Holder::HostPod(_) | Holder::Listed(_) => None,
        }
    }

    fn service_of(&self, pod: &Pod, port: Option<u16>, at: Timestamp) -> Option<Arc<Service>> {
        let mut best: Option<(bool, Arc<Service>)> = None;
        self.services_of(pod, at, |service| {
            let misses = !port.is_some_and(|port| service.leads_to(pod, port));
            if best.as_ref().is_none_or(|(other, known)| (misses, &service.name) < (*other, &known.name)) {
                best = Some((misses, service.clone()));
            }
        });
        best.map(|(_, service)| service)
    }

    fn is_exposed(&self, pod: &Pod, port: u16, at: Timestamp) -> bool {
        let mut is_exposed = false;
        self.services_of(pod, at, |service| is_exposed |= service.is_exposed && service.leads_to(pod, port));
        is_exposed
    }

    fn knows_places(&self) -> bool {
        self.complete.load(Ordering::Acquire) && self.here.load().is_some()
    }

    fn is_here(&self, endpoint: &Endpoint) -> bool {
        let here = self.here.load();
        let Some(here) = here.as_deref() else { return false };
        match endpoint {
            Endpoint::Pod(pod) => pod.node == *here,
            Endpoint::Node(node) => node.name == *here,
            Endpoint::Service(_) => false,
        }
    }
}

impl Holder {
    /// Who comes first where several hold an address; who does not hold it with this port does not come at all.
    fn rank(&self, port: u16) -> Option<u8> {
        match self {
            Self::Pod(_) => Some(5),
            // A load balancer's address may be a node's: the port tells.
            Self::Service(service) if service.listens_on(port) => Some(4),
            Self::HostPod(pod) => pod.template.containers.iter().any(|container| container.declares(port)).then_some(3),
            Self::Node(_) => Some(2),
            Self::Service(_) => Some(1),
            Self::Listed(_) => Some(0),
        }
    }
}

impl Identity for Holder {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pod(one), Self::Pod(other)) | (Self::HostPod(one), Self::HostPod(other)) => one.uid == other.uid,
            (Self::Service(one), Self::Service(other)) | (Self::Listed(one), Self::Listed(other)) => {
                one.uid == other.uid
            }
            (Self::Node(one), Self::Node(other)) => one.uid == other.uid,
            _ => false,
        }
    }
}

impl Identity for Arc<Service> {
    fn is_same(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

impl Identity for Arc<Node> {
    fn is_same(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

fn best<T: Clone + Identity + 'static>(timeline: &Timeline<T>, key: u128, at: Timestamp) -> Option<T> {
    let meanings = timeline.get(key)?;
    let fits = meanings.entries().iter().filter_map(|entry| Some((entry.fit(at)?, &entry.what)));
    fits.max_by_key(|(fit, _)| *fit).map(|(_, what)| what.clone())
}

/// An IPv4 address is the same in both forms.
pub(super) fn address_key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Of a name.
pub(super) fn name_key(name: &str) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(name.as_bytes());
    hash.digest128()
}

/// Of a label in a namespace.
pub(super) fn selector_key(namespace: &str, label: &Label) -> u128 {
    let mut hash = Xxh3::new();
    for part in [namespace, &label.key, &label.value] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    hash.digest128()
}
