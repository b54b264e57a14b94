"""The NetworkPolicies of the Helm chart, enforced in network namespaces: what workloads and the proxy can reach."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import TestCA, key_pem_of
from tests.integration.base import ALLOW_ALL, IntegrationTestCase, proxy_environment
from tests.integration.clusters import API_SERVER, METADATA, OUTSIDE, PRIVATE, Cluster, Target
from tests.integration.network_policies import Pod, Translation, UnknownField, selects
from tests.integration.processes import program
from tests.integration.test_gateway import ORIGIN_PROGRAM
from tests.integration.test_helm_chart import NAME, container_of, found, options_of, pod_of, rendered

PROXY_SERVICE, DNS_SERVICE, DATABASE_SERVICE = "10.96.0.20", "10.96.0.10", "10.96.0.30"
NODE_PORTS = (22, 53, 80, 443, 6443)

# The hosts outside of the cluster, with all that no workload may reach.
EVERYWHERE: list[Target] = [
    *(("tcp", address, port) for address in OUTSIDE for port in (22, 443)),
    *(("udp", address, port) for address in OUTSIDE for port in (53, 443)),
    *(("tcp", address, 443) for address in (*PRIVATE, METADATA)),
    ("tcp", API_SERVER, 6443),
]


def policies(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the NetworkPolicies."""
    return [each for each in objects if each["kind"] == "NetworkPolicy"]


def proxy_labels(objects: list[dict[str, Any]]) -> dict[str, str]:
    """Return the labels of the pods of the proxy."""
    (workload,) = [each for each in objects if each["kind"] in ("Deployment", "DaemonSet")]
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


