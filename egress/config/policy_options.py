"""The options for the embedded policy, and for its distribution; a part of L{egress.config.options}."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from egress.config import parsers as values
from egress.config.option import Option
from egress.config.token_files import read_token
from egress.model.policy_url import PolicyUrl, is_url

_NONE: Final = ("none",)


def policy(text: str, place: values.ParseContext) -> Path | PolicyUrl:
    """Parse the file or the URL of a policy."""
    return PolicyUrl.parse(text) if is_url(text) else values.readable_file(text, place)


def path_of_token(text: str, place: values.ParseContext) -> Path:
    """Check a file that contains only a bearer token, which is read again for each use."""
    path = values.readable_file(text, place)
    read_token(path)
    return path


POLICY_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="policy",
        group="Authorization",
        metavar="FILE|URL",
        help="A TOML file with the rules of the embedded policy, or a bundle of egress policy bundle, or an https:// "
        "URL of either. Cannot be combined with --authz-url.",
        default="the starter policy of the package",
        fields=("policy",),
        parse=policy,
        clear=_NONE,
        url=True,
    ),
    Option(
        name="policy-interval",
        group="Authorization",
        metavar="TIME",
        help="The time between two checks of a policy URL.",
        default="30s",
        fields=("policy_interval",),
        parse=values.duration,
    ),
    Option(
        name="policy-token-file",
        group="Authorization",
        metavar="FILE",
        help="A file with the bearer token for the server of a policy URL. It is read again for each check.",
        default="none",
        fields=("policy_token_file",),
        parse=path_of_token,
        clear=_NONE,
    ),
    Option(
        name="policy-client-cert",
        aliases=("policy-client-certificate",),
        group="Authorization",
        metavar="FILE",
        help="A PEM file with a client certificate and its key for the server of a policy URL.",
        default="none",
        fields=("policy_client_cert",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="policy-key",
        group="Authorization",
        metavar="FILE",
        help="A PEM file with Ed25519 public keys. A policy is used only if one of these keys has signed it: see "
        "egress policy bundle.",
        default="none",
        fields=("policy_key",),
        parse=values.readable_file,
        clear=_NONE,
    ),
    Option(
        name="policy-max-age",
        group="Authorization",
        metavar="TIME|none",
        help="The maximum age of the last successful check of a policy URL. After it, clients get 503 until a check "
        "succeeds. none: no maximum.",
        default="none",
        fields=("policy_max_age",),
        parse=values.duration,
        clear=_NONE,
    ),
    Option(
        name="policy-dir",
        group="Authorization",
        metavar="DIR",
        help="The directory for the last good version of each policy URL, which is used at the next start if the URL "
        "cannot be reached.",
        default="policy in --ca-dir",
        fields=("policy_dir",),
        parse=values.directory,
    ),
)
