"""The life of a pod of the Helm chart, with its probes and its stop, as a kubelet would treat it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGKILL, SIGTERM
from typing import Any, Final

from tests.integration.base import ALLOW_ALL
from tests.integration.processes import Process
from tests.integration.test_helm_chart import PodTestCase, pod_of

# Quicker than the periods of the chart; the thresholds are those of the chart.
FASTER: Final = 20


class Prober(threading.Thread):
    """Probes a container periodically.

    @ivar ready: whether the container gets traffic.
    @ivar lives: whether it has always lived, so that it was not restarted.
    """

    def __init__(self, container: dict[str, Any], probe: Any) -> None:
        super().__init__()
        self._container = container
        self._probe = probe
        self._ended = threading.Event()
        self.ready = False
        self.lives = True
        self._failures = dict.fromkeys(("livenessProbe", "readinessProbe"), 0)
        self.start()

    def run(self) -> None:
        while not self._ended.wait(self._container["readinessProbe"]["periodSeconds"] / FASTER):
            for name in self._failures:
                status = self._probe(name)
                self._failures[name] = 0 if status is not None and 200 <= status < 400 else self._failures[name] + 1
            failed = {
                name: number >= self._container[name]["failureThreshold"] for name, number in self._failures.items()
            }
            self.ready = self._failures["readinessProbe"] == 0 or (self.ready and not failed["readinessProbe"])
            self.lives = self.lives and not failed["livenessProbe"]

    def stop(self) -> None:
        """Probe no more."""
        self._ended.set()
        self.join()


class LifecycleTestCase(PodTestCase):
    """Base: a pod, and requests through it."""

    settings: tuple[str, ...] = ("--set", "drain.timeoutSeconds=4", "--set", "drain.preStopSeconds=1")

    def setUp(self) -> None:
        super().setUp()
        self.grace: int = pod_of(self.objects)["terminationGracePeriodSeconds"]

    def start_pod(self) -> tuple[Process, Prober]:
        """Start the container, and wait until its probes succeed in time."""
        process = self.start()
        startup = self.container["startupProbe"]
        patience = startup["periodSeconds"] * startup["failureThreshold"]
        self.wait_until(lambda: self.succeeds("startupProbe"), "the startup probe succeeds", patience)
        prober = Prober(self.container, self.probe)
        self.addCleanup(prober.stop)
        self.wait_until(lambda: prober.ready, "the pod is ready")
        return process, prober

    @contextmanager
    def request(self, path: str) -> Iterator[socket.socket]:
        """Send a request for a path of the HTTP origin."""
        url = self.origins.http_url(path)
        with socket.create_connection(("127.0.0.1", self.ports["proxy"]), timeout=30) as client:
            client.sendall(f"GET {url} HTTP/1.1\r\nHost: {url.split('/')[2]}\r\nConnection: close\r\n\r\n".encode())
            yield client

    def content(self, client: socket.socket) -> bytes:
        """Read a response until its end."""
        found = b""
        while data := client.recv(4096):
            found += data
        return found

    def configuration(self) -> Any:
        path = super().configuration()
        self.write("policy.toml", ALLOW_ALL)
        path.write_text(path.read_text() + 'allow-address = ["127.0.0.0/8", "::1/128"]\n')
        return path

    def delete(self, process: Process, prober: Prober) -> float:
        """Begin to stop the pod: the hook, while the pod serves, and then the signal.

        @return: the time by which the kubelet kills the process.
        """
        deadline = time.monotonic() + self.grace
        command = self.container["lifecycle"]["preStop"]["exec"]["command"]
        with subprocess.Popen(command) as hook:
            while hook.poll() is None:
                # Other nodes still send clients.
                with self.request("/files/hello.txt") as client:
                    self.assertIn(b" 200 OK", self.content(client))
        self.assertEqual(hook.returncode, 0)
        self.assertTrue(prober.ready)
        process.popen.send_signal(SIGTERM)
        self.wait_until(lambda: not prober.ready, "the pod is not ready", 3)
        self.assertTrue(prober.lives)
        return deadline

    def ends_in_time(self, process: Process, deadline: float) -> None:
        """Check that the process ends by itself before it is killed."""
        try:
            # The process has closed everything, and then ends by the signal.
            self.assertEqual(process.popen.wait(deadline - time.monotonic()), -SIGTERM)
        except subprocess.TimeoutExpired:
            process.popen.send_signal(SIGKILL)
            self.fail("the process did not end in time")

    def check_request_in_progress(self) -> None:
        """Stop the pod during a response."""
        process, prober = self.start_pod()
        with self.request("/hold") as client:
            head = client.recv(4096)
            self.assertIn(b" 200 OK", head)
            deadline = self.delete(process, prober)
            self.assertRaises(ConnectionRefusedError, self.request("/files/hello.txt").__enter__)
            self.assertIsNone(process.popen.poll())
            self.fetch_directly("/release")
            self.assertIn(b"first\n", head + self.content(client))
            ended = time.monotonic()
        self.ends_in_time(process, deadline)
        self.assertLess(time.monotonic() - ended, 2)
        self.assertTrue(prober.lives)

    def fetch_directly(self, path: str) -> None:
        """Send a request to the origin itself."""
        host, port = self.origins.http_url("").removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            self.content(client)


class LifecycleTests(LifecycleTestCase):
    """A pod gets traffic when it is ready, and stops without errors of its clients."""

    def test_request_in_progress(self) -> None:
        """A response that lasts is complete; new connections are refused; the process ends with the last response."""
        self.check_request_in_progress()

    def test_endless_request(self) -> None:
        """It is cut at the end of the drain, before the process would be killed; its record is complete."""
        process, prober = self.start_pod()
        with self.request("/hold") as client:
            self.assertIn(b" 200 OK", client.recv(4096))
            deadline = self.delete(process, prober)
            self.ends_in_time(process, deadline)
            self.fetch_directly("/release")
        lines = [line for line in process.output().splitlines() if line.startswith("{")]
        urls = [json.loads(line)["url"] for line in lines]
        self.assertIn(self.origins.http_url("/hold"), urls)


class WorkersTests(LifecycleTestCase):
    """The same with two worker processes."""

    settings = (*LifecycleTestCase.settings, "--set", "config.workers=2")

    def test_request_in_progress(self) -> None:
        self.assertIsNotNone(re.search(r"^workers = 2$", self.configuration().read_text(), re.MULTILINE))
        self.check_request_in_progress()
