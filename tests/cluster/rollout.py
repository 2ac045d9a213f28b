"""A rolling update of the DaemonSet under a load of known content: every exchange is accounted for.

Each node answers on a port of its own, so each exchange is one node's to report. It is in the backend once, or it touches the
time in which that node had no agent: from the old one's "Stopping" to the new one's "Capturing". And what an agent says that it
sent is what arrived from it."""
import datetime
import http.client
import re
import subprocess
import threading
import time

from deployed import ask, check, each_once, note
from e2e import NODES, wait_for

# Seconds between two requests of a visitor.
PAUSE = 0.01


class Visitor(threading.Thread):
    """Asks a node's port from outside, one request after the other, and notes when each began and ended."""

    def __init__(self, letter, keeps_alive, path="/update/"):
        super().__init__(daemon=True)
        _, self.address, self.port = NODES[letter]
        self.name, self.keeps_alive = f"{path}{letter}-{'kept' if keeps_alive else 'new'}", keeps_alive
        self.node, self.done, self.requests, self.failed = NODES[letter][0], threading.Event(), {}, []

    def run(self):
        connection, number = None, 0
        while not self.done.is_set():
            path, number = f"{self.name}-{number}", number + 1
            connection = connection or http.client.HTTPConnection(self.address, self.port, timeout=5)
            began = time.time()
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                self.requests[path] = (began, time.time())
                if response.status != 200:
                    self.failed.append((path, response.status))
            except (OSError, http.client.HTTPException) as error:
                self.failed.append((path, error))
                connection.close()
                connection = None
            if not self.keeps_alive and connection:
                connection.close()
                connection = None
            time.sleep(PAUSE)


def time_of(line):
    """When a line was logged, in seconds since the epoch."""
    stamp = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)Z", line)
    return datetime.datetime.fromisoformat(stamp[1][:26] + "+00:00").timestamp()


def logged(text, words):
    [line] = [line for line in text.splitlines() if words in line]
    return line


def spans_in_totals(text):
    return int(re.search(r"(\d+) exchanges, (\d+) spans", logged(text, " connections, "))[2])


class Update:
    """One rolling update under load: the logs of who went, who came, and the gap between them by node."""

    def __init__(self, deployed, how):
        self.deployed, self.nodes = deployed, [node for node, _, _ in NODES.values()]
        self.old = {node: deployed.pod_of(node) for node in self.nodes}
        # The server takes two seconds for what is slow: some are under way whenever it is.
        self.visitors = [Visitor(letter, kept, path) for letter in NODES
                         for kept, path in ((True, "/update/"), (False, "/update/"), (True, "/slow/update/"))]
        followers = {node: self.follow(pod) for node, pod in self.old.items()}
        for visitor in self.visitors:
            visitor.start()
        time.sleep(3)
        how()
        deployed.settle()
        time.sleep(3)
        for visitor in self.visitors:
            visitor.done.set()
            visitor.join()
        self.last_words = {node: follower.communicate(timeout=30)[0] for node, follower in followers.items()}
        self.new = {node: deployed.pod_of(node) for node in self.nodes}
        first_words = {node: deployed.logs(pod) for node, pod in self.new.items()}
        self.gaps = {node: (time_of(logged(self.last_words[node], "Stopping")), time_of(logged(first_words[node], "Capturing")))
                     for node in self.nodes}

    def follow(self, pod):
        # The log of a pod goes with it.
        command = [f"{self.deployed.cluster.programs}/kubectl", "logs", "-f", "-n", self.deployed.namespace, pod]
        return subprocess.Popen(command, env=self.deployed.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                text=True)

    def requests(self, node):
        return {path: times for visitor in self.visitors if visitor.node == node for path, times in visitor.requests.items()}


