"""What a user sees when something is wrong in a cluster, beside what the README's troubleshooting says."""
import contextlib
import glob
import json
import os
import re
import signal
import threading
import time

from deployed import HONEYCOMB, ROOT, ask, check, each_once, note, symptom
from e2e import MACHINE, Facts, run, wait_for
from refusing import Refusing
from rollout import Visitor


def try_missing_role(deployed, backend):
    """A ClusterRole that is missing."""
    cluster = deployed.cluster
    role = json.loads(cluster.kubectl("get", "clusterrole", "honeycomb", "-o", "json"))
    cluster.kubectl("delete", "clusterrole", "honeycomb")
    deployed.kubectl("rollout", "restart", f"daemonset/{deployed.daemonset}")
    deployed.settle()
    deployed.says("pods may not be read")
    answer = deployed.ask("/readyz")
    check("/readyz says it, too", answer.endswith("503") and re.search(symptom("pods may not be read"), answer), answer)
    can = re.search(r"`(kubectl auth can-i list pods [^`]*)`", open(f"{ROOT}/README.md").read())[1]
    said = deployed.shell(f"{can} || true").split()
    check("the README's command says no", said[:1] == ["no"], said)
    ask(cluster, "http://web-b.shop/roleless/@", 3)
    spans = each_once(backend, "/roleless/", range(3), ["node-a", "node-b"])
    named = [own for _, own, _ in spans if "source.k8s.pod.name" in own]
    check("spans go on, without names", not named, named[:1])
    cluster.kubectl("create", "-f", "-", input=json.dumps({**role, "metadata": {"name": "honeycomb"}}))
    deployed.wait_for_names()
    check("once it is there names are, too, without a restart", {one["restartCount"] for pod in deployed.pods()
                                                                for one in pod["status"]["containerStatuses"]} == {0})


def try_strict_namespace(deployed, _):
    """A namespace without the label, where the cluster's default is stricter."""
    cluster = deployed.cluster
    manifest = open(f"{ROOT}/examples/quickstart.yaml").read().replace("namespace: honeycomb", "namespace: strict")
    for level in ("baseline", "restricted"):
        cluster.kubectl("create", "namespace", "strict")
        cluster.kubectl("label", "namespace", "strict", f"pod-security.kubernetes.io/enforce={level}")
        file = f"{cluster.state}/strict.yaml"
        open(file, "w").write(manifest)
        warned = deployed.shell(f"kubectl apply -f {file} 2>&1")
        check("kubectl apply warns", re.search(r"Warning: would violate PodSecurity", warned), warned)
        pattern = symptom('violates PodSecurity "baseline:latest"').replace("baseline", level)
        wait_for("the event", lambda: re.search(pattern, deployed.shell(
            "kubectl describe daemonset hny-network-agent -n strict")), 60)
        check(f"under {level} kubectl describe daemonset says why, as the README has it", True)
        line = deployed.shell("kubectl get daemonset -n strict hny-network-agent --no-headers").split()
        check("DESIRED is 2, CURRENT is 0, and there is no pod", line[1:3] == ["2", "0"] and not cluster.get(
            "pods", "-n", "strict")["items"], line)
        remedy = re.search(r"`(kubectl label namespace honeycomb [^`]*--overwrite)`", open(f"{ROOT}/README.md").read())[1]
        deployed.shell(remedy.replace("honeycomb", "strict", 1))
        deployed.shell("kubectl rollout restart daemonset/hny-network-agent -n strict")
        wait_for("pods", lambda: len(cluster.get("pods", "-n", "strict")["items"]) == 2)
        check("the README's remedy brings the pods", True)
        cluster.kubectl("delete", "namespace", "strict", "--wait")
    cluster.kubectl("apply", "-f", f"{ROOT}/examples/quickstart.yaml")
    deployed.set(f"HONEYCOMB_API_ENDPOINT={HONEYCOMB}")


def try_missing_secret(deployed, _):
    """A Secret that is not there, or has another key."""
    deployed.kubectl("delete", "secret", "honeycomb")
    deployed.kubectl("delete", "pod", "-l", deployed.selector, "--wait")

    def statuses():
        return [state.get("waiting", {}) for pod in deployed.pods()
                for state in [one["state"] for one in pod["status"].get("containerStatuses", [])]]
    for fragment, remedy in (('secret "honeycomb" not found', ["--from-literal=apiKey=x"]), ("couldn't find key api-key", None)):
        # A pod that waits again says so in between by other words.
        wait_for(fragment, lambda: sum(re.search(symptom(fragment), one.get("message", "")) is not None and
                                       one.get("reason") == symptom("CreateContainerConfigError") for one in statuses()) == 2)
        check(f"pods stay in CreateContainerConfigError: {fragment}", True)
        if remedy:
            deployed.kubectl("create", "secret", "generic", "honeycomb", *remedy)
    deployed.kubectl("delete", "secret", "honeycomb")
    deployed.kubectl("create", "secret", "generic", "honeycomb", "--from-literal=api-key=hcaik_quickstart")
    deployed.settle()
    check("with the Secret they start by themselves", True)


