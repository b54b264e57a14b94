"""Which addresses are this machine's own."""

from __future__ import annotations

import socket

from egress.model.authority import IPAddress


def is_local_address(address: IPAddress) -> bool:
    """Whether an address belongs to an interface of this machine: only such a one can be bound to."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
