"""The index of texts in PostgreSQL: the words of a record, and queries for them.

They are split here, not by PostgreSQL, whose parsers treat hosts and URLs as single words and depend on the locale of
the database.  So a text has the same words as in SQLite (L{egress.store.keywords}).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from egress.store.filter_language import Condition, Equals, Matches, Prefix, Test
from egress.store.filter_sql import Dialect
from egress.store.keywords import words

# The limits of a tsvector: a word has at most 2046 bytes, and greater positions are equal.
_MAX_WORD: Final = 500
_MAX_POSITION: Final = 16_000


def vector(texts: Iterable[str | None]) -> str:
    """Return the words of the texts of a record as a C{tsvector}; no phrase goes from one text to the next."""
    entries: list[str] = []
    position = 0
    for text in texts:
        for word in words(text or ""):
            position += 1
            if position > _MAX_POSITION:
                return " ".join(entries)
            entries.append(f"{word[:_MAX_WORD]}:{position}")
        position += 1
    return " ".join(entries)


def phrase(text: str) -> str:
    """Return a C{tsquery} for consecutive words, of which the last can be incomplete."""
    found = " <-> ".join(f"'{word[:_MAX_WORD]}'" for word in words(text))
    return f"({found}:*)" if found else "''"


def path_words(given: Condition) -> str | None:
    """Return a C{tsquery} that each record of a condition on its path meets: its URL contains the words of its path.

    The path of a gRPC call has its service and its method.

    @return: C{None} if it would not find records faster.
    """
    if given.field not in ("path", "grpc") or given.negated:
        return None
    found = [_words_of_pieces(_pieces(test)) for test in given.tests]
    return " | ".join(f"({query})" for query in found) if all(found) else None


def _pieces(test: Test) -> tuple[str, ...]:
    """Return the texts between the wildcards of a path."""
    if isinstance(test, Equals):
        return (test.value,)
    if isinstance(test, Prefix):
        return (test.value, "")
    return test.pieces if isinstance(test, Matches) else ()


def _words_of_pieces(pieces: tuple[str, ...]) -> str:
    queries = []
    for index, piece in enumerate(pieces):
        # Next to a wildcard, an accent could belong to a letter of the wildcard.
        found = words(piece) if piece.isascii() else []
        if index > 0 and piece[:1].isalnum():
            # The end of a word.
            found = found[1:]
        if not found:
            continue
        incomplete = index < len(pieces) - 1 and piece[-1].isalnum()
        query = " <-> ".join(f"'{word[:_MAX_WORD]}'" for word in found)
        queries.append(f"{query}:*" if incomplete else query)
    return " & ".join(f"({query})" for query in queries)


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


POSTGRESQL: Final = Dialect(
    matches="~",
    pattern=_whole,
    phrase=phrase,
    both=" & ",
    contains="exchanges.words @@ ?::tsquery",
    lacks="NOT exchanges.words @@ ?::tsquery",
    text_table="exchanges",
    text_id="exchanges.id",
    # The column with those addresses that are no names of sockets.
    network="exchanges.client_inet <<= ?::inet",
)
