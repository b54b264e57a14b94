"""What the authorization service is asked, and what becomes of a request when there is no decision."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.integration.bad_authz import CASES, GOOD, BadAuthorizationService
from tests.integration.base import IntegrationTestCase
from tests.integration.processes import free_port

DOCUMENTED = {"url", "method", "headers", "queryParams", "body"}


class QuestionTests(IntegrationTestCase):
    """The five fields, exactly as the contract has them."""

    def ask(self, path: str, *arguments: str) -> tuple[str, dict[str, Any]]:
        """Make one request with curl.

        @return: its URL, and the question about it.
        """
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url)
        target = self.origins.https_url(path)
        status, _ = self.fetch(proxy, target, *arguments)
        self.assertEqual(status, 200)
        (question,) = map(json.loads, record.read_text("utf-8").splitlines())
        for name in DOCUMENTED & set(question):
            self.assertIsInstance(question[name], str, name)
        return target, question

    def test_get_with_query(self) -> None:
        url, question = self.ask("/echo?a=1&b=two%20words", "-H", "X-Pstmn-Outbound-Identifier: c9-get")
        self.assertEqual((question["url"], question["method"]), (url, "GET"))
        self.assertEqual(question["queryParams"], "a=1&b=two%20words")
        self.assertNotIn("body", question)
        headers = json.loads(question["headers"])
        self.assertEqual(headers["x-pstmn-outbound-identifier"], "c9-get")
        self.assertEqual(headers["host"], f"localhost:{self.origins.https}")
        self.assertEqual(question["stage"], "request")
        self.assertEqual(question["client"]["address"], "127.0.0.1")

    def test_json_post(self) -> None:
        url, question = self.ask("/echo", "-H", "Content-Type: application/json", "-d", '{"name": "värde"}')
        self.assertEqual((question["url"], question["method"]), (url, "POST"))
        self.assertNotIn("queryParams", question)
        self.assertEqual(question["body"], '{"name": "värde"}')
        self.assertEqual(json.loads(question["headers"])["content-type"], "application/json")

    def test_multipart(self) -> None:
        upload = self.write("note.txt", "the content of a file")
        _, question = self.ask("/echo", "-F", f"file=@{upload}", "-F", "field=value")
        self.assertIn("multipart/form-data; boundary=", json.loads(question["headers"])["content-type"])
        self.assertIn("the content of a file", question["body"])
        self.assertIn('name="field"', question["body"])
        self.assertNotIn("bodyEncoding", question)

    def test_binary(self) -> None:
        content = bytes(range(256))
        upload = Path(self.write("binary", ""))
        upload.write_bytes(content)
        _, question = self.ask("/echo", "--data-binary", f"@{upload}")
        self.assertEqual(base64.b64decode(question["body"]), content)
        self.assertEqual(question["bodyEncoding"], "base64")

    def test_chunked(self) -> None:
        _, question = self.ask("/echo", "-H", "Transfer-Encoding: chunked", "-d", "in chunks")
        self.assertEqual(question["body"], "in chunks")

    def test_a_body_over_the_limit_is_refused(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, "--body-limit", "1k")
        upload = str(self.write("large", "x" * 5000))
        seen = self.origins.requests_seen()
        for name, arguments in (("length", []), ("chunked", ["-H", "Transfer-Encoding: chunked"])):
            with self.subTest(name):
                problem = self.assert_problem(
                    proxy, self.origins.https_url("/sink"), 413, "request", "-d", f"@{upload}", *arguments
                )
                self.assertIn("--body-limit", problem["reason"])
        self.assertEqual(record.read_text(), "")
        self.assertEqual(self.origins.requests_seen(), seen)

    def test_a_body_over_the_limit_may_be_let_through(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, "--body-limit", "1k", "--oversize-body", "truncate")
        upload = str(self.write("large", "x" * 300_000))
        status, content = self.fetch(proxy, self.origins.https_url("/sink"), "-d", f"@{upload}")
        self.assertEqual((status, json.loads(content)["bytes"]), (200, 300_000))
        question = json.loads(record.read_text())
        self.assertEqual((len(question["body"]), question["bodyTruncated"]), (1024, True))


class FailClosedTests(IntegrationTestCase):
    """No decision: 503, and nothing reaches the origin."""

    def assert_unavailable(self, url: str, *options: str) -> str:
        """Ask through a proxy with an authorization service at C{url}.

        @return: the reason given.
        """
        proxy = self.start_proxy("--authz-url", url, "--authz-timeout", "1", *options)
        seen = self.origins.requests_seen()
        problem: dict[str, Any] = {}
        for target in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            problem = self.assert_problem(proxy, target, 503, "authz-unavailable")
        self.assertEqual(self.origins.requests_seen(), seen)
        self.assertEqual([record["verdict"] for record in proxy.records()], ["unavailable"] * 2)
        return str(problem["reason"])

    def test_refused(self) -> None:
        self.assertIn("refused", self.assert_unavailable(f"http://127.0.0.1:{free_port()}"))

    def test_https_with_an_unknown_ca(self) -> None:
        # The port of the origin with a certificate that nobody here trusts.
        reason = self.assert_unavailable(f"https://127.0.0.5:{self.origins.https}")
        self.assertIn("127.0.0.5", reason)

    def assert_case(self, name: str) -> None:
        behaviour, words = CASES[name]
        service = BadAuthorizationService(behaviour)
        self.addCleanup(service.stop)
        reason = self.assert_unavailable(service.url)
        self.assertIn("the authorization service", reason)
        self.assertIn(words, reason)

    def test_the_same_service_with_a_good_answer(self) -> None:
        """What fails in the other cases is what they do, not the service that does it."""
        service = BadAuthorizationService(GOOD)
        self.addCleanup(service.stop)
        proxy = self.start_proxy("--authz-url", service.url, "--authz-timeout", "1")
        for target in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            self.assertEqual(self.fetch(proxy, target)[0], 200)


def _add_cases() -> None:
    """One test for each case, so that a run names those that fail."""
    for name in CASES:

        def test(self: FailClosedTests, name: str = name) -> None:
            self.assert_case(name)

        setattr(FailClosedTests, f"test_{name.replace(' ', '_').replace('-', '_')}", test)


_add_cases()


class HttpsServiceTests(IntegrationTestCase):
    """An authorization service over HTTPS, with an extra CA."""

    def test_nginx_in_front_of_the_service(self) -> None:
        # The HTTPS origin itself answers: JSON without a decision, which proves that TLS was accepted.
        proxy = self.start_proxy("--authz-url", self.origins.https_url("/authz"))
        problem = self.assert_problem(proxy, self.origins.http_url("/echo"), 503, "authz-unavailable")
        self.assertIn("does not say whether it is allowed", problem["reason"])
