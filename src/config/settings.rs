//! Every setting: its variable, its flag, its default, and what it means. Help, resolution and the README read this table.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The environment variable.
    pub variable: &'static str,
    /// The flag, without dashes; `None` for variables that others define.
    pub flag: Option<&'static str>,
    /// What the value is called in the help; empty for a switch, which takes `true` or `false`.
    pub value: &'static str,
    /// What holds when it is not set, as text; empty when nothing does.
    pub default: &'static str,
    /// The heading that it stands under.
    pub group: Group,
    /// What it means.
    pub help: &'static str,
}

/// A heading of the help.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Group {
    /// Where packets come from.
    Source,
    /// Where spans go.
    Export,
    /// What spans hold.
    Spans,
    /// Which exchanges become spans.
    Selection,
    /// Names, and what they are for.
    Kubernetes,
    /// Who the agent is, from the downward API.
    Identity,
    /// Bounds of memory and time.
    Limits,
    /// What the agent says of itself.
    Messages,
    /// Variables of the OpenTelemetry specification.
    OpenTelemetry,
    /// Variables that many programs know: the way to the destination.
    Proxy,
}

impl Group {
    /// The heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Source => "Source",
            Self::Export => "Export",
            Self::Spans => "Spans",
            Self::Selection => "Selection",
            Self::Kubernetes => "Kubernetes",
            Self::Identity => "Identity",
            Self::Limits => "Limits",
            Self::Messages => "Messages",
            Self::OpenTelemetry => "OpenTelemetry variables",
            Self::Proxy => "Proxy variables, in upper or lower case",
        }
    }
}

impl Setting {
    /// Whether its value must never be shown.
    pub fn is_secret(&self) -> bool {
        self.variable == "HONEYCOMB_API_KEY"
            || self.variable.ends_with("_HEADERS") && self.group == Group::OpenTelemetry
    }

    /// Whether it is a switch.
    pub const fn is_switch(&self) -> bool {
        self.value.is_empty()
    }
}

/// Variables of the old Honeycomb Network Agent that mean nothing here, and what to use instead.
pub(super) const OBSOLETE: [(&str, &str); 2] =
    [("HANDLER_TYPE", "spans are always exported with OTLP"), ("OTEL_TRACES_ENABLED", "use OTEL_TRACES_EXPORTER=none")];

pub(super) const fn flag(
    group: Group,
    variable: &'static str,
    flag: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { variable, flag: Some(flag), value, default, group, help }
}

const fn otel(variable: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { variable, flag: None, value: "VALUE", default, group: Group::OpenTelemetry, help }
}

const fn proxy(variable: &'static str, help: &'static str) -> Setting {
    Setting { variable, flag: None, value: "VALUE", default: "", group: Group::Proxy, help }
}

use super::cluster;
use Group::{Export, Identity, Limits, Messages, Source, Spans};

