"""Container images, built by buildah from the real build files, and run in namespaces without an engine."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.integration.processes import ROOT, Process, environment, program

BASE = "localhost/base"
# What the build files use of a base image.
_PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "curl", "dash", "debianutils", "findutils", "grep", "gzip"),
    *("libc-bin", "libstdc++6", "mawk", "passwd", "python3", "python3-venv", "sed", "tar"),
)
_TRUSTED = "/etc/ssl/certs/ca-certificates.crt"


class Store:
    """The images of a test run.

    @ivar directory: the images and working containers.
    """

    def __init__(self) -> None:
        if os.geteuid():
            raise SkipTest("building images in a chroot needs root")
        self._program = program("buildah")
        self.directory = Path(tempfile.mkdtemp(prefix="egress-images-"))
        atexit.register(self.remove)

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of buildah."""
        return [
            *(self._program, "--root", str(self.directory / "root"), "--runroot", str(self.directory / "run")),
            *arguments,
        ]

    def run(self, *arguments: str | Path) -> str:
        """Run buildah, which must succeed."""
        done = subprocess.run(
            self.command(*map(str, arguments)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment(),
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def make_base(self) -> None:
        """Make a base image of the packages of the distribution."""
        tree = self.directory / "base.tar"
        options = ["--quiet", "--variant=extract", f"--include={','.join(_PACKAGES)}"]
        release = dict(
            line.split("=", 1) for line in Path("/etc/os-release").read_text("utf-8").splitlines() if "=" in line
        )
        subprocess.run(
            [program("mmdebstrap"), *options, release["VERSION_CODENAME"], tree],
            env=environment(),
            check=True,
            capture_output=True,
        )
        extra = self.directory / "extra"
        (extra / "etc/ssl/certs").mkdir(parents=True)
        shutil.copy(_TRUSTED, extra / "etc/ssl/certs")
        (extra / "etc/pip.conf").write_text(f"[global]\ncert = {_TRUSTED}\n", "utf-8")
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, tree, "/")
        self.run("copy", "--quiet", container, extra, "/")
        self.run("commit", "--quiet", "--rm", container, BASE)
        tree.unlink()

    def build(self, file: str, tag: str, *options: str) -> None:
        """Build an image from a build file of the project, whose ignore file is next to it."""
        path = ROOT / file
        ignore = path.with_name(f"{path.name}.dockerignore")
        arguments = ["bud", "--quiet", "--isolation", "chroot", "--format", "docker", "--file", str(path), "--tag", tag]
        ignored = ["--ignorefile", str(ignore)] if ignore.exists() else []
        self.run(*arguments, *ignored, *options, ROOT)

    def mount(self, image: str) -> Path:
        """Mount the files of an image."""
        return Path(self.run("mount", self.run("from", "--pull-never", image)))

    def config(self, image: str) -> dict[str, Any]:
        """Return the configuration of an image, and its history."""
        found: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", image))["Docker"]
        return {**found["config"], "history": found["history"]}

    def remove(self) -> None:
        """Remove everything."""
        subprocess.run(self.command("rm", "--all"), capture_output=True, check=False)
        subprocess.run(self.command("umount", "--all"), capture_output=True, check=False)
        shutil.rmtree(self.directory, True)


@functools.cache
def store() -> Store:
    """Return the images of this process, with the base image."""
    made = Store()
    made.make_base()
    return made


# A read-only root, the volumes, and a network that consists of the loopback interface.
_ENTER = """
set -e
root=$1 user=$2 volumes=$3
shift 3
ip link set lo up
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for volume in $volumes; do
    mount -t tmpfs -o "uid=$(stat -c %u "$root$volume"),gid=$(stat -c %g "$root$volume"),mode=0750" none "$root$volume"
done
mount -t proc none "$root/proc"
mount --rbind /dev "$root/dev"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" "$@"
"""


class Container:
    """A program of an image, which has the user, environment and volumes of the image.

    @ivar process: the process of C{unshare}.
    """

    def __init__(
        self,
        directory: Path,
        image: str,
        arguments: Sequence[str] = (),
        entrypoint: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._root = store().mount(image)
        self._config = config = store().config(image)
        self._env = {**dict(line.split("=", 1) for line in config["Env"]), **(variables or {})}
        command = [*(entrypoint or config["Entrypoint"]), *arguments]
        script = [program("sh"), "-c", _ENTER, "enter", str(self._root), config["User"], " ".join(config["Volumes"])]
        unshared = [program("unshare"), "--mount", "--net", "--pid", "--fork", "--kill-child"]
        self.process = Process(
            [*unshared, *script, *self._with_env(command)], directory, f"container-{len(os.listdir(directory))}"
        )

    def _with_env(self, command: Sequence[str]) -> list[str]:
        return ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in self._env.items()), *command]

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a further program in the container."""
        pid = self.process.popen.pid
        first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        chroot = [program("chroot"), f"--userspec={self._config['User']}", "--groups=", str(self._root)]
        return subprocess.run(
            [program("nsenter"), "--target", first, "--mount", "--net", "--pid", *chroot, *self._with_env(command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )

    def health(self) -> tuple[int, str]:
        """Run the health check of the image."""
        kind, *command = self._config["Healthcheck"]["Test"]
        assert kind == "CMD"
        done = self.execute(*command)
        return done.returncode, done.stdout + done.stderr
