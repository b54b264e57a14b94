"""Tests for L{egress.doctor.symptoms}, with the messages that the programs print."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.doctor.symptoms import Cause, cause_of

MESSAGES = {
    Cause.TRUST: (
        "curl: (60) SSL certificate problem: unable to get local issuer certificate",
        "fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none CRLfile: none",
        "ERROR: The certificate of 'egressproxy.invalid' doesn't have a known issuer.",
        "URLError: <urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get issuer>",
        "UNABLE_TO_VERIFY_LEAF_SIGNATURE: unable to verify the first certificate",
        "npm error code SELF_SIGNED_CERT_IN_CHAIN",
        "sun.security.validator.ValidatorException: PKIX path building failed: unable to find valid certification path",
        "x509: certificate signed by unknown authority",
        "invalid peer certificate: UnknownIssuer",
        "Page load failed: net::ERR_CERT_AUTHORITY_INVALID",
        "curl: (77) error setting certificate file: /nowhere.pem",
        "OSError: Could not find a suitable TLS CA certificate bundle, invalid path: /nowhere.pem",
        "java.security.InvalidAlgorithmParameterException: the trustAnchors parameter must be non-empty",
    ),
    Cause.CLOCK: (
        "SSL certificate problem: certificate is not yet valid",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)",
        "PKIX path validation failed: java.security.cert.CertificateNotYetValidException: NotBefore: Sun Nov 29",
        "x509: certificate has expired or is not yet valid: current time 2020-01-01 is before 2026-01-01",
        "npm error code CERT_HAS_EXPIRED",
        "net::ERR_CERT_DATE_INVALID",
        "ERROR: cannot verify x's certificate: Issued certificate not yet valid.",
    ),
    Cause.DIRECT: (
        "curl: (6) Could not resolve host: egressproxy.invalid",
        "wget: unable to resolve host address 'egressproxy.invalid'",
        "URLError: <urlopen error [Errno -2] Name or service not known>",
        "ENOTFOUND: getaddrinfo ENOTFOUND egressproxy.invalid",
        'Exception in thread "main" java.net.UnknownHostException: egressproxy.invalid',
        "dial tcp: lookup egressproxy.invalid on 127.0.0.53:53: no such host",
        "dns error: failed to lookup address information: Name or service not known",
        "net::ERR_NAME_NOT_RESOLVED",
        "Temporary failure in name resolution",
        "dial tcp: lookup egressproxy.invalid: server misbehaving",
    ),
    Cause.REFUSED: (
        "curl: (7) Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
        "java.net.ConnectException: Connection refused",
        "ECONNREFUSED: connect ECONNREFUSED 127.0.0.1:1",
        "ProxyError('Cannot connect to proxy.', NewConnectionError('[Errno 111] Connection refused'))",
        "net::ERR_PROXY_CONNECTION_FAILED",
    ),
    Cause.CREDENTIALS: (
        "curl: (56) CONNECT tunnel failed, response 407",
        "Page load failed: net::ERR_INVALID_AUTH_CREDENTIALS",
        "OSError: Tunnel connection failed: 407 Proxy Authentication Required",
    ),
    Cause.NOT_PERMITTED: (
        "curl: (56) CONNECT tunnel failed, response 403",
        "Unable to tunnel through proxy. Proxy returns HTTP/1.1 502 Bad Gateway",
        "net::ERR_TUNNEL_CONNECTION_FAILED",
    ),
    Cause.TIMEOUT: ("curl: (28) Operation timed out after 8000 milliseconds", "context deadline exceeded"),
    Cause.OTHER: ("", "error: unexpected end of file", "Failed to connect to the bus: no such address"),
}


class CauseTests(SynchronousTestCase):
    """The cause that a message shows."""

    def test_messages(self) -> None:
        for cause, messages in MESSAGES.items():
            for message in messages:
                with self.subTest(message):
                    self.assertEqual(cause_of(f"first line\n{message}\nlast line"), cause)

    def test_every_cause_has_a_message(self) -> None:
        self.assertEqual(set(MESSAGES), set(Cause))
