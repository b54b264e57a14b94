"""The container image, built from its real build file; the compose file; and an image built behind the proxy."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.integration.base import ALLOW_ALL, IntegrationTestCase, proxy_environment, run_egress
from tests.integration.images import BASE, Container, store
from tests.integration.processes import ROOT, environment, program

FILES = ROOT / "deploy" / "container"
IMAGE = "localhost/egressproxy"
EXAMPLE = "localhost/example"
BUILD = "egress run --policy policy.toml -- sh build.sh --tag example ."
# "docker build" by buildah.
DOCKER = """#!/bin/sh
set -e
[ "$1" = build ] && shift
[ "$1 $2" = "--network host" ] && shift 2
exec {buildah} bud --quiet --isolation chroot --format docker --build-arg BASE={base} --build-arg URL={url} \\
    "$@"
"""


class ImageTests(IntegrationTestCase):
    """The image of the project, and an image built behind the proxy, from one base image."""

    def test_image(self) -> None:
        store().build("deploy/container/Containerfile", IMAGE, "--build-arg", f"PYTHON_IMAGE={BASE}")
        for step in (self.contents, self.serve, self.check_compose, self.build):
            step()

    def contents(self) -> None:
        """It has a bill of materials, and no tools of the build."""
        root = store().mount(IMAGE)
        materials = json.loads((root / "usr/share/doc/egressproxy/egressproxy.cdx.json").read_text("utf-8"))
        names = {component["name"].lower() for component in materials["components"]}
        self.assertLessEqual({"egressproxy", "twisted", "cryptography", "httptools"}, names)
        self.assertFalse(list((root / "opt/egressproxy/bin").glob("pip*")))
        self.assertFalse((root / "src").exists())
        self.assertEqual(store().config(IMAGE)["User"], "65532:65532")

    def serve(self) -> None:
        """It serves with a read-only root, without privileges, and drains at SIGTERM."""
        container = Container(self.directory, IMAGE, ["--audit-log", "-"])
        self.addCleanup(container.process.stop)
        self.wait_until(lambda: "listens on" in container.process.output(), "the start message")
        self.wait_until(lambda: container.health() == (0, ""), "the health check")
        self.assertNotEqual(container.execute("touch", "/twistd.pid").returncode, 0)
        self.assertEqual(container.execute("id", "-u").stdout, "65532\n")
        url = "http://blocked.example.com/"
        done = container.execute(
            "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x", "http://127.0.0.1:8080", url
        )
        self.assertEqual(done.stdout, "403", done.stderr)
        self.wait_until(lambda: "blocked.example.com" in container.process.output(), "the audit record")
        container.execute("python3", "-c", "import os; os.kill(1, 15)")
        # The first process of a container is not ended by its own signal.
        self.assertEqual(container.process.popen.wait(20), 0)
        self.assertNotIn("Traceback", container.process.output())

    def check_compose(self) -> None:
        """The proxy and the service accept the options of the compose file."""
        services = yaml.safe_load((FILES / "compose.yaml").read_text("utf-8"))["services"]
        for name in ("proxy", "authz"):
            service = services[name]
            entrypoint = service.get("entrypoint", ["egressproxy"])
            variables = self.with_files(service["environment"])
            env = {**proxy_environment(), **variables, "EGRESS_CA_DIR": str(self.directory / "compose-ca")}
            run = f"from egress.runtime.script import {entrypoint[0]} as run; run()"
            command = [sys.executable, "-c", run, *service.get("command", []), "--check"]
            done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
            # The host of the authorization service exists only in the network of the compose file.
            lines = [line for line in done.stdout.splitlines() if "authorization service" not in line]
            self.assertEqual(([line for line in lines if not line.startswith("ok ")], done.stderr), ([], ""), name)

    def with_files(self, variables: dict[str, str]) -> dict[str, str]:
        """Replace the files of the compose file by files of the test."""
        token = self.write("token", "0123456789abcdef0123456789abcdef\n")
        token.chmod(0o600)
        files = {
            "/run/secrets/authz_token": str(token),
            "/etc/egressproxy/policy.toml": str(FILES / "policy.toml"),
        }
        return {name: files.get(value, value) for name, value in variables.items()}

    def build(self) -> None:
        """A build behind C{egress run}, by the command of the page."""
        example = FILES / "example-build"
        directory = self.directory / "example"
        directory.mkdir()
        buildah = shlex.join(store().command())
        url = self.origins.https_url("/files/hello.txt")
        bin_directory = directory / "bin"
        bin_directory.mkdir()
        docker = bin_directory / "docker"
        docker.write_text(DOCKER.format(buildah=buildah, base=BASE, url=url), "utf-8")
        docker.chmod(0o755)
        (directory / "policy.toml").write_text(ALLOW_ALL, "utf-8")
        for name in ("Containerfile", "build.sh"):
            (directory / name).write_text((example / name).read_text("utf-8"), "utf-8")
        page = (ROOT / "docs" / "how-to" / "deploy.md").read_text("utf-8")
        self.assertIn((example / "build.sh").read_text("utf-8").partition("set -eu\n")[2], page)
        self.assertIn(BUILD, page)
        done = run_egress(
            *shlex.split(BUILD)[1:],
            directory=directory,
            PATH=os.pathsep.join([str(bin_directory), environment()["PATH"]]),
            EGRESS_CA_DIR=str(directory / "ca"),
            EGRESS_SSL_EXTRA_CA_CERTS=str(self.origins.ca),
            EGRESS_ALLOW_ADDRESS="127.0.0.0/8",
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("1 allowed", done.stderr)
        self.nothing_remains()

    def nothing_remains(self) -> None:
        """Neither the CA nor the proxy is in the image."""
        root = store().mount(EXAMPLE)
        self.assertEqual((root / "downloaded").read_text("utf-8"), "hello\n")
        certificate = (self.directory / "example" / "ca" / "ca.pem").read_bytes().splitlines()[5]
        found = subprocess.run(
            [
                program("grep"),
                "--recursive",
                "--files-with-matches",
                "--text",
                "--fixed-strings",
                certificate,
                str(root),
            ],
            capture_output=True,
            check=False,
        )
        self.assertEqual(found.stdout, b"")
        config = json.dumps(store().config(EXAMPLE))
        self.assertNotIn("127.0.0.1:", config.replace(self.origins.https_url("/files/hello.txt"), ""))
        self.assertFalse(list(Path(root, "run/secrets").glob("*")))


class ComposeTests(IntegrationTestCase):
    """The compose file."""

    def setUp(self) -> None:
        super().setUp()
        self.compose: dict[str, Any] = yaml.safe_load((FILES / "compose.yaml").read_text("utf-8"))

    def test_networks(self) -> None:
        """The proxy is the only way out for the client, and nothing but the proxy reaches the authorization service."""
        internal = {name for name, network in self.compose["networks"].items() if network.get("internal")}
        ways_out = set(self.compose["networks"]) - internal
        services = self.compose["services"]
        self.assertEqual(
            [name for name, service in services.items() if ways_out & set(service.get("networks", []))], ["proxy"]
        )
        self.assertEqual(services["trust"]["network_mode"], "none")
        shared = set(services["client"]["networks"]) & set(services["authz"]["networks"])
        self.assertEqual(shared, set())

    def test_volumes(self) -> None:
        """The client cannot read the key of the CA."""
        services = self.compose["services"]
        self.assertEqual(services["client"]["volumes"], ["trust:/trust:ro"])
        image = (FILES / "Containerfile").read_text("utf-8")
        for name, service in services.items():
            for volume in service["volumes"]:
                source, target, *_ = volume.split(":")
                if source in self.compose["volumes"] and name != "client":
                    # A new volume gets the owner of the directory in the image.
                    self.assertRegex(image, rf"install -d -o 65532 -g 65532 -m \d+ {target}\b", name)

    def test_restrictions(self) -> None:
        for name in ("proxy", "authz", "trust"):
            service = self.compose["services"][name]
            self.assertEqual((service["read_only"], service["cap_drop"]), (True, ["ALL"]), name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)
