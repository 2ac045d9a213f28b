//! Configurations → a real OpenTelemetry Collector, which may be killed and started again.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use tempfile::TempDir;

use crate::laboratory::{Namespace, Running, skip, wait_for};

/// Where the Collector's binary is; none when the tests are to do without, which is said.
pub fn binary() -> Option<PathBuf> {
    static SAID: Once = Once::new();
    let path = std::env::var_os("NETWORK_AGENT_OTELCOL").filter(|path| !path.is_empty());
    if path.is_none() {
        SAID.call_once(|| skip("no Collector: NETWORK_AGENT_OTELCOL does not name its binary; `make e2e` builds it"));
    }
    path.map(PathBuf::from)
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A file of the repository.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// How the agent speaks to a Collector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    Grpc,
    Http,
}

impl Protocol {
    /// As `OTEL_EXPORTER_OTLP_PROTOCOL` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

/// How a Collector is started, once or again and again.
pub struct Setup {
    binary: PathBuf,
    configurations: Vec<PathBuf>,
    variables: Vec<(String, String)>,
    namespace: Option<String>,
    folder: TempDir,
    grpc: u16,
    http: u16,
}

impl Setup {
    /// A Collector with files of `tests/collector` or `otel-collector-config`, the later on top of the earlier.
    /// None where there is no binary.
    pub fn new(configurations: &[&str]) -> Option<Self> {
        let binary = binary()?;
        let folder = TempDir::new().unwrap();
        let (grpc, http, health, metrics) = (free_port(), free_port(), free_port(), free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let variables = [
            ("OTLP_GRPC_ADDRESS", format!("127.0.0.1:{grpc}")),
            ("OTLP_HTTP_ADDRESS", format!("127.0.0.1:{http}")),
            ("HEALTH_ADDRESS", format!("127.0.0.1:{health}")),
            ("METRICS_HOST", "127.0.0.1".to_owned()),
            ("METRICS_PORT", metrics.to_string()),
            ("OTLP_FILE", path("otlp.jsonl")),
            ("STORAGE_DIRECTORY", path("storage")),
            ("TLS_FILES", file("tests/tls").display().to_string()),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let configurations = configurations.iter().map(|path| file(path)).collect();
        Some(Self { binary, configurations, variables, namespace: None, folder, grpc, http })
    }

    /// With a variable more, or another value for one.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
    }

    /// In a namespace, where every port is free.
    pub fn within(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.name.clone());
        self
    }

    /// Where it takes spans, host and port.
    pub fn address(&self, protocol: Protocol) -> String {
        let port = match protocol {
            Protocol::Grpc => self.grpc,
            Protocol::Http => self.http,
        };
        format!("localhost:{port}")
    }

    /// The same without TLS, as `OTEL_EXPORTER_OTLP_ENDPOINT` has it.
    pub fn endpoint(&self, protocol: Protocol) -> String {
        format!("http://{}", self.address(protocol))
    }

    /// What the exporter `file` writes.
    pub fn output(&self) -> PathBuf {
        self.folder.path().join("otlp.jsonl")
    }

    /// What it has said, over all its starts.
    pub fn messages(&self) -> String {
        fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default()
    }

    fn command(&self) -> Command {
        // Each of `ip` and `env` becomes what it runs.
        let mut command = if let Some(namespace) = &self.namespace {
            let mut ip = Command::new("ip");
            ip.args(["netns", "exec", namespace, "env"]);
            ip
        } else {
            Command::new("env")
        };
        command.arg("-i").args(self.variables.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(&self.binary).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn configured(&self, mut command: Command) -> Command {
        for path in &self.configurations {
            command.arg("--config").arg(path);
        }
        command
    }

    /// What `otelcol validate` says; empty when it finds no fault.
    pub fn validate(&self) -> String {
        let mut command = self.command();
        command.arg("validate");
        let output = self.configured(command).output().unwrap();
        if output.status.success() {
            return String::new();
        }
        format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
    }

    /// Starts it; comes back when it takes spans.
    pub fn start(&self) -> Running {
        let before = self.messages().len();
        let messages = OpenOptions::new().create(true).append(true).open(self.folder.path().join("messages")).unwrap();
        let printed = File::create(self.folder.path().join("printed")).unwrap();
        let mut command = self.configured(self.command());
        let mut collector = Running::start(command.stdout(printed).stderr(messages));
        wait_for("the Collector to be ready", || {
            let messages = self.messages();
            assert!(!collector.has_ended(), "the Collector has ended: {messages}");
            messages.get(before..).is_some_and(|new| new.contains("Everything is ready"))
        });
        collector
    }
}
