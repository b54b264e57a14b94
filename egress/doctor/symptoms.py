"""The symptoms of a failed request, in the words of each runtime."""

from __future__ import annotations

import enum
import re
from typing import Final


class Cause(enum.Enum):
    """The cause of a failed request, as a clause about the runtime.

    @cvar CLOCK: the validity of the certificate is not in the present.
    @cvar TRUST: the CA of the proxy is not trusted.
    @cvar CREDENTIALS: the proxy requires client authentication.
    @cvar NOT_PERMITTED: the proxy rejected the CONNECT.
    @cvar DIRECT: the request did not use the proxy, so the name was resolved.
    @cvar REFUSED: a different proxy is configured, and it is not running.
    @cvar TIMEOUT: there was no response in time.
    @cvar OTHER: none of these.
    """

    CLOCK = "finds the certificate of the proxy expired, or not valid yet"
    TRUST = "does not trust the CA of the proxy"
    CREDENTIALS = "has no credentials that the proxy accepts"
    NOT_PERMITTED = "cannot open a tunnel"
    DIRECT = "does not use the proxy"
    REFUSED = "uses a proxy that does not accept connections"
    TIMEOUT = "received no response in time"
    OTHER = "failed"


# In this order: a message about the validity also says that the certificate was not verified.
_SYMPTOMS: Final[tuple[tuple[Cause, re.Pattern[str]], ...]] = (
    (
        Cause.CLOCK,
        re.compile(
            r"not yet valid|certificate (has )?expired|NotValidYet|CERT_HAS_EXPIRED|CERT_NOT_YET_VALID|"
            r"CertificateNotYetValid|CertificateExpired|NotBefore|NotAfter|ERR_CERT_DATE_INVALID|"
            r"certificate is not yet activated|has expired or is not yet valid|"
            r"issued certificate (has expired|not yet)",
            re.IGNORECASE,
        ),
    ),
    (
        Cause.TRUST,
        re.compile(
            r"certificate verify failed|unable to get (local )?issuer|self[- ]signed certificate|"
            r"unable to verify the first certificate|UNABLE_TO_(GET_ISSUER_CERT|VERIFY)|SELF_SIGNED_CERT|"
            r"PKIX path (building|validation) failed|trustAnchors parameter must be non-empty|"
            r"signed by unknown authority|UnknownIssuer|ERR_CERT_AUTHORITY_INVALID|SSL certificate problem|"
            r"certificate is not trusted|have a known issuer|cannot verify .*certificate|"
            r"server certificate verification failed|"
            r"(error (setting|adding|reading)|could not load) .*(certificate|CAfile|trust)|"
            r"No such file or directory: .*\.(pem|crt)|unable to load.*(cert|truststore)|"
            r"could not find a suitable TLS CA certificate bundle",
            re.IGNORECASE,
        ),
    ),
    (
        Cause.CREDENTIALS,
        re.compile(r"\b407\b|Proxy Authentication Required|ERR_PROXY_AUTH|ERR_INVALID_AUTH_CREDENTIALS", re.IGNORECASE),
    ),
    (
        Cause.NOT_PERMITTED,
        re.compile(
            r"(tunnel|CONNECT|proxy)[^\n]*\b(403|502|503|504)\b|\b(403|502|503|504)\b[^\n]*(tunnel|CONNECT|proxy)|"
            r"ERR_TUNNEL_CONNECTION_FAILED",
            re.IGNORECASE,
        ),
    ),
    (
        Cause.REFUSED,
        re.compile(
            r"connection refused|ECONNREFUSED|failed to connect to [^\n]* port|couldn't connect|"
            r"cannot connect to proxy|"
            r"unable to connect to proxy|ERR_PROXY_CONNECTION_FAILED",
            re.IGNORECASE,
        ),
    ),
    (
        Cause.DIRECT,
        re.compile(
            r"could not resolve|couldn't resolve|unable to resolve|name or service not known|name resolution|"
            r"ENOTFOUND|EAI_AGAIN|UnknownHost|no such host|ERR_NAME_NOT_RESOLVED|dns error|"
            r"failed to lookup address|nodename nor servname|unresolvedaddress|server misbehaving|"
            r"getaddrinfo failed",
            re.IGNORECASE,
        ),
    ),
    (Cause.TIMEOUT, re.compile(r"timed? ?out|timeout|deadline exceeded", re.IGNORECASE)),
)


def cause_of(output: str) -> Cause:
    """Return the cause that the output of a failed request shows."""
    return next((cause for cause, pattern in _SYMPTOMS if pattern.search(output)), Cause.OTHER)
