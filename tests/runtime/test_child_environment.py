"""Tests for L{egress.runtime.child_environment}."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from egress.config.options import OPTIONS
from egress.runtime.child_environment import child_environment


class EnvironmentTests(SynchronousTestCase):
    """The environment of a process of the proxy."""

    def test_proxy_options_are_removed(self) -> None:
        names = {variable.name for option in OPTIONS for variable in option.environment}
        environ = dict.fromkeys((*names, "https_proxy", "no_proxy"), "hunter2") | {"SSL_CERT_FILE": "/ca.pem"}
        found = child_environment(environ, ["/a", "/b"])
        self.assertEqual(found, {"SSL_CERT_FILE": "/ca.pem", "PYTHONPATH": f"/a{os.pathsep}/b"})

    def test_relative_paths(self) -> None:
        found = child_environment({"PYTHONPATH": "."}, ["", "lib"])
        self.assertEqual(found["PYTHONPATH"], f"{os.getcwd()}{os.pathsep}{os.path.abspath('lib')}")
