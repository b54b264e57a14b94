"""Hypothesis strategies for byte streams: splits into reads and mutations of messages."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

NASTY = [
    b"",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"0",
    b"3",
    b"f",
    b" ",
    b"\t",
    b";",
    b":",
    b",",
    b"x",
    b"\x00",
    b"\xe4",
]


def splits(most: int = 12) -> st.SearchStrategy[Callable[[bytes], list[bytes]]]:
    """Ways to split bytes into reads, some of them empty."""

    def splitter(places: list[float]) -> Callable[[bytes], list[bytes]]:
        def split(wire: bytes) -> list[bytes]:
            cuts = sorted(int(place * len(wire)) for place in places)
            return [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]

        return split

    return st.lists(st.floats(0, 1), max_size=most).map(splitter)


def byte_by_byte(wire: bytes) -> list[bytes]:
    """Split bytes into reads of one byte."""
    return [wire[index : index + 1] for index in range(len(wire))]


def mutations(most: int = 3) -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """A message with up to two mutations: each replaces some bytes with others."""
    change = st.tuples(st.floats(0, 1), st.integers(0, 2), st.sampled_from(NASTY))

    def mutator(changes: list[tuple[float, int, bytes]]) -> Callable[[bytes], bytes]:
        def mutate(wire: bytes) -> bytes:
            for place, length, new in changes:
                start = int(place * len(wire))
                wire = wire[:start] + new + wire[start + length :]
            return wire

        return mutate

    return st.lists(change, max_size=most).map(mutator)
