"""Reading the options of the authorization service into one L{PdpConfig}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from egress.authz_service.config import PdpConfig
from egress.authz_service.options import PDP_OPTIONS
from egress.config.parsers import Place
from egress.config.sources import gather, table_of
from egress.config.wording import made


def load_pdp_config(
    arguments: Mapping[str, Sequence[str]],
    environ: Mapping[str, str],
    reactor: object = None,
    directory: Path | None = None,
) -> PdpConfig:
    """Read a configuration; the arguments are those of L{egress.config.load.load_config}.

    @raise egress.config.model.ConfigError: for the first value that cannot be used.
    """
    place = Place(Path.cwd() if directory is None else directory, reactor)
    given = gather(PDP_OPTIONS, arguments, environ, place)
    read = {field: value.read() for field, value in given.items()}
    if any(entrance.sets_auth for entrance in read.get("listen", ())):
        raise given["listen"].refuse("leave client-auth out: who may ask is shown by a token, or a certificate")
    if any(entrance.https is not None for entrance in read.get("listen", ())):
        raise given["listen"].refuse("leave https out: it is for the clients of a proxy")
    return made(lambda fields: PdpConfig(**fields), given, PDP_OPTIONS, read)


def reference() -> str:
    """Write the table of options for the documentation, in Markdown."""
    return table_of(PDP_OPTIONS)
