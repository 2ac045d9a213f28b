//! An exchange with its ends → whether it is observed at all, by what the user included and excluded.

use wildmatch::WildMatch;

use super::Pod;
use super::ends::Ends;
use super::text::lossy;
use crate::exchange::Exchange;
use crate::http::field_name::{CONTENT_TYPE, USER_AGENT};

/// What is observed. An exchange counts when every list of `include` that is not empty has it, and none of `exclude` does.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Only these.
    pub include: Traits,
    /// Not these.
    pub exclude: Traits,
    /// Exports of telemetry over OTLP/HTTP, the agent's own among them where they are seen: a span of each would be exported,
    /// and be one export more.
    pub telemetry: bool,
}

/// What exchanges may have.
#[derive(Clone, Debug, Default)]
pub struct Traits {
    /// Either end's pod is in one of these namespaces.
    pub namespaces: Vec<WildMatch>,
    /// Either end's pod has one of these labels, of any value where none is named.
    pub pod_labels: Vec<(String, Option<String>)>,
    /// The server's port is one of these, as it was dialled or as it answers.
    pub ports: Vec<u16>,
    /// The path is like one of these.
    pub paths: Vec<WildMatch>,
    /// The `User-Agent` is like one of these.
    pub user_agents: Vec<WildMatch>,
}

/// Why an exchange is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub enum LeftOut {
    /// By a namespace.
    Namespace,
    /// By a label of a pod.
    PodLabel,
    /// By the server's port.
    Port,
    /// By the path.
    Path,
    /// By the user agent.
    UserAgent,
    /// Because a pod asks for it by its annotation.
    Annotation,
    /// Because it exports telemetry.
    Telemetry,
}

impl LeftOut {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 7] =
        [Self::Namespace, Self::PodLabel, Self::Port, Self::Path, Self::UserAgent, Self::Annotation, Self::Telemetry];

    /// The reason as a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::PodLabel => "pod_label",
            Self::Port => "port",
            Self::Path => "path",
            Self::UserAgent => "user_agent",
            Self::Annotation => "annotation",
            Self::Telemetry => "telemetry",
        }
    }
}

impl Default for Selection {
    /// All but the kubelet's health probes.
    fn default() -> Self {
        let user_agents = vec![WildMatch::new("kube-probe/*")];
        Self { include: Traits::default(), exclude: Traits { user_agents, ..Traits::default() }, telemetry: false }
    }
}

/// The reasons for which anything was included or excluded, and what tells of one at once that it is none.
#[derive(Debug)]
pub(super) struct Reasons {
    all: Vec<LeftOut>,
    /// Where only user agents that begin with certain bytes may count: which these are.
    agents: Option<Box<[bool; 256]>>,
}

impl Reasons {
    /// Whether it is sure that `exchange` is not left out for `reason`. Mostly the user agent's first byte tells.
    fn is_none(&self, reason: LeftOut, exchange: &Exchange) -> bool {
        let Some(agents) = self.agents.as_ref().filter(|_| reason == LeftOut::UserAgent) else { return false };
        let Some(agent) = exchange.request.head.header(USER_AGENT) else { return true };
        agent.first().and_then(|first| agents.get(usize::from(*first))).is_some_and(|may_count| !may_count)
    }
}

impl Selection {
    /// See [`Reasons`].
    pub(super) fn reasons(&self) -> Reasons {
        let is_any = |reason: &LeftOut| self.include.names_any(*reason) || self.exclude.names_any(*reason);
        let mut agents = Box::new([false; 256]);
        let firsts: Option<Vec<u8>> = self.exclude.user_agents.iter().map(first_byte).collect();
        for first in firsts.iter().flatten() {
            if let Some(place) = agents.get_mut(usize::from(*first)) {
                *place = true;
            }
        }
        let are_told = firsts.is_some() && self.include.user_agents.is_empty();
        Reasons { all: LeftOut::ALL.into_iter().filter(is_any).collect(), agents: are_told.then_some(agents) }
    }

    /// Why `exchange` is left out, if it is; of the lists only those of `reasons` are looked at. `path` is without the query.
    pub(super) fn leaves_out(
        &self,
        reasons: &Reasons,
        exchange: &Exchange,
        ends: &Ends,
        path: &str,
    ) -> Option<LeftOut> {
        if ends.pods().any(|pod| pod.template.left_out) {
            return Some(LeftOut::Annotation);
        }
        if exports_telemetry(exchange, path) && (!self.telemetry || is_own(exchange)) {
            return Some(LeftOut::Telemetry);
        }
        let leaves_out = |reason: &LeftOut| {
            self.include.names_any(*reason) && !self.include.has(*reason, exchange, ends, path)
                || self.exclude.names_any(*reason) && self.exclude.has(*reason, exchange, ends, path)
        };
        reasons.all.iter().copied().find(|reason| !reasons.is_none(*reason, exchange) && leaves_out(reason))
    }
}

