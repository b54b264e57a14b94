"""CAs for tests of trust stores."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from cryptography import x509

from egress.tls.issuer import CertificateAuthority
from tests.certificates import self_signed

NOW: Final = datetime(2026, 3, 2, tzinfo=timezone.utc)


def authority(label: str, lifetime: timedelta = timedelta(days=365)) -> x509.Certificate:
    """Return the certificate of a CA that a proxy generated."""
    return CertificateAuthority.create(label, NOW, lifetime).certificate


CURRENT: Final = authority("current")
NEXT: Final = authority("next")
PAST: Final = authority("past")
OTHER: Final = authority("other")
PUBLIC: Final = self_signed("public.example.com").certificate
