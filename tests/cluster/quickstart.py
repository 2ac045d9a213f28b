#!/usr/bin/env python3
"""The README's quickstart, its commands as they are written there, on a real Kubernetes of two nodes with the real image.

quickstart.py IMAGE.tar     IMAGE.tar: as `docker save` or `buildah push … docker-archive:` writes it, under the name in
                            examples/quickstart.yaml

A Collector stands in Honeycomb's place. Looks at what the README promises: two pods that run as 65532 with one capability and
become ready, spans of a demo with the right names in the right dataset; and what a user sees when a right is missing, when the
namespace lacks its label; then the chart: old values, an upgrade, a rollback, an end."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from e2e import HERE, MACHINE, Cluster, attributes, run, wait_for  # noqa: E402

ROOT = os.path.abspath(f"{HERE}/../..")
PORT = 14317
faults = []


def check(what, holds, told=""):
    print(f"{'well  ' if holds else 'FAULT '} {what}{'' if holds else ': ' + str(told)}", flush=True)
    if not holds:
        faults.append(what)


def with_image(programs, image):
    """The programs and images of the cluster, and the agent's image beside them."""
    folder = tempfile.mkdtemp(prefix="na-bin-")
    os.mkdir(f"{folder}/images")
    for name in os.listdir(programs):
        if name != "images":
            os.symlink(f"{programs}/{name}", f"{folder}/{name}")
    for name in os.listdir(f"{programs}/images"):
        os.symlink(f"{programs}/images/{name}", f"{folder}/images/{name}")
    os.symlink(os.path.abspath(image), f"{folder}/images/agent.tar")
    return folder


def commands_of_readme():
    """The blocks of the quickstart: to Honeycomb, and the look whether it runs."""
    text = open(f"{ROOT}/README.md").read().split("\n## On Kubernetes\n", 1)[1]
    return [block.strip() for block in re.findall(r"\n```\n(.*?)\n```\n", text, re.S)[:2]]


class Quickstart:
    def __init__(self, cluster):
        self.cluster = cluster
        self.environment = {**os.environ, "PATH": f"{cluster.programs}:{os.environ['PATH']}",
                            "KUBECONFIG": f"{cluster.state}/admin.kubeconfig", "HONEYCOMB_API_KEY": "hcaik_quickstart"}

    def shell(self, commands):
        return run("bash", "-euc", commands, cwd=ROOT, env=self.environment)

    def pods(self, namespace="honeycomb"):
        return self.cluster.get("pods", "-n", namespace)["items"]

    def logs(self):
        return self.cluster.kubectl("logs", "-n", "honeycomb", "-l", "name=hny-network-agent", "--tail=-1", "--prefix")

    def settle(self):
        self.shell("kubectl rollout status daemonset/hny-network-agent --namespace=honeycomb --timeout=120s")

    def set(self, *assignments):
        self.cluster.kubectl("set", "env", "-n", "honeycomb", "daemonset/hny-network-agent", *assignments)
        self.settle()

    def start(self):
        apply, look = commands_of_readme()
        print(self.shell(apply), end="")
        self.settle()
        print(self.shell(look), end="")

    def look_at_processes(self):
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


