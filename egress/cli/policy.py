"""C{egress policy}: the commands that write, check, suggest and replay policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from egress.cli import policy_bundle, policy_check, policy_history, policy_new, policy_replay, policy_suggest
from egress.cli.parser import epilog

# Each adds its own parser, which sets "run".
_COMMANDS: Final[tuple[Callable[[Any], None], ...]] = (
    policy_new.add_parser,
    policy_check.add_parser,
    policy_suggest.add_parser,
    policy_replay.add_parser,
    policy_history.add_parser,
    policy_bundle.add_parser,
    policy_bundle.add_keygen_parser,
)


def add_parser(commands: Any) -> None:
    """Add C{policy} to the commands."""
    parser = commands.add_parser(
        "policy",
        help="write policies from templates or audit logs, and check them",
        description="Writes, checks and replays policies for --policy.",
        epilog=epilog(
            ("Write a policy from templates", "egress policy new npm pypi -o policy.toml"),
            ("Check a policy, and run its tests", "egress policy check policy.toml"),
            ("Generate a policy from an audit log", "egress policy suggest audit.jsonl --output policy.toml"),
            (
                "Compare its decisions with the log",
                "egress policy replay audit.jsonl --policy policy.toml",
            ),
            ("Sign a policy, to distribute it", "egress policy bundle policy.toml --key policy.key -o policy.bundle"),
        ),
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for add in _COMMANDS:
        add(actions)
