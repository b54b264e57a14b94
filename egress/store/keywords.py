"""The keywords of records in the index of SQLite, and the queries of this index.

One index finds the records of a host, a client, a rule, a status or a word.  An index of each column would write one
page for almost each record and column, which costs ten times as much.

The index finds at least the records of a filter, and a condition on the row decides: the index has neither the columns
nor the order of words.  FTS5 splits its text at each ASCII character that is neither a letter nor a digit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final
from unicodedata import category, normalize

from egress.store.columns import INSERTED
from egress.store.filter_language import Between, Condition, Equals, Filter, Matches, Network, Prefix, Subdomain, Test

TABLE_OPTIONS: Final = "keywords, content='', columnsize=0, detail=none, tokenize='ascii'"
"""The arguments of the module of SQLite, for the table of an index."""

# The longest keyword of the index.
_LONGEST: Final = 128
_WORD: Final = re.compile(r"[^\W_]+")
# The first letters of keywords for whole values.
_HOST, _CLIENT, _RULE, _VERDICT, _OUTCOME, _METHOD, _STAGE, _STATUS, _OBSERVED, _ID, _GRPC = "hcrvomtsxig"
# The values of most records have no keywords: a search for them is fast because almost every record meets it.
_USUAL: Final = {_VERDICT: "allow", _OUTCOME: "forwarded", _METHOD: "GET", _STAGE: "request"}
_OF_FIELD: Final = {
    "host": _HOST,
    "client": _CLIENT,
    "rule": _RULE,
    "verdict": _VERDICT,
    "outcome": _OUTCOME,
    "method": _METHOD,
    "stage": _STAGE,
    "observed": _OBSERVED,
    "id": _ID,
    "grpc_status": _GRPC,
}
# The URL has the words of a path, and the words of a gRPC call.
_INDEXED: Final = frozenset({*_OF_FIELD, "path", "status", "grpc"})


def clean(text: str) -> str:
    """Write a text as the store does: lone surrogates are not valid in it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def folded(text: str) -> str:
    """Return a text in lower case and without accents, whose words are separated by ASCII characters."""
    if text.isascii():
        return text.lower()
    plain = (each for each in normalize("NFKD", clean(text)).casefold() if not category(each).startswith("M"))
    return "".join(each if each.isascii() or each.isalnum() else " " for each in plain)


def words(text: str) -> list[str]:
    """Return the words of a text, in their order."""
    return _WORD.findall(folded(text))


@lru_cache(maxsize=4096)
def _whole(kind: str, value: str) -> str:
    """Return the keyword of a whole value."""
    return kind + "".join(each if each.isalnum() else "q" for each in folded(value))[:_LONGEST]


_AT: Final = {name: index for index, name in enumerate(INSERTED)}
_SHARED: Final = ("rule_id", "observed", "verdict", "outcome", "method", "stage", "status", "grpc_status")
_shared_values: Final = itemgetter(*(_AT[name] for name in _SHARED))
_own_values: Final = itemgetter(
    *(_AT[name] for name in ("request_id", "host", "client_address", "identity", "url", "reason"))
)


@lru_cache(maxsize=4096)
def _shared_keywords(values: tuple[Any, ...]) -> str:
    """Return the keywords of values that most records share with others."""
    rule, observed, verdict, outcome, method, stage, status, call = values
    usual = ((_VERDICT, verdict), (_OUTCOME, outcome), (_METHOD, method), (_STAGE, stage))
    keywords = [_whole(kind, value) for kind, value in usual if value != _USUAL[kind]]
    rare = ((_RULE, rule), (_OBSERVED, observed), (_GRPC, call))
    keywords += [_whole(kind, value) for kind, value in rare if value is not None]
    if rule is not None:
        keywords.append(folded(rule))
    if status is not None and status // 100 != 2:
        keywords.append(f"{_STATUS}{status // 100}")
    return " ".join(keywords)


def keywords_of(row: tuple[Any, ...]) -> str:
    """Return the text of a record for the index.

    @param row: the values of the columns L{INSERTED}.
    """
    name, host, address, identity, url, reason = _own_values(row)
    shared = _shared_keywords(_shared_values(row))
    keywords = f"{_whole(_HOST, host)} {_whole(_CLIENT, address)} {shared} "
    if identity is not None:
        keywords += _whole(_CLIENT, identity) + " "
    if name.isascii() and name.isalnum() and url.isascii() and reason.isascii():
        # The index converts it to lower case.
        return f"{keywords}{_ID}{name} {url} {reason}"
    return f"{keywords}{_whole(_ID, name)} {folded(url)} {folded(reason)}"


