"""Tests for L{egress.proxy.message_gate}."""

from __future__ import annotations

from collections import deque

import attrs

from egress.config.model import Limits
from egress.messages.splitter import Piece
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Stage
from egress.model.errors import EgressError, MessageInvalid
from egress.model.message import Direction, MessageKind, MessageObligation
from egress.proxy.message_gate import FREE, MAX_WAITING, TURN, MessageGate
from egress.proxy.message_inspector import MessageInspector
from tests.proxy.fakes import Proxy, ProxyTestCase, allow, deny

REQUEST = DecisionRequest(
    request_id="id-1",
    stage=Stage.REQUEST,
    method="GET",
    origin=Origin("http", Authority("origin.test", 80)),
    path="/a",
    headers=(),
    client=ClientIdentity("198.51.100.7", 40000),
)


class Words:
    """A splitter: each byte is a message, except for digits, which overtake, and spaces, which pass.

    @ivar more: bytes that it claims to hold.
    """

    def __init__(self) -> None:
        self.waiting = deque[int]()
        self.ended = False
        self.more = 0

    @property
    def held(self) -> int:
        return len(self.waiting) + self.more

    def receive(self, data: bytes) -> None:
        self.waiting += data

    def receive_end(self) -> None:
        self.waiting += b"."

    def next_piece(self) -> Piece | None:
        if not self.waiting:
            return None
        data = bytes((self.waiting.popleft(),))
        if data == b"!":
            raise MessageInvalid("no exclamations")
        if data.isdigit():
            return Piece(data, overtakes=True)
        return Piece(data) if data == b" " else Piece(data, "text", data)


@attrs.define
class Ends:
    """Both ends of a gate."""

    data: bytes = b""
    events: list[str] = attrs.field(factory=list)
    errors: list[EgressError] = attrs.field(factory=list)

    def forward(self, data: bytes) -> None:
        self.data += data
        self.events.append("write")

    def pause_source(self) -> None:
        self.events.append("pause")

    def resume_source(self) -> None:
        self.events.append("resume")

    def messages_failed(self, error: EgressError) -> None:
        self.errors.append(error)

    def take(self) -> bytes:
        data, self.data = self.data, b""
        return data


