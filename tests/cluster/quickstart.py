#!/usr/bin/env python3
"""The README on a real Kubernetes of two nodes with the real image: its commands as they are written there, what it promises,
and what it says of every trouble.

quickstart.py IMAGE.tar [SCENARIO ...]      IMAGE.tar: as `docker save` or `buildah push … docker-archive:` writes it, under the
                                            name in examples/quickstart.yaml; SCENARIO: quickstart update troubles old gateway
                                            helm node (default: all, in this order)

A Collector stands in Honeycomb's place."""
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gateway  # noqa: E402
import troubles  # noqa: E402
from deployed import (  # noqa: E402
    HONEYCOMB, ROOT, Backend, Deployed, ask, check, commands_of_readme, each_once, faults, scenario, section)
from e2e import HERE, MACHINE, Cluster, run, wait_for  # noqa: E402
from rollout import try_update  # noqa: E402

NODES = ["node-a", "node-b"]


def with_images(programs, image):
    """The programs and images of the cluster, and beside them the agent's image and a Collector's."""
    folder = tempfile.mkdtemp(prefix="na-bin-")
    os.mkdir(f"{folder}/images")
    for name in os.listdir(programs):
        if name != "images":
            os.symlink(f"{programs}/{name}", f"{folder}/{name}")
    for name in os.listdir(f"{programs}/images"):
        os.symlink(f"{programs}/images/{name}", f"{folder}/images/{name}")
    os.symlink(os.path.abspath(image), f"{folder}/images/agent.tar")
    gateway.make_image(f"{folder}/images")
    return folder


def look_at_processes():
    pids = run("pgrep", "-x", "network-agent").split()
    check("an agent runs on each node", len(pids) == 2, pids)
    for pid in pids:
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
        rights = {name: status[name] for name in ("CapBnd", "CapEff", "NoNewPrivs")}
        check("it runs as 65532", status["Uid"].split() == ["65532"] * 4, status["Uid"])
        wanted = {"CapBnd": "0000000000002000", "CapEff": "0000000000000000", "NoNewPrivs": "1"}
        check("it may have one capability and holds none", rights == wanted, rights)
        mounts = [line.split() for line in open(f"/proc/{pid}/mounts")]
        root = next(fields for fields in mounts if fields[1] == "/")
        check("its root cannot be written", "ro" in root[3].split(","), root)


def look_at_rights(deployed):
    """With the token that the agents have: what they need, and nothing else."""
    token = deployed.kubectl("create", "token", "honeycomb-sa").strip()
    server = f"https://{MACHINE}:6443"

    def status(path):
        return run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", f"{deployed.cluster.state}/pki/ca.crt",
                   "-H", f"Authorization: Bearer {token}", f"{server}{path}")
    may = [status(path) for path in ("/api/v1/pods", "/api/v1/services", "/api/v1/nodes",
                                     "/apis/discovery.k8s.io/v1/endpointslices", "/api/v1/pods?watch=true&timeoutSeconds=1")]
    check("its token reads pods, services, nodes and endpointslices", may == ["200"] * 5, may)
    mustnt = {path: status(path) for path in (
        "/api/v1/secrets", "/api/v1/namespaces/honeycomb/secrets/honeycomb", "/api/v1/configmaps", "/api/v1/namespaces",
        "/apis/apps/v1/deployments", f"/api/v1/namespaces/honeycomb/pods/{deployed.pod_of('node-a')}/log")}
    check("and no Secrets or anything else", set(mustnt.values()) == {"403"}, mustnt)


def read_with_names(deployed):
    """The README's way to read a capture file elsewhere with the names of this cluster."""
    block = next(block for block in section("## Names of Kubernetes").split("```") if "names.json" in block)
    fetch, read = block.strip().splitlines()[:2]
    # The image's program is a static one: it runs here as well.
    program = f"/proc/{run('pgrep', '-x', 'network-agent').split()[0]}/root/usr/local/bin/network-agent"
    names = f"{deployed.cluster.state}/names.json"
    read = read.replace("network-agent", program, 1).replace("FILE", "examples/shop.pcap")
    shown = deployed.shell(f"{fetch}\n{read} --export pretty".replace("names.json", names))
    check("a capture file is read with the names that kubectl gave", shown.count(" → ") == 10, shown)


