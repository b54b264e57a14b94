"""Tests for L{egress.trust.stores}."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.trust import commands, stores
from egress.trust.anchors import Entry, anchor_name, pem_text
from egress.trust.execution import StoreFault
from egress.trust.steps import MakeDirectory, Remove, Run, Write
from tests.files import make_directory
from tests.trust.authorities import CURRENT, NEXT, PUBLIC
from tests.trust.fakes import FakePrograms

TOOLS = {"certutil": "/bin/certutil", "keytool": "/bin/keytool"}


class StoreTestCase(SynchronousTestCase):
    """Base: a home directory."""

    def setUp(self) -> None:
        self.home = make_directory(self).absolute()
        self.programs = FakePrograms(TOOLS, {"HOME": str(self.home)})

    def make(self, path: str, content: bytes = b"") -> Path:
        """Make a file, and its directories."""
        found = self.home / path
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_bytes(content)
        return found


class SystemTests(StoreTestCase):
    """The store of the operating system."""

    def setUp(self) -> None:
        super().setUp()
        self.anchors = self.home / "anchors"
        self.anchors.mkdir()
        bundle = self.make("bundle.pem", pem_text(PUBLIC) + pem_text(CURRENT))
        self.layout = attrs.evolve(commands.DEBIAN, anchors=str(self.anchors), bundle=str(bundle))
        self.store = stores.SystemStore(self.layout)

    def test_entries(self) -> None:
        """The bundle has the certificates; the files of the administrator have the names."""
        path = self.make("anchors/sub/mine.crt", pem_text(CURRENT))
        self.make("anchors/other.crt", pem_text(NEXT))
        self.assertEqual(self.store.entries(), [Entry("", PUBLIC), Entry(str(path), CURRENT)])
        Path(self.layout.bundle).unlink()
        self.assertEqual(self.store.entries(), [])

    def test_install(self) -> None:
        file = self.anchors / f"{anchor_name(NEXT)}.crt"
        expected = [Write(file, pem_text(NEXT)), Run(("update-ca-certificates",))]
        self.assertEqual(self.store.install([NEXT]), expected)

    def test_remove(self) -> None:
        """The file of the certificate is removed, if it has no other."""
        path = self.make("anchors/mine.crt", pem_text(CURRENT))
        expected = [Remove(path), Run(("update-ca-certificates", "--fresh"))]
        self.assertEqual(self.store.remove([Entry(str(path), CURRENT)]), expected)
        self.make("anchors/mine.crt", pem_text(CURRENT) + pem_text(NEXT))
        error = self.assertRaises(StoreFault, self.store.remove, [Entry(str(path), CURRENT)])
        self.assertIn("mine.crt has several certificates; remove", str(error))
        error = self.assertRaises(StoreFault, self.store.remove, [Entry("", PUBLIC)])
        self.assertIn(f"is in {self.layout.bundle}, but not in {self.anchors}; remove it", str(error))

    def test_remove_by_command(self) -> None:
        store = stores.SystemStore(attrs.evolve(commands.ARCH, anchors=str(self.anchors)))
        self.assertEqual(len(store.remove([Entry("", PUBLIC)])), 3)

    def test_unwritable(self) -> None:
        self.assertIsNone(self.store.unwritable())
        with mock.patch.object(os, "access", return_value=False):
            self.assertEqual(self.store.unwritable(), str(self.anchors))

    def test_unreadable(self) -> None:
        store = stores.SystemStore(attrs.evolve(self.layout, bundle=str(self.anchors)))
        self.assertIn("anchors: Is a directory; make it readable", str(self.assertRaises(StoreFault, store.entries)))

    def test_detection(self) -> None:
        programs = FakePrograms({"update-ca-trust": "/bin/update-ca-trust"}, {})
        self.patch(os.path, "isdir", lambda path: path == commands.FEDORA.anchors)
        self.assertEqual(stores.system_stores(programs, "linux"), [stores.SystemStore(commands.FEDORA)])
        self.assertEqual(stores.system_stores(self.programs, "linux"), [])

    def test_macos(self) -> None:
        programs = FakePrograms({}, {}, lambda command: pem_text(CURRENT) if command[0] == "security" else b"")
        (store,) = stores.system_stores(programs, "darwin")
        self.assertEqual((store.kind, store.where), ("system", commands.KEYCHAIN))
        self.assertEqual(store.entries(), [Entry("", CURRENT)])
        self.assertEqual(store.install([NEXT]), list(commands.macos_install([NEXT])))
        self.assertEqual(store.remove([Entry("", NEXT)]), list(commands.macos_remove([Entry("", NEXT)])))
        self.assertEqual(store.unwritable(), commands.KEYCHAIN)


class NssTests(StoreTestCase):
    """NSS databases."""

    def found(self, programs: FakePrograms | None = None) -> list[str]:
        """Return the directories of the databases, below the home directory."""
        return [os.path.relpath(store.where, self.home) for store in stores.nss_stores(programs or self.programs)]

    def test_detection(self) -> None:
        self.assertEqual(self.found(), [])
        for path in (
            ".pki/nssdb",
            ".local/share/pki/nssdb",
            "snap/chromium/current/.pki/nssdb",
            ".mozilla/firefox/b.default",
            ".mozilla/firefox/a.work",
            "snap/firefox/common/.mozilla/firefox/c",
        ):
            self.make(f"{path}/cert9.db")
        self.make(".mozilla/firefox/old/cert8.db")
        expected = [".pki/nssdb", "snap/chromium/current/.pki/nssdb", ".local/share/pki/nssdb"]
        firefox = [".mozilla/firefox/a.work", ".mozilla/firefox/b.default", "snap/firefox/common/.mozilla/firefox/c"]
        self.assertEqual(self.found(), [*expected, *firefox])

    def test_data_home(self) -> None:
        self.make("data/pki/nssdb/cert9.db")
        self.programs.environ = {"HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "data")}
        self.assertEqual(self.found(), ["data/pki/nssdb"])

    def test_new_database(self) -> None:
        """A browser without a database gets the one that every version reads."""
        programs = FakePrograms({**TOOLS, "chromium": "/bin/chromium"}, self.programs.environ)
        self.assertEqual(self.found(programs), [".pki/nssdb"])
        (store,) = stores.nss_stores(programs)
        self.assertEqual(store.entries(), [])
        self.assertIsNone(store.unwritable())
        steps = store.install([CURRENT])
        self.assertEqual(steps[0], MakeDirectory(self.home / ".pki" / "nssdb"))
        self.assertEqual(len(steps), 3)

    def test_entries(self) -> None:
        """A nickname that several certificates share is not the name of one of them."""
        self.make(".pki/nssdb/cert9.db")
        both = pem_text(CURRENT) + pem_text(NEXT)
        texts = {"one": pem_text(PUBLIC), "two": both, "three": both}
        listing = b"one  C,,\ntwo  C,,\nthree  C,,\nnot trusted  ,,\n"
        self.programs.outputs = lambda command: texts[command[-2]] if "-n" in command else listing
        (store,) = stores.nss_stores(self.programs)
        self.assertEqual(store.entries(), [Entry("one", PUBLIC), Entry("", CURRENT), Entry("", NEXT)])
        error = self.assertRaises(StoreFault, store.remove, store.entries())
        self.assertIn("shares its subject with another certificate", str(error))
        self.assertEqual(len(store.remove([Entry("one", PUBLIC)])), 1)
        self.assertEqual(len(store.install([CURRENT])), 1)

    def test_no_certutil(self) -> None:
        self.make(".pki/nssdb/cert9.db")
        (store,) = stores.nss_stores(FakePrograms({}, self.programs.environ))
        error = self.assertRaises(StoreFault, store.entries)
        self.assertIn("certutil is missing; install libnss3-tools", str(error))

    def test_home(self) -> None:
        self.patch(Path, "home", lambda: self.home)
        self.make(".pki/nssdb/cert9.db")
        self.programs.environ = {}
        self.assertEqual(self.found(), [".pki/nssdb"])


class JavaTests(StoreTestCase):
    """Trust stores of Java."""

    def jdk(self, name: str, path: str = "lib/security/cacerts") -> Path:
        """Make a Java installation with a keytool."""
        self.make(f"{name}/{path}")
        self.make(f"{name}/bin/keytool").chmod(0o755)
        return self.home / name

    def test_stores(self) -> None:
        """Installations can share a store; each uses its own keytool, and the one in the path otherwise."""
        one, two, three, four = self.jdk("1"), self.jdk("2", "jre/lib/security/cacerts"), self.jdk("3"), self.home / "4"
        (three / "lib/security/cacerts").unlink()
        (three / "lib/security/cacerts").symlink_to(one / "lib/security/cacerts")
        self.make("4/lib/security/cacerts")
        found = stores.java_stores(self.programs, "secret", [one, two, three, four, self.home / "5"])
        expected = [
            commands.JavaStore(one / "lib/security/cacerts", str(one / "bin/keytool"), "secret"),
            commands.JavaStore(two / "jre/lib/security/cacerts", str(two / "bin/keytool"), "secret"),
            commands.JavaStore(four / "lib/security/cacerts", "/bin/keytool", "secret"),
        ]
        self.assertEqual([store.store for store in found if isinstance(store, stores.JavaTrustStore)], expected)
        self.assertEqual(stores.java_stores(FakePrograms({}, {}), "secret", [four]), [])

    def test_detection(self) -> None:
        """JAVA_HOME, the path, the directories of packages, and the store of Debian."""
        self.patch(stores, "_JVMS", (self.home / "jvm", self.home / "absent"))
        debian = self.make("debian/cacerts")
        self.patch(stores, "_DEBIAN_JAVA", debian)
        self.jdk("jvm/a")
        self.jdk("jvm/b/Contents/Home")
        (self.home / "java").symlink_to(self.make("c/bin/java"))
        environ = {"JAVA_HOME": str(self.jdk("d"))}
        self.jdk("c")
        programs = FakePrograms({"java": str(self.home / "java"), "keytool": str(self.home / "c/bin/keytool")}, environ)
        found = [os.path.relpath(store.where, self.home) for store in stores.java_stores(programs, "x")]
        homes = ("d", "c", "jvm/a", "jvm/b/Contents/Home")
        self.assertEqual(found, [*(f"{home}/lib/security/cacerts" for home in homes), "debian/cacerts"])

    def test_store(self) -> None:
        listing = b"Alias name: a b\n" + pem_text(CURRENT)
        self.programs.outputs = lambda command: listing if "-list" in command else b""
        (store,) = stores.java_stores(self.programs, "x", [self.jdk("1")])
        self.assertEqual((store.kind, store.where), ("java", str(self.home / "1/lib/security/cacerts")))
        self.assertEqual(store.entries(), [Entry("a b", CURRENT)])
        self.assertIsNone(store.unwritable())
        self.assertEqual((len(store.install([NEXT])), len(store.remove(store.entries()))), (1, 1))


class FindTests(StoreTestCase):
    """L{find_stores}."""

    def test_kinds(self) -> None:
        self.make(".pki/nssdb/cert9.db")
        self.patch(stores, "system_stores", lambda _: ["system"])
        self.patch(stores, "java_stores", lambda _, password: [password])
        self.assertEqual(stores.find_stores(["java", "system"], self.programs, "pw"), ["system", "pw"])
        self.assertEqual([store.kind for store in stores.find_stores(["nss"], self.programs, "pw")], ["nss"])
