"""The check of the C{Host} of a request, which DNS rebinding cannot pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from egress.model.authority import parse_ip

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


def is_known_host(values: Sequence[bytes], names: Sequence[str] = ()) -> bool:
    """Return whether the C{Host} of a request is this machine, or one of the configured names.

    A page of another site can reach this machine by a name of its own that resolves to a loopback address (DNS
    rebinding); its requests have that name.  The port is not compared: C{ssh -L} can change it.

    @param values: the values of the field.
    @param names: the configured names and addresses, in their normal form (L{egress.model.authority.normalize_host}).
    """
    if len(values) != 1:
        return False
    match = _HOST.fullmatch(values[0].decode("latin-1"))
    if match is None:
        return False
    host = match[1].lower().rstrip(".").strip("[]")
    address = parse_ip(host)
    if address is not None:
        return address.is_loopback or str(address) in names
    return host == "localhost" or host.endswith(".localhost") or host in names