class TranslationTests(SynchronousTestCase):
    """The translation knows the fields that the chart uses, and rejects others."""

    POD = Pod("a", "shop", {"app": "a"}, ("10.0.0.1", "fd00::1"))

    def translate(self, **spec: Any) -> str:
        document = {"metadata": {"name": "x"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"], **spec}}
        return Translation([self.POD], [document], "shop").script()

    def test_unknown(self) -> None:
        port = {"protocol": "TCP", "port": 80}
        peer: dict[str, Any] = {"podSelector": {}}
        specs: tuple[dict[str, Any], ...] = (
            {"novel": 1},
            {"policyTypes": ["Egress", "Novel"]},
            {"podSelector": {"matchNames": []}},
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": []}]}},
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn"}]}},
            {"egress": [{"to": [peer], "ports": [port], "novel": 1}]},
            {"egress": [{"to": [{"novel": {}}], "ports": [port]}]},
            {"egress": [{"to": [{"ipBlock": {"cidr": "::/0"}, "podSelector": {}}], "ports": [port]}]},
            {"egress": [{"to": [{"ipBlock": {"cidr": "::/0", "novel": 1}}], "ports": [port]}]},
            {"egress": [{"to": [peer], "ports": [{**port, "protocol": "SCTP"}]}]},
            {"egress": [{"to": [peer], "ports": [{**port, "port": "http"}]}]},
            {"egress": [{"to": [peer], "ports": [{**port, "novel": 1}]}]},
        )
        for spec in specs:
            with self.subTest(str(spec)):
                self.assertRaises(UnknownField, self.translate, **spec)

    def test_selectors(self) -> None:
        labels = {"a": "1", "b": "2"}
        for selector, expected in (
            ({}, True),
            ({"matchLabels": {"a": "1"}}, True),
            ({"matchLabels": {"a": "1", "c": "3"}}, False),
            ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
            ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
        ):
            self.assertEqual(selects(selector, labels), expected)

    def test_only_selected_pods(self) -> None:
        """A policy limits the pods that it selects, in the directions that it names."""
        self.assertIn("ip saddr 10.0.0.1 jump egress_a", self.translate())
        self.assertNotIn("ingress_a", self.translate())
        self.assertNotIn("jump", self.translate(podSelector={"matchLabels": {"app": "b"}}))


class ClusterTestCase(IntegrationTestCase):
    """Base: a cluster with the pods of several namespaces."""

    def setUp(self) -> None:
        super().setUp()
        program("nft")
        program("ip")
        self.cluster = Cluster(self.directory)
        self.addCleanup(self.cluster.stop)
        self.add("proxy", "egress", **proxy_labels(rendered()))
        self.add("dns", "kube-system", **{"k8s-app": "kube-dns"})
        self.add("cart", "shop", app="cart")
        for address, name, port in ((PROXY_SERVICE, "proxy", 8080), (DNS_SERVICE, "dns", 53)):
            self.cluster.add_service(address, self.cluster.pods[name], port)

    def add(self, name: str, namespace: str, **labels: str) -> Pod:
        return self.cluster.add(name, namespace, labels)

    def apply(self, objects: list[dict[str, Any]]) -> None:
        """Enforce the policies of the chart, and no others."""
        rules = Translation(list(self.cluster.pods.values()), policies(objects), "egress").script()
        self.cluster.node.run("nft", "-f", "-", stdin=rules)

    def pod(self, name: str, *ports: tuple[str, int]) -> list[Target]:
        """Return the targets of a pod, with both of its addresses."""
        return [(protocol, address, port) for address in self.cluster.pods[name].addresses for protocol, port in ports]

    def assert_reaches(self, name: str, yes: list[Target], no: list[Target]) -> None:
        """Check what a pod reaches."""
        reached = self.cluster.reached(name, [*yes, *no])
        results = dict(zip([*yes, *no], reached, strict=True))
        self.assertEqual([target for target in yes if not results[target]], [], f"{name} does not reach")
        self.assertEqual([target for target in no if results[target]], [], f"{name} reaches")


class ReachTests(ClusterTestCase):
    """Workloads reach the DNS and the proxy, and nothing else."""

    def setUp(self) -> None:
        super().setUp()
        self.add("db", "shop", app="db")
        self.add("search", "search", app="search")
        self.add("direct", "shop", app="cart", direct="yes")
        self.add("prometheus", "monitoring", app="prometheus")
        self.cluster.add_service(DATABASE_SERVICE, self.cluster.pods["db"], 5432)
        self.cluster.serve("proxy", 8080, 9090)
        self.cluster.serve("dns", 53, 9153)
        self.cluster.serve("db", 5432, 8080)
        self.cluster.serve("outside", *NODE_PORTS)
        self.names = [*self.pod("dns", ("udp", 53), ("tcp", 53)), ("udp", DNS_SERVICE, 53), ("tcp", DNS_SERVICE, 53)]
        self.proxy: list[Target] = [*self.pod("proxy", ("tcp", 8080)), ("tcp", PROXY_SERVICE, 8080)]
        self.database: list[Target] = [*self.pod("db", ("tcp", 5432), ("tcp", 8080)), ("tcp", DATABASE_SERVICE, 5432)]
        self.metrics = self.pod("proxy", ("tcp", 9090))
        self.others = [*self.pod("dns", ("tcp", 9153)), *self.pod("proxy", ("udp", 8080)), *self.database]

    def test_default(self) -> None:
        """Without the policies, everything is reachable, so the cases below show their effect."""
        everything = [*self.names, *self.proxy, *self.metrics, *self.others, *EVERYWHERE]
        self.assert_reaches("cart", everything, [])
        self.apply(rendered("default", "--set", "client.namespaces={shop}"))
        self.assert_reaches("cart", [*self.names, *self.proxy], [*self.metrics, *self.others, *EVERYWHERE])
        internet: list[Target] = [("tcp", address, port) for address in OUTSIDE for port in (22, 443)]
        elsewhere = [target for target in EVERYWHERE if target not in internet]
        self.assert_reaches("proxy", [*self.names, *internet], [*self.database, *elsewhere])
        # Pods of other namespaces are not limited, but cannot use the proxy.
        self.assert_reaches("search", EVERYWHERE, [*self.proxy, *self.metrics])
        self.assert_reaches("outside", [], [*self.pod("proxy", ("tcp", 8080), ("tcp", 9090))])

    def test_daemonset(self) -> None:
        """Two namespaces of workloads, exempt pods, metrics, and the API server."""
        self.apply(rendered("daemonset"))
        for name in ("cart", "search"):
            self.assert_reaches(name, [*self.names, *self.proxy], [*self.metrics, *self.others, *EVERYWHERE])
        # A pod that the selector exempts has the ways out of a pod without policies, and is no client of the proxy.
        self.assert_reaches("direct", [*self.names, *EVERYWHERE], self.proxy)
        self.assert_reaches("prometheus", self.metrics, self.proxy)
        api_server: list[Target] = [("tcp", API_SERVER, 443), ("tcp", API_SERVER, 6443)]
        private: list[Target] = [
            ("tcp", API_SERVER, 22),
            ("tcp", METADATA, 443),
            *(("tcp", each, 443) for each in PRIVATE),
        ]
        self.assert_reaches("proxy", [*api_server, ("tcp", OUTSIDE[0], 443)], private)


class ProxyTests(ClusterTestCase):
    """The proxy runs in a pod, with the configuration of the chart."""

    def setUp(self) -> None:
        super().setUp()
        # The addresses of the tests are not those of the Internet.  An operator who permits too many is assumed.
        config = {"allow-address": ["203.0.113.0/24", "192.168.0.0/16"], "dns-server": f"{DNS_SERVICE}:53"}
        config |= {"ssl-extra-ca-certs": str(self.directory / "origins.pem"), "allow-ports": "1-65535"}
        self.objects = rendered(
            "default", "--set", "client.namespaces={shop}", "--set-json", f"config={json.dumps(config)}"
        )
        origins = TestCA("Origins")
        origins.write(self.directory, "origins")
        pem = origins.issue("origin.test", OUTSIDE[0]).write_combined(self.directory, "origin")
        hosts = self.write("hosts", f"{OUTSIDE[0]} origin.test\n{PRIVATE[0]} internal.test\n")
        twistd = [sys.executable, "-m", "twisted", "dns", "--port", "53", "--hosts-file", str(hosts)]
        self.cluster.run("dns", *twistd, env=proxy_environment())
        self.cluster.run("outside", sys.executable, "-c", ORIGIN_PROGRAM, str(pem)).wait_for("ready")
        self.process = self.start()

    def start(self) -> Any:
        """Start the proxy with the command of its container."""
        self.ca = TestCA("Cluster")
        (self.directory / "tls.crt").write_bytes(self.ca.pem)
        (self.directory / "tls.key").write_bytes(key_pem_of(self.ca.key))
        (self.directory / "tls.key").chmod(0o400)
        self.ca.write(self.directory, "ca")
        self.write("policy.toml", ALLOW_ALL)
        text = re.sub(r'"/etc/egressproxy/[a-z]+/([a-z.]+)"', rf'"{self.directory}/\1"', options_of(self.objects))
        config = self.write("egress.toml", text)
        arguments = [str(config) if "egress.toml" in each else each for each in container_of(self.objects)["args"]]
        run = "from egress.runtime.script import egressproxy as run; run()"
        process = self.cluster.run("proxy", sys.executable, "-c", run, *arguments, env=proxy_environment())
        process.wait_for("listens on")
        return process

    def curl(self, *arguments: str) -> tuple[int, str]:  # type: ignore[override]
        """Fetch from the pod of a workload."""
        done = self.cluster.namespaces["cart"].run(
            program("curl"),
            "-sS",
            "--max-time",
            "20",
            "--cacert",
            str(self.directory / "ca.pem"),
            *arguments,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def test_only_way_out(self) -> None:
        """A workload gets what it requests from the proxy, and nothing directly."""
        self.apply(self.objects)
        url = found(self.objects, "ConfigMap", f"{NAME}-client", "shop")["data"]["HTTPS_PROXY"]
        self.assertEqual(url, f"http://{NAME}.egress.svc:8080")
        through = ("--proxy", f"http://{PROXY_SERVICE}:8080")
        self.assertEqual(self.curl(*through, "https://origin.test/a"), (0, "hello from origin.test/a"))
        self.assertEqual(self.curl(*through, f"http://{OUTSIDE[0]}/a"), (0, f"hello from {OUTSIDE[0]}/a"))
        for host in ("origin.test", "internal.test"):
            direct = ("--noproxy", "*", "--resolve", f"{host}:443:{OUTSIDE[0]}", f"https://{host}/a")
            self.assertEqual(self.curl(*direct)[0], 7)
        # The options of the proxy permit the address, but the policy of the network does not.
        self.assertIn('"status":502', self.curl(*through, "http://internal.test/a")[1].replace(" ", ""))
        self.assertEqual(pod_of(self.objects)["containers"][0]["name"], "egressproxy")
        # Without policies, the workload reaches the origin itself, and the proxy reaches the private network.
        self.cluster.node.run("nft", "delete", "table", "inet", "policies")
        self.assertEqual(self.curl("--insecure", "--noproxy", "*", f"https://{OUTSIDE[0]}/a")[0], 0)
        self.assertEqual(self.curl(*through, "http://internal.test/a"), (0, "hello from internal.test/a"))
