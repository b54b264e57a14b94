"""The loader of the options of the authorization service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from egress.authz_service.config import AuthzServiceConfig
from egress.authz_service.options import AUTHZ_SERVICE_OPTIONS
from egress.config.parsers import ParseContext
from egress.config.sources import gather, table_of
from egress.config.wording import made


def load_authz_service_config(
    arguments: Mapping[str, Sequence[str]],
    environ: Mapping[str, str],
    reactor: object = None,
    directory: Path | None = None,
) -> AuthzServiceConfig:
    """Load a configuration, from the same arguments as L{egress.config.load.load_config}.

    @raise egress.config.model.ConfigError: for the first value that cannot be used.
    """
    context = ParseContext(Path.cwd() if directory is None else directory, reactor)
    given = gather(AUTHZ_SERVICE_OPTIONS, arguments, environ, context)
    read = {field: value.read() for field, value in given.items()}
    if any(listener.sets_auth for listener in read.get("listen", ())):
        raise given["listen"].refuse("remove client-auth: callers authenticate with a token or a certificate")
    if any(listener.https is not None for listener in read.get("listen", ())):
        raise given["listen"].refuse("remove https: it applies only to clients of a proxy")
    return made(lambda fields: AuthzServiceConfig(**fields), given, AUTHZ_SERVICE_OPTIONS, read)


def reference() -> str:
    """Write the table of options for the documentation, in Markdown."""
    return table_of(AUTHZ_SERVICE_OPTIONS)
