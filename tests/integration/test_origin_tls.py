"""Origins with invalid certificates: 502 that names the fault, and no byte of the request is sent."""

from __future__ import annotations

from tests.integration.base import IntegrationTestCase
from tests.integration.peers import EXPIRED, GOOD, SELF_SIGNED, UNKNOWN_ROOT, WRONG_HOST

FAULTS = {
    EXPIRED: "expired",
    WRONG_HOST: "other.test",
    SELF_SIGNED: "self-signed",
    UNKNOWN_ROOT: "unknown",
}


class OriginTlsTests(IntegrationTestCase):
    """Each fault of a certificate."""

    def test_faults(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        for host, word in FAULTS.items():
            with self.subTest(host):
                problem = self.assert_problem(proxy, self.origins.https_url("/secret", host), 502, "origin-tls")
                self.assertIn(word, problem["reason"])
                self.assertIn(host, problem["reason"])
                self.assertEqual(self.origins.access_log(host), [])
        outcomes = {record["outcome"] for record in self.records(proxy, len(FAULTS))}
        self.assertEqual(outcomes, {"origin-certificate-invalid"})

    def test_no_tls_at_all(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        url = self.origins.http_url("/secret").replace("http://", "https://")
        self.assert_problem(proxy, url, 502, "origin-tls")

    def test_good(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        for host in ("localhost", GOOD):
            with self.subTest(host):
                self.assertEqual(self.fetch(proxy, self.origins.https_url("/files/hello.txt", host)), (200, "hello\n"))

    def test_extra_cas_are_needed(self) -> None:
        proxy = self.start_proxy(
            *self.allow_all(), "--ssl-extra-ca-certs", str(self.origins.directory / f"{EXPIRED}.pem")
        )
        problem = self.assert_problem(proxy, self.origins.https_url("/"), 502, "origin-tls")
        self.assertIn("--ssl-extra-ca-certs", problem["reason"])
