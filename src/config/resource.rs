//! Dataset, downward API, networks and attributes given by the user → the resource of all spans, and what is local.

use std::net::IpAddr;

use super::destination::{Signal, dataset};
use super::resolve::Resolver;
use super::values;
use crate::metadata::{Network, Networks};
use crate::span::Resource;

/// Who observed what is sent. What is said later replaces what was said before, but for the dataset and the version.
pub(super) fn resource(resolver: &mut Resolver<'_>, signal: Signal) -> Resource {
    let mut resource = Resource::default();
    let dataset = dataset(resolver, signal);
    resource.set("service.name", dataset.clone());
    resource.set("service.version", env!("CARGO_PKG_VERSION"));
    let node = resolver.raw.text("AGENT_NODE_NAME").map(str::to_owned);
    if let Some(host) = node.clone().or_else(host_name) {
        resource.set("host.name", host);
    }
    for attribute in identity(resolver).attributes.into_iter().chain(further(resolver).attributes) {
        match resource.attributes.iter_mut().find(|known| known.key == attribute.key) {
            Some(known) => *known = attribute,
            None => resource.attributes.push(attribute),
        }
    }
    // The dataset of the spans is what the user of the old agent expects it to be.
    resource.set("service.name", dataset);
    resource.set("service.version", env!("CARGO_PKG_VERSION"));
    resource
}

/// What the agent is and where it runs.
pub(super) fn identity(resolver: &Resolver<'_>) -> Resource {
    let mut identity = Resource::default();
    for (variable, key) in [
        ("AGENT_NODE_NAME", "k8s.node.name"),
        ("AGENT_NODE_NAME", "meta.agent.node.name"),
        ("AGENT_NODE_IP", "meta.agent.node.ip"),
        ("AGENT_POD_NAME", "meta.agent.pod.name"),
        ("AGENT_POD_IP", "meta.agent.pod.ip"),
        ("AGENT_SERVICE_ACCOUNT_NAME", "meta.agent.serviceaccount.name"),
    ] {
        if let Some(text) = resolver.raw.text(variable) {
            identity.set(key, text.to_owned());
        }
    }
    identity
}

/// What every resource has: by which agent it was seen, and what the user adds.
pub(super) fn further(resolver: &mut Resolver<'_>) -> Resource {
    let mut further = Resource::default();
    further.set("telemetry.distro.name", env!("CARGO_PKG_NAME"));
    further.set("telemetry.distro.version", env!("CARGO_PKG_VERSION"));
    // A value that cannot be decoded is discarded whole (OpenTelemetry specification, resource SDK).
    let mut given = resolver.otel("OTEL_RESOURCE_ATTRIBUTES", values::pairs).unwrap_or_default();
    if resolver.raw.get("ADDITIONAL_ATTRIBUTES").is_some() {
        given.extend(resolver.own("ADDITIONAL_ATTRIBUTES", values::pairs).unwrap_or_default());
    }
    for (name, value) in given {
        further.set(name, value);
    }
    further
}

/// Addresses that are this machine's by the downward API.
pub(super) fn own_addresses(resolver: &mut Resolver<'_>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for variable in ["AGENT_NODE_IP", "AGENT_POD_IP"] {
        if resolver.raw.get(variable).is_none() {
            continue;
        }
        let parse = |text: &str| {
            values::list(text)
                .map(|address| address.parse().map_err(|_| "use an IP address, such as 10.0.0.1".to_owned()))
                .collect::<Result<Vec<IpAddr>, _>>()
        };
        addresses.extend(resolver.own(variable, parse).unwrap_or_default());
    }
    addresses
}

/// Networks of the machine's pods, and of all machines and pods where agents run.
pub(super) fn networks(resolver: &mut Resolver<'_>) -> Networks {
    let parse = |text: &str| values::list(text).map(str::parse).collect::<Result<Vec<Network>, _>>();
    let mut given = |variable| resolver.own(variable, parse).unwrap_or_default();
    Networks { local: given("AGENT_LOCAL_NETWORKS"), cluster: given("AGENT_CLUSTER_NETWORKS") }
}

/// The machine's own name.
fn host_name() -> Option<String> {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    name.ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}
