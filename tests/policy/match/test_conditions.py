"""Tests for L{egress.policy.match.conditions}."""

from __future__ import annotations

import gzip
from ipaddress import ip_address
from typing import Any

from egress.model.decision import Verdict
from tests.policy.match.test_multipart import form, part
from tests.policy.policies import PolicyTestCase, parse, request

ALLOW, DENY, NEED = Verdict.ALLOW, Verdict.DENY, Verdict.NEED_BODY
ADDRESSES = Verdict.NEED_ADDRESSES
NOON = 1772449200.0  # Monday, 2 March 2026, 12:00 in Berlin


class ConditionTests(PolicyTestCase):
    """Each condition in a permission and in a denial, for requests that match, may match, and do not match."""

    def verdicts(self, condition: str, url: str = "POST http://a.test/", now: float | None = NOON, **given: Any) -> str:
        """Return the results of a permission and of a denial with the condition."""
        found = []
        head = 'version = 1\ntimezone = "Europe/Berlin"\n'
        for action, default in (("allow", "deny"), ("deny", "allow")):
            policy = parse(f"{head}default = '{default}'\n[[rules]]\naction = '{action}'\nreason = 'x'\n{condition}")
            authz_request = request(*url.split(" "), **given)
            decision = policy.decide(authz_request, now)
            self.assertEqual(policy.trace(authz_request, now)[-1].verdict, decision.verdict)
            needs = {NEED: "need", ADDRESSES: "addresses"}
            found.append(needs.get(decision.verdict) or decision.rule_id)
        return " ".join("yes" if one == "rule-1" else "no" if one == "default" else str(one) for one in found)

    YES, NO, MAYBE, NEEDED = "yes yes", "no no", "no yes", "need need"
    JSON = ("Content-Type", "application/json")
    FORM = ("Content-Type", "application/x-www-form-urlencoded")

    def test_query(self) -> None:
        condition = 'query = { a = "x*", b = true, c = false, d = ["1", "2"] }'
        for query, expected in (
            ("?a=xy&b&d=1", self.YES),
            ("?a=xy&b=&d=2", self.YES),
            ("?a=xy&b&d=1&c", self.NO),
            ("?a=xy&b&d=1&C", self.MAYBE),
            ("?a=yx&b&d=1", self.NO),
            ("?a=xy&d=1", self.NO),
            ("?a=xy&b&d=3", self.NO),
            ("?a=xy&a=z&b&d=1", self.MAYBE),
            ("?a=xy;b&d=1", self.MAYBE),
            ("?a=XY&b&d=1", self.MAYBE),
        ):
            with self.subTest(query):
                self.assertEqual(self.verdicts(condition, f"GET http://a.test/{query}"), expected)

    def test_headers(self) -> None:
        condition = 'headers = { X-Role = ["user", "guest"], X-Id = true, X-Debug = false }'
        for headers, expected in (
            ([("x-role", "user"), ("x-id", "")], self.YES),
            ([("x-role", "user"), ("x-id", ""), ("X-Debug", "1")], self.NO),
            ([("x-role", "user"), ("x-id", ""), ("X_Debug", "1")], self.MAYBE),
            ([("x-role", "user"), ("x-role", "admin"), ("x-id", "")], self.MAYBE),
            ([("x-role", "USER"), ("x-id", "")], self.MAYBE),
            ([("x-role", "user")], self.NO),
            ([], self.NO),
        ):
            with self.subTest(headers):
                self.assertEqual(self.verdicts(condition, headers=headers), expected)

    def test_json(self) -> None:
        condition = 'json = { "user.role" = "admin", "items[].n" = [1, 2] }'
        for body, expected in (
            (b'{"user":{"role":"admin"},"items":[{"n":1},{"n":2}]}', self.YES),
            (b'{"user":{"role":"user"},"items":[{"n":1}]}', self.NO),
            (b'{"user":{"role":"admin"},"items":[{"n":1},{"n":3}]}', self.MAYBE),
            (b'{"user":{"role":"user","role":"admin"},"items":[{"n":1}]}', self.MAYBE),
            # Keys that differ in case, which servers in Go ignore.
            (b'{"User":{"ROLE":"Admin"},"items":[{"N":1}]}', self.MAYBE),
            (b'{"User":{"ROLE":"user"},"items":[{"N":1}]}', self.NO),
            (b"no json", self.MAYBE),
            (None, self.NO),
        ):
            with self.subTest(body):
                self.assertEqual(self.verdicts(condition, body=body, headers=[self.JSON]), expected)
        withheld: dict[str, Any] = {"body_withheld": True, "content_length": None}
        self.assertEqual(self.verdicts(condition, headers=[self.JSON], **withheld), self.NEEDED)
        # Content is not requested if the head determines the result.
        for headers in ([], [self.JSON, self.JSON], [self.JSON, ("content-encoding", "xz")]):
            self.assertEqual(self.verdicts(condition, headers=headers, **withheld), self.MAYBE)

    def test_compressed_json(self) -> None:
        """Compressed content is decoded; a denied value cannot hide in it."""
        condition = 'json = { role = "admin" }'
        headers = [self.JSON, ("Content-Encoding", "gzip")]
        for body, expected in (
            (gzip.compress(b'{"role":"admin"}'), self.YES),
            (gzip.compress(b'{"role":"user"}'), self.NO),
            (gzip.compress(b'{"role":"user"}')[:-1], self.MAYBE),
            (b'{"role":"user"}', self.MAYBE),
        ):
            self.assertEqual(self.verdicts(condition, body=body, headers=headers), expected, body)

    def test_form(self) -> None:
        condition = 'form = { amount = "re:[0-9]{1,3}", currency = ["eur", "usd"], debug = false }'
        for body, expected in (
            (b"amount=100&currency=eur", self.YES),
            (b"amount=100&currency=gbp", self.NO),
            (b"amount=1000&currency=eur", self.NO),
            (b"amount=100&amount=1000&currency=eur", self.MAYBE),
            (b"amount=100&currency=eur&debug=1", self.NO),
            (b"amount=100&currency=eur&DEBUG=1", self.MAYBE),
            (b"amount=100&currency=EUR", self.MAYBE),
            (b"currency=eur", self.NO),
            (b"amount=\xff&currency=eur", self.MAYBE),
            (None, self.NO),
        ):
            with self.subTest(body):
                self.assertEqual(self.verdicts(condition, body=body, headers=[self.FORM]), expected)
        withheld: dict[str, Any] = {"body_withheld": True, "content_length": None}
        self.assertEqual(self.verdicts(condition, headers=[self.FORM], **withheld), self.NEEDED)
        for headers in ([], [self.JSON], [self.FORM, ("content-encoding", "xz")]):
            self.assertEqual(self.verdicts(condition, headers=headers, **withheld), self.MAYBE)
        self.assertEqual(self.verdicts("form = { debug = false }", headers=[self.FORM]), self.YES)

    def test_files(self) -> None:
        head = 'Content-Disposition: form-data; name="doc"'
        headers = [("Content-Type", "multipart/form-data; boundary=B")]
        both = 'files = { doc = "*.pdf" }\nfile_types = { doc = "application/pdf" }'
        for condition, parts, expected in (
            (both, (part(f'{head}; filename="a.pdf"', "Content-Type: application/pdf"),), self.YES),
            (both, (part(f'{head}; filename="a.PDF"', "Content-Type: application/pdf"),), self.MAYBE),
            (both, (part(f'{head}; filename="a.pdf"', "Content-Type: text/html"),), self.NO),
            (both, (part(f'{head}; filename="a.pdf"'),), self.NO),
            (both, (part(f'{head}; filename="a.exe"', "Content-Type: application/pdf"),), self.NO),
            (both, (part(head),), self.NO),
            ("files = { doc = true, other = false }", (part(f'{head}; filename="a"'),), self.YES),
            ("files = { doc = false }", (part(f'{head}; filename="a"'),), self.NO),
            ("files = { doc = false }", (part(head),), self.YES),
            ("files = { doc = false }", (part(f'{head}; filename=""'),), self.MAYBE),
        ):
            with self.subTest(condition, parts=parts):
                self.assertEqual(self.verdicts(condition, body=form(*parts), headers=headers), expected)

    def test_media_types(self) -> None:
        """Every server parses the content as JSON, or the condition is uncertain."""
        condition = 'json = { role = "admin" }'
        for kinds, expected in (
            (["application/json"], self.YES),
            (["application/json; charset=utf-8"], self.YES),
            (["application/json; charset=utf-7"], self.MAYBE),
            (["application/x-www-form-urlencoded"], self.MAYBE),
            (["application/json", "application/x-www-form-urlencoded"], self.MAYBE),
            ([], self.MAYBE),
        ):
            for body in (b'{"role":"admin"}', '{"role":"user"}'.encode("utf-16")):
                with self.subTest(kinds, body=body):
                    headers = [("Content-Type", kind) for kind in kinds]
                    plain = expected if body.startswith(b"{") else self.MAYBE
                    self.assertEqual(self.verdicts(condition, body=body, headers=headers), plain)

    def test_sizes(self) -> None:
        both = 'max_body = 10\nmin_body = "3B"'
        given: dict[str, Any]
        for given, expected in (
            ({"content_length": 3}, self.YES),
            ({"content_length": 10, "body_withheld": True}, self.YES),
            ({"content_length": 2}, self.NO),
            ({"content_length": 11}, self.NO),
            ({"body": b"xxxx", "content_length": None}, self.YES),
            ({"body": b"x" * 11, "content_length": None}, self.NO),
            ({"content_length": None}, self.MAYBE),
            ({"content_length": None, "body_withheld": True}, self.NEEDED),
            ({"body": b"xxxx", "body_truncated": True, "content_length": None}, self.MAYBE),
            ({"body": b"x" * 11, "body_truncated": True, "content_length": None}, self.NO),
            ({"body": b"xxxx", "body_truncated": True, "content_length": 9}, self.YES),
        ):
            with self.subTest(given):
                self.assertEqual(self.verdicts(both, **given), expected)
        for size, expected in ((3, self.YES), (5, self.MAYBE)):
            given = {"body": b"xxxx", "body_truncated": True, "content_length": None}
            self.assertEqual(self.verdicts(f"min_body = {size}", **given), expected)

    def test_clients(self) -> None:
        condition = 'clients = ["ci-*", "10.0.0.0/8"]'
        given: dict[str, Any]
        for given, expected in (
            ({"identity": "ci-1"}, self.YES),
            ({"identity": "CI-1"}, self.MAYBE),
            ({"identity": "me"}, self.NO),
            ({"address": "10.1.1.1"}, self.YES),
            ({"address": "::ffff:10.1.1.1"}, self.YES),
            ({"address": "::ffff:a01:101"}, self.YES),
            ({"address": "64:ff9b::a01:101"}, self.YES),
            ({"address": "::ffff:11.1.1.1"}, self.NO),
            ({"address": "11.1.1.1"}, self.NO),
            ({"address": "a socket"}, self.MAYBE),
        ):
            with self.subTest(given):
                self.assertEqual(self.verdicts(condition, **given), expected)  # type: ignore[arg-type]
        self.assertEqual(self.verdicts('clients = ["ci-*"]', address="a socket"), self.NO)

    def test_times(self) -> None:
        self.assertEqual(self.verdicts('times = ["mon 11:00-13:00"]'), self.YES)
        self.assertEqual(self.verdicts('times = ["tue", "mon 13:00-14:00"]'), self.NO)
        self.assertEqual(self.verdicts('times = ["mon"]', now=None), self.MAYBE)

    def test_addresses(self) -> None:
        condition = 'addresses = ["private", "2001:db8::/32", "loopback"]'
        for texts, expected in (
            (["10.0.0.1"], self.YES),
            (["10.0.0.1", "2001:db8::1", "127.0.0.1"], self.YES),
            (["8.8.8.8"], self.NO),
            (["10.0.0.1", "8.8.8.8"], self.MAYBE),
            (["64:ff9b::a00:1"], self.YES),
            ([], self.MAYBE),
        ):
            with self.subTest(texts):
                self.assertEqual(self.verdicts(condition, addresses=tuple(map(ip_address, texts))), expected)
        self.assertEqual(self.verdicts(condition), self.MAYBE)
        self.assertEqual(self.verdicts(condition, "GET http://10.0.0.1/"), self.YES)
        self.assertEqual(self.verdicts('addresses = ["public"]', "GET http://8.8.8.8/"), self.YES)
        self.assertEqual(self.verdicts('addresses = ["metadata"]', "GET http://169.254.169.254/"), self.YES)

    def test_withheld_addresses(self) -> None:
        """Addresses are requested if the result depends on them; an address literal needs no lookup."""
        condition = 'addresses = ["public"]'
        self.assertEqual(self.verdicts(condition, addresses_withheld=True), "addresses addresses")
        self.assertEqual(self.verdicts(condition, "GET http://8.8.8.8/", addresses_withheld=True), self.YES)
        known = (ip_address("10.0.0.1"),)
        self.assertEqual(self.verdicts(condition, addresses=known), self.NO)
        # If another condition does not match, the addresses are not needed.
        self.assertEqual(self.verdicts(f'{condition}\nquery = {{ a = "1" }}', addresses_withheld=True), self.NO)
        # If both are needed, the content is requested first: it costs no DNS query.
        for both in (f'{condition}\njson = {{ a = "1" }}', f'json = {{ a = "1" }}\n{condition}'):
            self.assertEqual(
                self.verdicts(
                    both,
                    headers=[("Content-Type", "application/json")],
                    addresses_withheld=True,
                    body_withheld=True,
                    content_length=None,
                ),
                self.NEEDED,
            )

    def test_tunnels(self) -> None:
        """Conditions on the content of a tunnel exclude permissions, but not denials."""
        for condition in (
            "query = { a = true }",
            "headers = { a = true }",
            "json = { a = 1 }",
            "max_body = 1",
            "min_body = 1",
            'paths = ["/x"]',
            'methods = ["GET"]',
            'schemes = ["https"]',
        ):
            with self.subTest(condition):
                self.assertEqual(self.verdicts(condition, "CONNECT https://a.test", body_withheld=True), self.MAYBE)
        tunnel = "CONNECT https://a.test"
        for condition, given in (
            ('clients = ["ci"]', {"identity": "ci"}),
            ('times = ["mon"]', {}),
            ('addresses = ["public"]', {"addresses": (ip_address("8.8.8.8"),)}),
        ):
            connect = f'{condition}\nmethods = ["CONNECT"]'
            self.assertEqual(self.verdicts(condition, tunnel, **given), self.YES)
            self.assertEqual(self.verdicts(connect, tunnel, **given), self.YES)
        self.assertEqual(self.verdicts('clients = ["ci"]', tunnel), self.NO)
        self.assertEqual(self.verdicts('clients = ["ci"]\npaths = ["/x"]', tunnel), self.NO)

    def test_depends_on(self) -> None:
        """The request attributes on which each condition depends."""
        encoding, kind = ("header:content-encoding", "header:content_encoding"), ("content-type", "content_type")
        content = {"body", *encoding, *(f"header:{name}" for name in kind)}
        for condition, expected in {
            "query = { a = true }": {"path", "query"},
            "headers = { A = true, X-Y = true }": {"header:a", "header:x-y", "header:x_y"},
            "headers = { A-B-C-D = true }": {"headers"},
            "json = { a = 1 }": content,
            "form = { a = true }": content,
            "files = { a = true }": content,
            "max_body = 1": {"body"},
            'clients = ["a"]': {"identity"},
            'clients = ["10.0.0.1"]': {"client"},
            'times = ["mon"]': set(),
            'addresses = ["public"]': {"addresses"},
            'paths = ["/x"]\nmethods = ["GET"]\nports = [80]': {"path", "method"},
            'hosts = ["10.0.0.0/8"]\nreason = "{client}"': set(),
        }.items():
            with self.subTest(condition):
                rule = parse(f"version = 1\n[[rules]]\naction = 'allow'\n{condition}").rules[0]
                self.assertEqual(rule.depends_on, expected)
