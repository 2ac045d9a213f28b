//! A real API server with its etcd in one program, as long as a test runs, and a client that writes into it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed step is a failed test")]
#![allow(unreachable_pub, reason = "a module of a test")]
#![allow(missing_docs, reason = "names say it")]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use futures_util::StreamExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use network_agent::metadata::{MetadataConfig, MetadataSource, Scope};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::laboratory::skip;

/// The server; its folder goes with it.
pub struct ApiServer {
    folder: TempDir,
    program: PathBuf,
    port: u16,
    etcd: u16,
}

/// A client with all rights.
pub struct Cluster {
    client: kube::Client,
}

/// A port of loopback that nobody has. Not one of those that the system gives to who connects: while a server is killed and begun
/// again, somebody could have it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 9000).unwrap();
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 9000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Names from the server that `kubeconfig` names.
pub fn metadata_config(kubeconfig: &Path, node: Option<&str>) -> MetadataConfig {
    MetadataConfig {
        source: MetadataSource::Kubeconfig(kubeconfig.to_owned()),
        scope: Scope::Cluster,
        node: node.map(str::to_owned),
        own_addresses: Vec::new(),
    }
}

impl ApiServer {
    /// None where the server's program is not there; what to do is printed.
    pub fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/cached.sh");
        let found = Command::new("bash").arg(script).output().ok()?;
        let folder = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        if !found.status.success() || folder.is_empty() {
            skip("there is no API server to test with; `make kubernetes` makes one, once");
            return None;
        }
        let program = Path::new(&folder).join("kube-apiserver");
        let server = Self { folder: TempDir::new().unwrap(), program, port: free_port(), etcd: free_port() };
        server.run();
        Some(server)
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        let pid = fs::read_to_string(self.folder.path().join("pid")).unwrap();
        let _ = Command::new("kill").args(["-9", pid.trim()]).output();
        let proc = PathBuf::from(format!("/proc/{}", pid.trim()));
        crate::laboratory::wait_for("the server to end", || {
            // The script that began it has gone, so whoever adopts it may keep its name for a while.
            let state = fs::read_to_string(proc.join("stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        });
        // Its first thread may have ended before another that still holds them.
        crate::laboratory::wait_for("its ports to be free", || {
            [self.port, self.etcd].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        });
    }

    /// Begins again where it was killed.
    pub fn restart(&mut self) {
        self.run();
    }

    fn run(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apiserver/start.sh");
        let (port, etcd) = (self.port.to_string(), self.etcd.to_string());
        let mut command = Command::new("bash");
        command.arg(script).arg(self.folder.path()).args([&port, &etcd]).env("KUBE_APISERVER", &self.program);
        let log = fs::File::create(self.folder.path().join("start.log")).unwrap();
        let status = command.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
        let log = || fs::read_to_string(self.folder.path().join("start.log")).unwrap_or_default();
        assert!(status.success(), "the server does not start: {}", log());
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// With all rights.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// With all rights, by way of another address.
    pub fn kubeconfig_at(&self, address: SocketAddr) -> PathBuf {
        let path = self.folder.path().join("kubeconfig-elsewhere");
        let text = fs::read_to_string(self.kubeconfig()).unwrap();
        fs::write(&path, text.replace(&self.address().to_string(), &address.to_string())).unwrap();
        path
    }

    /// With the rights of the token in a file.
    pub fn kubeconfig_with(&self, token: &Path) -> PathBuf {
        let path = self.folder.path().join("kubeconfig-token");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\ncontexts: [{{name: t, context: {{cluster: t, user: u}}}}]\n\
             clusters: [{{name: t, cluster: {{server: \"https://{}\", certificate-authority: {}}}}}]\n\
             users: [{{name: u, user: {{tokenFile: {}}}}}]\n",
            self.address(),
            self.folder.path().join("ca.crt").display(),
            token.display()
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// Makes the store forget what was before now, so that no watch can go on from there.
    pub fn forget_history(&self) {
        let revision = Command::new("curl")
            .args(["-s", "-X", "POST", "-d", "{\"key\": \"AA==\"}"])
            .arg(format!("http://127.0.0.1:{}/v3/kv/range", self.etcd))
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&revision.stdout).unwrap();
        let revision = answer["header"]["revision"].as_str().unwrap().to_owned();
        let body = format!("{{\"revision\": \"{revision}\", \"physical\": true}}");
        crate::laboratory::run(
            Command::new("curl")
                .args(["-sf", "-X", "POST", "-d", &body])
                .arg(format!("http://127.0.0.1:{}/v3/kv/compaction", self.etcd)),
        );
    }

    pub async fn cluster(&self) -> Cluster {
        self.cluster_by(&self.kubeconfig()).await
    }

    /// With the rights of a kubeconfig.
    pub async fn cluster_by(&self, kubeconfig: &Path) -> Cluster {
        let file = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        Cluster { client: kube::Client::try_from(config).unwrap() }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.folder.path().join("pid")).unwrap_or_default();
        let _ = Command::new("kill").args(["-9", pid.trim()]).output();
    }
}

impl Cluster {
    /// Sends a request, which must succeed, and gives its answer.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        let answer = self.client.request_text(request.body(body.to_string().into_bytes()).unwrap()).await;
        let text = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    pub async fn namespace(&self, name: &str) {
        self.send("POST", "/api/v1/namespaces", &json!({"metadata": {"name": name}})).await;
    }

    pub async fn node(&self, name: &str, address: &str) {
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        self.send("POST", "/api/v1/nodes", &json!({"metadata": {"name": name}})).await;
        self.send("PATCH", &format!("/api/v1/nodes/{name}/status"), &status).await;
    }

    pub async fn pod(&self, namespace: &str, object: &Value, status: &Value) {
        self.send("POST", &format!("/api/v1/namespaces/{namespace}/pods"), object).await;
        self.status(namespace, object["metadata"]["name"].as_str().unwrap(), status).await;
    }

    pub async fn status(&self, namespace: &str, pod: &str, status: &Value) {
        self.send("PATCH", &format!("/api/v1/namespaces/{namespace}/pods/{pod}/status"), status).await;
    }

    /// Without a kubelet that would let it end.
    pub async fn delete(&self, namespace: &str, pod: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
        self.send("DELETE", &path, &json!({"gracePeriodSeconds": 0})).await;
    }

    pub async fn service(&self, namespace: &str, name: &str, spec: &Value) -> Value {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.send("POST", &format!("/api/v1/namespaces/{namespace}/services"), &object).await
    }

    /// The one slice of a Service.
    pub async fn slice(&self, namespace: &str, service: &str, addresses: &[&str]) {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        let endpoints = json!([{"addresses": addresses}]);
        let existing = self.send("GET", &path, &json!({})).await;
        if existing["items"].as_array().is_some_and(|items| !items.is_empty()) {
            self.send("PATCH", &format!("{path}/{service}"), &json!({"endpoints": endpoints})).await;
            return;
        }
        let object = json!({"metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 80}]});
        self.send("POST", &path, &object).await;
    }

    pub async fn service_account(&self, namespace: &str, name: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.send("POST", &path, &json!({"metadata": {"name": name}})).await;
    }

    pub async fn token(&self, namespace: &str, name: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let answer = self.send("POST", &path, &json!({"spec": {"expirationSeconds": 3600}})).await;
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// The rights that the documentation names.
    pub async fn grant(&self, namespace: &str, name: &str) {
        let verbs = json!(["get", "list", "watch"]);
        let rules = json!([{"apiGroups": [""], "resources": ["pods", "services", "nodes"], "verbs": verbs},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs}]);
        let group = "/apis/rbac.authorization.k8s.io/v1";
        self.send("POST", &format!("{group}/clusterroles"), &json!({"metadata": {"name": name}, "rules": rules})).await;
        let binding = json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}]});
        self.send("POST", &format!("{group}/clusterrolebindings"), &binding).await;
    }

    /// The status of a request.
    pub async fn try_to(&self, method: &str, path: &str) -> u16 {
        let request = http::Request::builder().method(method).uri(path).body(Vec::new()).unwrap();
        match self.client.request_text(request).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        }
    }

    /// Pods of 20 owners each of which has as many, eight at a time.
    pub async fn many_pods(&self, namespace: &str, count: usize) {
        let numbers = futures_util::stream::iter(0..count);
        numbers
            .for_each_concurrent(8, |number| async move {
                let owner = format!("app-{}", number % (count / 20).max(1));
                let object = json!({"metadata": {"name": format!("{owner}-5d4f9c8b7-{number:05}"),
                        "labels": {"app": owner, "pod-template-hash": "5d4f9c8b7", "tier": "back"}},
                    "spec": {"nodeName": format!("node-{}", number % 100), "containers": [
                        {"name": "app", "image": "registry.example/app:1.2.3", "ports": [{"containerPort": 8080}],
                         "env": [{"name": "OTEL_SERVICE_NAME", "value": owner}]}]}});
                let address = format!("10.{}.{}.{}", 128 + number / 65536, number / 256 % 256, number % 256);
                let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
                self.pod(namespace, &object, &status).await;
            })
            .await;
    }

    /// Lists and watches that the server has been asked for so far.
    pub async fn requests(&self) -> u64 {
        let Value::String(text) = self.send("GET", "/metrics", &json!({})).await else { return 0 };
        let counted = text.lines().filter(|line| {
            let of = |words: &[&str]| words.iter().any(|word| line.contains(word));
            line.starts_with("apiserver_request_total{")
                && of(&["resource=\"pods\"", "resource=\"services\"", "resource=\"nodes\""])
                && of(&["verb=\"LIST\"", "verb=\"WATCH\""])
        });
        counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}
