"""The secrets of a proxy, which its command must not get, although both have the same user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from egress.authz.secrets.table import SecretTable
from egress.authz.secrets.vault import load_secret_table
from egress.config.model import ProxyConfig
from egress.config.options import BY_NAME, OPTIONS
from egress.tls.ca_store import CaDirectory

# The tokens of the proxy, the URLs of webhooks, and the URL that can have a password.
_VARIABLES: Final = frozenset(
    {
        *(variable.name for option in OPTIONS for variable in option.variables if variable.secret),
        *(option.variable.name for option in OPTIONS if option.secret),
        BY_NAME["upstream-proxy"].variable.name,
    }
)


def secret_files(config: ProxyConfig) -> list[str]:
    """Return the files that a command must not read.

    @raise egress.config.model.ConfigError: if the table of secrets is invalid.
    """
    directory = CaDirectory(config.ca_dir)
    given = (config.ca_key, config.audit_signing_key)
    keys = [directory.key_path, directory.next_path, *(path for path in given if path is not None)]
    secrets = [] if config.secrets is None else [config.secrets, *_table(config).files()]
    return [str(path.absolute()) for path in (*keys, *secrets)]


def without_secrets(environ: Mapping[str, str], config: ProxyConfig) -> Mapping[str, str]:
    """Return the variables that a command can get.

    @raise egress.config.model.ConfigError: if the table of secrets is invalid.
    """
    secrets = _VARIABLES | {secret.env for secret in _table(config).secrets.values()}
    return {name: value for name, value in environ.items() if name not in secrets}


def _table(config: ProxyConfig) -> SecretTable:
    return SecretTable({}) if config.secrets is None else load_secret_table(config.secrets)
