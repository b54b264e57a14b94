"""Tests for L{egress.trust.commands}: the commands for systems on which these tests do not run, too."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import hashes
from twisted.trial.unittest import SynchronousTestCase

from egress.trust import commands
from egress.trust.anchors import Entry, anchor_name, pem_text
from egress.trust.steps import MakeDirectory, Remove, Run, Write
from tests.trust.authorities import CURRENT, NEXT

NAME = anchor_name(CURRENT)
PEM = pem_text(CURRENT)


class LayoutTests(SynchronousTestCase):
    """The layout of the operating system."""

    def test_detection(self) -> None:
        """Several systems have a program of the same name, or several of the programs."""
        for directories, programs, expected in (
            (("/usr/local/share/ca-certificates",), ("update-ca-certificates",), commands.DEBIAN),
            (("/usr/local/share/ca-certificates",), ("update-ca-certificates", "trust"), commands.DEBIAN),
            (("/etc/pki/ca-trust/source/anchors",), ("update-ca-trust", "trust"), commands.FEDORA),
            (("/etc/pki/trust/anchors",), ("update-ca-certificates", "trust"), commands.SUSE),
            (("/etc/ca-certificates/trust-source",), ("update-ca-trust", "trust"), commands.ARCH),
            (("/usr/local/share/ca-certificates",), (), None),
            ((), ("update-ca-certificates",), None),
        ):
            with self.subTest(directories=directories, programs=programs):
                found = commands.layout_of(directories.__contains__, programs.__contains__)
                self.assertIs(found, expected)


class SystemTests(SynchronousTestCase):
    """The commands for each operating system."""

    def test_install(self) -> None:
        for layout, path, update in (
            (commands.DEBIAN, f"/usr/local/share/ca-certificates/{NAME}.crt", ("update-ca-certificates",)),
            (commands.FEDORA, f"/etc/pki/ca-trust/source/anchors/{NAME}.pem", ("update-ca-trust", "extract")),
            (commands.SUSE, f"/etc/pki/trust/anchors/{NAME}.pem", ("update-ca-certificates",)),
        ):
            with self.subTest(path):
                self.assertEqual(
                    list(commands.system_install(layout, [CURRENT])), [Write(Path(path), PEM), Run(update)]
                )

    def test_several_certificates(self) -> None:
        """Each has a file, and one update follows."""
        steps = list(commands.system_install(commands.DEBIAN, [CURRENT, NEXT]))
        self.assertEqual([type(step) for step in steps], [Write, Write, Run])

    def test_remove(self) -> None:
        for layout, update in (
            (commands.DEBIAN, ("update-ca-certificates", "--fresh")),
            (commands.FEDORA, ("update-ca-trust", "extract")),
            (commands.SUSE, ("update-ca-certificates",)),
        ):
            with self.subTest(layout.anchors):
                steps = list(commands.system_remove(layout, [Entry("/a/b.crt", CURRENT)]))
                self.assertEqual(steps, [Remove(Path("/a/b.crt")), Run(update)])

    def test_arch(self) -> None:
        file = Path(f"{NAME}.pem")
        for steps, option in (
            (commands.system_install(commands.ARCH, [CURRENT]), "--store"),
            (commands.system_remove(commands.ARCH, [Entry("", CURRENT)]), "--remove"),
        ):
            expected = [Write(file, PEM), Run(("trust", "anchor", option, str(file))), Remove(file)]
            self.assertEqual(list(steps), expected)

    def test_macos(self) -> None:
        keychain = "/Library/Keychains/System.keychain"
        file = Path(f"{NAME}.pem")
        add = ("security", "add-trusted-cert", "-d", "-r", "trustRoot", "-k", keychain, str(file))
        self.assertEqual(list(commands.macos_install([CURRENT])), [Write(file, PEM), Run(add), Remove(file)])
        digest = CURRENT.fingerprint(hashes.SHA1()).hex().upper()
        expected = [
            Write(file, PEM),
            Run(("security", "remove-trusted-cert", "-d", str(file))),
            Remove(file),
            Run(("security", "delete-certificate", "-Z", digest, keychain)),
        ]
        self.assertEqual(list(commands.macos_remove([Entry("", CURRENT)])), expected)
        self.assertEqual(commands.macos_list(), ("security", "find-certificate", "-a", "-p", keychain))


class NssTests(SynchronousTestCase):
    """The commands for NSS."""

    def test_commands(self) -> None:
        directory = Path("/home/a/.pki/nssdb")
        database = ("certutil", "-d", "sql:/home/a/.pki/nssdb")
        self.assertEqual(commands.nss_list(directory), (*database, "-L"))
        self.assertEqual(commands.nss_export(directory, "a b"), (*database, "-L", "-n", "a b", "-a"))
        create = [MakeDirectory(directory), Run((*database, "-N", "--empty-password"))]
        self.assertEqual(list(commands.nss_create(directory)), create)
        # Trusted for servers, and neither for email nor for code.
        install = [Run((*database, "-A", "-t", "C,,", "-n", NAME), PEM)]
        self.assertEqual(list(commands.nss_install(directory, [CURRENT])), install)
        remove = [Run((*database, "-D", "-n", "a b"))]
        self.assertEqual(list(commands.nss_remove(directory, [Entry("a b", CURRENT)])), remove)


class JavaTests(SynchronousTestCase):
    """The commands for Java."""

    def test_commands(self) -> None:
        store = commands.JavaStore(Path("/jdk/cacerts"), "/jdk/bin/keytool", "changeit")
        head = ("/jdk/bin/keytool", "-J-Duser.language=en")
        tail = ("-keystore", "/jdk/cacerts", "-storepass", "changeit")
        self.assertEqual(store.list(), (*head, "-list", "-rfc", *tail))
        install = (*head, "-importcert", "-noprompt", "-trustcacerts", "-alias", NAME, *tail)
        self.assertEqual(list(store.install([CURRENT])), [Run(install, PEM)])
        remove = [Run((*head, "-delete", "-alias", "debian:a.pem", *tail))]
        self.assertEqual(list(store.remove([Entry("debian:a.pem", CURRENT)])), remove)
