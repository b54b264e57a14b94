"""The option C{--grpc-descriptors} of commands that evaluate a policy."""

from __future__ import annotations

import argparse
from pathlib import Path

from egress.cli.errors import Misused
from egress.config.model import ConfigError
from egress.policy.check.grpc_types import with_descriptors
from egress.policy.parse.load import PolicyError
from egress.policy.rules import RuleSet
from egress.resources import read_descriptors


def add_grpc_descriptors(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--grpc-descriptors",
        action="append",
        default=[],
        metavar="FILE",
        help="a descriptor set with the types of gRPC messages, for a policy that matches their fields",
    )


def with_grpc_types(rules: RuleSet, given: argparse.Namespace) -> RuleSet:
    """Return a policy with the types of gRPC messages.

    @raise Misused: if a file, or the policy, cannot be used.
    """
    try:
        return with_descriptors(rules, read_descriptors([Path(name) for name in given.grpc_descriptors]))
    except (ConfigError, PolicyError) as error:
        raise Misused(str(error)) from error
