"""The Helm chart: rendered by Helm, validated with the schemas of Kubernetes, and its settings tried on a process."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from signal import SIGTERM
from typing import Any, Final

import kubernetes_validate
import yaml
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__
from egress.config.option import by_name
from egress.config.options import OPTIONS
from egress.model.jwt_issuer import JwtIssuer
from tests.integration.base import IntegrationTestCase, proxy_environment
from tests.integration.processes import ROOT, Process, free_port, node_module

CHART: Final = ROOT / "deploy" / "helm" / "egressproxy"
VALUES: Final = ("default", "daemonset", "sidecar", "ha", "cert-manager")
# The oldest version that the chart supports, and a newer one.
VERSIONS: Final = ("1.29", "1.35")
# The custom resources, which have no schemas here: their API versions and the fields of their specifications.
CUSTOM: Final = {
    "ServiceMonitor": ("monitoring.coreos.com/v1", {"selector", "endpoints"}),
    "Issuer": ("cert-manager.io/v1", {"selfSigned"}),
    "Certificate": (
        "cert-manager.io/v1",
        {"isCA", "commonName", "secretName", "duration", "renewBefore", "privateKey", "usages", "issuerRef"},
    ),
}
NAME: Final = "rel-egressproxy"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm."""
    command = [node_module(".helm/helm"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@cache
def template(*arguments: str) -> str:
    """Render the chart."""
    done = helm("template", "rel", str(CHART), "--namespace", "egress", *arguments)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


def values(name: str) -> str:
    """Return the path of an example."""
    return str(CHART / "ci" / f"{name}-values.yaml")


def rendered(name: str = "default", *arguments: str) -> list[dict[str, Any]]:
    """Render an example."""
    return [each for each in yaml.safe_load_all(template("--values", values(name), *arguments)) if each is not None]


def found(objects: list[dict[str, Any]], kind: str, name: str = NAME, namespace: str | None = None) -> dict[str, Any]:
    """Return an object."""
    (only,) = [
        each
        for each in objects
        if each["kind"] == kind
        and each["metadata"]["name"] == name
        and namespace in (None, each["metadata"].get("namespace"))
    ]
    return only


def pod_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the specification of the pods of the proxy; for a sidecar, of a workload with the patch."""
    for each in objects:
        if each["kind"] in ("Deployment", "DaemonSet"):
            pod: dict[str, Any] = each["spec"]["template"]["spec"]
            return pod
    spec: dict[str, Any] = patched(objects)["spec"]["template"]["spec"]
    return spec


def patched(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a workload with the patch of the sidecar."""
    labels = {"app": "cart"}
    pod: dict[str, Any] = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "cart", "image": "cart"}]}}
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cart"},
        "spec": {"selector": {"matchLabels": labels}, "template": pod},
    }
    patch = yaml.safe_load(found(objects, "ConfigMap", f"{NAME}-sidecar")["data"]["patch.yaml"])
    pod["spec"] |= patch["spec"]["template"]["spec"]
    return workload


