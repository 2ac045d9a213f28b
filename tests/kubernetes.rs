//! A real API server, and what is known of its objects while they come and go, and while it does.
//!
//! Needs `tests/cluster/cached.sh build` (or `make kubernetes`) to have been run once, and says so where it was not.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and says what it saw"
)]

#[path = "apiserver/mod.rs"]
mod apiserver;
mod laboratory;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use apiserver::{ApiServer, free_port, metadata_config};
use network_agent::metadata::{MetadataConfig, Names, Scope, wait};
use network_agent::span::{Endpoint, EndpointLookup};
use network_agent::time::Timestamp;
use serde_json::{Value, json};

/// Names as an agent knows them.
struct Known {
    lookup: Arc<dyn EndpointLookup + Send + Sync>,
    names: Names,
}

impl Known {
    async fn follow(config: &MetadataConfig) -> Self {
        let mut names = Names::open(config).await.unwrap();
        let lookup = names.lookup();
        names.follow();
        Self { lookup, names }
    }

    async fn complete(config: &MetadataConfig) -> Self {
        let known = Self::follow(config).await;
        known.eventually("the lists to be whole", |known| known.lookup.knows_places()).await;
        known
    }

    /// What stands at `socket` at a time.
    fn at(&self, socket: &str, at: Timestamp) -> String {
        match self.lookup.endpoint(socket.parse().unwrap(), at) {
            None => "-".to_owned(),
            Some(Endpoint::Pod(pod)) => format!("pod {}/{}", pod.template.namespace, pod.name),
            Some(Endpoint::Service(service)) => format!("service {}/{}", service.namespace, service.name),
            Some(Endpoint::Node(node)) => format!("node {}", node.name),
        }
    }

    fn now(&self, socket: &str) -> String {
        self.at(socket, now())
    }

    fn service_of(&self, socket: &str) -> String {
        let socket: SocketAddr = socket.parse().unwrap();
        let Some(Endpoint::Pod(pod)) = self.lookup.endpoint(socket, now()) else { return "no pod".to_owned() };
        let service = self.lookup.service_of(&pod, Some(socket.port()), now());
        service.map_or_else(|| "-".to_owned(), |service| format!("{}/{}", service.namespace, service.name))
    }

    async fn becomes(&self, socket: &str, wanted: &str) {
        self.eventually(&format!("{socket} to be {wanted:?}"), |known| known.now(socket) == wanted).await;
    }

    async fn eventually(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        // The pauses between attempts grow to a minute.
        for _ in 0..2400 {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let status = self.names.status().unwrap();
        panic!("waited in vain for {what}: {:?} {:?} {:?}", status.snapshot(), status.obstacle(), status.doubt());
    }

    fn obstacle(&self) -> String {
        self.names.status().unwrap().obstacle().unwrap_or_default()
    }
}

#[expect(clippy::disallowed_methods, reason = "what is asked for is now")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::default().saturating_add(since)
}

#[expect(clippy::disallowed_methods, reason = "the server is another program")]
fn clock() -> Instant {
    Instant::now()
}

