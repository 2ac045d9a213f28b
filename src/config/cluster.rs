//! Settings of Kubernetes, and of what is observed → where names come from, and the selection.

use std::path::PathBuf;
use std::str::FromStr;

use wildmatch::WildMatch;

use super::resolve::Resolver;
use super::settings::{Group, Setting, flag};
use super::{resource, values};
use crate::metadata::{MetadataConfig, MetadataSource, Scope};
use crate::span::{Layout, Route, Routes, Selection, Traits};

const fn kubernetes(
    variable: &'static str,
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    flag(Group::Kubernetes, variable, name, value, default, help)
}

const fn selection(variable: &'static str, name: &'static str, value: &'static str, help: &'static str) -> Setting {
    flag(Group::Selection, variable, name, value, "", help)
}

pub(super) const KUBERNETES: Setting = kubernetes(
    "AGENT_KUBERNETES",
    "kubernetes",
    "WHEN",
    "auto",
    "Names of pods, services and nodes from the API server: auto (in a cluster, or where KUBECONFIG is set; not of a capture file), on, off, or the path of a kubeconfig",
);
pub(super) const METADATA: Setting = kubernetes(
    "AGENT_METADATA",
    "metadata",
    "FILE",
    "",
    "Names from what `kubectl get pods,services,nodes -A -o json` (or yaml) wrote, instead",
);
pub(super) const METADATA_SCOPE: Setting = kubernetes(
    "AGENT_METADATA_SCOPE",
    "metadata-scope",
    "SCOPE",
    "cluster",
    "Pods whose names are known: cluster, or node (this one's; it needs AGENT_NODE_NAME)",
);
pub(super) const SPAN_LAYOUT: Setting = kubernetes(
    "AGENT_SPAN_LAYOUT",
    "span-layout",
    "LAYOUT",
    "agent",
    "agent: one span an exchange, all in the agent's dataset, with both ends; workload: a span for each end here, in its own service's dataset",
);
pub(super) const NAME_FROM_LABELS: Setting = kubernetes(
    "AGENT_SERVICE_NAME_FROM_LABELS",
    "service-name-from-labels",
    "",
    "false",
    "Name services by the labels app.kubernetes.io/instance and /name before their owners",
);
pub(super) const ROUTES: Setting = selection(
    "AGENT_ROUTES",
    "routes",
    "ROUTE,…",
    "Routes such as /users/{id} or /static/**: http.route and part of the span's name; the first that a path is on counts",
);
pub(super) const INCLUDE_NAMESPACES: Setting = selection(
    "AGENT_INCLUDE_NAMESPACES",
    "include-namespaces",
    "NAME,…",
    "Observe only exchanges with a pod of these namespaces at either end (* and ? are wildcards)",
);
pub(super) const EXCLUDE_NAMESPACES: Setting =
    selection("AGENT_EXCLUDE_NAMESPACES", "exclude-namespaces", "NAME,…", "Leave out those with a pod of these");
pub(super) const INCLUDE_POD_LABELS: Setting = selection(
    "AGENT_INCLUDE_POD_LABELS",
    "include-pod-labels",
    "KEY[=VALUE],…",
    "Observe only exchanges with a pod that has one of these labels at either end",
);
pub(super) const EXCLUDE_POD_LABELS: Setting =
    selection("AGENT_EXCLUDE_POD_LABELS", "exclude-pod-labels", "KEY[=VALUE],…", "Leave out those with such a pod");
pub(super) const INCLUDE_PORTS: Setting =
    selection("AGENT_INCLUDE_PORTS", "include-ports", "PORT,…", "Observe only servers on these ports");
pub(super) const EXCLUDE_PORTS: Setting =
    selection("AGENT_EXCLUDE_PORTS", "exclude-ports", "PORT,…", "Leave out servers on these ports");
pub(super) const INCLUDE_PATHS: Setting =
    selection("AGENT_INCLUDE_PATHS", "include-paths", "PATH,…", "Observe only these paths (* and ? are wildcards)");
pub(super) const EXCLUDE_PATHS: Setting =
    selection("AGENT_EXCLUDE_PATHS", "exclude-paths", "PATH,…", "Leave these paths out, such as /healthz");
