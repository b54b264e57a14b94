"""The options for the admin API."""

from __future__ import annotations

import os
from typing import Final

from egress.config import parsers as values
from egress.config.admin_endpoint import AdminEndpoint, InvalidAdmin
from egress.config.option import Option, Variable
from egress.config.parsers import BadValue, ParseContext
from egress.model import text_converters as setting_text

_NONE: Final = ("none",)


def admin(text: str, place: ParseContext) -> AdminEndpoint:
    """Parse the endpoint of the admin API."""
    try:
        found = AdminEndpoint.parse(text, place.path)
    except InvalidAdmin as error:
        raise BadValue(error.remedy) from error
    if found.path is not None and not os.path.isdir(os.path.dirname(found.path)):
        raise BadValue("the directory of the socket does not exist: create it, or use another path")
    return found


def admin_host(text: str, place: ParseContext) -> str:
    """Parse a name by which browsers reach the console."""
    return setting_text.host_name(text)


ADMIN_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="admin",
        group="Operation",
        metavar="ENDPOINT",
        help="The admin API, for egress approvals and egress explain, and the web console. A UNIX socket, unix:PATH, "
        "is created with mode 0600 unless :mode= sets another mode. A port, tcp:PORT, is on a loopback address, and "
        "needs --admin-token-file. Everyone with access can allow requests.",
        default="none",
        fields=("admin",),
        parse=admin,
        clear=_NONE,
    ),
    Option(
        name="admin-token-file",
        group="Operation",
        metavar="FILE",
        help="A file with the bearer token for --admin. The variable EGRESS_ADMIN_TOKEN contains the token itself.",
        default="none",
        fields=("admin_token",),
        parse=values.token_file,
        variables=(Variable(name="EGRESS_ADMIN_TOKEN", parse=values.token, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="admin-viewer-token-file",
        group="Operation",
        metavar="FILE",
        help="A file with the token of viewers of the web console, who see everything but secrets, and cannot change "
        "anything. The variable EGRESS_ADMIN_VIEWER_TOKEN contains the token itself.",
        default="none",
        fields=("admin_viewer_token",),
        parse=values.token_file,
        variables=(Variable(name="EGRESS_ADMIN_VIEWER_TOKEN", parse=values.token, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="admin-host",
        group="Operation",
        metavar="NAME",
        help="A host name or an address by which browsers reach the web console, for example that of a reverse proxy, "
        "in addition to localhost.",
        default="none",
        fields=("admin_hosts",),
        parse=admin_host,
        clear=_NONE,
        repeatable=True,
        lists=True,
    ),
    Option(
        name="console-policy-edit",
        group="Operation",
        metavar="",
        help="Administrators of the web console can add rules to the files of --policy. The proxy needs permission to "
        "write to them. Without this option, the console shows the text of a rule to copy.",
        default="false",
        fields=("console_policy_edit",),
        parse=values.boolean,
    ),
)