fn pod(name: &str, addresses: &[&str], labels: &Value) -> (Value, Value) {
    let addresses: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
    let object = json!({"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": "node-a", "containers": [
        {"name": "app", "image": "x", "ports": [{"containerPort": 8080}, {"containerPort": 9090}]}]}});
    let first = addresses.first().map(|address| address["ip"].clone());
    (object, json!({"status": {"phase": "Running", "podIP": first, "podIPs": addresses}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn names_follow_pods_services_and_nodes_as_they_come_and_go() {
    let Some(server) = ApiServer::start() else { return };
    let cluster = server.cluster().await;
    for namespace in ["shop", "other"] {
        cluster.namespace(namespace).await;
    }
    cluster.node("node-a", "10.89.0.11").await;
    let web = json!({"app": "web"});
    let (object, status) = pod("early", &["10.244.0.1", "fd00::1"], &web);
    cluster.pod("shop", &object, &status).await;
    let known = Known::complete(&metadata_config(&server.kubeconfig(), Some("node-a"))).await;
    for socket in ["10.244.0.1:8080", "[fd00::1]:8080"] {
        assert_eq!(known.now(socket), "pod shop/early");
    }
    assert_eq!(known.now("10.89.0.11:1"), "node node-a");

    // A pod comes without an address, gets one, and another one.
    let (object, status) = pod("late", &["10.244.0.2"], &web);
    cluster.pod("shop", &object, &json!({"status": {"phase": "Pending"}})).await;
    cluster.status("shop", "late", &status).await;
    known.becomes("10.244.0.2:8080", "pod shop/late").await;
    let before = now();
    cluster.status("shop", "late", &pod("late", &["10.244.0.3"], &web).1).await;
    known.becomes("10.244.0.3:8080", "pod shop/late").await;
    assert_eq!(known.at("10.244.0.2:8080", before), "pod shop/late", "it had it before");

    // Its address moves to another pod, while an exchange with each is on its way.
    let with_late = now();
    cluster.delete("shop", "late").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (object, status) = pod("next", &["10.244.0.3"], &web);
    cluster.pod("shop", &object, &status).await;
    known.becomes("10.244.0.3:8080", "pod shop/next").await;
    assert_eq!(known.at("10.244.0.3:8080", with_late), "pod shop/late");
    // What has ended owns no address; its last exchange is still its own.
    let with_next = now();
    cluster.status("shop", "next", &json!({"status": {"phase": "Succeeded"}})).await;
    let (object, status) = pod("third", &["10.244.0.3"], &json!({"app": "third"}));
    cluster.pod("other", &object, &status).await;
    known.becomes("10.244.0.3:8080", "pod other/third").await;
    assert_eq!(known.at("10.244.0.3:8080", with_next), "pod shop/next");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_all_kinds_lead_to_their_pods() {
    let Some(server) = ApiServer::start() else { return };
    let cluster = server.cluster().await;
    for namespace in ["shop", "other"] {
        cluster.namespace(namespace).await;
        let (object, status) =
            pod("web", &[if namespace == "shop" { "10.244.0.1" } else { "10.244.0.2" }], &json!({"app": "web"}));
        cluster.pod(namespace, &object, &status).await;
    }
    let ports =
        json!([{"name": "http", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 90, "targetPort": 9090}]);
    let spec = |more: &Value| {
        let mut spec = json!({"selector": {"app": "web"}, "ports": ports});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
    // The same selector in two namespaces.
    let dual = json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]});
    let shop = cluster.service("shop", "web", &spec(&dual)).await;
    let other = cluster.service("other", "web", &spec(&json!({"type": "NodePort"}))).await;
    cluster.service("shop", "all-headless", &spec(&json!({"clusterIP": "None", "ports": [{"port": 7}]}))).await;
    let legacy = cluster.service("shop", "legacy", &json!({"ports": [{"port": 80}]})).await;
    cluster.slice("shop", "legacy", &["192.0.2.7"]).await;
    cluster.node("node-a", "10.89.0.11").await;

    let known = Known::complete(&metadata_config(&server.kubeconfig(), Some("node-a"))).await;
    known.becomes("192.0.2.7:8080", "service shop/legacy").await;
    let addresses = |service: &Value| -> Vec<String> {
        let all = service["spec"]["clusterIPs"].as_array().unwrap();
        all.iter().map(|address| address.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(addresses(&shop).len(), 2, "{shop}");
    for address in addresses(&shop) {
        let socket = if address.contains(':') { format!("[{address}]:80") } else { format!("{address}:80") };
        assert_eq!(known.now(&socket), "service shop/web");
    }
    assert_eq!(known.now(&format!("{}:80", addresses(&other)[0])), "service other/web");
    assert_eq!(known.now(&format!("{}:80", addresses(&legacy)[0])), "service shop/legacy");
    assert_eq!(known.service_of("10.244.0.1:8080"), "shop/web");
    assert_eq!(known.service_of("10.244.0.1:9090"), "shop/web");
    assert_eq!(known.service_of("10.244.0.1:7"), "shop/all-headless");
    assert_eq!(known.service_of("10.244.0.2:8080"), "other/web");
    let node_port = other["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let dialled = known.lookup.dialled(format!("10.89.0.11:{node_port}").parse().unwrap(), now());
    assert_eq!(dialled.map(|service| service.namespace.to_string()), Some("other".to_owned()));

    cluster.slice("shop", "legacy", &["192.0.2.8"]).await;
    known.becomes("192.0.2.8:8080", "service shop/legacy").await;
    cluster.send("DELETE", "/api/v1/namespaces/other/services/web", &json!({})).await;
    known.eventually("the service to go", |known| known.service_of("10.244.0.2:8080") != "other/web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rights_it_is_said_why_and_with_them_names_come() {
    let Some(server) = ApiServer::start() else { return };
    let cluster = server.cluster().await;
    cluster.namespace("shop").await;
    cluster.service_account("shop", "agent").await;
    let (object, status) = pod("web", &["10.244.0.1"], &json!({}));
    cluster.pod("shop", &object, &status).await;
    let token = server.folder().join("agent.token");
    std::fs::write(&token, cluster.token("shop", "agent").await).unwrap();
    let known = Known::follow(&metadata_config(&server.kubeconfig_with(&token), Some("node-a"))).await;
    known.eventually("the refusal", |known| known.obstacle().contains("may not be read")).await;
    let obstacle = known.obstacle();
    for word in ["names are missing", "pods", "services", "nodes", "get, list and watch"] {
        assert!(obstacle.contains(word), "{obstacle}");
    }
    // Spans do not wait for it.
    let began = clock();
    wait(known.names.status()).await;
    assert!((4..10).contains(&began.elapsed().as_secs()));
    cluster.grant("shop", "agent").await;
    known.becomes("10.244.0.1:8080", "pod shop/web").await;
    known.eventually("no obstacle", |known| known.obstacle().is_empty()).await;
    // Only what it needs.
    let own = server.cluster_by(&server.kubeconfig_with(&token)).await;
    assert_eq!((own.try_to("GET", "/api/v1/pods").await, own.try_to("GET", "/api/v1/secrets").await), (200, 403));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_and_comes_back_costs_no_name() {
    let Some(mut server) = ApiServer::start() else { return };
    let cluster = server.cluster().await;
    cluster.namespace("shop").await;
    for number in 1..=3 {
        let (object, status) = pod(&format!("pod-{number}"), &[&format!("10.244.0.{number}")], &json!({}));
        cluster.pod("shop", &object, &status).await;
    }
    let known = Known::complete(&metadata_config(&server.kubeconfig(), Some("node-a"))).await;
    let status = known.names.status().unwrap();
    let lists = status.snapshot().lists;
    server.kill();
    known.eventually("the doubt", |known| known.names.status().unwrap().doubt().is_some()).await;
    assert_eq!(known.now("10.244.0.1:1"), "pod shop/pod-1", "what was known stays known");
    assert_eq!(status.obstacle(), None);
    server.restart();
    let cluster = server.cluster().await;
    cluster.delete("shop", "pod-1").await;
    let (object, status_of) = pod("pod-9", &["10.244.0.1"], &json!({}));
    cluster.pod("shop", &object, &status_of).await;
    // What has been is forgotten, also by the server that comes back: the place of every watch is too old (410).
    server.forget_history();
    server.kill();
    server.restart();
    known.becomes("10.244.0.1:1", "pod shop/pod-9").await;
    known.eventually("pod-1 to go", |_| status.snapshot().pods == 3).await;
    assert_eq!(known.now("10.244.0.2:1"), "pod shop/pod-2");
    known.eventually("no doubt", |known| known.names.status().unwrap().doubt().is_none()).await;
    assert!(status.snapshot().lists > lists, "no list was read again: {:?}", status.snapshot());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_at_the_start_is_waited_for_without_waiting() {
    let Some(mut server) = ApiServer::start() else { return };
    let cluster = server.cluster().await;
    cluster.namespace("shop").await;
    let (object, status) = pod("web", &["10.244.0.1"], &json!({}));
    cluster.pod("shop", &object, &status).await;
    server.kill();
    let known = Known::follow(&metadata_config(&server.kubeconfig(), Some("node-a"))).await;
    known.eventually("the obstacle", |known| known.obstacle().contains("cannot be read")).await;
    assert_eq!(known.now("10.244.0.1:1"), "-");
    server.restart();
    known.becomes("10.244.0.1:1", "pod shop/web").await;
}

/// Passes connections on to `server`, but what the server says only after `delay`.
fn slow_proxy(server: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else { continue };
            for (mut from, mut to, delay) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap(), Duration::ZERO), (server, client, delay)]
            {
                thread::spawn(move || {
                    let mut bytes = [0; 16 << 10];
                    while let Ok(length @ 1..) = from.read(&mut bytes) {
                        thread::sleep(delay);
                        if to.write_all(&bytes[..length]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_gives_names_late_and_holds_nothing_up() {
    let Some(server) = ApiServer::start() else { return };
    let cluster = server.cluster().await;
    cluster.namespace("shop").await;
    let (object, status) = pod("web", &["10.244.0.1"], &json!({}));
    cluster.pod("shop", &object, &status).await;
    let proxy = slow_proxy(server.address(), Duration::from_secs(2));
    let known = Known::follow(&metadata_config(&server.kubeconfig_at(proxy), Some("node-a"))).await;
    let began = clock();
    wait(known.names.status()).await;
    assert!(began.elapsed() < Duration::from_secs(7), "spans wait no longer");
    known.becomes("10.244.0.1:1", "pod shop/web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_replaced_on_disk_is_read_anew() {
    let Some(mut server) = ApiServer::start() else { return };
    let cluster = server.cluster().await;
    cluster.namespace("shop").await;
    for name in ["one", "two"] {
        cluster.service_account("shop", name).await;
        cluster.grant("shop", name).await;
    }
    let token = server.folder().join("rotated.token");
    std::fs::write(&token, cluster.token("shop", "one").await).unwrap();
    let known = Known::complete(&metadata_config(&server.kubeconfig_with(&token), Some("node-a"))).await;
    // The first token is worth nothing any more, and no connection is left that it was accepted for.
    std::fs::write(&token, cluster.token("shop", "two").await).unwrap();
    cluster.send("DELETE", "/api/v1/namespaces/shop/serviceaccounts/one", &json!({})).await;
    server.kill();
    server.restart();
    let cluster = server.cluster().await;
    let (object, status) = pod("web", &["10.244.0.1"], &json!({}));
    cluster.pod("shop", &object, &status).await;
    known.becomes("10.244.0.1:1", "pod shop/web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_scope_of_a_node_only_its_pods_are_known() {
    let Some(server) = ApiServer::start() else { return };
    let cluster = server.cluster().await;
    cluster.namespace("shop").await;
    for (name, node, address) in [("here", "node-a", "10.244.0.1"), ("there", "node-b", "10.244.1.1")] {
        let (mut object, status) = pod(name, &[address], &json!({}));
        object["spec"]["nodeName"] = json!(node);
        cluster.pod("shop", &object, &status).await;
    }
    let config = MetadataConfig { scope: Scope::Node, ..metadata_config(&server.kubeconfig(), Some("node-a")) };
    let known = Known::complete(&config).await;
    assert_eq!((known.now("10.244.0.1:1"), known.now("10.244.1.1:1")), ("pod shop/here".into(), "-".into()));
}

/// The numbers of a large cluster, printed: memory, time until all is known, requests to the server.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_pods_are_known_soon_and_cost_little() {
    const PODS: usize = 10_000;
    let Some(server) = ApiServer::start() else { return };
    let Some(namespace) = laboratory::Namespace::new() else { return };
    let cluster = server.cluster().await;
    cluster.namespace("shop").await;
    cluster.many_pods("shop", PODS).await;
    let before = cluster.requests().await;
    let admin = free_port();
    // The agent's own network is the machine's: the server is there.
    drop(namespace);
    let folder = tempfile::TempDir::new().unwrap();
    let began = clock();
    let mut agent = start_agent(&server.kubeconfig(), admin, folder.path());
    let mut known = (0, 0);
    for _ in 0..3000 {
        known = metrics(admin);
        if known == (PODS as u64, 3) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let took = began.elapsed();
    assert_eq!(known, (PODS as u64, 3), "pods and lists");
    thread::sleep(Duration::from_secs(2));
    let memory = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let field = |name: &str| memory.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let requests = cluster.requests().await;
    println!(
        "{PODS} pods known after {took:?}; {}, {}; requests: {}",
        field("RssAnon"),
        field("VmHWM"),
        requests - before
    );
    let resident: u64 = field("RssAnon").split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(resident < 64 << 10, "{resident} kB");
    agent.stop();
}

fn start_agent(kubeconfig: &Path, admin: u16, folder: &Path) -> laboratory::Running {
    let messages = std::fs::File::create(folder.join("messages")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_network-agent"));
    command.args(["--interface", "lo", "--filter", "tcp port 1", "--export", "none", "--node-name", "node-a"]);
    command.args(["--admin-address", &format!("127.0.0.1:{admin}"), "--ring-bytes", "2MiB"]);
    command.args(["--kubernetes", kubeconfig.to_str().unwrap()]).stdout(std::process::Stdio::null()).stderr(messages);
    laboratory::Running::start(&mut command)
}

/// Pods that an agent knows, and lists that it has read to their end.
fn metrics(port: u16) -> (u64, u64) {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = ask().unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    (value("network_agent_metadata_pods").unwrap_or(0), value("network_agent_metadata_lists_total").unwrap_or(0))
}
