//! What the watches tell, object by object → changes of the directory.
//!
//! The book knows what is listed now; the directory also what was. An object that comes again unchanged changes nothing,
//! and most do: a pod's status is written often, its addresses once.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::directory::{Directory, Holder, address_key, name_key, selector_key};
use super::objects::{NodeObject, PodObject, ServiceObject, SliceObject};
use super::records::{self, Recorder};
use super::timeline::{Edit, Identity, REMEMBERED};
use crate::span::{Node, Pod, Service, Uid};
use crate::time::Timestamp;

/// What is listed now. One writes; the directory is read by others meanwhile.
#[derive(Debug)]
pub(super) struct Book {
    directory: Arc<Directory>,
    recorder: Recorder,
    pods: HashSet<ByUid<Pod>, RandomState>,
    services: HashSet<ByUid<Service>, RandomState>,
    nodes: HashSet<ByUid<Node>, RandomState>,
    /// Addresses that Services without selector list, by slice.
    slices: HashMap<Uid, (Arc<Service>, Vec<IpAddr>), RandomState>,
    /// Any of these is this node's.
    own_addresses: Vec<IpAddr>,
    edits: Edits,
    /// What has ended when, to be forgotten later.
    ended: VecDeque<(Timestamp, Place)>,
    /// Seen of a list that is being read again, by kind.
    seen: [Option<Uids>; 3],
    /// Slices seen of a Service whose list is being read again.
    seen_slices: HashMap<Uid, Uids, RandomState>,
}

type Uids = HashSet<Uid, RandomState>;

/// Kinds of objects that are listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Pods,
    Services,
    Nodes,
}

/// Changes that wait to be made together.
#[derive(Debug, Default)]
struct Edits {
    addresses: Vec<(u128, Edit<Holder>)>,
    selectors: Vec<(u128, Edit<Arc<Service>>)>,
    node_ports: Vec<(u128, Edit<Arc<Service>>)>,
    nodes: Vec<(u128, Edit<Arc<Node>>)>,
}

/// A key of one of the directory's timelines.
#[derive(Clone, Copy, Debug)]
enum Place {
    Address(u128),
    Selector(u128),
    NodePort(u128),
    Node(u128),
}

impl Book {
    /// Nothing is listed yet.
    pub(super) fn new(directory: Arc<Directory>, own_addresses: Vec<IpAddr>) -> Self {
        Self {
            directory,
            recorder: Recorder::default(),
            pods: HashSet::default(),
            services: HashSet::default(),
            nodes: HashSet::default(),
            slices: HashMap::default(),
            own_addresses,
            edits: Edits::default(),
            ended: VecDeque::new(),
            seen: [const { None }; 3],
            seen_slices: HashMap::default(),
        }
    }