class GateTests(ProxyTestCase):
    """One direction."""

    def setUp(self) -> None:
        super().setUp()
        self.use(self.proxy)

    def use(self, proxy: Proxy) -> None:
        """Make a gate."""
        self.proxy, self.clock, self.authorizer, self.records = proxy, proxy.clock, proxy.authorizer, proxy.records
        self.ends, self.splitter = Ends(), Words()
        inspector = MessageInspector(proxy.parts.authz, REQUEST, allow(), MessageObligation())
        self.gate = MessageGate(
            proxy.parts, inspector, self.ends, self.splitter, kind=MessageKind.GRPC, direction=Direction.CLIENT
        )

    def tearDown(self) -> None:
        self.gate.stop()
        self.assertEqual((self.proxy.parts.contents.held, self.proxy.parts.contents.waiting), (0, 0))
        super().tearDown()

    def test_one_write_for_all_that_is_ready(self) -> None:
        self.gate.receive(b"ab c1d")
        self.assertEqual((self.ends.take(), self.ends.events), (b"ab c1d", ["write"]))
        self.assertTrue(self.gate.wants_more)

    def test_pieces_without_a_message_keep_their_place(self) -> None:
        first = self.authorizer.pending()
        self.gate.receive(b"a b1")
        self.assertEqual(self.ends.take(), b"1")
        first.callback(allow())
        self.assertEqual(self.ends.take(), b"a b")

    def test_a_denial_waits_for_the_messages_before(self) -> None:
        first, second = self.authorizer.pending(), self.authorizer.pending()
        self.gate.receive(b"abc")
        second.callback(deny())
        self.assertEqual(self.ends.errors, [])
        first.callback(allow())
        self.assertEqual(self.ends.take(), b"a")
        self.assertEqual([error.reason for error in self.ends.errors], ["not today"])
        self.gate.receive(b"d")
        self.gate.end(lambda: self.fail("it has ended"))
        self.assertEqual((self.ends.take(), len(self.ends.errors)), (b"", 1))

    def test_a_fault_waits_for_the_messages_before(self) -> None:
        first = self.authorizer.pending()
        self.gate.receive(b"a!b")
        self.assertFalse(self.gate.wants_more)
        self.gate.receive(b"c")
        self.assertEqual((self.ends.errors, self.ends.events), ([], ["pause"]))
        first.callback(allow())
        self.assertEqual((self.ends.take(), type(self.ends.errors[0])), (b"a", MessageInvalid))

    def test_a_limited_number_waits(self) -> None:
        calls = [self.authorizer.pending() for _ in range(MAX_WAITING)]
        self.gate.receive(b"x" * (MAX_WAITING + 1))
        self.assertEqual((len(self.authorizer.asked), self.ends.events), (MAX_WAITING, ["pause"]))
        calls[1].callback(allow())
        self.assertEqual(len(self.authorizer.asked), MAX_WAITING)
        calls[0].callback(allow())
        self.assertEqual(len(self.authorizer.asked), MAX_WAITING + 1)
        self.assertEqual(self.ends.events, ["pause", "write", "resume"])
        self.assertEqual(
            [each.message.sequence for each in self.authorizer.asked if each.message], [*range(1, MAX_WAITING + 2)]
        )

    def test_a_slow_receiver(self) -> None:
        self.gate.hold()
        self.gate.receive(b"ab")
        self.assertEqual((self.authorizer.asked, self.ends.events), ([], ["pause"]))
        self.gate.release()
        self.assertEqual((self.ends.take(), self.ends.events), (b"ab", ["pause", "write", "resume"]))

    def test_the_work_of_one_turn(self) -> None:
        self.gate.receive(b"x" * (TURN + 1))
        self.assertEqual((len(self.ends.take()), self.ends.events), (TURN, ["write", "pause"]))
        self.clock.advance(0)
        self.assertEqual((self.ends.take(), self.ends.events[2:]), (b"x", ["write", "resume"]))

    def test_the_end(self) -> None:
        ended: list[bytes] = []
        first = self.authorizer.pending()
        self.gate.receive(b"a")
        self.gate.end(lambda: ended.append(self.ends.take()))
        self.assertEqual(ended, [])
        first.callback(allow())
        self.assertEqual(ended, [b"a."])

    def test_the_loss_of_the_source(self) -> None:
        ended: list[bytes] = []
        self.gate.receive(b"a")
        self.gate.hold()
        self.gate.receive(b"b")
        self.gate.drain(lambda: ended.append(self.ends.take()))
        self.assertEqual(ended, [])
        self.gate.release()
        self.assertEqual(ended, [b"ab"])

    def test_timeout(self) -> None:
        self.authorizer.pending()
        self.authorizer.pending()
        self.gate.receive(b"ab")
        self.clock.advance(self.proxy.parts.authz.renewal_timeout)
        (error,) = self.ends.errors
        self.assertIn("did not decide on a message within 5 s", error.reason)
        self.assertEqual((self.authorizer.cancelled, self.ends.take()), (2, b""))
        self.assertEqual([record.outcome for record in self.records], ["authorizer-unavailable"])

    def test_each_message_has_its_own_time(self) -> None:
        first, second = self.authorizer.pending(), self.authorizer.pending()
        self.gate.receive(b"ab")
        self.clock.advance(4)
        first.callback(allow())
        self.clock.advance(4)
        second.callback(allow())
        self.clock.advance(100)
        self.assertEqual((self.ends.take(), self.ends.errors), (b"ab", []))

    def test_memory(self) -> None:
        """Beyond a small amount, the bytes are part of the memory for content."""
        memory = self.proxy.parts.contents
        self.splitter.more = FREE
        self.gate.receive(b"")
        self.assertEqual(memory.held, 0)
        self.splitter.more = FREE + 1
        self.gate.receive(b"")
        self.assertEqual(memory.held, 2 * FREE)
        self.splitter.more = 2 * FREE + 1
        self.gate.receive(b"")
        self.assertEqual(memory.held, 4 * FREE)
        self.splitter.more = 0
        self.gate.receive(b"")
        self.assertEqual(memory.held, 0)

    def test_waiting_for_memory(self) -> None:
        self.build(limits=Limits(body=8 * FREE, body_memory=8 * FREE, body_timeout=30))
        self.use(self.proxy)
        others = self.proxy.parts.contents.claim("another client", 7 * FREE, lambda: None)
        for wait in (29, 30):
            self.splitter.more = FREE + 1
            self.gate.receive(b"a")
            self.assertFalse(self.gate.wants_more)
            self.gate.receive(b"b")
            self.assertEqual(self.ends.take(), b"a")
            self.clock.advance(wait)
            if wait == 29:
                others.end()
                self.clock.advance(0)
                self.assertEqual((self.ends.take(), self.ends.events), (b"b", ["write", "pause", "write", "resume"]))
                self.splitter.more = 0
                self.gate.receive(b"")
                others = self.proxy.parts.contents.claim("another client", 7 * FREE, lambda: None)
        self.assertIn("--body-memory", self.ends.errors[0].reason)
        others.end()