def account(update, backend, node):
    """Each exchange of a node, and what became of it."""
    stopping, capturing = update.gaps[node]
    requests, found = update.requests(node), {}
    for resource, own, _ in backend.spans("/update/"):
        if resource.get("k8s.node.name") == node:
            found.setdefault(own["url.path"], []).append((resource.get("meta.agent.pod.name"), own))
    touches = {path for path, (began, ended) in requests.items() if began <= capturing and ended >= stopping}
    within = {path for path, (began, ended) in requests.items() if stopping < began and ended < capturing}
    missing = requests.keys() - found.keys()
    blind = max((requests[path][1] for path in missing), default=0) - min((requests[path][0] for path in missing), default=0)
    note(f"{node}: {len(requests)} exchanges, no agent for {capturing - stopping:.2f} s; {len(missing)} not reported, of "
         f"{len(touches)} that touch that time; they span {blind:.2f} s")
    check(f"{node}: an exchange is missing only where no agent ran", missing <= touches,
          {path: requests[path] for path in sorted(missing - touches)[:5]})
    doubles = [path for path, spans in found.items() if len(spans) > 1]
    check(f"{node}: none is there twice", not doubles, doubles[:5])
    foreign = found.keys() - requests.keys()
    check(f"{node}: none is there that was not made", not foreign, sorted(foreign)[:5])
    both = {update.old[node], update.new[node]}
    others = {pod for spans in found.values() for pod, _ in spans} - both
    check(f"{node}: all are of the agent that went and of the one that came", not others, others)
    # The first exchange of a connection that the new agent joined, and one that the old one saw the beginning of.
    torn = {path for path, spans in found.items() for _, own in spans
            if own.get("network_agent.capture.incomplete") or "http.response.status_code" not in own}
    late = {path for path in torn if not (requests[path][0] <= capturing + 1 and requests[path][1] >= stopping)}
    note(f"{node}: reported as incomplete or unanswered: {sorted(torn)}; {len(found.keys() & within)} whole ones of that time")
    check(f"{node}: what is incomplete was under way at an edge, and little was", not late and len(torn) <= 4, sorted(torn)[:8])
    unmarked = [path for path in torn for _, own in found[path] if not own.get("network_agent.capture.incomplete")]
    check(f"{node}: it is marked so", not unmarked, unmarked)
    return found


def conserve(update, backend, node):
    """What an agent says that it sent is what arrived."""
    def arrived(pod):
        return sum(resource.get("meta.agent.pod.name") == pod for resource, _, _ in backend.spans())
    old, new = update.old[node], update.new[node]
    said = spans_in_totals(update.last_words[node])
    check(f"{node}: what the old agent's last line counts is what arrived of it", said == arrived(old), (said, arrived(old)))
    note(f"{node}: its last line: {logged(update.last_words[node], ' connections, ').split('INFO ')[-1]}")

    def counts():
        return int(update.deployed.metrics(node)["network_agent_export_spans_exported_total"])
    try:
        wait_for("the new agent's count", lambda: counts() == arrived(new), 10)
    except RuntimeError:
        pass
    check(f"{node}: what the new agent counts is what arrived of it", counts() == arrived(new), (counts(), arrived(new)))
    lost = {name: value for name, value in update.deployed.metrics(node).items()
            if value and ("_dropped" in name or "_lost" in name or "queue_dropped" in name)}
    check(f"{node}: the new agent has dropped nothing", not lost, lost)


def try_update(deployed, backend):
    """A rolling update under load."""
    restart = f"daemonset/{deployed.daemonset}"
    update = Update(deployed, lambda: deployed.kubectl("rollout", "restart", restart))
    failed = [one for visitor in update.visitors for one in visitor.failed]
    check("every request of the load was answered", not failed, failed[:5])
    (_, first), (second, _) = sorted(update.gaps.values())
    check("one node after the other", first <= second, update.gaps)
    time.sleep(4)
    for node in update.nodes:
        account(update, backend, node)
        conserve(update, backend, node)
    ask(deployed.cluster, "http://web-b.shop/updated/@", 5)
    each_once(backend, "/updated/", range(5), ["node-a", "node-b"])