impl Traits {
    /// Whether a list has anything in it.
    const fn names_any(&self, list: LeftOut) -> bool {
        match list {
            LeftOut::Namespace => !self.namespaces.is_empty(),
            LeftOut::PodLabel => !self.pod_labels.is_empty(),
            LeftOut::Port => !self.ports.is_empty(),
            LeftOut::Path => !self.paths.is_empty(),
            LeftOut::UserAgent => !self.user_agents.is_empty(),
            LeftOut::Annotation | LeftOut::Telemetry => false,
        }
    }

    /// Whether the exchange has one of a list.
    fn has(&self, list: LeftOut, exchange: &Exchange, ends: &Ends, path: &str) -> bool {
        match list {
            LeftOut::Namespace => {
                let is_in = |wanted: &WildMatch| ends.pods().any(|pod| wanted.matches(&pod.template.namespace));
                self.namespaces.iter().any(is_in)
            }
            LeftOut::PodLabel => self.pod_labels.iter().any(|label| ends.pods().any(|pod| has_label(pod, label))),
            LeftOut::Port => {
                let servers = [exchange.server, exchange.at_server().1];
                self.ports.iter().any(|port| servers.iter().any(|server| server.port() == *port))
            }
            LeftOut::Path => self.paths.iter().any(|wanted| wanted.matches(path)),
            LeftOut::UserAgent => {
                let is_like = |agent: &[u8]| self.user_agents.iter().any(|wanted| is_like(wanted, agent));
                exchange.request.head.header(USER_AGENT).is_some_and(is_like)
            }
            LeftOut::Annotation | LeftOut::Telemetry => false,
        }
    }
}

/// Whether `text` is like `wanted`. Mostly its first byte tells that it is not.
fn is_like(wanted: &WildMatch, text: &[u8]) -> bool {
    first_byte(wanted).is_none_or(|first| text.first() == Some(&first)) && wanted.matches(&lossy(text))
}

/// The byte that all begins with that is like `wanted`, if there is such a byte.
fn first_byte(wanted: &WildMatch) -> Option<u8> {
    let first = wanted.pattern_chars().first().and_then(|first| u8::try_from(*first).ok());
    first.filter(|first| first.is_ascii_alphanumeric() && !wanted.is_case_insensitive())
}

/// Whether it is a request of OTLP/HTTP (OTLP specification, "OTLP/HTTP Request"): below any base path.
fn exports_telemetry(exchange: &Exchange, path: &str) -> bool {
    const SIGNALS: [&str; 4] = ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1development/profiles"];
    let head = &exchange.request.head;
    let is_otlp = |kind: &[u8]| {
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        [&b"application/x-protobuf"[..], b"application/json"].iter().any(|otlp| kind.eq_ignore_ascii_case(otlp))
    };
    head.method() == b"POST"
        && SIGNALS.iter().any(|signal| path.ends_with(signal))
        && head.header(CONTENT_TYPE).is_some_and(is_otlp)
}

/// Whether an agent sends it: a span of each would be exported, whatever was asked for.
fn is_own(exchange: &Exchange) -> bool {
    exchange.request.head.header(USER_AGENT).is_some_and(|agent| agent.starts_with(b"network-agent/"))
}

fn has_label(pod: &Pod, (key, value): &(String, Option<String>)) -> bool {
    pod.label(key).is_some_and(|found| value.as_deref().is_none_or(|value| value == found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_byte_decides_only_what_the_pattern_decides() {
        for pattern in ["", "*", "?", "a", "a*", "*a", "?a", "A*", "é*", "-a", "\u{fffd}*"] {
            for text in [&b""[..], b"a", b"ab", b"ba", b"A", "é".as_bytes(), b"\xff", b"\xffa", b"-a"] {
                for wanted in [WildMatch::new(pattern), WildMatch::new_case_insensitive(pattern)] {
                    assert_eq!(is_like(&wanted, text), wanted.matches(&lossy(text)), "{pattern} {text:?}");
                }
            }
        }
    }
}
