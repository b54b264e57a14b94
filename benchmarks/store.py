"""The times of searches in an audit store of a million records: C{python -m benchmarks.store}."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.postgresql import started
from egress.model.decision import ClientIdentity
from egress.model.record import ExchangeRecord
from egress.store.chain import Signer
from egress.store.filter_language import Filter, parse_filter
from egress.store.location import store_to_read
from egress.store.postgresql import PostgresqlStore
from egress.store.postgresql_connection import Database
from egress.store.sqlite import open_store, open_to_read

_BATCH: Final = 1000
_LIMIT: Final = 100
_TIMES: Final = 5
_ROUNDS: Final = 3
_DAY: Final = 86400.0
_WORDS: Final = ("quota", "writes", "items", "release", "nightly", "vendor", "mirror", "login", "upload", "budget")

# The searches: what each is for, and the filter.
SEARCHES: Final = (
    ("host and time", "host:api7.example since:2h until:1h"),
    ("host and time, over all records", "host:api7.example since:1d"),
    ("rare text in reasons", '"ticket 4711"'),
    ("frequent text in reasons", '"quota"'),
    ("frequent text that no record of a host has", '"quota" host:no.example since:1h'),
    ("denials", "verdict:deny since:1h"),
    ("rule and time", "rule:rule-3 since:1h"),
    ("subdomains", "host:*.example status:5xx since:1h"),
    ("path and time", "path:/v1/*/items since:1h"),
    ("path, over all records", "path:/v1/411/**"),
    ("status", "status:502"),
    ("status of a host", "host:api900.example status:5xx"),
    ("clients of a network", "client:10.0.3.0/24 verdict:deny"),
    ("no such client", "client:10.1.0.0/16"),
    ("id", "id:r500000"),
)


def records(number: int, now: float) -> Iterator[ExchangeRecord]:
    """Make records of one day, with 1000 hosts, of which few have most of the requests."""
    chance = random.Random(14)  # noqa: S311 - no secret
    for index in range(number):
        host = int(1000 * chance.random() ** 3)
        denied = chance.random() < 0.05
        reason = f"{chance.choice(_WORDS)} {chance.choice(_WORDS)} policy, ticket {chance.randrange(100_000)}"
        yield ExchangeRecord(
            time=now - _DAY + index * _DAY / number,
            request_id=f"r{index}",
            client=ClientIdentity(f"10.0.{index % 4}.{index % 250}", 40000 + index % 20000, f"job-{index % 50}"),
            stage="request",
            method=chance.choice(("GET", "GET", "GET", "POST")),
            url=f"https://api{host}.example/v1/{index % 977}/items?page={index}",
            verdict="deny" if denied else "allow",
            outcome="denied" if denied else "forwarded",
            reason=reason,
            decided_by="policy",
            rule_id=f"rule-{chance.randrange(40)}",
            policy_version="3f9a0c1b2d4e",
            decision_seconds=0.0001,
            status=403 if denied else chance.choice((200, 200, 200, 200, 404, 502)),
            bytes_sent=100,
            bytes_received=2000,
            duration=0.05,
            address="192.0.2.9",
            upstream=None,
            observed=None,
            source=None,
            phases=(
                ("request", 1.0),
                ("decision", 1.00005),
                ("reused", 1.00015),
                ("wait", 1.00015),
                ("receive", 1.045),
            ),
            request_headers=None,
            response_headers=None,
            trace=None,
            grpc=None,
            client_http="2",
            origin_http=None if denied else "1.1",
        )


def fill(store: Any, number: int, now: float) -> tuple[float, float]:
    """Store records, and return the seconds and the seconds of CPU time that the store took."""
    seconds = cpu = 0.0
    made = records(number, now)
    while batch := list(islice(made, _BATCH)):
        before = time.process_time()
        seconds += elapsed(partial(store.append, batch))
        cpu += time.process_time() - before
    return seconds, cpu


def elapsed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def found_in(store: Any, wanted: Filter) -> list[Mapping[str, Any]]:
    """Return the records that a search finds."""
    return list(store.search(wanted, _LIMIT))


def measure(store: Any, open_reader: Callable[[], Any], number: int, now: float) -> None:
    """Fill a store, search it, and print the times.

    @param store: the store.
    @param open_reader: opens it with another connection.
    """
    seconds, cpu = fill(store, number, now)
    used = store.used()
    store.close()
    each, of_cpu = (1e6 * value / number for value in (seconds, cpu))
    print(f"{number} records: {each:.0f} us, {of_cpu:.0f} us of CPU and {used / number:.0f} bytes each")
    reader = open_reader()
    print(f"\n| Search | Filter | Records | First (ms) | Median of {_TIMES} (ms) |\n| --- | --- | --- | --- | --- |")
    for what, text in SEARCHES:
        wanted = parse_filter(text, now)
        found = found_in(reader, wanted)
        # A new connection has no pages in its cache.
        other = open_reader()
        search = partial(found_in, other, wanted)
        first = elapsed(search)
        times = sorted(elapsed(search) for _ in range(_TIMES))
        other.close()
        print(
            f"| {what} | `{text}` | {len(found)} | {first * 1000:.1f} | {times[_TIMES // 2] * 1000:.1f} |", flush=True
        )
    reader.close()


def compare_signatures(open_writer: Callable[[Signer | None], Any], number: int, now: float) -> None:
    """Fill stores with and without signatures in turns, and print the CPU times, and the time of the verification.

    @param open_writer: opens an empty store.
    """
    key = Ed25519PrivateKey.generate()
    print("| Signatures | CPU time of a record (us) | Time (us) |\n| --- | --- | --- |")
    for _ in range(_ROUNDS):
        for signer in (None, Signer(key)):
            store = open_writer(signer)
            seconds, cpu = fill(store, number, now)
            each, of_cpu = (1e6 * value / number for value in (seconds, cpu))
            print(f"| {'no' if signer is None else 'yes'} | {of_cpu:.1f} | {each:.1f} |", flush=True)
            if signer is not None:
                verified = elapsed(partial(store.verify, [key.public_key()]))
                print(f"| verification | | {1e6 * verified / number:.1f} |", flush=True)
            store.close()


def main() -> None:
    """Fill a store, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="[default: %(default)s]")
    parser.add_argument("--postgresql", action="store_true", help="use PostgreSQL, which it starts, instead of SQLite")
    parser.add_argument("--sign", action="store_true", help="measure only what signatures (--audit-signing-key) cost")
    given = parser.parse_args()
    now = time.time()
    if given.sign:
        sign(given.records, now, postgresql=given.postgresql)
        return
    if given.postgresql:
        with started() as (version, url):
            print(f"PostgreSQL {version}")
            store = PostgresqlStore(Database(url=url, seconds=60))
            measure(store, partial(store_to_read, url), given.records, now)
        return
    with tempfile.TemporaryDirectory(prefix="egress-store-") as directory:
        path = Path(directory) / "audit.db"
        measure(open_store(path), partial(open_to_read, path), given.records, now)


def sign(number: int, now: float, *, postgresql: bool) -> None:
    """Measure what signatures cost."""
    numbers = count()
    if not postgresql:
        with tempfile.TemporaryDirectory(prefix="egress-store-") as directory:

            def in_file(signer: Signer | None) -> Any:
                return open_store(Path(directory) / f"{next(numbers)}.db", signer)

            compare_signatures(in_file, number, now)
        return
    with started() as (version, url):
        print(f"PostgreSQL {version}")

        def on_server(signer: Signer | None) -> Any:
            store = PostgresqlStore(Database(url=url, seconds=60), "", 0, signer)
            store.connect()
            store.write("TRUNCATE exchanges, blocks, anchor", [()])
            store.write("UPDATE last_seq SET block = NULL, digest = NULL", [()])
            return store

        compare_signatures(on_server, number, now)


if __name__ == "__main__":
    main()