def try_wrong_key(deployed, backend):
    """A key that Honeycomb does not know."""
    cluster = deployed.cluster
    refusing = Refusing(cluster.state, MACHINE)
    try:
        deployed.kubectl("create", "configmap", "authority", f"--from-file=ca.crt={refusing.authority}")
        container = {"name": "network-agent", "volumeMounts": [{"name": "authority", "mountPath": "/authority"}], "env": [
            {"name": "HONEYCOMB_API_ENDPOINT", "value": "https://api.honeycomb.io"},
            {"name": "OTEL_EXPORTER_OTLP_CERTIFICATE", "value": "/authority/ca.crt"}]}
        pod = {"hostAliases": [{"ip": MACHINE, "hostnames": ["api.honeycomb.io"]}], "containers": [container],
               "volumes": [{"name": "authority", "configMap": {"name": "authority"}}]}
        deployed.kubectl("patch", "daemonset", deployed.daemonset, "--patch", json.dumps({"spec": {"template": {"spec": pod}}}))
        deployed.settle()
        deployed.says("does not know the key")
        ask(cluster, "http://web-b.shop/refused/@", 5)
        deployed.says("does not accept the credentials")
        answer = deployed.ask("/readyz")
        check("/readyz is 503 and says it", answer.endswith("503") and re.search(
            f"{symptom('does not accept the credentials')}|{symptom('does not know the key')}", answer), answer)
        note(f"/readyz: {answer.splitlines()[0]}")
        containers = [one for pod in deployed.pods() for one in pod["status"]["containerStatuses"]]
        ready = [one["ready"] and not one["restartCount"] for one in containers]
        check("the pods are ready, and none has restarted", ready == [True, True], ready)
        check("the key is in no log", "hcaik_quickstart" not in deployed.logs())
        dropped = {node: sum(value for name, value in deployed.metrics(node).items()
                             if "spans_dropped" in name and "refused" in name) for node in ("node-a", "node-b")}
        check("what was refused is counted", all(dropped.values()), dropped)
        check("Honeycomb was asked whose the key is", refusing.asked["auth"] == 2, refusing.asked)
    finally:
        refusing.stop()
    # The remedy of the README, with the server that takes it.
    deployed.set(f"HONEYCOMB_API_ENDPOINT={HONEYCOMB}", "OTEL_EXPORTER_OTLP_CERTIFICATE-")
    deployed.wait_for_names()
    ask(cluster, "http://web-b.shop/accepted/@", 5)
    each_once(backend, "/accepted/", range(5), ["node-a", "node-b"])


def try_unknown_name(deployed, _):
    """A Service's name that does not resolve on the node's network."""
    deployed.set("OTEL_EXPORTER_OTLP_ENDPOINT=http://nowhere.observability:4317")
    ask(deployed.cluster, "http://web-b.shop/nowhere/@", 3)
    deployed.says("the host of … has no address")
    answer, pattern = deployed.ask("/readyz"), symptom("the host of … has no address")
    check("/readyz is 503 and says it", answer.endswith("503") and re.search(pattern, answer), answer)
    deployed.set("OTEL_EXPORTER_OTLP_ENDPOINT-")


# ------------------------------------------------------------------------------------------------------------ a node dies


def kill_node(cluster, node):
    """As when its power is cut: process 1 of the node, and with it everything that runs there."""
    pid, started = open(f"{cluster.state}/pid/{node}").read().split()
    if open(f"/proc/{pid}/stat").read().split()[21] != started:
        raise RuntimeError(f"{node} is not the process that was started")
    os.kill(int(pid), signal.SIGKILL)
    # A machine that boots anew has none of the control groups that it had, and the kubelet takes seconds for each that is left.
    for root in glob.glob(f"/sys/fs/cgroup/*/{node}/kubepods"):
        wait_for("the end of its processes", lambda: is_removed(root), 20)


def is_removed(root):
    """A group is busy until the last of its processes has gone."""
    for folder, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return not os.path.exists(root)


def is_ready(cluster, node):
    conditions = cluster.get("node", node)["status"]["conditions"]
    return {one["type"]: one["status"] for one in conditions}["Ready"] == "True"


