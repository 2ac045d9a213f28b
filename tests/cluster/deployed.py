"""What the checks of a deployed agent share: the agents as a user sees them, the README's words, what arrived in Honeycomb's
place, and the list of what is not as it should be."""
import json
import os
import re
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from e2e import HERE, MACHINE, attributes, run, wait_for  # noqa: E402

ROOT = os.path.abspath(f"{HERE}/../..")
PORT = 14317
HONEYCOMB = f"http://{MACHINE}:{PORT}"
faults = []


def check(what, holds, told=""):
    print(f"{'well  ' if holds else 'FAULT '} {what}{'' if holds else ': ' + str(told)}", flush=True)
    if not holds:
        faults.append(what)
    return holds


def note(text):
    print(f"       {text}", flush=True)


def scenario(function, *arguments):
    """Runs it; what it waits for in vain is a fault, and the next one goes on."""
    began = time.monotonic()
    print(f"---- {function.__doc__.splitlines()[0].rstrip('.')}", flush=True)
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        check(f"{function.__name__}: {error}", False, arguments[0].logs()[-3000:])
    note(f"{time.monotonic() - began:.0f} s")


# ------------------------------------------------------------------------------------------------------------ the README


def section(title):
    """A section of the README, to the next one of its level."""
    level = title.split(" ", 1)[0]
    text = open(f"{ROOT}/README.md").read().split(f"\n{title}\n", 1)[1]
    return re.split(rf"\n{level} ", text, maxsplit=1)[0]


def commands_of_readme():
    """The blocks of the section on Kubernetes: to Honeycomb, the look whether it runs, to a Collector, with Helm."""
    blocks = re.findall(r"\n```\n(.*?)\n```\n", section("## On Kubernetes"), re.S)
    return [block.strip() for block in blocks]


def symptom(fragment):
    """How the README quotes what a user sees, as a pattern; an … stands for anything. A user searches for these words."""
    quotes = [quote for quote in re.findall(r"`([^`\n]+)`", section("## When something is wrong")) if fragment in quote]
    if not quotes:
        raise AssertionError(f"the README's troubleshooting does not quote \"{fragment}\"")
    return ".*?".join(re.escape(part) for part in min(quotes, key=len).split("…"))


# ------------------------------------------------------------------------------------------------------------ the agents


class Deployed:
    """The agents of the quickstart, as kubectl shows them."""

    def __init__(self, cluster, namespace="honeycomb", daemonset="hny-network-agent", selector="name=hny-network-agent"):
        self.cluster, self.namespace, self.daemonset, self.selector = cluster, namespace, daemonset, selector
        self.environment = {**os.environ, "PATH": f"{cluster.programs}:{os.environ['PATH']}",
                            "KUBECONFIG": f"{cluster.state}/admin.kubeconfig", "HONEYCOMB_API_KEY": "hcaik_quickstart"}

    def shell(self, commands):
        return run("bash", "-euc", commands, cwd=ROOT, env=self.environment)

    def kubectl(self, *arguments, **options):
        """In the agent's namespace."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, **options)

    def pods(self):
        return self.cluster.get("pods", "-n", self.namespace, "-l", self.selector)["items"]

    def pod_of(self, node):
        """The name of the pod on a node that is not on its way out."""
        [pod] = [pod["metadata"]["name"] for pod in self.pods()
                 if pod["spec"]["nodeName"] == node and "deletionTimestamp" not in pod["metadata"]]
        return pod

    def logs(self, pod=None):
        which = [pod] if pod else ["-l", self.selector, "--prefix"]
        try:
            return self.kubectl("logs", "--tail=-1", *which)
        except RuntimeError as error:
            return f"(no log: {error})"

    def settle(self):
        self.kubectl("rollout", "status", f"daemonset/{self.daemonset}", "--timeout=120s")

    def set(self, *assignments):
        self.kubectl("set", "env", f"daemonset/{self.daemonset}", *assignments)
        self.settle()

    def says(self, fragment, seconds=60):
        """Waits until the log has what the README quotes."""
        pattern = symptom(fragment)
        wait_for(f"the log to match {pattern}", lambda: re.search(pattern, self.logs()), seconds)
        check(f"the log says, as the README has it, \"{fragment}\"", True)

    def ask(self, path):
        """An agent, as the README says one asks it."""
        command = [f"{self.cluster.programs}/kubectl", "port-forward", f"daemonset/{self.daemonset}", ":9464",
                   f"--namespace={self.namespace}"]
        forward = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            line = forward.stdout.readline()
            port = re.search(r"127.0.0.1:(\d+)", line)
            if not port:
                raise RuntimeError(f"kubectl port-forward says: {line}")
            return run("curl", "-s", "-w", "\n%{http_code}", f"http://localhost:{port[1]}{path}")
        finally:
            forward.kill()
            forward.wait()

    def readyz(self, node):
        """What a node's agent thinks of itself, and the code."""
        return run("ip", "netns", "exec", node, "curl", "-s", "-w", "\n%{http_code}", "http://127.0.0.1:9464/readyz")

    def metrics(self, node):
        """The counters of a node's agent."""
        text = run("ip", "netns", "exec", node, "curl", "-sf", "http://127.0.0.1:9464/metrics")
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def start(self):
        """The README's quickstart, to the server in Honeycomb's place."""
        # The namespace and the Secret may be there already.
        self.shell(commands_of_readme()[0].replace("kubectl create namespace honeycomb\n",
                                                   "kubectl get namespace honeycomb || kubectl create namespace honeycomb\n")
                   .replace("kubectl create secret", "kubectl delete secret honeycomb -n honeycomb --ignore-not-found\n"
                            "kubectl create secret"))
        self.set(f"HONEYCOMB_API_ENDPOINT={HONEYCOMB}")
        self.wait_for_names()

    def wait_for_names(self, nodes=("node-a", "node-b")):
        def knows(node):
            try:
                return self.metrics(node).get("network_agent_metadata_pods", 0) > 0
            except RuntimeError:
                return False  # It is not there yet.
        wait_for("the agents to know the names", lambda: all(knows(node) for node in nodes))


