#!/usr/bin/env python3
"""Agents on both nodes of a real Kubernetes, and every span that they make of known requests, compared attribute by attribute.

e2e.py AGENT [VARIANT ...]      VARIANT: iptables-none iptables-vxlan nftables-none nftables-vxlan (default: all four)

On each node an agent of each layout captures in the node's network. They have the rights of the service account of
manifests/agent.yaml. Spans go through a real Collector where there is one, else each agent prints them.
Needs root, containerd, runc and the CNI plugins, and `cached.sh build`."""
import http.server, json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
VARIANTS = ["iptables-none", "iptables-vxlan", "nftables-none", "nftables-vxlan"]
LAYOUTS = ["agent", "workload"]
NODES = {"a": ("node-a", "10.89.0.11", 30081), "b": ("node-b", "10.89.0.12", 30082)}
MACHINE = "10.89.0.1"
COUNT = 3
SERVER, CLIENT = 2, 3
ANY = object()
# Not every span has them.
OPTIONAL = {"network_agent.handshake_rtt_ms", "network_agent.retransmits"}


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


class Cluster:
    def __init__(self, programs, variant):
        self.programs, self.variant = programs, variant
        self.proxy, self.overlay = variant.split("-")
        self.state = tempfile.mkdtemp(prefix="na-")
        self.environment = {**os.environ, "BIN": programs, "STATE": self.state, "NODES": "node-a node-b",
                            "PROXY": self.proxy, "OVERLAY": self.overlay}

    def up(self):
        print(run("bash", f"{HERE}/up.sh", env=self.environment), end="")
        self.kubectl("apply", "-f", f"{HERE}/manifests/agent.yaml")
        template = open(f"{HERE}/manifests/scenarios.yaml.in").read()
        for letter, (node, _, port) in NODES.items():
            text = template.replace("NODEPORT", str(port)).replace("NODE", node)
            self.kubectl("apply", "-f", "-", input=re.sub(r"\bX\b|(?<=-)X\b", letter, text))
        for letter in NODES:
            for name in ("web", "front"):
                self.kubectl("-n", "shop", "rollout", "status", f"deploy/{name}-{letter}", "--timeout=90s")
            for name in ("host", "client"):
                self.kubectl("-n", "shop", "wait", "--for=condition=Ready", f"pod/{name}-{letter}", "--timeout=90s")

    def down(self):
        subprocess.run(["bash", f"{HERE}/down.sh"], env={**self.environment, "WIPE": "1"}, capture_output=True)
        shutil.rmtree(self.state, ignore_errors=True)

    def kubectl(self, *arguments, **options):
        return run(f"{self.programs}/kubectl", "--kubeconfig", f"{self.state}/admin.kubeconfig", *arguments, **options)

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def kubeconfig(self):
        """That of the agent, by a token in a file."""
        token, path = f"{self.state}/agent.token", f"{self.state}/agent.kubeconfig"
        open(token, "w").write(self.kubectl("-n", "shop", "create", "token", "network-agent").strip())
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "t",
                  "contexts": [{"name": "t", "context": {"cluster": "t", "user": "u"}}],
                  "clusters": [{"name": "t", "cluster": {"server": f"https://{MACHINE}:6443",
                                                         "certificate-authority": f"{self.state}/pki/ca.crt"}}],
                  "users": [{"name": "u", "user": {"tokenFile": token}}]}
        json.dump(config, open(path, "w"))
        return path

    def ask(self, pod, url, count=COUNT):
        """Answers to requests from inside a pod; an @ in the URL is the number."""
        return self.kubectl("-n", "shop", "exec", pod, "--", "/web", "get", url, str(count)).splitlines()


