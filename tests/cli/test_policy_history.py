"""Tests for L{egress.cli.policy_history}."""

from __future__ import annotations

import json

import attrs

from egress.policy.loaded_policy import use_of
from egress.policy.parse.load import load_policy
from egress.store.sqlite import open_store
from tests.cli.running import CommandTestCase
from tests.store.history_cases import use


class HistoryTests(CommandTestCase):
    """The history of policies in an audit store."""

    def setUp(self) -> None:
        super().setUp()
        path = self.directory / "audit.db"
        self.store = open_store(path)
        self.addCleanup(self.store.close)
        self.first, self.second = use("a", 1_700_000_000), use("b", 1_700_000_100, "console", "alice")
        self.store.record_policies([self.first, self.second])
        self.environ = {"EGRESS_AUDIT_STORE": f"sqlite:{path}"}

    def history(self, *arguments: str) -> str:
        status, out, err = self.run_egress("policy", "history", *arguments, environ=self.environ)
        self.assertEqual((status, err), (0, ""))
        return out

    def fault(self, *arguments: str) -> str:
        status, _, err = self.run_egress("policy", "history", *arguments, environ=self.environ)
        self.assertNotEqual(status, 0)
        return err

    def test_list(self) -> None:
        self.assertEqual(
            self.history().splitlines(),
            [
                "time                      version       author  node  source",
                f"2023-11-14T22:15:00.000Z  {self.second.version}  alice   -     console",
                f"2023-11-14T22:13:20.000Z  {self.first.version}  -       -     /etc/policy.toml",
            ],
        )
        self.assertEqual(len(self.history("-n", "1").splitlines()), 2)
        (entry,) = json.loads(self.history("--json", "-n", "1"))["entries"]
        self.assertEqual((entry["time"], entry["author"]), ("2023-11-14T22:15:00.000Z", "alice"))
        self.assertNotIn("texts", entry)

    def test_text(self) -> None:
        self.assertIn('name = "a"\n', self.history(self.first.version[:6]))
        (found,) = json.loads(self.history("--json", self.first.version))["policies"]
        self.assertEqual((found["digest"], list(found["documents"])), (self.first.digest, ["/etc/policy.toml"]))

    def test_difference(self) -> None:
        text = self.history(self.first.version, self.second.version)
        self.assertIn(f"--- {self.first.version}\n+++ {self.second.version}\n", text)
        self.assertIn('-name = "a"\n', text)

    def test_several_documents(self) -> None:
        """The names of documents do not depend on the directory."""
        versions = []
        for name, rule in (("one", "x"), ("other", "y")):
            directory = self.directory / name
            (directory / "parts").mkdir(parents=True)
            (directory / "policy.toml").write_text('version = 1\ninclude = ["parts/a.toml"]')
            (directory / "parts" / "a.toml").write_text(f'version = 1\n[[rules]]\nname = "{rule}"\naction = "allow"\n')
            found = use_of(load_policy(directory / "policy.toml"), 1_700_000_200, name)
            assert found is not None
            self.store.record_policies([found])
            versions.append(found.version)
        self.assertEqual(self.history(versions[0]).count("# ==> "), 2)
        self.assertIn("# ==> parts/a.toml\n", self.history(versions[0]))
        text = self.history(*versions)
        self.assertEqual(text.count("\n--- "), 0)
        self.assertIn('-name = "x"\n+name = "y"\n', text)

    def test_faults(self) -> None:
        self.assertIn("no version begins with 'zz'", self.fault("zz"))
        self.assertIn("several versions begin with ''", self.fault(""))
        self.assertIn("write one version to show it", self.fault("a", "b", "c"))
        self.store.record_policies([attrs.evolve(use("c", 1_700_000_300), texts="")])
        self.assertIn("is not stored", self.fault(use("c", 0).version))
        self.environ = {"EGRESS_AUDIT_STORE": f"sqlite:{self.directory}/none.db"}
        self.assertIn("does not exist", self.fault())