def container_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the container of the proxy."""
    pod = pod_of(objects)
    containers: list[dict[str, Any]] = [*pod.get("initContainers", []), *pod["containers"]]
    (only,) = [each for each in containers if each["name"] == "egressproxy"]
    return only


def options_of(objects: list[dict[str, Any]]) -> str:
    """Return the configuration file."""
    text: str = found(objects, "ConfigMap", f"{NAME}-config")["data"]["egress.toml"]
    return text


def _config_maps(volumes: list[dict[str, Any]]) -> Iterator[str]:
    """Return the names of the ConfigMaps in volumes."""
    for volume in volumes:
        sources = [volume, *volume.get("projected", {}).get("sources", [])]
        yield from (each["configMap"]["name"] for each in sources if "configMap" in each)


class RenderTests(SynchronousTestCase):
    """The five examples."""

    def test_valid(self) -> None:
        for name in VALUES:
            with self.subTest(name):
                done = helm("lint", "--strict", "--quiet", "--values", values(name), str(CHART))
                self.assertEqual((done.returncode, done.stdout), (0, ""))
                objects = rendered(name)
                if name == "sidecar":
                    objects = [*objects, patched(objects)]
                self.assertGreater(len(objects), 2)
                for each in objects:
                    self.validate(each)

    def validate(self, each: dict[str, Any]) -> None:
        kind = each["kind"]
        if kind in CUSTOM:
            version, fields = CUSTOM[kind]
            self.assertEqual(each["apiVersion"], version)
            self.assertLessEqual(set(each["spec"]), fields)
            return
        for version in VERSIONS:
            kubernetes_validate.validate(each, version, strict=True)

    def test_validation_finds_faults(self) -> None:
        """The schemas reject unknown fields."""
        broken = found(rendered(), "Deployment")
        pod_of([broken])["containers"][0]["readynessProbe"] = {}
        self.assertRaises(kubernetes_validate.ValidationError, self.validate, broken)

    def test_version(self) -> None:
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
        self.assertEqual(chart["appVersion"], __version__)

    def test_options(self) -> None:
        """The proxy has each option of the examples."""
        for name in VALUES:
            names = set(re.findall(r"^([a-z-]+) = ", options_of(rendered(name)), re.MULTILINE))
            self.assertLessEqual(names, set(by_name(OPTIONS)))
            self.assertLessEqual({"listen", "ca-cert", "ca-key", "drain-timeout", "metrics-port"}, names)
            variables = {each["name"] for each in container_of(rendered(name)).get("env", [])}
            self.assertLessEqual(variables, {each.name for option in OPTIONS for each in option.environment})

    def test_root(self) -> None:
        """The root of the CA is in a file of its own with cert-manager, or if the values name it."""
        root = 'ca-root = "/etc/egressproxy/ca/ca.crt"\n'
        self.assertNotIn("ca-root", options_of(rendered("default")))
        self.assertIn(root, options_of(rendered("cert-manager")))
        self.assertIn(root, options_of(rendered("default", "--set", "ca.rootKey=ca.crt")))

    def test_kinds(self) -> None:
        kinds = {name: {each["kind"] for each in rendered(name)} for name in VALUES}
        common = {"ConfigMap", "NetworkPolicy", "Service", "ServiceAccount"}
        self.assertEqual(kinds["default"], {*common, "Deployment", "PodDisruptionBudget"})
        self.assertEqual(kinds["daemonset"], {*common, "DaemonSet", "ServiceMonitor"})
        self.assertEqual(kinds["sidecar"], {"ConfigMap"})
        self.assertEqual(kinds["ha"], {*common, "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"})
        # The autoscaler sets the number of replicas.
        self.assertNotIn("replicas", found(rendered("ha"), "Deployment")["spec"])
        expected = {*common, "Deployment", "PodDisruptionBudget", "ServiceMonitor", "Issuer", "Certificate"}
        self.assertEqual(kinds["cert-manager"], expected)

    def test_references(self) -> None:
        """Each object that another one names exists, except for the Secrets of the operator."""
        for name in VALUES:
            objects = rendered(name)
            maps = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"} | {"kube-root-ca.crt"}
            pod = pod_of(objects)
            mounts = {each["name"] for each in container_of(objects)["volumeMounts"]}
            self.assertEqual(mounts, {each["name"] for each in pod["volumes"]}, name)
            self.assertLessEqual(set(_config_maps(pod["volumes"])), maps, name)
        objects = rendered("cert-manager")
        certificate = found(objects, "Certificate", f"{NAME}-ca")["spec"]
        (volume,) = [each for each in pod_of(objects)["volumes"] if each["name"] == "egressproxy-ca"]
        self.assertEqual(volume["secret"]["secretName"], certificate["secretName"])
        found(objects, "Issuer", certificate["issuerRef"]["name"])
        labels = found(rendered("daemonset"), "Service", f"{NAME}-metrics")["metadata"]["labels"]
        monitor = found(rendered("daemonset"), "ServiceMonitor")["spec"]["selector"]["matchLabels"]
        self.assertLessEqual(monitor.items(), labels.items())

    def test_security(self) -> None:
        """The containers have no privileges, as the standard C{restricted} requires."""
        for name in VALUES:
            container = container_of(rendered(name))
            context = container["securityContext"]
            self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
            self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertTrue(context["readOnlyRootFilesystem"] and context["runAsNonRoot"])
            self.assertFalse(context["allowPrivilegeEscalation"])
            self.assertIn("memory", container["resources"]["limits"])
            if name != "sidecar":
                self.assertFalse(pod_of(rendered(name))["automountServiceAccountToken"])

    def test_drain(self) -> None:
        """A pod has time for its hook and its drain, and is not killed before."""
        for name, seconds in (("default", 5 + 20), ("sidecar", 5 + 10), ("ha", 10 + 120)):
            objects = rendered(name)
            self.assertGreater(pod_of(objects)["terminationGracePeriodSeconds"], seconds)
            (_, hook) = container_of(objects)["lifecycle"]["preStop"]["exec"]["command"]
            (drain,) = re.findall(r"^drain-timeout = (\d+)$", options_of(objects), re.MULTILINE)
            self.assertEqual(int(hook) + int(drain), seconds)

    def test_policy_changes_need_no_restart(self) -> None:
        def checksum(*arguments: str) -> str:
            annotations = found(rendered("default", *arguments), "Deployment")["spec"]["template"]["metadata"]
            text: str = annotations["annotations"]["checksum/config"]
            return text

        self.assertEqual(checksum(), checksum("--set", "policy=version = 1"))
        self.assertNotEqual(checksum(), checksum("--set", "config.mode=observe"))


class NetworkPolicyTests(SynchronousTestCase):
    """Workloads have no other way out."""

    def test_workloads(self) -> None:
        for name, namespaces in (
            ("default", ["egress"]),
            ("daemonset", ["shop", "search"]),
            ("cert-manager", ["shop"]),
        ):
            objects = rendered(name)
            for namespace in namespaces:
                spec = found(objects, "NetworkPolicy", f"{NAME}-workloads", namespace)["spec"]
                self.assertEqual(spec["policyTypes"], ["Egress"])
                dns, proxy = spec["egress"]
                self.assertEqual({each["port"] for each in dns["ports"]}, {53})
                (to,) = dns["to"]
                self.assertEqual(to["podSelector"], {"matchLabels": {"k8s-app": "kube-dns"}})
                self.assertIn("namespaceSelector", to)
                self.assertEqual(proxy["ports"], [{"protocol": "TCP", "port": 8080}])
                (to,) = proxy["to"]
                labels = found(objects, "Service")["spec"]["selector"]
                self.assertEqual(to["podSelector"]["matchLabels"], labels)
                expected = {"kubernetes.io/metadata.name": "egress"}
                self.assertEqual(to["namespaceSelector"], {"matchLabels": expected})

    def test_proxy(self) -> None:
        spec = found(rendered("daemonset"), "NetworkPolicy")["spec"]
        clients, monitoring = spec["ingress"]
        self.assertEqual([each["port"] for each in clients["ports"] + monitoring["ports"]], [8080, 9090])
        namespaces = [
            each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in clients["from"]
        ]
        self.assertEqual(namespaces, ["shop", "search"])
        _, outside, api_server = spec["egress"]
        (four, six) = [each["ipBlock"] for each in outside["to"]]
        self.assertEqual((four["cidr"], six["cidr"]), ("0.0.0.0/0", "::/0"))
        self.assertIn("169.254.0.0/16", four["except"])
        self.assertIn("10.0.0.0/8", four["except"])
        self.assertEqual({each["protocol"] for each in outside["ports"]}, {"TCP"})
        self.assertEqual(api_server["to"], [{"ipBlock": {"cidr": "10.0.0.2/32"}}])

    def test_off(self) -> None:
        objects = rendered("default", "--set", "networkPolicy.enabled=false")
        self.assertNotIn("NetworkPolicy", [each["kind"] for each in objects])


class ClientTests(SynchronousTestCase):
    """The settings of workloads."""

    def test_variables(self) -> None:
        objects = rendered("cert-manager")
        variables = found(objects, "ConfigMap", f"{NAME}-client", "shop")["data"]
        port = found(objects, "Service")["spec"]["ports"][0]["port"]
        url = f"http://{NAME}.egress.svc:{port}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            self.assertEqual(variables[name], url)
        for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
            self.assertEqual(variables[name], "/etc/egressproxy-client/ca.pem")
        ca = found(objects, "ConfigMap", f"{NAME}-client-ca", "shop")["data"]
        self.assertTrue(ca["ca.pem"].startswith("-----BEGIN CERTIFICATE-----"))
        sidecar = found(rendered("sidecar"), "ConfigMap", f"{NAME}-client")["data"]
        self.assertEqual(sidecar["HTTPS_PROXY"], "http://127.0.0.1:8080")

    def test_tokens(self) -> None:
        objects = rendered("daemonset")
        (text,) = re.findall(r'^client-auth = (".*")$', options_of(objects), re.MULTILINE)
        setting = JwtIssuer.parse(json.loads(text))
        (mount,) = [each for each in container_of(objects)["volumeMounts"] if each["name"] == "egressproxy-api-server"]
        self.assertEqual({str(path.parent) for path in setting.files}, {mount["mountPath"]})
        self.assertEqual(setting.audiences, ("egressproxy",))


class RejectedTests(SynchronousTestCase):
    """Values that make no sense have a clear error."""

    def refused(self, *given: str, name: str = "default") -> str:
        options = [word for each in given for word in ("--set-json", each)]
        return str(self.assertRaises(ValueError, rendered, name, *options))

    def test_schema(self) -> None:
        for given in (
            'mode="StatefulSet"',
            "replicas=3",
            "replicaCount=0",
            'image.digest="latest"',
            "drain.timeoutSeconds=0",
            "networkPolicy.enable=true",
            'networkPolicy.proxy.cidrs=["example.com"]',
            'client.caPem="-----BEGIN CERTIFICATE-----\\n-----BEGIN PRIVATE KEY-----"',
            'config={"Listen": "tcp:1"}',
            'config={"mode": {"a": 1}}',
            "user=0",
        ):
            with self.subTest(given):
                self.assertIn("values don't meet the specifications of the schema", self.refused(given))

    def test_contradictions(self) -> None:
        for given, name, reason in (
            ('ca.existingSecret=""', "default", "the proxy needs a CA"),
            ("ca.certManager.enabled=true", "default", "not both"),
            ("clientAuth.kubernetes.enabled=true", "default", "apiServerCidrs"),
            ("clientAuth.kubernetes.enabled=true", "ha", "not both"),
            ('config={"listen": "tcp:1"}', "default", "config.listen is set by another value"),
        ):
            with self.subTest(given):
                self.assertIn(reason, self.refused(given, name=name))


class PodTestCase(IntegrationTestCase):
    """Base: the command of the container of the chart, as a process.

    @cvar settings: the arguments of Helm.
    """

    settings: tuple[str, ...] = ("--set", "drain.timeoutSeconds=3")

    def setUp(self) -> None:
        super().setUp()
        self.objects = rendered("default", *self.settings)
        self.container = container_of(self.objects)
        self.ports = {each["name"]: free_port() for each in self.container["ports"]}

    def configuration(self) -> Path:
        """Write the files of the pod, and return its configuration file."""
        done = subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-subj", "/CN=cluster", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
                *("-keyout", str(self.directory / "tls.key"), "-out", str(self.directory / "tls.crt")),
            ],
            capture_output=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        policy = found(self.objects, "ConfigMap", f"{NAME}-policy")["data"]["policy.toml"]
        self.write("policy.toml", policy)
        text = re.sub(r'"/etc/egressproxy/[a-z]+/([a-z.]+)"', rf'"{self.directory}/\1"', options_of(self.objects))
        text = text.replace("tcp:8080", f"tcp:{self.ports['proxy']}:interface=127.0.0.1")
        return self.write("egress.toml", text.replace("metrics-port = 9090", f"metrics-port = {self.ports['metrics']}"))

    def start(self) -> Process:
        """Start the process."""
        options = [str(self.configuration()) if "egress.toml" in each else each for each in self.container["args"]]
        run = "from egress.runtime.script import egressproxy as run; run()"
        process = Process([sys.executable, "-c", run, *options], self.directory, "proxy", proxy_environment())
        self.addCleanup(self.stop_cleanly, process)
        return process

    def probe(self, name: str) -> int | None:
        """Probe the process as the chart says."""
        request = self.container[name]["httpGet"]
        url = f"http://127.0.0.1:{self.ports[request['port']]}{request['path']}"
        try:
            with urllib.request.urlopen(url, timeout=6) as response:
                status: int = response.status
                return status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def succeeds(self, name: str) -> bool:
        """Tell whether a probe succeeds."""
        return self.probe(name) == 200


class ProcessTests(PodTestCase):
    """The settings of the chart, tried on a process: its options, probes, and drain."""

    def test_probes_and_drain(self) -> None:
        process = self.start()
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.wait_until(partial(self.succeeds, name), name)
        with socket.create_connection(("127.0.0.1", self.ports["proxy"])) as client:
            # A request in progress keeps the pod until the end of the drain.
            client.sendall(b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\n\r\n")
            self.assertIn(b" 200 ", client.recv(4096))
            began = time.monotonic()
            process.popen.send_signal(SIGTERM)
            self.wait_until(lambda: self.probe("readinessProbe") == 503, "not ready")
            # A pod that drains is alive.
            self.assertEqual(self.probe("livenessProbe"), 200)
            process.popen.wait(20)
        grace = pod_of(self.objects)["terminationGracePeriodSeconds"]
        hook = int(self.container["lifecycle"]["preStop"]["exec"]["command"][1])
        self.assertLess(time.monotonic() - began, grace - hook)
        self.assertGreater(time.monotonic() - began, 2.5)
