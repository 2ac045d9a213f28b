//! One end of an exchange → the OTLP resource of the workload there, made once and used again.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use super::ends::End;
use super::{Endpoint, Node, Pod, Resource, Value, names};

/// Names of services that an agent gives at most; stops pods and Jobs without owner from making a dataset each.
pub const MOST_NAMES: usize = 200;
/// Resources that are kept at most; beyond it all are made anew.
const KEPT: usize = 1024;

/// Resources of workloads.
#[derive(Debug)]
pub(super) struct Workloads {
    /// Of what nobody knows, and what gives the rest its name when there are too many.
    own: Arc<Resource>,
    /// What every resource has, unless it says otherwise itself.
    further: Resource,
    /// Whether labels name services.
    from_labels: bool,
    state: Mutex<State>,
    unnamed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    names: HashSet<Box<str>, RandomState>,
    resources: HashMap<Key, (Known, Arc<Resource>), RandomState>,
}

/// A record's place in memory, which it keeps for as long as it is held, and the port.
type Key = (usize, Option<u16>);

/// Keeps a record where it is.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "held, not read")]
enum Known {
    Pod(Arc<Pod>),
    Node(Arc<Node>),
}

impl Workloads {
    /// `own` is the agent's resource, `further` what the user adds to all.
    pub(super) fn new(own: Resource, mut further: Resource, from_labels: bool) -> Self {
        let own = Arc::new(own);
        // What the user says of the agent's own service is not true of another.
        further.attributes.retain(|attribute| !attribute.key.starts_with("service."));
        Self { own, further, from_labels, state: Mutex::default(), unnamed: AtomicU64::new(0) }
    }

    /// Resources that were given the fallback's name because there were too many.
    pub(super) fn unnamed(&self) -> u64 {
        self.unnamed.load(Ordering::Relaxed)
    }

    /// The resource of what is at `end`; `port` is the one that it answers on.
    pub(super) fn resource(&self, end: &End, port: Option<u16>) -> Arc<Resource> {
        match &end.endpoint {
            // Ports without a meaning of their own are all the same.
            Some(Endpoint::Pod(pod)) => {
                let port = port.filter(|port| pod.template.containers.len() > 1 && pod.container(*port).is_some());
                let key = (Arc::as_ptr(pod).addr(), port);
                self.kept(key, || Known::Pod(pod.clone()), |state| self.of_pod(state, end, pod, port))
            }
            Some(Endpoint::Node(node)) => {
                let key = (Arc::as_ptr(node).addr(), None);
                self.kept(key, || Known::Node(node.clone()), |_| self.of_node(node))
            }
            Some(Endpoint::Service(_)) | None => self.own.clone(),
        }
    }

    fn kept(
        &self,
        key: Key,
        known: impl FnOnce() -> Known,
        make: impl FnOnce(&mut State) -> Resource,
    ) -> Arc<Resource> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, resource)) = state.resources.get(&key) {
            return resource.clone();
        }
        if state.resources.len() >= KEPT {
            state.resources.clear();
        }
        let resource = Arc::new(make(&mut state));
        state.resources.insert(key, (known(), resource.clone()));
        resource
    }

    fn of_pod(&self, state: &mut State, end: &End, pod: &Pod, port: Option<u16>) -> Resource {
        let mut resource = Resource::default();
        let wanted = names::service_name(pod, port, self.from_labels);
        let is_room = state.names.len() < MOST_NAMES;
        let name = if state.names.contains(wanted) || is_room {
            state.names.insert(wanted.into());
            wanted.to_owned()
        } else {
            self.unnamed.fetch_add(1, Ordering::Relaxed);
            self.fallback().into_owned()
        };
        resource.set("service.name", name);
        let namespace = &pod.template.namespace;
        resource.set("service.namespace", namespace.to_string());
        let container = names::container(pod, port);
        if let Some(container) = container {
            if !container.version.is_empty() {
                resource.set("service.version", container.version.to_string());
            }
            resource.set("service.instance.id", format!("{namespace}.{}.{}", pod.name, container.name));
            resource.set("k8s.container.name", container.name.to_string());
        }
        resource.set("k8s.namespace.name", namespace.to_string());
        resource.set("k8s.pod.name", pod.name.to_string());
        resource.set("k8s.pod.uid", pod.uid.to_string());
        if let Some(owner) = &pod.template.owner {
            resource.set(names::owner_key(owner.kind), owner.name.to_string());
        }
        if !pod.node.is_empty() {
            resource.set("k8s.node.name", pod.node.to_string());
        }
        if let Some(node) = &end.node {
            resource.set("k8s.node.uid", node.uid.to_string());
        }
        let said = names::speaking(pod, port).map(|container| &*container.attributes).unwrap_or_default();
        for (key, value) in said.iter().chain(&pod.template.attributes) {
            if &**key != "service.name" && !key.starts_with("k8s.") {
                resource.set(key.to_string(), value.to_string());
            }
        }
        self.complete(resource)
    }

    fn of_node(&self, node: &Node) -> Resource {
        let mut resource = Resource::default();
        resource.set("service.name", self.fallback().into_owned());
        resource.set("host.name", node.name.to_string());
        resource.set("k8s.node.name", node.name.to_string());
        resource.set("k8s.node.uid", node.uid.to_string());
        self.complete(resource)
    }

    /// With what every resource has.
    fn complete(&self, mut resource: Resource) -> Resource {
        for attribute in &self.further.attributes {
            if !resource.attributes.iter().any(|own| own.key == attribute.key) {
                resource.attributes.push(attribute.clone());
            }
        }
        resource
    }

    fn fallback(&self) -> Cow<'static, str> {
        let own = self.own.attributes.iter().find(|attribute| attribute.key == "service.name");
        match own.map(|attribute| &attribute.value) {
            Some(Value::String(name)) => name.clone(),
            _ => Cow::Borrowed("unknown_service"),
        }
    }
}