    /// How many pods, Services and nodes are listed.
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.pods.len(), self.services.len(), self.nodes.len()]
    }

    /// Services that have addresses and choose no pods: who answers for them stands in slices.
    pub(super) fn without_selector(&self) -> impl Iterator<Item = &Arc<Service>> {
        // The API server itself is reached by TLS, which nobody reads.
        let is_api = |service: &Service| &*service.namespace == "default" && &*service.name == "kubernetes";
        let services = self.services.iter().map(|known| &known.0);
        services.filter(move |service| service.selector.is_empty() && !service.addresses.is_empty() && !is_api(service))
    }

    /// A list begins to be read again.
    pub(super) fn begin(&mut self, kind: Kind) {
        if let Some(seen) = self.seen.get_mut(kind as usize) {
            *seen = Some(HashSet::default());
        }
    }

    /// A list has been read to its end: what was not in it is gone.
    pub(super) fn complete(&mut self, kind: Kind, now: Timestamp) {
        let Some(seen) = self.seen.get_mut(kind as usize).and_then(Option::take) else { return };
        match kind {
            Kind::Pods => absent(&self.pods, &seen).iter().for_each(|uid| self.remove_pod(uid, now)),
            Kind::Services => absent(&self.services, &seen).iter().for_each(|uid| self.remove_service(uid, now)),
            Kind::Nodes => absent(&self.nodes, &seen).iter().for_each(|uid| self.remove_node(uid, now)),
        }
        self.publish();
        if kind == Kind::Pods {
            self.directory.completed();
        }
    }

    /// The list of slices of `service` begins to be read again.
    pub(super) fn begin_slices(&mut self, service: &Uid) {
        self.seen_slices.insert(service.clone(), HashSet::default());
    }

    /// It has been read to its end.
    pub(super) fn complete_slices(&mut self, service: &Uid, now: Timestamp) {
        let Some(seen) = self.seen_slices.remove(service) else { return };
        let known = self.slices.iter().filter(|(uid, (of, _))| of.uid == *service && !seen.contains(*uid));
        let gone: Vec<Uid> = known.map(|(uid, _)| uid.clone()).collect();
        for uid in &gone {
            self.remove_slice(uid, now);
        }
    }

    /// A pod is there, new or changed.
    pub(super) fn pod(&mut self, object: &PodObject, now: Timestamp) {
        let (pod, since) = self.recorder.pod(object);
        self.see(Kind::Pods, &pod.uid);
        let old = self.pods.get(&pod.uid).map(|known| known.0.clone());
        if old.as_deref() == Some(&pod) {
            return;
        }
        // What was there without an address and has one now got it just now, unless it says better.
        let made = object.metadata.creation_timestamp.as_ref().map(records::timestamp);
        let since = since.or_else(|| made.filter(|_| old.is_none()));
        let pod = Arc::new(pod);
        let (before, after) = (old.as_deref().map_or([None; 2], |old| old.addresses), pod.addresses);
        let host = |old: &Arc<Pod>| old.template.host_network;
        let same_holder = old.as_ref().is_some_and(|old| host(old) == host(&pod));
        for address in before.into_iter().flatten() {
            let key = address_key(address);
            if same_holder && after.contains(&Some(address)) {
                self.edits.addresses.push((key, Edit::Renew(holder(&pod))));
            } else if let Some(old) = &old {
                self.end(Place::Address(key), holder(old), now);
            }
        }
        for address in after.into_iter().flatten() {
            if !same_holder || !before.contains(&Some(address)) {
                let edit = Edit::Begin { since: since.unwrap_or(now).min(now), what: holder(&pod) };
                self.edits.addresses.push((address_key(address), edit));
            }
        }
        self.pods.replace(ByUid(pod));
    }

    /// A pod is gone.
    pub(super) fn without_pod(&mut self, object: &PodObject, now: Timestamp) {
        self.remove_pod(&records::uid(&object.metadata), now);
    }

    /// A Service is there, new or changed.
    pub(super) fn service(&mut self, object: &ServiceObject, now: Timestamp) {
        let service = self.recorder.service(object);
        self.see(Kind::Services, &service.uid);
        let old = self.services.get(&service.uid).map(|known| known.0.clone());
        if old.as_deref() == Some(&service) {
            return;
        }
        let made = object.metadata.creation_timestamp.as_ref().map(records::timestamp);
        let since = if old.is_none() { made.unwrap_or(now).min(now) } else { now };
        let service = Arc::new(service);
        let after: Vec<Place> = places(&service).collect();
        let before: Vec<Place> = old.as_ref().map(|old| places(old).collect()).unwrap_or_default();
        // A condition may be kept of a selector that is another now: what it chose is history.
        let same_selector = old.as_ref().is_some_and(|old| old.selector == service.selector);
        let stays = |place: &Place| same_selector || !matches!(place, Place::Selector(_));
        if let Some(old) = &old {
            for place in &before {
                if stays(place) && after.iter().any(|other| other.is_same(place)) {
                    self.renew(*place, &service);
                } else {
                    self.end(*place, Holder::Service(old.clone()), now);
                }
            }
        }
        for place in after {
            if !stays(&place) || !before.iter().any(|other| other.is_same(&place)) {
                self.start(place, &service, since);
            }
        }
        self.services.replace(ByUid(service));
    }

    /// A Service is gone.
    pub(super) fn without_service(&mut self, object: &ServiceObject, now: Timestamp) {
        self.remove_service(&records::uid(&object.metadata), now);
    }

    /// A node is there, new or changed.
    pub(super) fn node(&mut self, object: &NodeObject, now: Timestamp) {
        let node = self.recorder.node(object);
        self.see(Kind::Nodes, &node.uid);
        let old = self.nodes.get(&node.uid).map(|known| known.0.clone());
        if old.as_deref() == Some(&node) {
            return;
        }
        let node = Arc::new(node);
        if self.directory.here().is_none() && node.addresses.iter().any(|address| self.own_addresses.contains(address))
        {
            tracing::debug!(node = &*node.name, "This node, by its address.");
            self.directory.settle_here(&node.name);
        }
        let made = object.metadata.creation_timestamp.as_ref().map(records::timestamp);
        let since = if old.is_none() { made.unwrap_or(now).min(now) } else { now };
        let before = old.as_ref().map(|old| &*old.addresses).unwrap_or_default();
        for address in before {
            let key = address_key(*address);
            if node.addresses.contains(address) {
                self.edits.addresses.push((key, Edit::Renew(Holder::Node(node.clone()))));
            } else if let Some(old) = &old {
                self.end(Place::Address(key), Holder::Node(old.clone()), now);
            }
        }
        for address in node.addresses.iter().filter(|address| !before.contains(address)) {
            let edit = Edit::Begin { since, what: Holder::Node(node.clone()) };
            self.edits.addresses.push((address_key(*address), edit));
        }
        let by_name = if old.is_some() { Edit::Renew(node.clone()) } else { Edit::Begin { since, what: node.clone() } };
        self.edits.nodes.push((name_key(&node.name), by_name));
        self.nodes.replace(ByUid(node));
    }

    /// A node is gone.
    pub(super) fn without_node(&mut self, object: &NodeObject, now: Timestamp) {
        self.remove_node(&records::uid(&object.metadata), now);
    }

    /// A slice of a Service without selector is there, new or changed.
    pub(super) fn slice(&mut self, object: &SliceObject, now: Timestamp) {
        let uid = records::uid(&object.metadata);
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let found = records::slice(object).and_then(|(name, addresses)| {
            let service = self.without_selector().find(|one| &*one.namespace == namespace && *one.name == *name)?;
            Some((service.clone(), addresses))
        });
        let Some((service, addresses)) = found else { return self.remove_slice(&uid, now) };
        if let Some(seen) = self.seen_slices.get_mut(&service.uid) {
            seen.insert(uid.clone());
        }
        let before = self.slices.get(&uid).map(|(_, addresses)| addresses.clone()).unwrap_or_default();
        for address in before.iter().filter(|address| !addresses.contains(address)) {
            self.end(Place::Address(address_key(*address)), Holder::Listed(service.clone()), now);
        }
        for address in addresses.iter().filter(|address| !before.contains(address)) {
            // Slices are asked for when their Service is known: how old they are is not.
            let edit = Edit::Begin { since: Timestamp::default(), what: Holder::Listed(service.clone()) };
            self.edits.addresses.push((address_key(*address), edit));
        }
        self.slices.insert(uid, (service, addresses));
    }

    /// A slice is gone.
    pub(super) fn without_slice(&mut self, object: &SliceObject, now: Timestamp) {
        self.remove_slice(&records::uid(&object.metadata), now);
    }

    /// Makes the changes that wait.
    pub(super) fn publish(&mut self) {
        let Edits { addresses, selectors, node_ports, nodes } = std::mem::take(&mut self.edits);
        self.directory.addresses.apply(addresses);
        self.directory.selectors.apply(selectors);
        self.directory.node_ports.apply(node_ports);
        self.directory.nodes.apply(nodes);
    }

    /// Forgets what ended long ago.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some((until, place)) = self.ended.front().copied() {
            if now.saturating_since(until) <= REMEMBERED {
                return self.publish();
            }
            self.ended.pop_front();
            let before = until.saturating_add(std::time::Duration::from_nanos(1));
            match place {
                Place::Address(key) => self.edits.addresses.push((key, Edit::Forget { before })),
                Place::Selector(key) => self.edits.selectors.push((key, Edit::Forget { before })),
                Place::NodePort(key) => self.edits.node_ports.push((key, Edit::Forget { before })),
                Place::Node(key) => self.edits.nodes.push((key, Edit::Forget { before })),
            }
        }
        self.publish();
    }

    fn see(&mut self, kind: Kind, uid: &Uid) {
        if let Some(Some(seen)) = self.seen.get_mut(kind as usize) {
            seen.insert(uid.clone());
        }
    }

    fn remove_pod(&mut self, uid: &Uid, now: Timestamp) {
        let Some(ByUid(pod)) = self.pods.take(uid) else { return };
        for address in pod.addresses.into_iter().flatten() {
            self.end(Place::Address(address_key(address)), holder(&pod), now);
        }
    }

    fn remove_service(&mut self, uid: &Uid, now: Timestamp) {
        let Some(ByUid(service)) = self.services.take(uid) else { return };
        for place in places(&service) {
            self.end(place, Holder::Service(service.clone()), now);
        }
        let listed: Vec<Uid> =
            self.slices.iter().filter(|(_, (of, _))| of.uid == *uid).map(|(uid, _)| uid.clone()).collect();
        for uid in &listed {
            self.remove_slice(uid, now);
        }
    }

    fn remove_node(&mut self, uid: &Uid, now: Timestamp) {
        let Some(ByUid(node)) = self.nodes.take(uid) else { return };
        for address in &node.addresses {
            self.end(Place::Address(address_key(*address)), Holder::Node(node.clone()), now);
        }
        self.end(Place::Node(name_key(&node.name)), Holder::Node(node), now);
    }

    fn remove_slice(&mut self, uid: &Uid, now: Timestamp) {
        let Some((service, addresses)) = self.slices.remove(uid) else { return };
        for address in addresses {
            self.end(Place::Address(address_key(address)), Holder::Listed(service.clone()), now);
        }
    }

    fn start(&mut self, place: Place, service: &Arc<Service>, since: Timestamp) {
        let begin = Edit::Begin { since, what: service.clone() };
        match place {
            Place::Selector(key) => self.edits.selectors.push((key, begin)),
            Place::NodePort(key) => self.edits.node_ports.push((key, begin)),
            Place::Address(key) | Place::Node(key) => {
                self.edits.addresses.push((key, Edit::Begin { since, what: Holder::Service(service.clone()) }));
            }
        }
    }

    fn renew(&mut self, place: Place, service: &Arc<Service>) {
        match place {
            Place::Selector(key) => self.edits.selectors.push((key, Edit::Renew(service.clone()))),
            Place::NodePort(key) => self.edits.node_ports.push((key, Edit::Renew(service.clone()))),
            Place::Address(key) | Place::Node(key) => {
                self.edits.addresses.push((key, Edit::Renew(Holder::Service(service.clone()))));
            }
        }
    }

    fn end(&mut self, place: Place, what: Holder, until: Timestamp) {
        match (place, what) {
            (Place::Address(key), what) => self.edits.addresses.push((key, Edit::End { what, until })),
            (Place::Selector(key), Holder::Service(what)) => {
                self.edits.selectors.push((key, Edit::End { what, until }));
            }
            (Place::NodePort(key), Holder::Service(what)) => {
                self.edits.node_ports.push((key, Edit::End { what, until }));
            }
            (Place::Node(key), Holder::Node(what)) => self.edits.nodes.push((key, Edit::End { what, until })),
            // No other is kept there.
            _ => return,
        }
        self.ended.push_back((until, place));
    }
}

