"""Tests for L{egress.policy.templates.compose}."""

from __future__ import annotations

from itertools import combinations

from egress.model.decision import Verdict
from egress.policy.check.case_runner import run_case
from egress.policy.parse.load import load_policy, parse_policy
from egress.policy.rules import RuleSet
from egress.policy.templates.catalog import Template, load_template, template_names
from egress.policy.templates.compose import UnknownVariable, compose, with_includes
from tests.files import make_directory
from tests.policy.policies import PolicyTestCase, request
from tests.policy.templates.client_requests import BY_TEMPLATE


def composed(*names: str, part: bool = False, **settings: str) -> str:
    """Compose templates."""
    return compose(with_includes(names), settings, part=part, title="A title.")


def parsed(text: str) -> RuleSet:
    """Parse a policy."""
    return parse_policy(text, "p.toml", "policy p.toml")


class ComposeTests(PolicyTestCase):
    """Several templates become one policy."""

    def passes(self, policy: RuleSet) -> None:
        """Assert that the tests of a policy pass."""
        self.assertEqual([case.name for case in policy.cases if not run_case(policy, case).passed], [])

    def test_one(self) -> None:
        for name in template_names():
            with self.subTest(name):
                policy = parsed(composed(name))
                self.passes(policy)
                self.assertTrue(policy.blocks_private)
                for text in BY_TEMPLATE[name].allowed:
                    self.assertIs(policy.decide(request(*text.split(" "))).verdict, Verdict.ALLOW)

    def test_pairs(self) -> None:
        """A near miss of one template may be a request that another one allows: no test is about such a request."""
        templates = {name: with_includes([name]) for name in template_names()}
        for one, other in combinations(templates, 2):
            with self.subTest(f"{one} {other}"):
                both = {template.name: template for template in (*templates[one], *templates[other])}
                self.passes(parsed(compose(both.values(), {}, part=False, title="x")))

    def test_all(self) -> None:
        policy = parsed(composed(*template_names()))
        self.passes(policy)
        for name in template_names():
            for text in BY_TEMPLATE[name].allowed:
                with self.subTest(text):
                    self.assertIs(policy.decide(request(*text.split(" "))).verdict, Verdict.ALLOW)

    def test_denials_come_first(self) -> None:
        order = [template.name for template in with_includes(["npm", "metadata", "pypi", "npm"])]
        self.assertEqual(order, ["metadata", "sigstore-verify", "npm", "pypi"])
        text = composed("npm", "metadata")
        self.assertLess(text.index("# metadata"), text.index("# npm"))

    def test_includes(self) -> None:
        """A template that is included twice occurs once."""
        order = [template.name for template in with_includes(["docker-build", "container-registries", "debian"])]
        expected = ["docker-hub", "debian", "ubuntu", "alpine", "docker-build", "container-registries"]
        self.assertEqual(order, expected)

    def test_comments(self) -> None:
        """The comments of the templates are in the policy."""
        text = composed("npm", "pypi")
        self.assertTrue(text.startswith("# A title.\n#\n# Review"))
        for name in ("npm", "pypi"):
            for line in load_template(name).comment:
                self.assertIn(f"# {line}".rstrip() + "\n", text)

    def test_part(self) -> None:
        """Another policy can include the file."""
        directory = make_directory(self)
        (directory / "npm.toml").write_text(composed("npm", "github", part=True), "utf-8")
        main = directory / "policy.toml"
        main.write_text('version = 1\nprivate_addresses = "deny"\ninclude = ["npm.toml"]\n', "utf-8")
        self.passes(parse_policy(composed("npm", part=True), "p", "p"))
        self.assertEqual(len(load_policy(main).rules), 4 + 7)

    def test_settings(self) -> None:
        policy = parsed(composed("github", "postman", github_owner="twisted", monitored_api="api.example.com"))
        self.passes(policy)
        for owner, expected in (("twisted", Verdict.ALLOW), ("other", Verdict.DENY)):
            url = f"https://github.com/{owner}/a.git/info/refs?service=git-upload-pack"
            self.assertIs(policy.decide(request("GET", url)).verdict, expected)
        self.decides(
            policy, {"GET https://api.example.com/a": "postman-monitor", "GET https://postman-echo.com/a": "default"}
        )

    def test_escapes(self) -> None:
        text = compose([Template("a", ("One.",), (), {"a": 'q"\\\x7f\né'}, False, "")], {}, part=True, title="x")
        self.assertIn('a = "q\\"\\\\\\u007f\\né"\n', text)

    def test_unknown_setting(self) -> None:
        error = self.assertRaises(UnknownVariable, composed, "github", "github-api", owner="x")
        known = "the variables are github_api_owner, github_owner"
        self.assertEqual(str(error), f"no template has a variable 'owner'; {known}")
        error = self.assertRaises(UnknownVariable, composed, "npm", owner="x")
        self.assertEqual(str(error), "no template has a variable 'owner'; there are no variables")
