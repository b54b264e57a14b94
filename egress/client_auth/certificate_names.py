"""The client's name in its certificate."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

_LENGTH: Final = 256


def name_of(certificate: x509.Certificate) -> str | None:
    """Return the name in a certificate: a URI, DNS name or e-mail address of its alternative names, or its common name.

    The first name in this order is used.

    @return: C{None} if there is no name, or if the name is not suitable for a log line.
    """
    for name in _names(certificate):
        return name if name.isprintable() and 0 < len(name) <= _LENGTH else None
    return None


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [
            *names.get_values_for_type(x509.UniformResourceIdentifier),
            *names.get_values_for_type(x509.DNSName),
            *names.get_values_for_type(x509.RFC822Name),
        ]
    except x509.ExtensionNotFound:
        found = []
    except ValueError:
        # Alternative names that cannot be parsed identify no client.
        return []
    return found or [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
