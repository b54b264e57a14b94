"""The environment of a proxy in every case: names and ports, certificates, and an authorizer that denies one word."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import chain, repeat

import attrs
from cryptography import x509

from egress.client_auth.htpasswd import password_line
from egress.model.decision import DecisionRequest
from egress.policy.parse.load import parse_policy
from tests.certificates import CLIENT, TestCA, TestCertificate, self_signed
from tests.scorecard.cases import FORBIDDEN_WORD, FRESH, SOCKS_CLIENT, Case
from tests.scorecard.http2_wire import encode
from tests.scorecard.judge import Arrival, requests_of
from tests.scorecard.messages import Ambiguous

HOST = "localhost"


@attrs.frozen
class Ports:
    """The ports of the two hosts: C{localhost} and C{127.0.0.2}, each with and without TLS."""

    plain: int
    secure: int
    other: int
    other_secure: int

    def fill_in(self, text: bytes) -> bytes:
        """Insert hosts and ports into the bytes of a case."""
        for name, value in (
            (b"<origin>", b"localhost:%d" % self.plain),
            (b"<secure>", b"localhost:%d" % self.secure),
            (b"<other>", b"127.0.0.2:%d" % self.other),
            (b"<other-secure>", b"127.0.0.2:%d" % self.other_secure),
            (b"<port>", b"%d" % self.plain),
            (b"<port-wrapped>", b"%d" % (self.plain + 65536)),
            (b"<secure-port>", b"%d" % self.secure),
            (b"<port-16>", self.plain.to_bytes(2, "big")),
            (b"<secure-port-16>", self.secure.to_bytes(2, "big")),
        ):
            text = text.replace(name, value)
        return text

    def of(self, case: Case) -> Case:
        """Return a case with its hosts and ports."""
        return attrs.evolve(
            case,
            sent=tuple(encode(part, self.fill_in) for part in case.http2) or tuple(map(self.fill_in, case.sent)),
            tunnel=None if case.tunnel is None else self.fill_in(case.tunnel),
            early=self.fill_in(case.early),
            socks=tuple(map(self.fill_in, case.socks)),
            answer=self.fill_in(case.answer),
        )


_BY_CONTENT = parse_policy(
    """version = 1
default = "allow"
[[rules]]
action = "deny"
reason = "production"
headers = { Content-Type = "application/json" }
json = { environment = "prod*" }
[[rules]]
action = "deny"
reason = "administration"
headers = { Content-Type = ["application/x-www-form-urlencoded", "multipart/form-data*"] }
form = { admin = true }
""",
    "content",
    "the policy on content",
)


def allows(url: str, read: Callable[[], DecisionRequest] | None) -> bool:
    """Return whether the authorizer allows a request.

    @param read: returns the request, for the cases that are about content; C{None} if the proxy decides on content.
    """
    if FORBIDDEN_WORD in url:
        return False
    return "/content/" not in url or read is None or _BY_CONTENT.decide(read()).allowed


class Script:
    """The responses of the origins of a case, in the order of the requests."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._answers = chain([case.answer], repeat(FRESH))

    def due(self, data: bytes, given: int) -> list[bytes]:
        """Return the responses that an origin sends now.

        @param data: all bytes that it received over one connection.
        @param given: the number of responses that it has sent over it.
        """
        try:
            count = sum(message.complete for message in requests_of(Arrival(0, False, data)))
        except Ambiguous:
            # Respond to every complete head, because the proxy would wait otherwise.
            count = max(1, given) if b"\r\n\r\n" in data or b"\n\n" in data else given
        return [next(self._answers) for _ in range(given, count)]

    def ends(self, answer: bytes) -> bool:
        """Whether the origin closes the connection after a response."""
        return self._case.then_closes and answer is self._case.answer


def client_line() -> str:
    """Return the line of the client in the file with the secrets of clients."""
    name, password = SOCKS_CLIENT
    return password_line(name.decode(), password) + "\n"


@functools.cache
def authority() -> TestCA:
    """The CA that proxies trust."""
    return TestCA("scorecard CA")


def _signed_by_a_leaf() -> TestCertificate:
    leaf = TestCA("no CA", authority(), ca=False)
    return leaf.issue(HOST)


def _with_names(*names: x509.GeneralName) -> TestCertificate:
    return authority().issue(extensions=((x509.SubjectAlternativeName(list(names)), False),))


@functools.cache
def certificate(name: str) -> TestCertificate:
    """Return the certificate that an origin presents in a case of this name."""
    ca = authority()
    match name:
        case "good":
            return ca.issue(HOST, "127.0.0.1", "127.0.0.2")
        case "wildcard-below":
            return ca.issue(f"*.{HOST}")
        case "wildcard-all":
            return ca.issue("*")
        case "wildcard-part":
            return ca.issue("l*")
        case "wildcard-tail":
            return ca.issue("*host")
        case "common-name":
            return ca.issue(subject=HOST)
        case "common-name-other":
            return ca.issue("other.test", subject=HOST)
        case "address-as-name":
            return _with_names(x509.DNSName("127.0.0.1"))
        case "uri":
            return _with_names(x509.UniformResourceIdentifier(f"https://{HOST}/"))
        case "mail":
            return _with_names(x509.RFC822Name(f"root@{HOST}"))
        case "other-host":
            return ca.issue("other.test")
        case "nul":
            return _with_names(x509.DNSName(f"{HOST}\x00.other.test"))
        case "prefix":
            return ca.issue(f"x{HOST}", f"x.{HOST}")
        case "upper":
            return ca.issue(HOST.upper())
        case "expired":
            return ca.issue(HOST, expired=True)
        case "not-yet":
            return ca.issue(HOST, not_yet_valid=True)
        case "self-signed":
            return self_signed(HOST)
        case "unknown":
            return TestCA("another CA").issue(HOST)
        case "client":
            return ca.issue(HOST, usage=CLIENT)
        case "not-a-ca":
            return _signed_by_a_leaf()
    raise ValueError(name)