class Agents:
    """One of each layout on each node, and the Collector if there is one."""

    def __init__(self, cluster, program):
        self.folder, self.running, self.collector = cluster.state, [], None
        # Where there is no Go to make one with, there is none.
        found = subprocess.run(["bash", f"{HERE}/../../scripts/otelcol.sh"], capture_output=True, text=True)
        if found.returncode == 0 and found.stdout.strip():
            self.start_collector(found.stdout.split()[-1])
        kubeconfig = cluster.kubeconfig()
        for node, address, _ in NODES.values():
            for layout in LAYOUTS:
                self.start(program, kubeconfig, node, address, layout)
        for name, _ in self.running:
            wait_for(f"agent {name} to capture", lambda: "Capturing" in self.messages(name))

    def start_collector(self, program):
        config = {"receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"{MACHINE}:4317"}}}},
                  "exporters": {"file": {"path": f"{self.folder}/collected.json"}},
                  "service": {"telemetry": {"metrics": {"level": "none"}},
                              "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}}}
        json.dump(config, open(f"{self.folder}/collector.json", "w"))
        log = open(f"{self.folder}/log/collector.log", "w")
        self.collector = subprocess.Popen([program, "--config", f"{self.folder}/collector.json"], stdout=log, stderr=log)
        wait_for("the Collector", lambda: "Everything is ready" in open(f"{self.folder}/log/collector.log").read())

    def start(self, program, kubeconfig, node, address, layout):
        name = f"{node}-{layout}"
        # In a layout of workloads the agent is known by what it adds to all of them.
        environment = {"PATH": os.environ["PATH"], "ADDITIONAL_ATTRIBUTES": f"test.node={node},test.layout={layout}",
                       "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{MACHINE}:4317", "OTEL_METRICS_EXPORTER": "none"}
        command = ["ip", "netns", "exec", node, program, "--node-name", node, "--node-ip", address,
                   "--pod-name", f"agent-{node}", "--kubernetes", kubeconfig, "--span-layout", layout,
                   "--admin-address", "off", "--stats", "table", "--ring-bytes", "32MiB",
                   "--export", "otlp" if self.collector else "json"]
        output, messages = open(f"{self.folder}/log/{name}.json", "w"), open(f"{self.folder}/log/{name}.log", "w")
        self.running.append((name, subprocess.Popen(command, stdout=output, stderr=messages, env=environment)))

    def messages(self, name):
        return open(f"{self.folder}/log/{name}.log").read()

    def stop(self):
        """Every span, as (node, layout, resource, scope, span)."""
        for _, process in self.running:
            process.send_signal(signal.SIGINT)
        for name, process in self.running:
            if process.wait(30) != 0:
                raise RuntimeError(f"agent {name}: {self.messages(name)}")
        paths = [f"{self.folder}/log/{name}.json" for name, _ in self.running]
        if self.collector:
            self.collector.send_signal(signal.SIGINT)
            self.collector.wait(30)
            paths = [f"{self.folder}/collected.json"]
        spans = []
        for line in (line for path in paths for line in open(path)):
            for group in json.loads(line)["resourceSpans"]:
                resource = attributes(group["resource"])
                for scope in group["scopeSpans"]:
                    for span in scope["spans"]:
                        spans.append((resource.pop("test.node", None) or resource["_node"],
                                      resource.pop("test.layout", None) or resource["_layout"], resource, scope, span))
                        resource["_node"], resource["_layout"] = spans[-1][0], spans[-1][1]
        for _, _, resource, _, _ in spans:
            resource.pop("_node", None), resource.pop("_layout", None)
        return spans


def wait_for(what, is_so, seconds=60):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.1)


def attributes(holder):
    def value(any_value):
        (kind, content), = any_value.items()
        if kind == "intValue":
            return int(content)
        return [value(one) for one in content["values"]] if kind == "arrayValue" else content
    return {one["key"]: value(one["value"]) for one in holder.get("attributes", [])}


class Facts:
    """What the API says of everything, to be expected in spans."""

    def __init__(self, cluster):
        self.pods = {pod["metadata"]["name"]: pod for pod in cluster.get("-n", "shop", "pods")["items"]}
        self.services = {one["metadata"]["name"]: one for one in cluster.get("-n", "shop", "services")["items"]}
        self.nodes = {one["metadata"]["name"]: one for one in cluster.get("nodes")["items"]}

    def pod(self, prefix):
        """The one pod whose name begins so."""
        found = [name for name in self.pods if name.startswith(prefix)]
        assert len(found) == 1, f"{prefix}: {found}"
        return self.pods[found[0]]

    def address(self, prefix):
        return self.pod(prefix)["status"]["podIP"]

    def cluster_ip(self, service):
        return self.services[service]["spec"]["clusterIP"]

    def pod_end(self, prefix, container=None, service=None):
        pod = self.pod(prefix)
        node = pod["spec"]["nodeName"]
        end = {"resource.type": "pod", "namespace.name": "shop", "pod.name": pod["metadata"]["name"],
               "pod.uid": pod["metadata"]["uid"], "node.name": node, "node.uid": self.nodes[node]["metadata"]["uid"]}
        if container:
            end["container.name"] = container
        if pod["metadata"].get("ownerReferences"):
            end["deployment.name"] = prefix
        if service:
            end |= {"service.name": service, "service.uid": self.services[service]["metadata"]["uid"]}
        return end

    def node_end(self, node):
        return {"resource.type": "node", "node.name": node, "node.uid": self.nodes[node]["metadata"]["uid"]}

    def resource(self, prefix, container=None, name=None):
        """The resource of a pod in the workload layout."""
        pod = self.pod(prefix)
        node, own = pod["spec"]["nodeName"], pod["metadata"]["name"]
        resource = {"service.name": name or prefix, "service.namespace": "shop", "k8s.namespace.name": "shop",
                    "k8s.pod.name": own, "k8s.pod.uid": pod["metadata"]["uid"], "k8s.node.name": node,
                    "k8s.node.uid": self.nodes[node]["metadata"]["uid"]}
        if container:
            resource |= {"k8s.container.name": container, "service.version": "1",
                         "service.instance.id": f"shop.{own}.{container}"}
        if pod["metadata"].get("ownerReferences"):
            resource["k8s.deployment.name"] = prefix
        return resource | distro()

    def node_resource(self, node):
        return {"service.name": "hny-network-agent", "host.name": node, "k8s.node.name": node,
                "k8s.node.uid": self.nodes[node]["metadata"]["uid"]} | distro()


def distro():
    return {"telemetry.distro.name": "network-agent", "telemetry.distro.version": ANY}


class Expected:
    """One span that a node's agent makes of each request."""

    def __init__(self, node, kind, client, server, path, host, port, source, destination, resource, peer,
                 seen_client=None, seen_server=None, child_of=None):
        self.node, self.kind, self.path, self.child_of = node, kind, path, child_of
        self.resource, self.peer = resource, peer
        # Each side's own view: the client's is before translations, the server's behind them.
        (client_address, server_address, server_port) = (client, *server)
        own = {"http.request.method": "GET", "http.response.status_code": 200, "network_agent.exchange.id": ANY,
               "server.address": host, "server.port": port, "network.transport": "tcp", "network.type": "ipv4",
               "network.protocol.version": "1.1", "http.request.body.size": 0, "http.request.size": ANY,
               "http.response.body.size": ANY, "http.response.size": ANY, "network_agent.time_to_first_byte_ms": ANY,
               "network_agent.request.packets": ANY, "network_agent.response.packets": ANY,
               "http.request.header.user-agent": ["Go-http-client/1.1"], "network.peer.port": ANY,
               "network.local.port": ANY}
        if kind == SERVER:
            own |= {"url.path": ANY, "url.scheme": "http", "client.address": client_address, "client.port": ANY,
                    "user_agent.original": "Go-http-client/1.1",
                    "network.peer.address": seen_client or client_address,
                    "network.local.address": (seen_server or server)[0],
                    "network.local.port": (seen_server or server)[1]}
        else:
            own |= {"url.full": ANY, "network.local.address": client_address, "network.peer.address": server_address,
                    "network.peer.port": server_port}
        self.own = own
        self.agent = {"url.path": ANY, "source.address": client_address, "source.port": ANY,
                      "destination.address": server_address, "destination.port": server_port}
        self.agent |= {f"source.k8s.{key}": value for key, value in (source or {}).items()}
        self.agent |= {f"destination.k8s.{key}": value for key, value in (destination or {}).items()}

    def of(self, layout):
        if layout == "agent":
            return self.own | self.agent
        peer = {"service.peer.name": self.peer, "service.peer.namespace": "shop"} if self.peer else {}
        return self.own | peer


def differences(wanted, found):
    for key in sorted(wanted.keys() | found.keys()):
        if key in OPTIONAL and key not in wanted:
            continue
        want, have = wanted.get(key, "(nothing)"), found.get(key, "(nothing)")
        if want is ANY and key in found:
            continue
        if want != have:
            yield f"{key}: wanted {want}, found {have}"


def scenarios(facts, overlay, outside):
    """Name → (who asks, URL, what each layout's agents make of it)."""
    all_ = {}
    tunnel = {"a": "10.244.0.0", "b": "10.244.1.0"}
    cidr = {letter: facts.nodes[node]["spec"]["podCIDR"] for letter, (node, _, _) in NODES.items()}
    tunnel = {letter: network.split("/")[0] for letter, network in cidr.items()}
    gateway = {letter: network.split("/")[0][:-1] + "1" for letter, network in cidr.items()}
    node_a, address_a, _ = NODES["a"]
    # How node-b sees what node-a masquerades towards its pods.
    masked = tunnel["a"] if overlay == "vxlan" else address_a
    client, client_end = facts.address("client-a"), facts.pod_end("client-a", container="client")
    client_resource = facts.resource("client-a", container="client")

    def add(name, who, url, layouts):
        all_[name] = (who, url.replace("PATH", f"/{name}/@"), layouts)

    def to_pod(name, prefix, letter, url, asked, answering, host, port, container, service, names=None):
        """From client-a, on one node or on two."""
        path = f"/{name}/"
        end, node = facts.pod_end(prefix, container, service), NODES[letter][0]
        common = dict(client=client, server=asked, path=path, host=host, port=port, source=client_end, destination=end)
        called = names or prefix
        server = Expected(node, SERVER, **{**common, "server": asked if letter == "a" else answering},
                          seen_server=answering, resource=facts.resource(prefix, container, called), peer="client-a",
                          child_of=None)
        asking = Expected(node_a, CLIENT, **common, resource=client_resource, peer=called)
        if letter == "a":
            add(name, "client-a", url, {"agent": [server], "workload": [asking, child(server, asking)]})
        else:
            add(name, "client-a", url, {layout: [asking, child(server, asking)] for layout in LAYOUTS})

    for letter, (node, address, port) in NODES.items():
        web, ip = facts.address(f"web-{letter}"), facts.cluster_ip(f"web-{letter}")
        service = f"web-{letter}"
        to_pod(f"pod-to-pod-{letter}", service, letter, f"http://{web}:8080PATH", (web, 8080), (web, 8080), web, 8080,
               "web", service)
        to_pod(f"pod-to-service-{letter}", service, letter, f"http://{service}.shopPATH", (ip, 80), (web, 8080),
               f"{service}.shop", 80, "web", service)
        to_pod(f"second-port-{letter}", service, letter, f"http://{service}.shop:90PATH", (ip, 90), (web, 9090),
               f"{service}.shop", 90, "admin", service)
        to_pod(f"headless-{letter}", service, letter, f"http://x-headless-{letter}.shop:8080PATH", (web, 8080),
               (web, 8080), f"x-headless-{letter}.shop", 8080, "web", service)
        front, front_ip = facts.address(f"front-{letter}"), facts.cluster_ip(f"front-{letter}")
        to_pod(f"own-name-{letter}", f"front-{letter}", letter, f"http://front-{letter}.shopPATH", (front_ip, 80),
               (front, 8080), f"front-{letter}.shop", 80, "web", f"front-{letter}", f"storefront-{letter}")
        # A pod on the node's network; towards another node the pod's address is masqueraded.
        name, end = f"to-host-{letter}", facts.pod_end(f"host-{letter}", "web")
        host_resource = facts.resource(f"host-{letter}", "web")
        common = dict(client=client, server=(address, 18080), path=f"/{name}/", host=address, port=18080,
                      destination=end)
        asking = Expected(node_a, CLIENT, **common, source=client_end, resource=client_resource, peer=f"host-{letter}")
        if letter == "a":
            answer = Expected(node, SERVER, **common, source=client_end, resource=host_resource, peer="client-a")
            layouts = {"agent": [answer], "workload": [asking, child(answer, asking)]}
        else:
            answer = Expected(node, SERVER, **{**common, "client": address_a}, source=facts.node_end(node_a),
                              resource=host_resource, peer=None)
            layouts = {layout: [asking, child(answer, asking)] for layout in LAYOUTS}
        add(name, "client-a", f"http://{address}:18080PATH", layouts)
        # From outside, by a port of node-a.
        name, end = f"ingress-{letter}", facts.pod_end(f"front-{letter}", "web", f"front-{letter}")
        resource = facts.resource(f"front-{letter}", "web", f"storefront-{letter}")
        if letter == "a":
            answer = Expected(node, SERVER, client=MACHINE, server=(address_a, port), path=f"/{name}/", host=address_a,
                              port=port, source=None, destination=end, resource=resource, peer=None,
                              seen_client=gateway["a"], seen_server=(front, 8080))
        else:
            answer = Expected(node, SERVER, client=masked, server=(front, 8080), path=f"/{name}/", host=address_a,
                              port=port, source=facts.node_end(node_a), destination=end, resource=resource, peer=None)
        add(name, None, f"http://{address_a}:{port}PATH", {layout: [answer] for layout in LAYOUTS})

    # Out of the cluster.
    asking = Expected(node_a, CLIENT, client=client, server=(MACHINE, outside), path="/egress/", host=MACHINE,
                      port=outside, source=client_end, destination=None, resource=client_resource, peer=None)
    add("egress", "client-a", f"http://{MACHINE}:{outside}PATH", {layout: [asking] for layout in LAYOUTS})

    # From a pod on the node's network, whose address and ports are the node's.
    web, ip = facts.address("web-b"), facts.cluster_ip("web-b")
    end = facts.pod_end("web-b", "web", "web-b")
    common = dict(client=masked, server=(web, 8080), path="/from-host/", host=ip, port=80,
                  source=facts.node_end(node_a), destination=end)
    asking = Expected(node_a, CLIENT, **common, resource=facts.node_resource(node_a), peer="web-b")
    answer = Expected("node-b", SERVER, **common, resource=facts.resource("web-b", "web"), peer=None)
    add("from-host", "host-a", f"http://{ip}PATH", {layout: [asking, child(answer, asking)] for layout in LAYOUTS})
    return all_


def child(answer, asking):
    """The same span, whose parent the other one is."""
    copy = Expected.__new__(Expected)
    copy.__dict__ = {**answer.__dict__, "child_of": asking}
    return copy


def path_of(span):
    own = attributes(span)
    return own.get("url.path") or "/" + own["url.full"].split("/", 3)[3]


def compare(name, layouts, spans):
    """Faults of one scenario."""
    for layout in LAYOUTS:
        wanted = layouts[layout]
        for number in range(COUNT):
            found = [one for one in spans if one[1] == layout and path_of(one[4]) == f"/{name}/{number}"]
            where = f"{name}/{number} in layout {layout}"
            kinds = sorted((one[0], one[4]["kind"]) for one in found)
            if kinds != sorted((one.node, one.kind) for one in wanted):
                yield f"{where}: wanted {[(one.node, one.kind) for one in wanted]}, found {kinds}"
                continue
            by_kind = {(one[0], one[4]["kind"]): one for one in found}
            if len({one[4]["traceId"] for one in found}) != 1:
                yield f"{where}: more than one trace"
            for expected in wanted:
                node, _, resource, scope, span = by_kind[expected.node, expected.kind]
                here = f"{where}, kind {expected.kind} on {node}"
                for difference in differences(expected.of(layout), attributes(span)):
                    yield f"{here}: {difference}"
                parent = ""
                if expected.child_of:
                    parent = by_kind[expected.child_of.node, expected.child_of.kind][4]["spanId"]
                if span.get("parentSpanId", "") != parent:
                    yield f"{here}: wanted parent {parent!r}, found {span.get('parentSpanId')!r}"
                if layout == "workload":
                    for difference in differences(expected.resource, resource):
                        yield f"{here}: resource {difference}"
                    said = attributes(scope["scope"])
                    if (said.get("meta.agent.node.name"), said.get("meta.agent.pod.name")) != (node, f"agent-{node}"):
                        yield f"{here}: scope {said}"
                elif (resource.get("service.name"), resource.get("k8s.node.name")) != ("hny-network-agent", node):
                    yield f"{here}: resource {resource}"


class Outside(http.server.BaseHTTPRequestHandler):
    """A server that is not in the cluster."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def ask_from_outside(programs, url):
    # The same client as inside, so that requests look the same.
    return run(f"{programs}/images/bin/web", "get", url, str(COUNT)).splitlines()


def roll(cluster):
    """Requests while the pods of a Deployment are replaced: (number, the pod that answered)."""
    answers, rolled = [], threading.Event()

    def load():
        for batch in range(100):
            is_last = rolled.is_set()
            for line in cluster.ask("client-a", f"http://front-b.shop/rolling-{batch}/@", 10):
                match = re.match(r"200 (\S+) (/rolling-\S+) ", line)
                if match:
                    answers.append((match[2], match[1]))
            if is_last:
                return

    loading = threading.Thread(target=load)
    loading.start()
    cluster.kubectl("-n", "shop", "rollout", "restart", "deploy/front-b")
    cluster.kubectl("-n", "shop", "rollout", "status", "deploy/front-b", "--timeout=90s")
    rolled.set()
    loading.join()
    return answers


def delete_in_mid_request(cluster, facts):
    """The pod that is asked, and deleted before it answers."""
    pod = facts.pod("web-b")["metadata"]
    asking = threading.Thread(target=lambda: cluster.ask("client-a", "http://web-b.shop/slow/@", 1))
    asking.start()
    time.sleep(1.2)
    cluster.kubectl("-n", "shop", "delete", "pod", pod["name"], "--grace-period=0", "--force")
    asking.join()
    return pod


def check_rolling(answers, spans):
    if len(answers) < 20 or len({pod for _, pod in answers}) < 2:
        yield f"rolling: {len(answers)} answers of {len({pod for _, pod in answers})} pods: that proves nothing"
    for layout in LAYOUTS:
        for path, pod in answers:
            found = [one for one in spans if one[1] == layout and path_of(one[4]) == path]
            if sorted((one[0], one[4]["kind"]) for one in found) != [("node-a", CLIENT), ("node-b", SERVER)]:
                yield f"{path} in {layout}: {[(one[0], one[4]['kind']) for one in found]}"
            for node, _, resource, _, span in found:
                own = attributes(span)
                named = own.get("destination.k8s.pod.name") if layout == "agent" else resource["k8s.pod.name"]
                if (layout == "agent" or span["kind"] == SERVER) and named != pod:
                    yield f"{path} in {layout} on {node}: {pod} answered, the span says {named}"


def check_deleted(pod, spans):
    for layout in LAYOUTS:
        found = [one for one in spans if one[1] == layout and path_of(one[4]).startswith("/slow/")]
        if sorted((one[0], one[4]["kind"]) for one in found) != [("node-a", CLIENT), ("node-b", SERVER)]:
            yield f"deleted in {layout}: {[(one[0], one[4]['kind']) for one in found]}"
        for node, _, resource, _, span in found:
            own = attributes(span)
            if own.get("error.type") not in ("connection_reset", "connection_closed"):
                yield f"deleted in {layout} on {node}: error.type {own.get('error.type')}"
            uid = own.get("destination.k8s.pod.uid") if layout == "agent" else resource["k8s.pod.uid"]
            if (layout == "agent" or span["kind"] == SERVER) and uid != pod["uid"]:
                yield f"deleted in {layout} on {node}: {uid}, not {pod['uid']}"


def check_probes(agents, spans):
    """The kubelet's probes are counted and not reported."""
    for name, _ in agents.running:
        counted = re.search(r"exchanges_left_out\.user_agent\s+(\d+)", agents.messages(name))
        if not counted or int(counted[1]) == 0:
            yield f"{name} has left no probe out"
    if any("kube-probe" in json.dumps(one[4]) for one in spans):
        yield "a probe is reported"


def try_variant(programs, program, variant, outside):
    cluster = Cluster(programs, variant)
    try:
        cluster.up()
        facts = Facts(cluster)
        agents = Agents(cluster, program)
        time.sleep(3)
        plan = scenarios(facts, cluster.overlay, outside)
        for name, (who, url, _) in plan.items():
            answers = cluster.ask(who, url) if who else ask_from_outside(programs, url)
            if [line[:3] for line in answers] != ["200"] * COUNT and name != "egress":
                raise RuntimeError(f"{name}: {answers}")
        answers = roll(cluster)
        deleted = delete_in_mid_request(cluster, facts)
        time.sleep(2)
        spans = agents.stop()
        faults = [fault for name, (_, _, layouts) in plan.items() for fault in compare(name, layouts, spans)]
        faults += [*check_rolling(answers, spans), *check_deleted(deleted, spans), *check_probes(agents, spans)]
        by = "a Collector" if agents.collector else "standard output"
        print(f"{variant}: {len(plan)} scenarios, {len(answers)} requests in a rolling update, {len(spans)} spans by {by}, "
              f"{len(faults)} faults")
        for fault in faults[:40]:
            print("   ", fault)
        if faults and os.environ.get("KEEP"):
            json.dump([(one[0], one[1], one[2], one[4]) for one in spans], open(os.environ["KEEP"], "w"), indent=1)
        return not faults
    finally:
        for _, process in getattr(locals().get("agents"), "running", []):
            process.poll() is None and process.kill()
        collector = getattr(locals().get("agents"), "collector", None)
        if collector and collector.poll() is None:
            collector.kill()
        cluster.down()


def main():
    program, variants = os.path.abspath(sys.argv[1]), sys.argv[2:] or VARIANTS
    for needed in ("containerd", "runc", "ip", "iptables", "conntrack"):
        if not shutil.which(needed, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            sys.exit(f"{needed} is missing: scripts/setup.sh cluster installs it")
    programs = os.environ.get("BIN") or run("bash", f"{HERE}/cached.sh").strip()
    server = None
    results = []
    for variant in variants:
        # The machine's address is there once the first cluster is up; a server on all addresses needs none.
        if server is None:
            server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Outside)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        results.append(try_variant(programs, program, variant, server.server_address[1]))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
