"""An admin API that a test controls, for tests of the commands that use it."""

from __future__ import annotations

import getpass
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.admin_client import AdminApi


class FakeApi(AdminApi):
    """An API that records its calls."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: list[Any] = []

    def call(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        self.asked.append((method, path, document))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        found: dict[str, Any] = answer
        return found


class AdminCommandTestCase(SynchronousTestCase):
    """Base: a command that finds the API.

    @cvar module: the module of the command.
    @ivar given: the locations that the command was given.
    """

    module: ModuleType

    def setUp(self) -> None:
        self.api = FakeApi()
        self.given: list[Any] = []
        self.patch(self.module, "admin_api", self.find)
        self.patch(getpass, "getuser", lambda: "bob")

    def find(self, given: Any, environ: Any) -> AdminApi:
        self.given.append(given.admin)
        return self.api
