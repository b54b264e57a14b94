"""Tests for L{egress.policy.parse.includes}."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from egress.policy.parse import includes as documents
from egress.policy.parse.load import PolicyError, load_policy
from tests.policy.policies import PolicyTestCase, request


class DocumentTests(PolicyTestCase):
    """Files that include other files."""

    # A document, and the whole error after the name of the file.
    DOCUMENTS = {
        "": "1: 'version' is missing; write version = 1",
        "version = 2": "1: 'version' is 2, which this proxy does not support; write version = 1",
        'version = "1"': "1: 'version' must be a whole number",
        "version = true": "1: 'version' must be a whole number",
        "version = 1\nrule = []": "2: 'rule' is not known here; did you mean 'rules'?",
        "version = 1\ninclude = ['x.toml']": "2: 'include' is permitted only in a file",
        "version = 1\ninclude = [1]": "2: 'include' must be a list, and each entry a string",
    }

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        (self.directory / "more").mkdir(parents=True)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(f"version = 1\n{text}", "utf-8")
        return path

    def refused(self, path: Path) -> str:
        """Return the error, without the names of directories."""
        return str(self.assertRaises(PolicyError, load_policy, path).reason.replace(f"{self.directory}/", ""))

    def test_rejected(self) -> None:
        self.refuses_documents(self.DOCUMENTS)

    def test_order(self) -> None:
        """Included rules come first, in their order; groups and variables are included, too."""
        self.write("more/a.toml", 'include = ["b.toml"]\n[[rules]]\nname = "a"\naction = "allow"\nhosts = ["@g"]\n')
        self.write(
            "more/b.toml", '[groups.hosts]\ng = ["a.test"]\n[[rules]]\nname = "b"\naction = "allow"\nports = [1]'
        )
        self.write("c.toml", 'include = ["more/b.toml"]\n[variables]\nx = "c.test"\n')
        root = self.write(
            "root.toml",
            'include = ["more/a.toml", "c.toml"]\n[[rules]]\naction = "allow"\nhosts = ["${x}"]\n'
            '[[test]]\nrequest = "GET http://c.test/"\nexpect = "allow"\nrule = "rule-3"\n',
        )
        policy = load_policy(root)
        self.assertEqual([rule.rule_id for rule in policy.rules], ["b", "a", "rule-3"])
        self.assertEqual(policy.rules[0].where, f"{self.directory}/more/b.toml:4")
        self.assertEqual(
            [path.name for path in policy.files], ["root.toml", "c.toml", "a.toml", "b.toml"], "the given one first"
        )
        self.assertEqual(policy.decide(request("GET", "http://c.test/")).rule_id, "rule-3")
        self.assertEqual(policy.cases[0].where, f"{root}:6")

    def test_cycle(self) -> None:
        self.write("a.toml", 'include = ["more/../b.toml"]')
        self.write("b.toml", 'include = [\n"a.toml"]')
        self.assertEqual(
            self.refused(self.directory / "a.toml"),
            "more/../b.toml:3: include 'a.toml': the files include each other in a circle",
        )

    def test_missing(self) -> None:
        root = self.write("a.toml", 'include = ["nowhere.toml"]')
        self.assertEqual(
            self.refused(root), "a.toml:2: include: nowhere.toml: cannot be read: No such file or directory"
        )

    def test_no_path(self) -> None:
        root = self.write("a.toml", 'include = ["a\\u0000b"]')
        self.assertIn("a.toml:2: include:", self.refused(root))

    def test_only_in_the_root(self) -> None:
        root = self.write("a.toml", 'include = ["b.toml"]')
        for line in ("default = 'allow'", "private_addresses = 'deny'", "timezone = 'UTC'", "ttl = 5"):
            self.write("b.toml", line)
            key = line.partition(" ")[0]
            self.assertEqual(
                self.refused(root), f"b.toml:2: {key!r} is permitted only in the file that includes the others"
            )

    def test_names_are_unique_across_files(self) -> None:
        root = self.write("a.toml", 'include = ["b.toml"]\n[[rules]]\nname = "x"\naction = "allow"')
        self.write("b.toml", '[[rules]]\nname = "x"\naction = "allow"')
        self.assertEqual(
            self.refused(root), "a.toml:3: two rules have the name 'x', the other one at b.toml:2; use different names"
        )

    def test_bounds(self) -> None:
        self.write("3.toml", "")
        for number in range(3):
            self.write(f"{number}.toml", f'include = ["{number + 1}.toml"]')
        root = self.directory / "0.toml"
        self.assertEqual(len(load_policy(root).files), 4)
        for name in ("MAX_DEPTH", "MAX_FILES"):
            with mock.patch.object(documents, name, 2):
                self.assertIn("include '3.toml': more than" if name == "MAX_DEPTH" else "files", self.refused(root))

    def test_line_ends(self) -> None:
        """The text has the line ends of the file, and the places of its rules are correct."""
        path = self.directory / "dos.toml"
        content = b'version = 1\r\n\r\n# a comment\r\n[[rules]]\r\nname = "a"\r\naction = "allow"\r\n'
        path.write_bytes(content)
        policy = load_policy(path)
        self.assertEqual((policy.rules[0].where, policy.texts[0].text), (f"{path}:4", content.decode()))