/// All settings, in the order of the help.
pub const SETTINGS: &[Setting] = &[
    flag(
        Source,
        "AGENT_READ",
        "read",
        "FILE|-",
        "",
        "Read a capture file (pcap or pcapng; - is standard input) instead of an interface",
    ),
    flag(
        Source,
        "AGENT_INTERFACES",
        "interface",
        "NAME,…",
        "any",
        "Interfaces to capture on, by name or pattern (veth*); those that come later count, too",
    ),
    flag(
        Source,
        "AGENT_EXCLUDE_INTERFACES",
        "exclude-interface",
        "NAME,…",
        "",
        "Interfaces to leave out, likewise: those that only repeat what others show, such as a bridge",
    ),
    flag(
        Source,
        "AGENT_WORKERS",
        "workers",
        "NUMBER",
        "",
        "Threads that share the capture; half of the cores, at most 4",
    ),
    flag(
        Source,
        "AGENT_FILTER",
        "filter",
        "BPF",
        "",
        "Capture only what matches, in place of the default: TCP, fragments and tunnels, without the agent's own export. A filter that cuts connections apart costs exchanges",
    ),
    flag(Source, "AGENT_SNAP_LENGTH", "snap-length", "BYTES", "262144", "Bytes kept of a packet"),
    flag(
        Source,
        "AGENT_RING_BYTES",
        "ring-bytes",
        "BYTES",
        "16MiB",
        "Size of the kernel's capture rings: divided among the workers, 2 MiB each at least; with several workers, tunnels have one more",
    ),
    flag(Source, "AGENT_PROMISCUOUS", "promiscuous", "", "false", "Also capture what is addressed to other machines"),
    flag(
        Export,
        "AGENT_EXPORT",
        "export",
        "KIND",
        "otlp",
        "otlp, json (OTLP/JSON lines), pretty (a line an exchange) or none. With --read: pretty on a terminal, else json",
    ),
    flag(
        Export,
        "HONEYCOMB_API_KEY",
        "honeycomb-api-key",
        "KEY",
        "",
        "Honeycomb's ingest key; sent to Honeycomb's endpoint only",
    ),
    flag(
        Export,
        "HONEYCOMB_API_ENDPOINT",
        "honeycomb-api-endpoint",
        "URL",
        "https://api.honeycomb.io",
        "Honeycomb's endpoint; https://api.eu1.honeycomb.io in the EU",
    ),
    flag(
        Export,
        "HONEYCOMB_DATASET",
        "honeycomb-dataset",
        "NAME",
        "hny-network-agent",
        "Dataset of the spans, and their service.name",
    ),
    flag(
        Export,
        "HONEYCOMB_STATS_DATASET",
        "honeycomb-stats-dataset",
        "NAME",
        "hny-network-agent-stats",
        "Dataset of the agent's own metrics, and their service.name",
    ),
    flag(
        Export,
        "AGENT_QUEUE_BYTES",
        "queue-bytes",
        "BYTES",
        "32MiB",
        "Spans that may wait for the destination; beyond it the oldest are dropped and counted",
    ),
    flag(
        Export,
        "AGENT_SPOOL_DIRECTORY",
        "spool-directory",
        "FOLDER",
        "",
        "Where spans beyond AGENT_QUEUE_BYTES wait on the disk through a long outage, and a restart of the agent",
    ),
    flag(
        Export,
        "AGENT_SPOOL_BYTES",
        "spool-bytes",
        "BYTES",
        "1GiB",
        "The most that they take there; beyond it the oldest are dropped and counted",
    ),
    flag(
        Export,
        "AGENT_EXPORT_CONCURRENCY",
        "export-concurrency",
        "NUMBER",
        "",
        "Requests in flight; 4 to Honeycomb, 1 to others",
    ),
    flag(
        Export,
        "AGENT_MERGE_WINDOW",
        "merge-window",
        "TIME",
        "1s",
        "How far apart the views of an exchange on several interfaces, or before and after NAT, may be captured to become one span; 0s merges none",
    ),
    flag(
        Export,
        "AGENT_MERGE_BYTES",
        "merge-bytes",
        "BYTES",
        "4MiB",
        "Exchanges that may wait for other views; beyond it the oldest goes on",
    ),
    flag(Export, "AGENT_SHUTDOWN_TIMEOUT", "shutdown-timeout", "TIME", "5s", "How long the last flush may take"),
    flag(
        Spans,
        "INCLUDE_REQUEST_URL",
        "include-request-url",
        "",
        "true",
        "Report url.path, and url.full on client spans",
    ),
    flag(
        Spans,
        "AGENT_INCLUDE_QUERY",
        "include-query",
        "",
        "false",
        "Report the query, with the values of known secrets redacted",
    ),
    flag(
        Spans,
        "HTTP_HEADERS",
        "http-headers",
        "NAME,…",
        "User-Agent",
        "Header lines to report; an empty text reports none",
    ),
    flag(
        Spans,
        "AGENT_UNSAFE_HEADERS",
        "unsafe-headers",
        "",
        "false",
        "Report Authorization, Cookie, Set-Cookie and Proxy-Authorization as they are",
    ),
    flag(
        Spans,
        "AGENT_LEGACY_ATTRIBUTES",
        "legacy-attributes",
        "",
        "false",
        "Also report the attribute names of the Honeycomb Network Agent",
    ),
    flag(
        Spans,
        "ADDITIONAL_ATTRIBUTES",
        "additional-attributes",
        "NAME=VALUE,…",
        "",
        "Further attributes of the resource",
    ),
    cluster::ROUTES,
    cluster::INCLUDE_NAMESPACES,
    cluster::EXCLUDE_NAMESPACES,
    cluster::INCLUDE_POD_LABELS,
    cluster::EXCLUDE_POD_LABELS,
    cluster::INCLUDE_PORTS,
    cluster::EXCLUDE_PORTS,
    cluster::INCLUDE_PATHS,
    cluster::EXCLUDE_PATHS,
    cluster::INCLUDE_USER_AGENTS,
    cluster::EXCLUDE_USER_AGENTS,
    cluster::INCLUDE_TELEMETRY,
    cluster::KUBERNETES,
    cluster::METADATA,
    cluster::METADATA_SCOPE,
    cluster::SPAN_LAYOUT,
    cluster::NAME_FROM_LABELS,
    flag(Identity, "AGENT_NODE_NAME", "node-name", "NAME", "", "This node's name"),
    flag(Identity, "AGENT_NODE_IP", "node-ip", "ADDRESS", "", "This node's address"),
    flag(Identity, "AGENT_POD_NAME", "pod-name", "NAME", "", "The agent's pod"),
    flag(Identity, "AGENT_POD_IP", "pod-ip", "ADDRESS", "", "The agent's address"),
    flag(Identity, "AGENT_SERVICE_ACCOUNT_NAME", "service-account-name", "NAME", "", "The agent's service account"),
    flag(
        Identity,
        "AGENT_LOCAL_NETWORKS",
        "local-networks",
        "NETWORK,…",
        "",
        "Networks of this node's pods and containers, such as 10.244.1.0/24: they are local, as the node's own addresses are",
    ),
    flag(
        Identity,
        "AGENT_CLUSTER_NETWORKS",
        "cluster-networks",
        "NETWORK,…",
        "",
        "Networks of nodes and pods with an agent, such as 10.244.0.0/16: the parent of a server's span is that agent's client span when the request has no trace context",
    ),
    flag(
        Limits,
        "AGENT_MAX_MEMORY",
        "max-memory",
        "BYTES",
        "128MiB",
        "Memory for connections, heads, bytes out of order, open exchanges and fragments; near it the least valuable goes first",
    ),
    flag(
        Limits,
        "AGENT_MAX_CONNECTIONS",
        "max-connections",
        "NUMBER",
        "200000",
        "Connections known at once; stops SYN floods and scans",
    ),
    flag(
        Limits,
        "AGENT_MAX_HEAD_BYTES",
        "max-head-bytes",
        "BYTES",
        "64KiB",
        "Bytes of a message head; stops a head without an end",
    ),
    flag(
        Limits,
        "AGENT_MAX_OPEN_EXCHANGES",
        "max-open-exchanges",
        "NUMBER",
        "256",
        "Requests waiting on one connection; stops pipelining without end",
    ),
    flag(
        Limits,
        "AGENT_MAX_PENDING_BYTES",
        "max-pending-bytes",
        "BYTES",
        "1MiB",
        "Bytes held out of order in one direction of a connection",
    ),
    flag(
        Limits,
        "AGENT_MAX_PENDING_SEGMENTS",
        "max-pending-segments",
        "NUMBER",
        "256",
        "Runs of bytes held out of order, likewise",
    ),
    flag(
        Limits,
        "AGENT_MAX_TOTAL_PENDING_BYTES",
        "max-total-pending-bytes",
        "BYTES",
        "32MiB",
        "Bytes held out of order in all",
    ),
    flag(Limits, "AGENT_MAX_FRAGMENT_BYTES", "max-fragment-bytes", "BYTES", "4MiB", "Bytes of IP fragments held"),
    flag(Limits, "AGENT_MAX_FRAGMENT_SETS", "max-fragment-sets", "NUMBER", "512", "Datagrams whose fragments are held"),
    flag(
        Limits,
        "AGENT_EXCHANGE_TIMEOUT",
        "exchange-timeout",
        "TIME",
        "10m",
        "Idle time after which an open exchange is given up",
    ),
    flag(
        Limits,
        "AGENT_IDLE_TIMEOUT",
        "idle-timeout",
        "TIME",
        "5m",
        "Idle time after which a connection without one is forgotten",
    ),
    flag(
        Limits,
        "AGENT_LOSS_GRACE",
        "loss-grace",
        "TIME",
        "200ms",
        "How long acknowledged bytes may still come before they count as lost",
    ),
    flag(
        Messages,
        "AGENT_ADMIN_ADDRESS",
        "admin-address",
        "IP:PORT",
        "127.0.0.1:9464",
        "Where the agent answers /livez, /readyz, /metrics and /config; off: nowhere. Of a file it does not",
    ),
    flag(Messages, "LOG_LEVEL", "log-level", "LEVEL", "info", "error, warn, info, debug or trace"),
    flag(Messages, "DEBUG", "debug", "", "false", "The same as --log-level debug, and profiling at DEBUG_ADDRESS"),
    flag(
        Messages,
        "DEBUG_ADDRESS",
        "debug-address",
        "HOST:PORT",
        "localhost:6060",
        "Where the agent gives profiles, allocations and a summary of its connections with DEBUG=true. Of a file it does not",
    ),
    flag(Messages, "AGENT_LOG_FORMAT", "log-format", "FORMAT", "text", "text or json"),
    flag(
        Messages,
        "AGENT_STATS",
        "stats",
        "FORMAT",
        "",
        "At the end print every counter to standard error: table or json",
    ),
    otel("OTEL_EXPORTER_OTLP_ENDPOINT", "", "An OTLP server; beats HONEYCOMB_API_ENDPOINT"),
    otel("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "grpc or http/protobuf"),
    otel("OTEL_EXPORTER_OTLP_HEADERS", "", "name=value,… sent with every request"),
    otel("OTEL_EXPORTER_OTLP_COMPRESSION", "", "gzip, zstd or none; gzip with TLS, none without"),
    otel("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "Milliseconds that one attempt may take"),
    otel("OTEL_EXPORTER_OTLP_INSECURE", "false", "No TLS, for an endpoint without a scheme"),
    otel("OTEL_EXPORTER_OTLP_CERTIFICATE", "", "PEM file with further certificate authorities"),
    otel("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "", "PEM file with the client's certificate"),
    otel("OTEL_EXPORTER_OTLP_CLIENT_KEY", "", "PEM file with the client's key"),
    otel("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "These beat the ones above"),
    otel("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "", ""),
    otel("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "", ""),
    otel("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "", ""),
    otel("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "", ""),
    otel("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "", ""),
    otel("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "", ""),
    otel("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "", ""),
    otel("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "", ""),
    otel("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "", "These beat the general ones for the agent's own metrics"),
    otel("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "", ""),
    otel("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "", ""),
    otel("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "", ""),
    otel("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "", ""),
    otel("OTEL_EXPORTER_OTLP_METRICS_INSECURE", "", ""),
    otel("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "", ""),
    otel("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "", ""),
    otel("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "", ""),
    otel("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative", "cumulative, delta or lowmemory"),
    otel("OTEL_METRICS_EXPORTER", "otlp", "otlp, or none: the agent sends no metrics of its own"),
    otel("OTEL_METRIC_EXPORT_INTERVAL", "60000", "Milliseconds between two exports of them"),
    otel("OTEL_METRIC_EXPORT_TIMEOUT", "", "Milliseconds that one of them may take at most"),
    otel("OTEL_BSP_SCHEDULE_DELAY", "1000", "Milliseconds after which a batch is sent though it is not full"),
    otel("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", "Spans in a batch"),
    otel(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "",
        "Spans that may wait, beside AGENT_QUEUE_BYTES; beyond it the oldest are dropped",
    ),
    otel("OTEL_BSP_EXPORT_TIMEOUT", "", "Milliseconds that one attempt may take at most, whatever the ones above say"),
    otel("OTEL_SDK_DISABLED", "false", "The same as --export none"),
    otel("OTEL_TRACES_EXPORTER", "otlp", "otlp, console (--export pretty) or none; --export beats it"),
    otel("OTEL_TRACES_SAMPLER", "always_on", "always_on, always_off, traceidratio, parentbased_…"),
    otel("OTEL_TRACES_SAMPLER_ARG", "1", "The ratio"),
    otel("OTEL_PROPAGATORS", "tracecontext,baggage", "tracecontext, b3, b3multi; baggage is not reported"),
    otel("OTEL_RESOURCE_ATTRIBUTES", "", "name=value,… on the resource"),
    otel("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "128", "Attributes of a span"),
    otel("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "65535", "Bytes of a text; never more than the default"),
    otel("OTEL_ATTRIBUTE_COUNT_LIMIT", "128", "The same; the ones above beat these"),
    otel("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "65535", ""),
    otel(
        "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
        "",
        "Methods reported by their own name, in place of the known ones",
    ),
    proxy("HTTPS_PROXY", "HTTP proxy on the way to TLS endpoints: http://[user:password@]host:port"),
    proxy("ALL_PROXY", "The same; the one above beats it"),
    proxy("NO_PROXY", "Hosts, domains and networks that are reached directly, or *"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variable_and_no_flag_is_there_twice() {
        for (place, setting) in SETTINGS.iter().enumerate() {
            for other in &SETTINGS[place + 1..] {
                assert_ne!(setting.variable, other.variable);
                assert!(setting.flag.is_none() || setting.flag != other.flag, "{:?}", setting.flag);
            }
        }
    }
}