def try_quickstart(deployed, backend):
    """The README's quickstart."""
    apply, look = commands_of_readme()[:2]
    print(deployed.shell(apply), end="")
    print(deployed.shell(look), end="")
    look_at_processes()
    read_with_names(deployed)
    look_at_rights(deployed)
    deployed.set(f"HONEYCOMB_API_ENDPOINT={HONEYCOMB}")
    deployed.wait_for_names()
    ask(deployed.cluster, "http://web-b.shop/quick/@", 5)
    spans = each_once(backend, "/quick/", range(5), NODES)
    names = {(resource.get("service.name"), own.get("source.k8s.pod.name"), own.get("destination.k8s.service.name"))
             for resource, own, _ in spans}
    check("spans have the dataset and the names of both ends", names == {("hny-network-agent", "client-a", "web-b")}, names)


def try_old_daemonset(deployed, backend):
    """The old agent's DaemonSet, with every variable that it read."""
    cluster = deployed.cluster
    deployed.shell("kubectl delete -f examples/quickstart.yaml --wait --ignore-not-found")
    manifest = open(f"{HERE}/manifests/old-agent.yaml").read().replace('"HONEYCOMB"', f'"{HONEYCOMB}"')
    cluster.kubectl("apply", "-f", "-", input=manifest)
    deployed.settle()
    deployed.wait_for_names()
    ask(cluster, "http://web-b.shop/old/@", 5)
    spans = each_once(backend, "/old/", range(5), NODES)
    resources = [resource for resource, _, _ in spans]
    datasets = {one.get("service.name") for one in resources}
    check("spans are in the dataset that it names", datasets == {"old-traffic"}, datasets)
    added = {(one.get("environment"), one.get("team"), one.get("region")) for one in resources}
    check("with what OTEL_RESOURCE_ATTRIBUTES and ADDITIONAL_ATTRIBUTES add", added == {("demo", "shop", "eu")}, added)
    agents = {(one.get("meta.agent.node.name"), one.get("meta.agent.serviceaccount.name")) for one in resources}
    check("and who the agent is", agents == {(node, "honeycomb-sa") for node in NODES}, agents)
    headers = {own.get("http.request.header.host", [None])[0] for _, own, _ in spans}
    check("and the headers that HTTP_HEADERS names, blanks or not", headers == {"web-b.shop"}, headers)
    warned = [line for line in deployed.logs().splitlines() if " WARN " in line]
    check("each variable that means nothing any more is told once a node", sum("HANDLER_TYPE" in line for line in warned) == 2 and
          sum("OTEL_TRACES_ENABLED" in line for line in warned) == 2 and len(warned) == 4, warned)
    deployed.shell("kubectl apply -f examples/quickstart.yaml")
    deployed.set(f"HONEYCOMB_API_ENDPOINT={HONEYCOMB}")
    names = [one["metadata"]["name"] for one in deployed.pods()]
    check("the quickstart takes its place node by node", len(names) == 2, names)
    wait_for("its last metrics", lambda: "old-stats" in backend.datasets_of_metrics())
    check("its own metrics are in HONEYCOMB_STATS_DATASET", True)
    deployed.wait_for_names()
    ask(cluster, "http://web-b.shop/taken-over/@", 5)
    each_once(backend, "/taken-over/", range(5), NODES)


