"""The Collector in the cluster, as otel-collector-config/ and the README have it: agents reach it by its Service's name."""
import os

from deployed import HONEYCOMB, ROOT, Deployed, ask, check, commands_of_readme, each_once, note
from e2e import HERE, run, wait_for

IMAGE = "docker.io/otel/opentelemetry-collector-contrib:0.155.0"
REQUESTS = 100


def make_image(folder):
    """The Collector that the tests use, under the name that the manifest asks for."""
    program = run("bash", f"{ROOT}/scripts/otelcol.sh").split()[-1]
    run("python3", f"{HERE}/image.py", program, IMAGE, f"{folder}/otelcol.tar", "--path", "/otelcol-contrib", "--user", "10001")


def make_volumes(cluster):
    """What a cluster's provisioner would make: a volume for each gateway, which its group can write."""
    for number in range(2):
        path = f"{cluster.state}/volume-{number}"
        os.makedirs(path, exist_ok=True)
        os.chown(path, 10001, 10001)
        cluster.kubectl("apply", "-f", "-", input=f"""
apiVersion: v1
kind: PersistentVolume
metadata: {{name: gateway-{number}}}
spec:
  capacity: {{storage: 5Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  hostPath: {{path: {path}, type: Directory}}
""")
    # The way to it is that of a temporary folder.
    os.chmod(cluster.state, 0o755)


def try_gateway(deployed, backend):
    """The Collector of otel-collector-config, reached by its Service's name from the nodes' network."""
    cluster = deployed.cluster
    make_volumes(cluster)
    collector, secret, agents = commands_of_readme()[2].splitlines()
    deployed.shell(f"{collector}\n{secret}")
    cluster.kubectl("set", "env", "-n", "observability", "statefulset/otel-gateway", f"HONEYCOMB_API_ENDPOINT={HONEYCOMB}",
                    "HONEYCOMB_INSECURE=true")
    cluster.kubectl("rollout", "status", "-n", "observability", "statefulset/otel-gateway", "--timeout=120s")
    deployed.shell(agents)
    sending = Deployed(cluster, "network-agent", "network-agent", "app.kubernetes.io/name=network-agent")
    sending.settle()
    sending.wait_for_names()
    wait_for("agents to be ready", lambda: sending.ask("/readyz").endswith("200"), 30)
    check("an agent's /readyz is 200", True)
    check("it sends to the Service's name", "otel-gateway.observability:4317" in sending.logs(), sending.logs())
    ask(cluster, "http://web-b.shop/gateway/@", REQUESTS)
    spans = each_once(backend, "/gateway/", range(REQUESTS), ["node-a", "node-b"])
    names = {(resource.get("service.name"), own.get("source.k8s.pod.name"), own.get("destination.k8s.service.name"))
             for resource, own, _ in spans}
    check("with the names of both ends", names == {("hny-network-agent", "client-a", "web-b")}, names)
    refused = [line for line in sending.logs().splitlines() if " WARN " in line or " ERROR " in line]
    check("and the agents have nothing to complain of", not refused, refused[:5])
    gateways = [pod for pod in cluster.get("pods", "-n", "observability")["items"]]
    note(f"{len(gateways)} gateways on {sorted(pod['spec']['nodeName'] for pod in gateways)}")
    deployed.shell("kubectl delete -k deploy/kustomize/overlays/collector --wait\nkubectl delete -k otel-collector-config --wait")
    wait_for("metrics through it", lambda: "hny-network-agent-stats" in backend.datasets_of_metrics())
    check("the agents' own metrics came through it", True)
