#!/usr/bin/env python3
"""Follows the README from top to bottom in a clean clone: every command of every fenced block, in order and as it is written,
as far as one machine without a cluster and without a key allows. What it does not run it names, with the reason; a command that
is in no list is a fault.

readme-check.py         needs git; for live capture root and ip; for the rest it says what it leaves out

What is committed is tried, not what the folder holds beside it. Builds share CARGO_TARGET_DIR (or the folder's target)."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", f"{ROOT}/target"))
SAMPLE = "examples/shop.pcap"
# Exchanges of the sample.
EXCHANGES = 10
URL = "http://10.77.0.2:8000/hello"

CLUSTER = "needs a cluster; make quickstart-check runs it"
# What is not run here, and why.
ELSEWHERE = {
    "kubectl create namespace honeycomb": CLUSTER,
    "kubectl label namespace honeycomb pod-security.kubernetes.io/enforce=privileged": CLUSTER,
    "kubectl create secret generic honeycomb --from-literal=api-key=$HONEYCOMB_API_KEY --namespace=honeycomb": CLUSTER,
    "kubectl apply -f examples/quickstart.yaml": CLUSTER,
    "kubectl rollout status daemonset/hny-network-agent --namespace=honeycomb": CLUSTER,
    "kubectl logs daemonset/hny-network-agent --namespace=honeycomb": CLUSTER,
    "kubectl apply -k otel-collector-config": CLUSTER,
    "kubectl create secret generic honeycomb --from-literal=api-key=$HONEYCOMB_API_KEY --namespace=observability": CLUSTER,
    "kubectl apply -k deploy/kustomize/overlays/collector": CLUSTER,
    "helm install network-agent deploy/helm/network-agent --namespace honeycomb --values examples/values/namespaces.yaml": CLUSTER,
    "kubectl get pods,services,nodes -A -o json > names.json": CLUSTER,
    "helm upgrade RELEASE deploy/helm/network-agent --namespace NAMESPACE --reset-then-reuse-values "
    "--set spans.legacyAttributes=true": CLUSTER,
    # In the text.
    "kubectl auth can-i list pods --as=system:serviceaccount:honeycomb:honeycomb-sa": CLUSTER,
    "kubectl label namespace honeycomb pod-security.kubernetes.io/enforce=privileged --overwrite": CLUSTER,
    "kubectl port-forward daemonset/hny-network-agent 9464 --namespace=honeycomb": CLUSTER,
    "kubectl delete node NODE": "takes a node away for good; the cluster of make quickstart-check has none to spare",
    "kubectl rollout restart daemonset/…": CLUSTER,
    "docker run --net=host --cap-add=NET_RAW …": "needs Docker; make image-check runs the image with runc and the same right",
    "nerdctl run --net=host --cap-add=NET_RAW …": "needs nerdctl; make image-check runs the image with runc and the same right",
    "sudo target/release/network-agent …": "the commands with network-agent are it",
}
faults = []


class LeftOut(Exception):
    """Something is missing on this machine."""


def say(verdict, command, told=""):
    print(f"{verdict:9} {command}{': ' if told else ''}{told}", flush=True)


def require(holds, told):
    if not holds:
        raise AssertionError(told)


def commands(text):
    """(block, command) of every fenced block; a command that goes on in the next line is one."""
    for number, block in enumerate(re.findall(r"^```\n(.*?)^```$", text, re.S | re.M)):
        lines = block.replace("\\\n", " ").splitlines()
        if lines[0].startswith("$ "):
            # A command and what it prints.
            yield number, lines[0], "\n".join(lines[1:])
        else:
            for line in lines:
                yield number, re.sub(r"\s+", " ", line).strip(), None


def inline_commands(text):
    """Whole commands within sentences: those with arguments of their own."""
    prose = re.sub(r"^```\n.*?^```$", "", text, flags=re.S | re.M)
    starts = r"make|network-agent|sudo|docker|nerdctl|kubectl|curl|helm|cargo"
    for quote in re.findall(rf"`((?:{starts}) [^`\n]+)`", prose):
        # A mention of a subcommand is no instruction.
        if not re.fullmatch(r"helm upgrade|kubectl (?:apply|port-forward|rollout (?:status|restart)|describe daemonset|get pods(?: -o wide)?"
                            r"|get pods,services,nodes -A -o json)", quote):
            yield quote


class Place:
    """A clean clone, and a network of its own with a neighbour who serves HTTP."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="readme-")
        self.clone = f"{self.folder}/network-agent"
        self.run(["git", "clone", "-q", ROOT, self.clone], cwd="/")
        self.environment = {**os.environ, "CARGO_TARGET_DIR": TARGET, "PATH": f"{TARGET}/release:{os.environ['PATH']}:/usr/sbin:/sbin"}
        self.names, self.serving = [], None

    def run(self, command, **options):
        options = {"cwd": getattr(self, "clone", None), "timeout": 1200, **options}
        return subprocess.run(command, capture_output=True, text=True, check=True, **options)

    def shell(self, command, **options):
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=self.clone, env=self.environment, timeout=1800,
                              capture_output=True, text=True, **options)
        require(done.returncode == 0, f"it ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        return done.stdout

    def network(self):
        if self.names:
            return
        if os.geteuid() != 0 or not shutil.which("ip", path=self.environment["PATH"]):
            raise LeftOut("live capture here needs root and ip")
        own, other = f"readme-{os.getpid()}-a", f"readme-{os.getpid()}-b"
        for step in (f"netns add {own}", f"netns add {other}", f"link add eth0 netns {own} type veth peer name eth0 netns {other}",
                     f"-n {own} address add 10.77.0.1/24 dev eth0", f"-n {other} address add 10.77.0.2/24 dev eth0",
                     *(f"-n {name} link set {link} up" for name in (own, other) for link in ("lo", "eth0"))):
            self.run(["ip", *step.split()])
            if step.startswith("netns add"):
                self.names.append(step.split()[-1])
        os.mkdir(f"{self.folder}/www")
        open(f"{self.folder}/www/hello", "w").write("hello\n")
        self.serving = self.start(f"exec python3 -m http.server --directory {self.folder}/www 8000", name=other)

    def start(self, command, name=None, output=subprocess.DEVNULL):
        where = ["ip", "netns", "exec", name or self.names[0]] if self.names else []
        return subprocess.Popen([*where, "bash", "-c", command], cwd=self.clone, env=self.environment, stdout=output,
                                stderr=subprocess.STDOUT, start_new_session=True)

    def live(self, command, shows, prepared=lambda: None):
        """Runs it beside a visitor, until it shows what it must, and interrupts it as a person does."""
        self.network()
        prepared()
        path = f"{self.folder}/output"
        with open(path, "w") as output:
            running = self.start(command, output=output)
        try:
            until = time.monotonic() + 30
            while not shows(open(path).read()):
                require(running.poll() is None and time.monotonic() < until, f"it does not show what it should: {open(path).read()}")
                subprocess.run(["ip", "netns", "exec", self.names[0], "curl", "-s", "-o", "/dev/null", URL], check=False)
                time.sleep(0.3)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGINT)
            code = running.wait(30)
        require(code == 0, f"interrupted, it ended with {code}: {open(path).read()}")

    def away(self):
        if self.serving:
            os.killpg(self.serving.pid, signal.SIGKILL)
            self.serving.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------- how each command is run