pub(super) const INCLUDE_USER_AGENTS: Setting = selection(
    "AGENT_INCLUDE_USER_AGENTS",
    "include-user-agents",
    "NAME,…",
    "Observe only requests of these user agents (* and ? are wildcards)",
);
pub(super) const INCLUDE_TELEMETRY: Setting = flag(
    Group::Selection,
    "AGENT_INCLUDE_TELEMETRY",
    "include-telemetry",
    "",
    "false",
    "Also report exports of telemetry over OTLP/HTTP",
);
pub(super) const EXCLUDE_USER_AGENTS: Setting = flag(
    Group::Selection,
    "AGENT_EXCLUDE_USER_AGENTS",
    "exclude-user-agents",
    "NAME,…",
    "kube-probe/*",
    "Leave these user agents out; an empty text leaves none out",
);

/// Where names come from.
pub(super) fn metadata(resolver: &mut Resolver<'_>) -> MetadataConfig {
    let is_file = resolver.raw.get("AGENT_READ").is_some();
    let source = resolver.own("AGENT_KUBERNETES", |text| match text.trim().to_ascii_lowercase().as_str() {
        "auto" if is_file => Ok(MetadataSource::Off),
        "auto" => Ok(MetadataSource::Auto),
        "on" | "true" => Ok(MetadataSource::On),
        "off" | "false" => Ok(MetadataSource::Off),
        _ if text.contains('/') => Ok(MetadataSource::Kubeconfig(PathBuf::from(text.trim()))),
        _ => Err("use auto, on, off, or the path of a kubeconfig".to_owned()),
    });
    let mut source = source.unwrap_or(MetadataSource::Off);
    if let Some(path) = resolver.raw.text("AGENT_METADATA") {
        source = MetadataSource::File(PathBuf::from(path));
        if resolver.raw.text("AGENT_KUBERNETES").is_some_and(|text| text != "off") {
            resolver.fault("AGENT_METADATA", "names come from a file or from the API server: set AGENT_KUBERNETES=off");
        }
    }
    let scope = resolver.own("AGENT_METADATA_SCOPE", |text| match text.trim().to_ascii_lowercase().as_str() {
        "cluster" => Ok(Scope::Cluster),
        "node" => Ok(Scope::Node),
        _ => Err("use cluster or node".to_owned()),
    });
    let scope = scope.unwrap_or(Scope::Cluster);
    let node = resolver.raw.text("AGENT_NODE_NAME").map(str::to_owned);
    if scope == Scope::Node && node.is_none() {
        resolver.fault("AGENT_METADATA_SCOPE", "the pods of which node: set AGENT_NODE_NAME");
    }
    MetadataConfig { source, scope, node, own_addresses: resource::own_addresses(resolver) }
}

/// Which spans are made.
pub(super) fn layout(resolver: &mut Resolver<'_>) -> Layout {
    let layout = resolver.own("AGENT_SPAN_LAYOUT", |text| match text.trim().to_ascii_lowercase().as_str() {
        "agent" => Ok(Layout::Agent),
        "workload" => Ok(Layout::Workload),
        _ => Err("use agent or workload".to_owned()),
    });
    layout.unwrap_or_default()
}

/// Routes in their order.
pub(super) fn routes(resolver: &mut Resolver<'_>) -> Routes {
    Routes(parsed(resolver, "AGENT_ROUTES", Route::from_str))
}

/// What is observed.
pub(super) fn observed(resolver: &mut Resolver<'_>) -> Selection {
    Selection {
        include: traits(resolver, "INCLUDE"),
        exclude: traits(resolver, "EXCLUDE"),
        telemetry: resolver.switch("AGENT_INCLUDE_TELEMETRY"),
    }
}

fn traits(resolver: &mut Resolver<'_>, what: &str) -> Traits {
    let like = |text: &str| Ok(WildMatch::new(text));
    Traits {
        namespaces: parsed(resolver, &format!("AGENT_{what}_NAMESPACES"), like),
        pod_labels: parsed(resolver, &format!("AGENT_{what}_POD_LABELS"), |text| {
            Ok(match text.split_once('=') {
                None => (text.to_owned(), None),
                Some(("", _)) => return Err("a label has a key: use KEY or KEY=VALUE".to_owned()),
                Some((key, value)) => (key.trim().to_owned(), Some(value.trim().to_owned())),
            })
        }),
        ports: parsed(resolver, &format!("AGENT_{what}_PORTS"), |text| match text.parse() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(format!("{text:?} is no port; use 1 to 65535")),
        }),
        paths: parsed(resolver, &format!("AGENT_{what}_PATHS"), like),
        user_agents: parsed(resolver, &format!("AGENT_{what}_USER_AGENTS"), like),
    }
}

fn parsed<T>(resolver: &mut Resolver<'_>, variable: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    resolver.own(variable, |text| values::list(text).map(&parse).collect::<Result<Vec<T>, _>>()).unwrap_or_default()
}
