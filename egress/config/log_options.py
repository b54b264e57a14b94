"""The options for the log."""

from __future__ import annotations

from typing import Final

from egress.config import parsers as values
from egress.config.option import Option

LOG_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="log-format",
        group="Operation",
        metavar="text|json",
        help="The format of the log. text: lines of text. json: one JSON object for each record, on one line, also for "
        "the start message and the records of workers.",
        default="text",
        fields=("log_format",),
        parse=values.log_format,
    ),
    Option(
        name="log-level",
        group="Operation",
        metavar="LEVEL",
        help="The lowest level of the records in the log: debug, info, warn or error.",
        default="info",
        fields=("log_level",),
        parse=values.log_level,
    ),
    Option(
        name="log-requests",
        group="Operation",
        metavar="none|denied|all",
        help="The requests for which the log has a line. denied: requests that were not forwarded, or whose origin "
        "failed, with a limited number of lines for each client and host. all: every request. Default: denied, or none "
        "with --audit-log -.",
        default="denied",
        fields=("log_requests",),
        parse=values.log_requests,
    ),
)