def try_helm(deployed, backend):
    """The chart: the old one's values, an upgrade to a Collector, back again, and away; then the README's commands."""
    cluster, agents = deployed.cluster, "deploy/helm/network-agent --namespace honeycomb"
    helm = run("bash", f"{ROOT}/scripts/helm.sh").split()[-1]
    values = f"--values examples/values/old-agent.yaml --set honeycomb.endpoint={HONEYCOMB} --set honeycomb.dataset=traffic"
    install, upgrade = commands_of_readme()[3], re.search(r"\n(helm upgrade RELEASE .*)\n", open(f"{ROOT}/README.md").read())[1]
    upgrade = upgrade.replace("RELEASE", "network-agent").replace("NAMESPACE", "honeycomb")

    def step(command, path, dataset, daemonset="agent-network-agent"):
        deployed.shell(command.replace("helm", helm, 1) + " --wait --timeout 120s")
        # helm is content when all are there but those that may be unavailable.
        deployed.kubectl("rollout", "status", f"daemonset/{daemonset}", "--timeout=120s")
        deployed.wait_for_names()
        ask(cluster, f"http://web-b.shop/{path}/@", 3)
        spans = each_once(backend, f"/{path}/", range(3), NODES)
        datasets = {resource.get("service.name") for resource, _, _ in spans}
        check(f"after {' '.join(command.split()[:2])} spans are in the dataset {dataset}", datasets == {dataset}, datasets)
        return spans

    def uninstall(release):
        deployed.shell(f"{helm} uninstall {release} --namespace honeycomb --wait --ignore-not-found")
        left = cluster.kubectl("get", "daemonset,serviceaccount,secret,configmap,clusterrole,clusterrolebinding", "-A",
                               "-l", f"app.kubernetes.io/instance={release}", "-o", "name").split()
        check("helm uninstall leaves nothing", not left, left)
        wait_for("its pods to be gone", lambda: not cluster.get(
            "pods", "-n", "honeycomb", "-l", f"app.kubernetes.io/instance={release}")["items"])

    try:
        spans = step(f"helm install agent {agents} {values}", "helm", "traffic")
        added = {resource.get("environment") for resource, _, _ in spans}
        check("with what the old values' extraEnvVars add", added == {"demo"}, added)
        step(f"helm upgrade agent {agents} --set otlp.endpoint={HONEYCOMB}", "upgraded", "hny-network-agent")
        step("helm rollback agent 1 --namespace honeycomb", "back", "traffic")
    finally:
        uninstall("agent")
    try:
        step(f"{install} --set honeycomb.endpoint={HONEYCOMB}", "installed", "hny-network-agent", "network-agent")
        spans = step(upgrade, "legacy", "hny-network-agent", "network-agent")
        check("the switch from the old agent gives the old names, too",
              {own.get("http.status_code") for _, own, _ in spans} == {200}, spans[0][1])
    finally:
        uninstall("network-agent")


def away(deployed):
    deployed.shell("kubectl delete -f examples/quickstart.yaml --wait --ignore-not-found")
    wait_for("the agents to be gone", lambda: not deployed.pods())


def try_all(deployed, backend, wanted):
    runs = {"quickstart": [try_quickstart], "update": [try_update],
            "troubles": [troubles.try_missing_role, troubles.try_strict_namespace, troubles.try_missing_secret,
                         troubles.try_wrong_key, troubles.try_unknown_name],
            "old": [try_old_daemonset], "gateway": [gateway.try_gateway], "helm": [try_helm], "node": [troubles.try_dead_node]}
    running = False
    for name, scenarios in runs.items():
        if name not in wanted:
            continue
        # These bring agents of their own.
        if name in ("gateway", "helm", "old") and running:
            away(deployed)
            running = False
        elif name in ("update", "troubles", "node") and not running:
            deployed.start()
        running = name not in ("gateway", "helm")
        for one in scenarios:
            scenario(one, deployed, backend)


def main():
    if not shutil.which("containerd", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        sys.exit("containerd is missing: scripts/setup.sh cluster installs it")
    wanted = sys.argv[2:] or ["quickstart", "update", "troubles", "old", "gateway", "helm", "node"]
    programs = with_images(run("bash", f"{HERE}/cached.sh").strip(), sys.argv[1])
    # A node is known to be dead sooner than usual.
    os.environ.setdefault("KCM_FLAGS", "--node-monitor-grace-period=20s")
    cluster, backend = Cluster(programs, "iptables-none"), None
    try:
        cluster.up()
        backend = Backend(cluster)
        try_all(Deployed(cluster), backend, wanted)
    finally:
        if backend:
            backend.stop()
        cluster.down()
        shutil.rmtree(programs, ignore_errors=True)
    print(f"{len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