# ------------------------------------------------------------------------------------------------------------ what arrived


class Backend:
    """A Collector in Honeycomb's place, which writes down what it takes."""

    def __init__(self, cluster):
        self.folder = cluster.state
        program = run("bash", f"{ROOT}/scripts/otelcol.sh").split()[-1]
        pipeline = {"receivers": ["otlp"]}
        config = {"receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"{MACHINE}:{PORT}"}}}},
                  "exporters": {"file/spans": {"path": self.path("spans")}, "file/metrics": {"path": self.path("metrics")}},
                  "service": {"telemetry": {"metrics": {"level": "none"}},
                              "pipelines": {"traces": {**pipeline, "exporters": ["file/spans"]},
                                            "metrics": {**pipeline, "exporters": ["file/metrics"]}}}}
        json.dump(config, open(f"{self.folder}/honeycomb-config.json", "w"))
        log = open(f"{self.folder}/log/honeycomb.log", "w")
        command = [program, "--config", f"{self.folder}/honeycomb-config.json"]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def path(self, what):
        return f"{self.folder}/honeycomb-{what}.json"

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def groups(self, what):
        path = self.path(what)
        for line in open(path) if os.path.exists(path) else []:
            # The last line may be on its way.
            if line.endswith("\n"):
                yield from json.loads(line)["resource" + what.capitalize()]

    def spans(self, path=""):
        """Every span whose path holds this, as (resource, attributes, span)."""
        found = []
        for group in self.groups("spans"):
            resource = attributes(group["resource"])
            for scope in group["scopeSpans"]:
                for span in scope["spans"]:
                    own = attributes(span)
                    if path in str(own.get("url.path")):
                        found.append((resource, own, span))
        return found

    def datasets_of_metrics(self):
        return {attributes(group["resource"]).get("service.name") for group in self.groups("metrics")}

    def wait(self, path, count, seconds=30):
        """All that there are, once there are so many."""
        wait_for(f"{count} spans of {path}", lambda: len(self.spans(path)) >= count, seconds)
        return self.spans(path)


def ask(cluster, url, count):
    """Requests of a pod on node-a that are all answered; an @ in the URL is the number."""
    answers = cluster.ask("client-a", url, count)
    if [line[:3] for line in answers] != ["200"] * count:
        raise RuntimeError(f"{url} is not answered: {answers[:3]}")


def each_once(backend, path, numbers, nodes):
    """Whether each of the requests has one span from each of the nodes."""
    spans = backend.wait(path, len(numbers) * len(nodes))
    time.sleep(2)
    counted = {}
    for resource, own, _ in backend.spans(path):
        key = (own["url.path"], resource.get("k8s.node.name"))
        counted[key] = counted.get(key, 0) + 1
    wanted = {(f"{path}{number}", node): 1 for number in numbers for node in nodes}
    wrong = {key: (wanted.get(key, 0), counted.get(key, 0)) for key in wanted.keys() | counted.keys()
             if wanted.get(key, 0) != counted.get(key, 0)}
    check(f"{len(numbers)} requests, a span of each from {' and '.join(nodes)}, none twice", not wrong,
          f"(wanted, found): {dict(sorted(wrong.items())[:8])} of {len(wrong)}")
    return spans