impl Identity for Place {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other))
            | (Self::Selector(one), Self::Selector(other))
            | (Self::NodePort(one), Self::NodePort(other))
            | (Self::Node(one), Self::Node(other)) => one == other,
            _ => false,
        }
    }
}

fn absent<T: HasUid>(known: &HashSet<ByUid<T>, RandomState>, seen: &Uids) -> Vec<Uid> {
    known.iter().map(|known| known.0.uid()).filter(|uid| !seen.contains(*uid)).cloned().collect()
}

/// A record that is found by its uid, without a key beside it: there may be a hundred thousand.
#[derive(Debug)]
struct ByUid<T>(Arc<T>);

trait HasUid {
    fn uid(&self) -> &Uid;
}

impl HasUid for Pod {
    fn uid(&self) -> &Uid {
        &self.uid
    }
}

impl HasUid for Service {
    fn uid(&self) -> &Uid {
        &self.uid
    }
}

impl HasUid for Node {
    fn uid(&self) -> &Uid {
        &self.uid
    }
}

impl<T: HasUid> Borrow<Uid> for ByUid<T> {
    fn borrow(&self) -> &Uid {
        self.0.uid()
    }
}

impl<T: HasUid> PartialEq for ByUid<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid() == other.0.uid()
    }
}

impl<T: HasUid> Eq for ByUid<T> {}

impl<T: HasUid> Hash for ByUid<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid().hash(state);
    }
}

fn holder(pod: &Arc<Pod>) -> Holder {
    if pod.template.host_network { Holder::HostPod(pod.clone()) } else { Holder::Pod(pod.clone()) }
}

/// Where a Service is found: its addresses, a condition of its selector, its ports on nodes.
fn places(service: &Service) -> impl Iterator<Item = Place> {
    let addresses = service.addresses.iter().map(|address| Place::Address(address_key(*address)));
    let selector = service.selector.first();
    let selector = selector.map(|label| Place::Selector(selector_key(&service.namespace, label)));
    let mut ports: Vec<u16> = service.ports.iter().map(|port| port.node_port).filter(|port| *port != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    addresses.chain(selector).chain(ports.into_iter().map(|port| Place::NodePort(port.into())))
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