def start_collector(cluster):
    program = run("bash", f"{ROOT}/scripts/otelcol.sh").split()[-1]
    config = {"receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"{MACHINE}:{PORT}"}}}},
              "exporters": {"file": {"path": f"{cluster.state}/honeycomb.json"}},
              "service": {"telemetry": {"metrics": {"level": "none"}},
                          "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}}}
    json.dump(config, open(f"{cluster.state}/honeycomb-config.json", "w"))
    log = open(f"{cluster.state}/log/honeycomb.log", "w")
    return subprocess.Popen([program, "--config", f"{cluster.state}/honeycomb-config.json"], stdout=log, stderr=log)


def spans(cluster):
    """Every span that arrived, with its resource."""
    path, found = f"{cluster.state}/honeycomb.json", []
    for line in open(path) if os.path.exists(path) else []:
        for group in json.loads(line)["resourceSpans"]:
            resource = attributes(group["resource"])
            found += [(resource, attributes(span)) for scope in group["scopeSpans"] for span in scope["spans"]]
    return found


def with_path(cluster, path):
    return [(resource, span) for resource, span in spans(cluster) if path in str(span.get("url.path"))]


def try_quickstart(quickstart):
    cluster = quickstart.cluster
    quickstart.start()
    quickstart.look_at_processes()
    quickstart.set(f"HONEYCOMB_API_ENDPOINT=http://{MACHINE}:{PORT}")
    wait_for("names", lambda: quickstart.logs().count("Capturing") >= 2)
    cluster.ask("client-a", "http://web-b.shop/quick", 5)
    wait_for("the spans of a pod that asks a Service", lambda: len(with_path(cluster, "/quick")) >= 10, 30)
    found = with_path(cluster, "/quick")
    check("each side reports each exchange once", len(found) == 10, len(found))
    for resource, span in found:
        names = (resource.get("service.name"), span.get("source.k8s.pod.name"), span.get("destination.k8s.service.name"))
        if names != ("hny-network-agent", "client-a", "web-b"):
            check("spans have the dataset and the names of both ends", False, names)
            break
    else:
        check("spans have the dataset and the names of both ends", True)


def try_faults(quickstart):
    cluster = quickstart.cluster
    cluster.kubectl("delete", "clusterrolebinding", "honeycomb-agent-role-binding", "--ignore-not-found")
    for name in cluster.kubectl("get", "clusterrolebinding", "-o", "name").split():
        if "honeycomb" in name or "network-agent" in name:
            cluster.kubectl("delete", name)
    cluster.kubectl("rollout", "restart", "-n", "honeycomb", "daemonset/hny-network-agent")
    quickstart.settle()
    wait_for("the log to say which right is missing", lambda: "may not be read" in quickstart.logs(), 30)
    check("without its role it says which right is missing", True)
    cluster.ask("client-a", "http://web-b.shop/roleless", 3)
    wait_for("spans without names", lambda: len(with_path(cluster, "/roleless")) >= 3, 30)
    check("and spans go on without names", True)

    manifest = open(f"{ROOT}/examples/quickstart.yaml").read().replace("namespace: honeycomb", "namespace: strict")
    cluster.kubectl("create", "namespace", "strict")
    cluster.kubectl("label", "namespace", "strict", "pod-security.kubernetes.io/enforce=baseline")
    cluster.kubectl("apply", "-f", "-", input=manifest)
    wait_for("the event", lambda: "violates PodSecurity" in cluster.kubectl("get", "events", "-n", "strict"), 30)
    check("under baseline the DaemonSet is there, no pod appears, and an event says why", not quickstart.pods("strict"))


def try_helm(quickstart):
    """As a user of the old chart: its values, then an upgrade to a Collector, back again, and away."""
    cluster = quickstart.cluster
    helm = run("bash", f"{ROOT}/scripts/helm.sh").split()[-1]
    quickstart.shell("kubectl delete -f examples/quickstart.yaml --wait")
    cluster.kubectl("create", "secret", "generic", "old", "-n", "honeycomb", "--from-literal=apiKey=hcaik_old")
    values = (f"deploy/helm/network-agent --namespace honeycomb --set honeycomb.existingSecret=old "
              f"--set honeycomb.endpoint=http://{MACHINE}:{PORT} --set honeycomb.dataset=traffic --wait --timeout 120s")
    quickstart.shell(f"{helm} install agent {values}")
    cluster.ask("client-a", "http://web-b.shop/helm", 3)
    wait_for("spans of the chart", lambda: len(with_path(cluster, "/helm")) >= 6, 30)
    datasets = {resource.get("service.name") for resource, _ in with_path(cluster, "/helm")}
    check("the old chart's values give spans in the dataset they name", datasets == {"traffic"}, datasets)
    quickstart.shell(f"{helm} upgrade agent deploy/helm/network-agent --namespace honeycomb "
                     f"--set otlp.endpoint=http://{MACHINE}:{PORT} --wait --timeout 120s")
    cluster.ask("client-a", "http://web-b.shop/upgraded", 3)
    wait_for("spans after the upgrade", lambda: len(with_path(cluster, "/upgraded")) >= 6, 30)
    check("an upgrade to a Collector loses nothing afterwards", True)
    quickstart.shell(f"{helm} rollback agent 1 --namespace honeycomb --wait --timeout 120s")
    cluster.ask("client-a", "http://web-b.shop/back", 3)
    wait_for("spans after the rollback", lambda: len(with_path(cluster, "/back")) >= 6, 30)
    check("nor does a rollback", True)
    quickstart.shell(f"{helm} uninstall agent --namespace honeycomb --wait")
    left = cluster.kubectl("get", "daemonset,serviceaccount,secret,configmap,clusterrole,clusterrolebinding", "-A",
                           "-l", "app.kubernetes.io/instance=agent", "-o", "name").split()
    check("an uninstall leaves nothing", not left, left)


def main():
    if not shutil.which("containerd", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        sys.exit("containerd is missing: scripts/setup.sh cluster installs it")
    programs = with_image(run("bash", f"{HERE}/cached.sh").strip(), sys.argv[1])
    cluster, collector = Cluster(programs, "iptables-none"), None
    try:
        cluster.up()
        collector = start_collector(cluster)
        quickstart = Quickstart(cluster)
        try:
            try_quickstart(quickstart)
            try_faults(quickstart)
            try_helm(quickstart)
        except RuntimeError as error:
            check(str(error), False, quickstart.logs()[-3000:])
    finally:
        if collector:
            collector.terminate()
        cluster.down()
        shutil.rmtree(programs, ignore_errors=True)
    print(f"{len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