def has(program):
    if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin:/usr/local/go/bin"):
        raise LeftOut(f"{program} is not here")


def sample(place, command, output):
    shown = place.shell(command.removeprefix("$ "))
    require(shown.rstrip("\n") == output, f"it prints something else:\n{shown}")


def demo(place, command, _):
    shown = place.shell(command)
    require(re.search(r"(\d+) requests, \1 spans", shown) or "a capture file instead" in shown, shown)


def build(place, command, _):
    place.shell(command)
    require(os.access(f"{TARGET}/release/network-agent", os.X_OK), "the program is not there")


def to_honeycomb(place, command, _):
    """No key, and no way out of this network: it captures all the same, and says why spans wait."""
    place.live(command.replace("…", "hcaik_of_nobody"), lambda text: "Capturing" in text and "api.honeycomb.io" in text)


def to_collector(place, command, _):
    found = subprocess.run([f"{ROOT}/scripts/otelcol.sh"], capture_output=True, text=True, check=False)
    if found.returncode:
        raise LeftOut("there is no Collector, and no Go to build one with")
    collector = []

    def start_collector():
        collector.append(place.start(f"exec {found.stdout.strip()} --config otel-collector-config/laptop.yaml"))

    def arrived(_):
        path = f"{place.clone}/otlp.jsonl"
        return os.path.exists(path) and '"/hello"' in open(path).read()
    try:
        place.live(command, arrived, start_collector)
    finally:
        for one in collector:
            one.terminate()
            one.wait(30)


def on_the_terminal(place, command, _):
    place.live(command, lambda text: "10.77.0.2:8000/hello" in text)


