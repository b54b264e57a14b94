"""Tests for L{egress.cli.grpc_types}; the tests of C{egress policy check} cover it, too."""

from __future__ import annotations

import argparse
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.errors import Misused
from egress.cli.grpc_types import add_grpc_descriptors, with_grpc_types
from tests.grpc.descriptor_sets import ROLES, USERS, descriptor_set
from tests.policy.policies import parse


class GrpcTypesTests(SynchronousTestCase):
    """The option C{--grpc-descriptors}."""

    def test_several_files(self) -> None:
        parser = argparse.ArgumentParser()
        add_grpc_descriptors(parser)
        rules = parse("version = 1")
        self.assertIsNone(with_grpc_types(rules, parser.parse_args([])).descriptors)
        arguments = []
        for file in (USERS, ROLES):
            path = Path(self.mktemp())
            path.write_bytes(descriptor_set(file))
            arguments += ["--grpc-descriptors", str(path)]
        found = with_grpc_types(rules, parser.parse_args(arguments)).descriptors
        assert found is not None
        self.assertIsNotNone(found.find("users.v1.Users", "Get"))
        error = self.assertRaises(Misused, with_grpc_types, rules, parser.parse_args(arguments[:2]))
        self.assertIn("lacks roles.proto", str(error))
