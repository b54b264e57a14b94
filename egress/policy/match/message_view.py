"""The attributes of a message that message rules evaluate, each computed at most once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from egress.grpc.descriptors import Descriptors
from egress.model.decision import DecisionRequest
from egress.model.message import Direction, Message
from egress.policy.match.grpc_fields import read_message
from egress.policy.match.json_body import NOTHING, Document, read_json
from egress.policy.match.work_budget import WorkBudget


class MessageView:
    """One message.

    @ivar content: the content of the message.
    """

    def __init__(self, request: DecisionRequest, message: Message, descriptors: Descriptors | None = None) -> None:
        self.request = request
        self.message = message
        self._descriptors = descriptors
        self.content = request.body or b""
        self.work = WorkBudget()

    @cached_property
    def text(self) -> str | None:
        """The content as text; C{None} if it is not valid UTF-8."""
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError:
            return None

    @cached_property
    def json(self) -> Any:
        """The content: a L{egress.policy.match.json_body.Document}, C{NOTHING} or C{UNREADABLE}.

        @raise TooMuchWork: if the content exceeds the work budget.
        """
        return read_json(self.content, self.work) if self.content else NOTHING

    @cached_property
    def grpc(self) -> Document | None:
        """The fields of a gRPC message; C{None} if they cannot be read.

        @raise TooMuchWork: if the message exceeds the work budget.
        """
        response = self.message.direction is Direction.ORIGIN
        return read_message(self.request, self._descriptors, self.work, response=response)