def try_dead_node(deployed, backend):
    """A node that dies."""
    cluster = deployed.cluster
    facts = Facts(cluster)
    # By address: the cluster's name server may be on the node that dies.
    gone, alone = facts.pod("web-b")["metadata"], facts.cluster_ip("web-a")
    before = deployed.metrics("node-a")
    visitor = Visitor("b", True, "/last/")
    visitor.start()
    time.sleep(6)
    asking = threading.Thread(target=lambda: cluster.ask("client-a", "http://web-b.shop/slow/dying", 1))
    asking.start()
    time.sleep(1.2)
    kill_node(cluster, "node-b")
    died = time.time()
    visitor.done.set()
    asking.join()
    visitor.join()
    look_at_last(backend, visitor, died)
    ask(cluster, f"http://{alone}/alone/@", 20)
    each_once(backend, "/alone/", range(20), ["node-a"])
    [(_, own, _)] = backend.wait("/slow/dying", 1)
    told = (own.get("error.type"), own.get("destination.k8s.pod.name"), own.get("destination.k8s.pod.uid"))
    check("a request that was under way is reported as unanswered, with the name of the pod that is gone",
          told[0] and told[1:] == (gone["name"], gone["uid"]), told)
    note(f"its error.type is {told[0]}")
    wait_for("the node to be NotReady", lambda: not is_ready(cluster, "node-b"), 120)
    shown = deployed.shell(f"kubectl get pods -n {deployed.namespace} -o wide | grep node-b").split()
    check("kubectl get pods still shows the dead node's agent as the README has it",
          f"{shown[1]} {shown[2]}" == symptom("1/1 Running").replace("\\", ""), shown)
    after = deployed.metrics("node-a")
    dropped = [name for name in after if "spans_dropped" in name and after[name] != before.get(name, 0)]
    ready = deployed.readyz("node-a")
    check("the other node's agent goes on, with its names and nothing dropped", not dropped and ready.endswith("200"), (dropped, ready))
    ask(cluster, f"http://{alone}/still/@", 20)
    spans = each_once(backend, "/still/", range(20), ["node-a"])
    names = {(own.get("source.k8s.pod.name"), own.get("destination.k8s.service.name")) for _, own, _ in spans}
    check("with the right names", names == {("client-a", "web-a")}, names)
    look_at_update(deployed)
    come_back(deployed, backend, gone)
    go_for_good(deployed)


def look_at_last(backend, visitor, died):
    """What the dead node's agent had captured and not sent yet."""
    found = {own["url.path"] for _, own, _ in backend.spans("/last/")}
    made = {path: ended for path, (_, ended) in visitor.requests.items() if ended < died}
    lost = [ended for path, ended in made.items() if path not in found]
    seconds = died - min(lost, default=died)
    note(f"of {len(made)} exchanges on the dead node {len(lost)} were not sent yet: the last {seconds:.1f} s")
    check("what it sent before is there, and no more than its last 3 s are not", len(made) > 100 and seconds < 3, len(lost))


def look_at_update(deployed):
    """Whether an update passes a dead node."""
    old = deployed.pod_of("node-a")
    deployed.kubectl("rollout", "restart", f"daemonset/{deployed.daemonset}")
    ended = time.monotonic() + 20
    while time.monotonic() < ended and deployed.pod_of("node-a") == old:
        time.sleep(1)
    status = f"kubectl rollout status daemonset/{deployed.daemonset} --namespace={deployed.namespace} --timeout=5s"
    said, stuck = deployed.shell(f"{status} 2>&1 || true"), deployed.pod_of("node-a") == old
    note(f"an update meanwhile: node-a's agent is {'the old one' if stuck else 'replaced'}; rollout status says: {said.splitlines()[0]}")
    check("an update waits for the dead node, as the README has it",
          stuck and re.search(symptom("Waiting for daemon set"), said), said)


def come_back(deployed, backend, gone):
    """The node is started again: pods with other addresses, an agent, names."""
    cluster = deployed.cluster
    print(run("bash", f"{ROOT}/tests/cluster/up.sh", env=cluster.environment), end="")
    deployed.settle()
    check("when the node is back the update goes on and its agent runs", True)
    for name in ("web", "front"):
        cluster.kubectl("-n", "shop", "rollout", "status", f"deploy/{name}-b", "--timeout=90s")
    cluster.kubectl("-n", "shop", "wait", "--for=condition=Ready", "pod/client-b", "--timeout=90s")
    deployed.wait_for_names()
    ask(cluster, "http://web-b.shop/returned/@", 20)
    spans = each_once(backend, "/returned/", range(20), ["node-a", "node-b"])
    pod = Facts(cluster).pod("web-b")
    names = {own.get("destination.k8s.pod.name") for _, own, _ in spans}
    note(f"{gone['name']} is now {pod['metadata']['name']} at {pod['status']['podIP']}")
    check("names are those of the pods that are there now", names == {pod["metadata"]["name"]}, names)


def go_for_good(deployed):
    """It dies again, and is taken out of the cluster."""
    cluster = deployed.cluster
    kill_node(cluster, "node-b")
    wait_for("the node to be NotReady", lambda: not is_ready(cluster, "node-b"), 120)
    old = deployed.pod_of("node-a")
    deployed.kubectl("rollout", "restart", f"daemonset/{deployed.daemonset}")
    deployed.shell("kubectl delete node node-b --wait=false")
    deployed.settle()
    check("the README's kubectl delete node lets an update pass", deployed.pod_of("node-a") != old)
