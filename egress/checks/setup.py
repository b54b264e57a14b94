"""The setup that is examined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from egress.model.authority import PROXY_HOST

CREDENTIALS: Final = "NAME:PASSWORD@"


@attrs.frozen(kw_only=True)
class Setup:
    """A proxy, and the environment of its clients.

    @ivar proxy: the URL of the proxy, as L{shown_proxy} returns it.
    @ivar own: whether the diagnosis started this proxy itself, and set the environment of C{egress run}.
    @ivar environ: the environment of the clients.
    @ivar ca: a file on this machine with the CA of the proxy.
    @ivar bundle: a file on this machine with the CAs of the system and of the proxy.
    @ivar ca_options: the options that select the CA for C{egress env}; empty for the default.
    @ivar https: whether the CA may sign for the address of the proxy.
    """

    proxy: str
    own: bool
    environ: Mapping[str, str] = attrs.field(repr=False)
    ca: Path | None = None
    bundle: Path | None = None
    ca_options: tuple[str, ...] = ()
    https: bool = True

    @property
    def url(self) -> str:
        """The address to which the proxy itself responds."""
        return f"{'https' if self.https else 'http'}://{PROXY_HOST}/"


def trust_options(ca_options: Sequence[str]) -> Sequence[str]:
    """Return the options of C{egress trust} that select what clients trust, without a key.

    @param ca_options: the options that select the CA for C{egress env}.
    """
    return ("--ca-root", ca_options[-1]) if "--ca-root" in ca_options else ca_options[:2]


def shown_proxy(url: str) -> str:
    """Return the URL of a proxy with placeholders for its credentials."""
    scheme, slashes, rest = url.partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{slashes}{CREDENTIALS if at else ''}{host}"


def with_credentials(proxy: str) -> str:
    """Return the URL of a proxy, from L{shown_proxy}, with placeholders for credentials in any case."""
    scheme, slashes, rest = proxy.partition("://")
    return f"{scheme}{slashes}{CREDENTIALS}{rest.rpartition('@')[2]}"
