"""Tests for L{egress.launch.isolate.diagnosis}."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.diagnosis import Facts, explain, facts
from egress.launch.isolate.messages import Failed
from tests.files import make_directory

_CONTAINER = "--security-opt seccomp=unconfined"


def failed(step: str, number: int, path: str = "") -> Failed:
    """Return the failure of a system call."""
    return Failed(step, number, str(OSError(number, os.strerror(number), path or None)))


class ExplainTests(SynchronousTestCase):
    """The cause and the fix, in one line."""

    def assert_explained(self, failure: Failed, known: Facts, *texts: str) -> None:
        text = explain(failure, known)
        self.assertNotIn("\n", text)
        for each in texts:
            self.assertIn(each, text)

    def test_platform(self) -> None:
        self.assert_explained(Failed("platform", 0, "darwin"), Facts(), "only on Linux, and this is darwin")

    def test_machine(self) -> None:
        self.assert_explained(Failed("machine", 0, "mips"), Facts(), "system calls of mips are unknown")

    def test_limit(self) -> None:
        """user.max_user_namespaces is 0, as administrators set it against attacks."""
        for number in (errno.ENOSPC, errno.EUSERS):
            for step in ("user namespace", "namespaces"):
                fix = "sysctl -w user.max_user_namespaces="
                self.assert_explained(failed(step, number), Facts("0"), "max_user_namespaces is 0", fix)
        self.assert_explained(failed("namespaces", errno.ENOSPC), Facts(), "max_user_namespaces is its limit")

    def test_only_root(self) -> None:
        """Debian 10 and hardened kernels."""
        known = Facts(unprivileged="0")
        fix = "sudo sysctl -w kernel.unprivileged_userns_clone=1"
        self.assert_explained(failed("user namespace", errno.EPERM), known, fix)
        self.assertNotIn(fix, explain(failed("user namespace", errno.EPERM), known._replace(is_root=True)))

    def test_apparmor(self) -> None:
        """Ubuntu 23.10 and later: the namespace is made, and then has no capability."""
        for step, number in (
            ("user namespace", errno.EPERM),
            ("user namespace", errno.EACCES),
            ("namespaces", errno.EPERM),
            ("file system", errno.EACCES),
        ):
            fix = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            self.assert_explained(failed(step, number, "/proc/self/uid_map"), Facts(apparmor="1"), "AppArmor", fix)

    def test_container(self) -> None:
        """The default profile of Docker; a machine with AppArmor does not matter to it."""
        for known in (Facts(is_container=True, apparmor="1"), Facts(is_filtered=True)):
            self.assert_explained(failed("user namespace", errno.EPERM), known, "filter of system calls", _CONTAINER)

    def test_container_mounts(self) -> None:
        """Docker without a filter of system calls: its AppArmor profile, and its masks in /proc, forbid mounts."""
        for step in ("file system", "processes"):
            for known in (Facts(is_container=True, apparmor="1"), Facts()):
                self.assert_explained(failed(step, errno.EPERM, "proc"), known, "'proc'", "systempaths=unconfined")

    def test_no_namespaces(self) -> None:
        for number in (errno.EINVAL, errno.ENOSYS):
            self.assert_explained(failed("user namespace", number), Facts(), "CONFIG_USER_NS")

    def test_root_without_capabilities(self) -> None:
        failure = failed("user namespace", errno.EPERM, "/proc/self/uid_map")
        for known in (Facts(is_root=True), Facts(is_root=True, is_container=True)):
            self.assert_explained(failure, known, "SETFCAP")

    def test_chroot(self) -> None:
        self.assert_explained(failed("user namespace", errno.EPERM), Facts(), "chroot", "Operation not permitted")

    def test_no_packet_filter(self) -> None:
        self.assert_explained(failed("packet filter", errno.EPROTONOSUPPORT), Facts(), "modprobe -a nf_tables")

    def test_other(self) -> None:
        """The name of the step and the error of the kernel."""
        for step in ("network", "file system", "user namespace"):
            self.assert_explained(failed(step, errno.ENOMEM), Facts(), f"{step}: [Errno 12] Cannot allocate memory")


class FactsTests(SynchronousTestCase):
    """The settings of a machine."""

    def setUp(self) -> None:
        self.root = make_directory(self)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_none(self) -> None:
        """The settings of other distributions do not exist."""
        self.assertEqual(facts(self.root, 1000), Facts())

    def test_all(self) -> None:
        self.write("proc/sys/user/max_user_namespaces", "96365\n")
        self.write("proc/sys/kernel/unprivileged_userns_clone", "1\n")
        self.write("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")
        self.write("proc/self/status", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n")
        self.write(".dockerenv", "")
        expected = Facts("96365", "1", "1", is_filtered=True, is_container=True, is_root=True)
        self.assertEqual(facts(self.root, 0), expected)

    def test_no_filter(self) -> None:
        self.write("proc/self/status", "Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\n")
        self.write("run/.containerenv", "")
        self.assertEqual(facts(self.root, 1000), Facts(is_container=True))

    def test_own_user(self) -> None:
        self.assertEqual(facts(self.root).is_root, os.getuid() == 0)