def through_a_pipe(place, command, _):
    has("tcpdump")
    # What tcpdump and the agent hold back comes when the pipe ends: interrupted, it must have it.
    place.live(command.replace("-w -", "-U -w -"), lambda text: "10.77.0.2:8000/hello" in text)


def file_as_json(place, command, _):
    has("jq")
    shown = place.shell(command.replace("FILE", SAMPLE))
    require(shown.count('"spanId"') == EXCHANGES, f"{shown.count('spanId')} spans")


def file_with_names(place, command, _):
    # names.json is what kubectl would have written; the repository has one.
    shutil.copy(f"{place.clone}/examples/shop-names.json", f"{place.clone}/names.json")
    shown = place.shell(command.replace("FILE", SAMPLE))
    require("k8s.pod.name" in shown, shown[:1000])


def sample_with_names(place, command, _):
    require(place.shell(command).count(" → ") == EXCHANGES, "another number of exchanges")


def profile(place, command, _):
    has("go")
    place.environment["PATH"] += ":/usr/local/go/bin"
    place.network()
    agent = place.start("exec network-agent --debug --export none --interface lo")
    try:
        until, shown = time.monotonic() + 60, None
        inside = f"ip netns exec {place.names[0]} {command}"
        place.shell(f"until ip netns exec {place.names[0]} curl -sf localhost:6060/debug/connections; do sleep 0.1; done")
        shown = place.shell(inside)
        require("Type: cpu" in shown and time.monotonic() < until, shown)
    finally:
        os.killpg(agent.pid, signal.SIGINT)
        agent.wait(30)


def checked(place, command, _):
    shown = place.shell(f"HONEYCOMB_API_KEY=hcaik_secret {command} --read {SAMPLE} --export pretty 2>&1")
    require("hcaik_secret" not in shown, shown)


def file_capability(place, command, _):
    has("setcap")
    if os.geteuid() != 0:
        raise LeftOut("setcap needs root")
    copied = f"{place.folder}/network-agent-copy"
    shutil.copy(f"{TARGET}/release/network-agent", copied)
    place.shell(command.removeprefix("sudo ").replace("target/release/network-agent", copied) + f" && getcap {copied} | grep cap_net_raw=p")


def ask_admin(place, command, _):
    place.network()
    agent = place.start("exec network-agent --export none --kubernetes off")
    try:
        place.shell(f"for _ in $(seq 100); do ip netns exec {place.names[0]} {command} && exit; sleep 0.1; done; exit 1")
    finally:
        os.killpg(agent.pid, signal.SIGINT)
        agent.wait(30)


HERE = {
    "$ network-agent --read examples/shop.pcap --export pretty": sample,
    "make demo": demo,
    "HONEYCOMB_API_KEY=… network-agent": to_honeycomb,
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 network-agent": to_collector,
    "network-agent --export pretty --interface eth0": on_the_terminal,
    "network-agent --read FILE --export json | jq .": file_as_json,
    "tcpdump -i any -w - tcp | network-agent --read - --export pretty": through_a_pipe,
    "network-agent --read FILE --metadata names.json": file_with_names,
    "network-agent --read examples/shop.pcap --metadata examples/shop-names.json --export pretty": sample_with_names,
    "go tool pprof -top 'http://localhost:6060/debug/pprof/profile?seconds=10'": profile,
    # In the text.
    "make build": build,
    "network-agent --check": checked,
    "sudo setcap cap_net_raw=p target/release/network-agent": file_capability,
    "curl localhost:9464/readyz": ask_admin,
}


def follow(place, command, output):
    if command in ELSEWHERE:
        say("elsewhere", command, ELSEWHERE[command])
    elif command not in HERE:
        faults.append(command)
        say("FAULT", command, "the README has it, and scripts/readme-check.py knows neither how to run it nor why not")
    else:
        try:
            HERE[command](place, command, output)
            say("well", command)
        except LeftOut as reason:
            say("left out", command, reason)
        except (AssertionError, subprocess.SubprocessError, OSError) as error:
            faults.append(command)
            say("FAULT", command, error)


def main():
    place = Place()
    text = open(f"{place.clone}/README.md").read()
    try:
        # The first block shows what the program prints, which must be built for it.
        follow(place, "make build", None)
        seen = {"make build"}
        for _, command, output in commands(text):
            follow(place, command, output)
            seen.add(command)
        for command in inline_commands(text):
            if command not in seen:
                follow(place, command, None)
                seen.add(command)
        for command in sorted((HERE.keys() | ELSEWHERE.keys()) - seen):
            faults.append(command)
            say("FAULT", command, "the README has it no more: take it out of scripts/readme-check.py")
    finally:
        place.away()
    print(f"{len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