def index_query(given: Filter) -> str | None:
    """Return the query of the index that finds at least the records of a filter.

    @return: the query in the syntax of FTS5; C{None} if the index does not help.
    """
    keywords = [keyword for text in given.texts if not text.negated for keyword in _phrase(text.text)]
    for condition in given.conditions:
        found = None if condition.negated else _any_of(condition)
        if found is not None:
            keywords.append(found)
    return " AND ".join(keywords) if keywords else None


def _phrase(text: str) -> Iterator[str]:
    """Yield the keywords of a text, whose last word can be incomplete."""
    found = words(text)
    yield from map(_keyword, found[:-1])
    yield from (f"{_keyword(word)} *" for word in found[-1:])


def _keyword(word: str) -> str:
    return f'"{word}"'


def _any_of(condition: Condition) -> str | None:
    """Return the query for one of the values of a condition; C{None} if it would find almost every record."""
    if condition.field not in _INDEXED:
        return None
    found = [_KEYWORDS[type(test)](condition.field, test) for test in condition.tests]
    if not all(found):
        return None
    return "(" + " OR ".join(f"({' AND '.join(keywords)})" for keywords in found) + ")"


def _of_value(field: str, test: Any) -> list[str]:
    if field in ("path", "grpc"):
        return [_keyword(word) for word in words(test.value)]
    kind = _OF_FIELD[field]
    return [] if test.value == _USUAL.get(kind) else [_keyword(_whole(kind, test.value))]


def _of_domain(field: str, test: Any) -> list[str]:
    return [_keyword(word) for word in words(test.domain)]


def _of_prefix(field: str, test: Any) -> list[str]:
    return _of_pieces((test.value, ""))


def _of_pattern(field: str, test: Any) -> list[str]:
    return _of_pieces(test.pieces)


def _of_pieces(pieces: tuple[str, ...]) -> list[str]:
    """Return the keywords of texts between wildcards, in which the word next to a wildcard can be incomplete."""
    keywords: list[str] = []
    for index, piece in enumerate(pieces):
        text = folded(piece)
        found = [(match.start(), match.end(), match[0]) for match in _WORD.finditer(text)]
        for start, end, word in found:
            if start == 0 and index > 0:
                continue
            incomplete = end == len(text) and index < len(pieces) - 1
            keywords.append(_keyword(word) + (" *" if incomplete else ""))
    return keywords


def _of_range(field: str, test: Any) -> list[str]:
    classes = range(test.low // 100, test.high // 100 + 1)
    if 2 in classes:
        return []
    return ["(" + " OR ".join(_keyword(f"{_STATUS}{each}") for each in classes) + ")"]


def _of_network(field: str, test: Any) -> list[str]:
    """Return the query for the octets that all addresses of the network share."""
    if test.network.version == 6:
        return []
    address, length = str(test.network.network_address), test.network.prefixlen
    if length == 32:
        return [_keyword(_whole(_CLIENT, address))]
    octets = address.split(".")[: length // 8]
    return [_keyword(_whole(_CLIENT, ".".join((*octets, "")))) + " *"] if octets else []


_KEYWORDS: Final[dict[type[Test], Callable[[str, Any], list[str]]]] = {
    Equals: _of_value,
    Subdomain: _of_domain,
    Prefix: _of_prefix,
    Matches: _of_pattern,
    Between: _of_range,
    Network: _of_network,
}


# -- the condition on a row


def phrase(text: str) -> str:
    """Write a text for L{has_phrases}."""
    return " ".join(words(text))


def has_phrases(phrases: str, *texts: str | None) -> bool:
    """Tell whether each phrase is in one of the texts: whole words, of which the last can be incomplete.

    @param phrases: the phrases (L{phrase}), one in each line.
    @param texts: the texts of a record.
    """
    lines = [_line(text) for text in texts if text]
    return all(any(f" {each}" in line for line in lines) for each in phrases.split("\n"))


@lru_cache(maxsize=1024)
def _line(text: str) -> str:
    return f" {' '.join(words(text))}"
