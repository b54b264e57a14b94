"""Searches and their results, which are the same for each kind of database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from zope.interface.verify import verifyObject

from egress.model.change import Actor, Change, ChangeKind
from egress.model.grpc_result import GrpcResult
from egress.model.log_numbers import written_time
from egress.model.record import ExchangeRecord
from egress.store.destinations import Page
from egress.store.filter_language import parse_filter
from egress.store.interfaces import IAuditStore
from tests.observability.records import ALLOWED, ALLOWED_FIELDS, REFUSED

T0 = 1_700_000_000.0


def record(name: str, seconds: float = 0.0, **fields: Any) -> ExchangeRecord:
    """Make a record with the id C{name}, some seconds after L{T0}."""
    return attrs.evolve(ALLOWED, request_id=name, time=T0 + seconds, **fields)


RECORDS = (
    record("a", 1),
    record("b", 2, url="https://other.test/v1/a/items?q=1", status=503, method="GET", rule_id=None),
    record("c", 3, url="https://x.api.example.com/", verdict="deny", reason="quota exceeded", observed="deny"),
    attrs.evolve(REFUSED, request_id="d", time=T0 + 4),
    record("e", 5, url="tunnel.test:443", method="CONNECT", stage="tunnel", verdict="deny", rule_id="No-Admin"),
    record(
        "f",
        6,
        url="https://b\u00fccher.test/S\u00e3o_Paulo/v1.5(beta)",
        method="PUT",
        status=404,
        outcome="origin-timeout",
        reason="Th\u00e9 origin\x00 timed out: 30s, it's 'slow' & | ! <-> \\ \udcff",
        rule_id="a:b*c",
        client_http="1.1",
        origin_http="2",
        policy_version="71b2",
    ),
)

FILTERS = (
    ("", "fedcba"),
    ("host:api.example.com", "a"),
    ("host:api.example.com,other.test", "ba"),
    ("host:*.example.com", "ca"),
    ("-host:*.example.com", "fedb"),
    ("host:*.a-name-that-is-longer-than-the-host.test", ""),
    ("path:/v1/items", "a"),
    ("path:/v1/**", "ba"),
    ("path:/v1/*", "a"),
    ("path:/*/*/items", "b"),
    ("path:/*/v1.5(beta)", "f"),
    ("path:/*/v1?5(beta)", ""),
    ("path:*1.5*", ""),
    ("path:**1.5*", "f"),
    ("status:5xx,404", "fb"),
    ("-status:201", "fdb"),
    ("method:post,connect", "eca"),
    ("verdict:deny", "ec"),
    ("observed:deny", "c"),
    ("outcome:bad-request", "d"),
    ("rule:items-write", "ca"),
    ("-rule:items-write", "fedb"),
    ('rule:"a:b*c"', "f"),
    ("policy:7-3f9a0c1b2d4e", "ecba"),
    ("policy:7-*", "ecba"),
    ("policy:7*,x", "fecba"),
    ("-policy:7-*", "fd"),
    ("policy:7", ""),
    ("stage:tunnel", "e"),
    ("client:2001:db8::7", "d"),
    ("client:runner-7", "fecba"),
    ("client:127.0.0.0/8", "fecba"),
    ("client:127.1.0.0/16,2001:db8::/32", "d"),
    ("-client:127.0.0.0/31", "d"),
    ("client:127.0.0.1/32", "fecba"),
    ("client:0.0.0.0/0,2001:db8::6/127,x", "fedcba"),
    ("id:c", "c"),
    ("http:2", "fecba"),
    ("http:1.1 -grpc:users.v1.Users", "fecba"),
    ("-grpc_status:OK", "fedcba"),
    ("client_http:2", "ecba"),
    ("-client_http:2", "fd"),
    ("origin_http:2", "f"),
    ("http:1.0", ""),
    ("https://x.api.example.com/", "c"),
    ("since:2023-11-14T22:13:23Z", "fedc"),
    ("until:2023-11-14T22:13:22Z", "a"),
    ("quota", "c"),
    ("QUOTA", "c"),
    ("quot", "c"),
    ("uota", ""),
    ('"quota exc"', "c"),
    ('"quot exceeded"', ""),
    ('"exceeded quota"', ""),
    ("exceeded quota", "c"),
    ("no-admin", "e"),
    # The last word of the reason, and the first one of the URL.
    ('"allowed https"', ""),
    ("other", "b"),
    ("api.example.com", "ca"),
    ("-quota verdict:deny", "e"),
    ("-quota -tunnel verdict:deny", ""),
    ('"a\' OR 1=1 --"', ""),
    ("the", "feba"),
    ('"the origin timed out: 30"', "f"),
    ("B\u00dcCHER", "f"),
    ("bucher", "f"),
    ("sao_paulo", "f"),
    ("it's", "f"),
    ('"slow & | !"', "f"),
    ('"1.5 beta a"', ""),
    ("%s", "f"),
    ('"slow & | ! <-> \udcff"', "f"),
    ('"origin\x00timed"', "f"),
)
"""Filters, and the ids that they find in L{RECORDS}."""


class SearchCases:
    """Filters find the records that they describe: a part of test cases.

    @ivar store: the store, which C{setUp} creates; it is empty.
    @ivar open: opens the same store with another connection.
    @cvar origin: the fields of records that name the writer, if several proxies share the store.
    """

    origin: ClassVar[dict[str, Any]] = {}
    store: Any
    open: Callable[..., Any]

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.case: Any = self
        self.store.append(RECORDS)

    def ids(self, text: str, limit: int | None = None, *, oldest_first: bool = False) -> list[str]:
        """Return the ids that a filter finds."""
        found = self.store.search(parse_filter(text, T0 + 3600), limit, oldest_first)
        return [each["requestId"] for each in found]

    def test_interface(self) -> None:
        verifyObject(IAuditStore, self.store)

    def test_filters(self) -> None:
        for text, expected in FILTERS:
            with self.case.subTest(text):
                self.case.assertEqual("".join(self.ids(text)), expected)
                self.case.assertEqual("".join(self.ids(text, 1)), expected[:1])

    def test_calls(self) -> None:
        """A gRPC call is found by its service, its method, and its status."""
        url, call = "https://api.test/users.v1.Users/Get_User", GrpcResult("users.v1.Users", "Get_User", "NOT_FOUND")
        web = attrs.evolve(call, method="List", status=None)
        self.store.append(
            [
                record("g", 7, url=url, grpc=call),
                record("h", 8, url=url.replace("Get_User", "List"), grpc=web),
                record("no-call", 9, url=url),
            ]
        )
        for text, expected in (
            ("grpc:users.v1.Users/Get_User", ["g"]),
            ("grpc:/users.v1.Users", ["h", "g"]),
            ("grpc:users.v1.Users/*,x", ["h", "g"]),
            ("grpc:users.v1", []),
            ("grpc:users.v1.Users/Get", []),
            ("grpc:users.v1.users/Get_User", []),
            ("-grpc:users.v1.Users since:2023-11-14T22:13:27Z", ["no-call"]),
            ("grpc_status:not_found", ["g"]),
            ("grpc_status:OK", []),
            ("-grpc_status:OK,NOT_FOUND grpc:users.v1.Users", ["h"]),
        ):
            with self.case.subTest(text):
                self.case.assertEqual(self.ids(text), expected)
                self.case.assertEqual(self.ids(text, 1), expected[:1])
        found = next(iter(self.store.search(parse_filter("id:g", 0), 1)))
        self.case.assertEqual(list(found.items())[-1], ("grpc", attrs.asdict(call)))

    def test_limit_and_order(self) -> None:
        self.case.assertEqual(self.ids("", 2), ["f", "e"])
        self.case.assertEqual(self.ids("", 2, oldest_first=True), ["a", "b"])
        self.case.assertEqual(self.ids("", 5000, oldest_first=True), list("abcdef"))

    def test_fields(self) -> None:
        """All fields of an audit line are stored; a secret of a URL is not."""
        found = next(iter(self.store.search(parse_filter("id:a", 0), 1)))
        self.case.assertEqual(
            found,
            {
                "time": "2023-11-14T22:13:21.000Z",
                "requestId": "a",
                **ALLOWED_FIELDS,
                **self.origin,
            },
        )
        self.case.assertEqual(self.ids("hunter2"), [])

    def test_statistics(self) -> None:
        found = self.store.statistics(parse_filter("", 0), 1)
        self.case.assertEqual((found["records"], found["bytesSent"], found["bytesReceived"]), (6, 72, 2070))
        self.case.assertEqual((found["first"], found["last"]), ("2023-11-14T22:13:21.000Z", "2023-11-14T22:13:26.000Z"))
        verdicts = {each["name"]: each["records"] for each in found["verdicts"]}
        self.case.assertEqual(verdicts, {"allow": 3, "deny": 2, "rejected": 1})
        self.case.assertEqual((len(found["hosts"]), found["rules"]), (1, [{"name": "items-write", "records": 2}]))
        of_text = self.store.statistics(parse_filter("the", 0), 9)
        self.case.assertEqual((of_text["records"], of_text["bytesSent"]), (4, 48))
        self.case.assertEqual([each["name"] for each in of_text["rules"]], ["No-Admin", "a:b*c", "items-write"])
        empty = self.store.statistics(parse_filter("id:none", 0), 1)
        self.case.assertEqual((empty["records"], empty["first"], empty["bytesSent"]), (0, None, 0))

    def test_changes(self) -> None:
        """Changes by administrators are found, and are neither requests nor destinations."""
        before = self.store.statistics(parse_filter("", 0), 10)
        actor = Actor(role="admin", address="10.0.0.9", port=7, place="console")
        change = Change(ChangeKind.POLICY_RELOADED, "the policy was 0a1b, and is 2c3d", actor)
        self.store.append([change.record(T0 + 9, "z")])
        filters = "stage:admin", "verdict:change", "outcome:policy-reloaded", "client:10.0.0.9", "client:admin", "2c3d"
        for text in filters:
            self.case.assertEqual(self.ids(text), ["z"], text)
        self.case.assertEqual(self.ids("-stage:admin"), list("fedcba"))
        self.case.assertEqual(self.store.statistics(parse_filter("", 0), 10), before)
        self.case.assertEqual(self.store.statistics(parse_filter("stage:admin", 0), 10)["records"], 1)
        for _ in range(2):
            for text in ("", "-client:10.1.1.1"):
                listed = self.store.destinations(parse_filter(text, 0), Page(), T0 + 20)
                self.case.assertEqual(listed.records, len(RECORDS), text)
            self.store.roll_up(T0 + 20)

    def test_rules(self) -> None:
        """The records of each rule are counted, with the time of the newest one."""
        for text, expected in (
            ("", {"items-write": (2, 3), "No-Admin": (1, 5), "a:b*c": (1, 6)}),
            ("verdict:deny", {"items-write": (1, 3), "No-Admin": (1, 5)}),
            (f"since:{written_time(T0 + 4)}", {"No-Admin": (1, 5), "a:b*c": (1, 6)}),
            ("the", {"items-write": (1, 1), "No-Admin": (1, 5), "a:b*c": (1, 6)}),
            ("id:none", {}),
        ):
            found = self.store.rule_uses(parse_filter(text, T0 + 10))
            uses = {rule: (use.records, use.last - T0) for rule, use in found.items()}
            self.case.assertEqual(uses, expected, text)

    def test_follow(self) -> None:
        """New records are found in the order of writing, whatever their time is."""
        last = self.store.last_seq()
        self.store.append([record("late", -100), record("a")])
        self.store.append([record("new", 6, verdict="deny")])
        after, found = self.store.written_after(parse_filter("", 0), last)
        self.case.assertEqual([each["requestId"] for each in found], ["late", "new"])
        self.case.assertEqual(after, self.store.last_seq())
        self.case.assertEqual(self.store.written_after(parse_filter("", 0), after), (after, []))
        self.case.assertEqual(len(self.store.written_after(parse_filter("verdict:deny", 0), last)[1]), 1)
        self.case.assertEqual(len(self.store.written_after(parse_filter("new", 0), last)[1]), 0)

    def test_follow_many(self) -> None:
        """A large number of new records is found in parts."""
        last = self.store.last_seq()
        names = [f"r{number}" for number in range(2100)]
        self.store.append([record(name, 10) for name in names])
        found: list[str] = []
        while True:
            last, part = self.store.written_after(parse_filter("", 0), last)
            if not part:
                break
            self.case.assertLessEqual(len(part), 1000)
            found += [each["requestId"] for each in part]
        self.case.assertEqual(sorted(found), sorted(names))
        self.case.assertEqual(len(self.ids("since:2023-11-14T22:13:29Z", 2000)), 2000)

    def test_snapshot(self) -> None:
        """Queries in one context see the same state, although another connection writes."""
        reader = self.open()
        with reader.snapshot():
            before = reader.last_seq()
            self.store.append([record("g", 7)])
            with reader.snapshot():
                self.case.assertEqual(reader.last_seq(), before)
            self.case.assertEqual(reader.rows("SELECT count(*) FROM exchanges"), [(6,)])
        self.case.assertEqual(reader.rows("SELECT count(*) FROM exchanges"), [(7,)])
        self.case.assertGreater(reader.last_seq(), before)

    def test_no_duplicates(self) -> None:
        """A record is stored once."""
        self.store.append([record("x"), record("x", 5), record("y")])
        self.store.append([record("y"), record("z")])
        self.case.assertEqual(sorted(self.ids("until:2023-11-14T22:13:20.500Z")), ["x", "y", "z"])
