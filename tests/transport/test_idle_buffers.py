"""Tests for L{egress.transport.idle_buffers}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.transport.idle_buffers import IDLE_SECONDS, IdleBuffers


class _Session:
    """A session that counts how often its buffers are freed."""

    def __init__(self, *, empty: bool = True) -> None:
        self.empty = empty
        self.calls = 0

    def free_buffers(self) -> bool:
        self.calls += 1
        return self.empty


class IdleBuffersTests(SynchronousTestCase):
    """The buffers of one session are freed when another one is added."""

    def setUp(self) -> None:
        self.now = 100.0
        self.idle = IdleBuffers(lambda: self.now)

    def add(self, count: int, *, empty: bool = True) -> list[_Session]:
        sessions = [_Session(empty=empty) for _ in range(count)]
        for session in sessions:
            self.idle.add(session)
        return sessions

    def calls(self, sessions: list[_Session]) -> list[int]:
        return [session.calls for session in sessions]

    def test_free(self) -> None:
        early = self.add(2)
        self.now += IDLE_SECONDS / 2
        late = self.add(1)
        self.now += IDLE_SECONDS / 2
        last = self.add(1)
        self.assertEqual(self.calls(early + late + last), [1, 1, 0, 0])
        self.assertEqual(len(self.idle), 2)
        self.now += IDLE_SECONDS
        self.add(1)
        self.assertEqual(self.calls(early + late + last), [1, 1, 1, 1])

    def test_again(self) -> None:
        """A session that needs buffers again is added again."""
        (session,) = self.add(1)
        for calls in (1, 2):
            self.now += IDLE_SECONDS
            self.add(1)
            self.assertEqual(session.calls, calls)
            self.idle.add(session)

    def test_bounded(self) -> None:
        """A turn of the reactor frees the buffers of few sessions, but more than it adds."""
        sessions = self.add(100)
        self.now += IDLE_SECONDS
        counts = []
        for _ in range(50):
            self.add(1)
            counts.append(sum(self.calls(sessions)))
        self.assertLess(counts[0], 10)
        self.assertGreater(counts[0], 1)
        self.assertEqual(counts[-1], 100)
        self.assertEqual(self.calls(sessions), [1] * 100)

    def test_buffers_in_use(self) -> None:
        """Buffers with data are freed later. They do not delay those of other sessions."""
        held = self.add(10, empty=False)
        others = self.add(2)
        self.now += IDLE_SECONDS
        for _ in range(4):
            self.add(1)
        self.assertEqual(self.calls(held + others), [1] * 12)
        self.assertEqual(len(self.idle), 10 + 4)
        self.now += IDLE_SECONDS
        for session in held:
            session.empty = True
        for _ in range(4):
            self.add(1)
        self.assertEqual(self.calls(held), [2] * 10)
        self.assertEqual(len(self.idle), 4)

    def test_discard(self) -> None:
        session, other = self.add(2)
        self.idle.discard(session)
        self.idle.discard(session)
        self.now += IDLE_SECONDS
        self.add(1)
        self.assertEqual((session.calls, other.calls), (0, 1))
