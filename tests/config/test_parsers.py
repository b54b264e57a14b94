"""Tests for L{egress.config.parsers}."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from egress.config import parsers as values
from egress.config.listener import Listener, ListenerTls
from egress.config.model import AuditFailure, AuthzApi, AuthzBody, Mode, OversizeBody
from egress.config.parsers import BadValue, ParseContext
from egress.model.authority import Authority, UpstreamHop, UpstreamProxy
from egress.model.jwt_issuer import JwtIssuer
from egress.model.recorded_headers import AuditHeaders
from tests.files import make_directory

Parse = Callable[[str, ParseContext], Any]


class ValueTests(SynchronousTestCase):
    """Base class: a context for values."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()
        self.place = ParseContext(self.directory, MemoryReactorClock())

    def accept(self, parse: Parse, cases: dict[str, Any]) -> None:
        for text, expected in cases.items():
            with self.subTest(text):
                self.assertEqual(parse(text, self.place), expected)

    def refuse(self, parse: Parse, cases: dict[str, str]) -> None:
        """Verify that each text is rejected, with a remedy that contains the given words."""
        for text, words in cases.items():
            with self.subTest(text):
                with self.assertRaises(BadValue) as caught:
                    parse(text, self.place)
                self.assertIn(words, caught.exception.remedy)
                self.assertNotIn("\n", caught.exception.remedy)


class NumberTests(ValueTests):
    """Sizes, times and ports, with their usual units."""

    def test_sizes(self) -> None:
        self.accept(
            values.size,
            {
                "1048576": 1048576,
                "512k": 524288,
                "1m": 1048576,
                "1 MiB": 1048576,
                "1KiB": 1024,
                "2g": 2147483648,
                "1GIB": 1073741824,
            },
        )

    def test_invalid_sizes(self) -> None:
        wrong = dict.fromkeys(["", "x", "1.5m", "-1", "1MB", "1b", "1 t", "9" * 16, "\u0661"], "1048576, 512k")
        self.refuse(values.size, {**wrong, "0": "greater than zero", "0k": "greater than zero"})

    def test_times(self) -> None:
        self.accept(
            values.duration, {"5": 5.0, "2.5": 2.5, "5s": 5.0, "500ms": 0.5, "2m": 120.0, "1h": 3600.0, "5 S": 5.0}
        )

    def test_invalid_times(self) -> None:
        wrong = dict.fromkeys(["", "x", "5 days", "-1", "inf", "nan", "1e3", ".5", "9" * 10], "500ms or 2m")
        self.refuse(values.duration, {**wrong, "0": "greater than zero", "0.0ms": "greater than zero"})

    def test_ports(self) -> None:
        self.accept(values.port, {"1": 1, "9090": 9090, "65535": 65535})
        self.refuse(values.port, dict.fromkeys(["", "0", "65536", "http", "-1", "9" * 5000], "from 1 to 65535"))

    def test_durations_that_may_be_zero(self) -> None:
        self.accept(values.duration_or_zero, {"0": 0.0, "0s": 0.0, "0.0 ms": 0.0, "5m": 300.0})
        self.refuse(values.duration_or_zero, dict.fromkeys(["", "-1", "0x"], "a number of seconds"))

    def test_authz_apis(self) -> None:
        self.accept(values.authz_api, {"opa": AuthzApi.OPA, "Ext-Authz": AuthzApi.EXT_AUTHZ})
        self.refuse(values.authz_api, dict.fromkeys(["", "cedar"], "choose postman, authzen, opa or ext-authz"))
        self.accept(values.authz_body, {"never": AuthzBody.NEVER, "On-Demand": AuthzBody.ON_DEMAND})
        self.refuse(values.authz_body, dict.fromkeys(["", "sometimes"], "choose always, on-demand or never"))

    def test_field_names(self) -> None:
        self.accept(values.field_name, {"X-User": "x-user"})
        self.refuse(values.field_name, dict.fromkeys(["", "a b", "a:", "\u00e4"], "the name of a header field"))

    def test_modes(self) -> None:
        self.accept(values.mode, {"enforce": Mode.ENFORCE, "Observe": Mode.OBSERVE})
        self.refuse(values.mode, dict.fromkeys(["", "watch"], "choose enforce or observe"))

    def test_shadow_logs(self) -> None:
        self.refuse(values.shadow_log, {"-": "must be a file"})

    def test_audit_failures(self) -> None:
        self.accept(values.audit_failure, {"deny": AuditFailure.DENY, "Continue": AuditFailure.CONTINUE})
        self.refuse(values.audit_failure, dict.fromkeys(["", "stop"], "choose continue or deny"))

    def test_audit_headers(self) -> None:
        self.accept(values.audit_headers, {"none": AuditHeaders.NONE, "ALL": AuditHeaders.ALL})
        self.refuse(values.audit_headers, dict.fromkeys(["", "allow"], "choose none, denied or all"))

    def test_ranges_of_ports(self) -> None:
        self.accept(values.ports, {"443": range(443, 444), "8000-8999": range(8000, 9000), "7-7": range(7, 8)})
        self.refuse(
            values.ports, dict.fromkeys(["", "-", "80-", "-80", "0", "1-65536", "http", "1-2-3"], "a range of ports")
        )
        self.refuse(values.ports, {"9000-8000": "write 8000-9000"})

    def test_numbers(self) -> None:
        self.accept(values.number, {"1": 1, "007": 7, "999999999": 999_999_999})
        nonsense = ["", "-1", "1.5", "many", "9" * 5000]
        self.refuse(values.number, dict.fromkeys(["0", "none", *nonsense], "greater than zero"))
        self.accept(values.number_or_zero, {"0": 0, "12": 12})
        self.refuse(values.number_or_zero, dict.fromkeys(["none", *nonsense], "or 0"))
        self.accept(values.number_or_none, {"1": 1, "none": None, "None": None})
        self.refuse(values.number_or_none, dict.fromkeys(["0", *nonsense], "or none"))

    def test_workers(self) -> None:
        self.patch(os, "sched_getaffinity", lambda pid: {0, 2, 5})
        self.accept(values.workers, {"1": 1, "2": 2, "256": 256, "auto": 3, "Auto": 3})
        self.refuse(values.workers, dict.fromkeys(["", "0", "257", "-1", "1.5", "all", "9" * 5000], "or auto"))

    def test_many_cores(self) -> None:
        self.patch(os, "sched_getaffinity", lambda pid: set(range(1000)))
        self.accept(values.workers, {"auto": 256})


class ChoiceTests(ValueTests):
    """Values of enumerations."""

    def test_booleans(self) -> None:
        self.accept(values.boolean, {"true": True, "YES": True, "1": True, "off": False, "No": False, "0": False})
        self.refuse(values.boolean, {"maybe": "true or false"})
        self.accept(values.switch, {"on": True, "OFF": False, "true": True, "no": False})
        self.refuse(values.switch, {"maybe": "on or off"})

    def test_oversize_body(self) -> None:
        self.accept(values.oversize_body, {"refuse": OversizeBody.REFUSE, "Truncate": OversizeBody.TRUNCATE})
        self.refuse(values.oversize_body, {"cut": "refuse or truncate"})


class AddressTests(ValueTests):
    """Endpoints, interfaces and ranges."""

    def test_endpoints(self) -> None:
        for text in (
            "tcp:8080:interface=127.0.0.1",
            "tcp:port=8080",
            "tcp6:65535:interface=\\:\\:1",
            "tcp:0",
            "unix:/run/egress.sock",
        ):
            self.accept(values.endpoint, {text: Listener(text)})
        reactor = self.place.reactor
        self.assertEqual((reactor.tcpServers, reactor.unixServers), ([], []))

    def test_invalid_endpoints(self) -> None:
        wrong = ["8080", "127.0.0.1:8080", "http://127.0.0.1:8080", "tcp", "tcp:x", "tcp:1:what=2", "tcp:1\\"]
        self.refuse(values.endpoint, dict.fromkeys(wrong, "as in tcp:8080:interface=127.0.0.1"))
        self.refuse(values.endpoint, dict.fromkeys(["tcp:65536", "tcp6:port=99999", "tcp:" + "9" * 40], "up to 65535"))
        absent = self.directory / "absent"
        for text in (f"ssl:443:privateKey={absent}", f"tcp:1:client-auth={absent}", "tcp:1:client-auth=absent"):
            self.refuse(values.endpoint, {text: "No such file"})
        self.refuse(values.endpoint, {"tcp:1:client-ca=x": "client-ca requires an ssl:"})

    def test_endpoints_with_files(self) -> None:
        pem, clients = self.directory / "proxy.pem", self.directory / "clients.txt"
        pem.touch()
        clients.touch()
        tls = ListenerTls(pem, pem, None, pem)
        self.accept(
            values.endpoint,
            {
                "ssl:443:privateKey=proxy.pem:client-ca=proxy.pem": Listener("tcp:443", tls),
                "tcp:1:client-auth=clients.txt": Listener("tcp:1", None, True, clients),
                "tcp:1:client-auth=none": Listener("tcp:1", None, True, None),
            },
        )

    def test_client_auth(self) -> None:
        keys = self.directory / "keys.json"
        keys.touch()
        tokens = JwtIssuer("https://a", jwks=keys)
        self.accept(values.client_auth, {"keys.json": keys, "jwt:https://a:jwks=keys.json": tokens})
        self.accept(
            values.endpoint,
            {"tcp:1:client-auth=jwt\\:https\\://a\\:jwks=keys.json": Listener("tcp:1", None, True, tokens)},
        )
        self.refuse(values.client_auth, dict.fromkeys(["absent", "jwt:https://a:ca=absent"], "No such file"))
        self.refuse(values.client_auth, {"jwt:http://a": "write an https:// URL"})

    def test_interfaces(self) -> None:
        self.accept(values.interface, {"127.0.0.1": "127.0.0.1", "::": "::", "2001:DB8::1": "2001:db8::1"})
        self.refuse(values.interface, dict.fromkeys(["", "localhost", "127.0.0.1:9090", "*"], "IP address"))

    def test_ranges(self) -> None:
        self.accept(
            values.address_range,
            {
                "10.0.0.0/8": ip_network("10.0.0.0/8"),
                "127.0.0.1": ip_network("127.0.0.1/32"),
                "fd00::/8": ip_network("fd00::/8"),
            },
        )
        self.refuse(
            values.address_range,
            {"10.0.0.5/8": "write 10.0.0.0/8", "example.com": "as in 10.0.0.0/8", "10.0.0.0/33": "as in 10.0.0.0/8"},
        )

    def test_name_constraints(self) -> None:
        self.accept(
            values.name_constraint,
            {
                "Example.COM.": "example.com",
                ".internal": "internal",
                "*.example.com": "example.com",
                "bücher.example": "xn--bcher-kva.example",
                "10.0.0.0/8": ip_network("10.0.0.0/8"),
                "192.0.2.1": ip_network("192.0.2.1/32"),
                "2001:db8::1": ip_network("2001:db8::1/128"),
                "[2001:db8::1]": ip_network("2001:db8::1/128"),
                "0x7f.1": ip_network("127.0.0.1/32"),
            },
        )
        self.refuse(values.name_constraint, dict.fromkeys(["*", "a b", "https:", "x:443"], "write hosts or address"))
        self.refuse(values.name_constraint, {"10.0.0.1/8": "write 10.0.0.0/8", "a.b/c": "as in 10.0.0.0/8"})

    def test_host_patterns(self) -> None:
        for text in ("example.com", "*.example.com:8443", ".example.com", "[2001:db8::1]:443"):
            self.accept(values.host_pattern, {text: text})
        self.refuse(values.host_pattern, dict.fromkeys(["*", "a b", "https://example.com", "x:0"], "write a host"))

    def test_bypass_entries(self) -> None:
        for text in ("*", "example.com", ".example.com:80", "10.0.0.0/8", "::1"):
            self.accept(values.bypass_entry, {text: text})
        self.refuse(values.bypass_entry, dict.fromkeys(["10.0.0.0/99", "a..b", "x:y"], "an address or a range"))


class UrlTests(ValueTests):
    """URLs of the authorization service and of the upstream proxy."""

    def test_authorization_service(self) -> None:
        self.accept(
            values.authz_url,
            {
                "http://127.0.0.1:9000": "http://127.0.0.1:9000",
                "HTTPS://Authz.Example.:443/v1/validate": "https://authz.example/v1/validate",
                "http://[::1]:9000/": "http://[::1]:9000/",
                "https://b\u00fccher.example": "https://xn--bcher-kva.example",
            },
        )

    def test_invalid_authorization_services(self) -> None:
        self.refuse(
            values.authz_url,
            {
                "": "http:// or https://",
                "authz.example": "http:// or https://",
                "ftp://authz.example": "http:// or https://",
                "http://authz.example/a b": "http:// or https://",
                "http://authz.example?x": "http:// or https://",
                "http://alice:s3cret@authz.example": "remove the credentials",
                "http://alice:s3/cret@authz.example": "remove the credentials",
                "http://authz.example/a?x": "remove the query",
                "http://authz.example/a#x": "remove the query",
                "http://authz example": "as in http://127.0.0.1:9000",
                "http://authz.example:0": "as in http://127.0.0.1:9000",
                "http://": "as in http://127.0.0.1:9000",
            },
        )

    def test_upstream_proxies(self) -> None:
        plain = UpstreamProxy("http", Authority("proxy.example", 3128))
        first = UpstreamHop("socks5h", Authority("first.example", 1080))
        self.accept(
            values.upstream_proxy,
            {
                "http://proxy.example:3128": plain,
                "http://Proxy.Example:3128/": plain,
                "proxy.example:3128": plain,
                "http://@proxy.example:3128": plain,
                "http://proxy.example": UpstreamProxy("http", Authority("proxy.example", 80)),
                "HTTPS://[2001:db8::1]": UpstreamProxy("https", Authority("2001:db8::1", 443)),
                "socks5://proxy.example": UpstreamProxy("socks5", Authority("proxy.example", 1080)),
                "SOCKS5H://proxy.example:9050": UpstreamProxy("socks5h", Authority("proxy.example", 9050)),
                "http://proxy.example:3128  VIA socks5h://first.example": evolve(plain, via=first),
            },
        )

    def test_upstream_credentials(self) -> None:
        for userinfo, credentials in {
            "alice:s3cret": b"alice:s3cret",
            "alice": b"alice:",
            "alice:": b"alice:",
            ":s3cret": b":s3cret",
            "al%40ice:s%3A3%2Fcret": b"al@ice:s:3/cret",
            "alice:a:b@c": b"alice:a:b@c",
            "alice:100%": b"alice:100%",
            "alice:\u00fc": b"alice:\xc3\xbc",
        }.items():
            with self.subTest(userinfo):
                proxy = values.upstream_proxy(f"http://{userinfo}@proxy.example:3128", self.place)
                self.assertEqual(proxy.authorization, b"Basic " + b64encode(credentials))
                self.assertEqual(str(proxy), "http://proxy.example:3128")

    def test_invalid_upstream_proxies(self) -> None:
        self.refuse(
            values.upstream_proxy,
            {
                "socks4://proxy.example:1080": "other schemes are not supported",
                "http://alice:s3/cret@proxy.example": "percent-encode",
                "http://alice:s3#cret@proxy.example": "percent-encode",
                "http://proxy.example/path": "after the host and port",
                "http://proxy.example?x": "after the host and port",
                "http://al%3Aice:s3cret@proxy.example": "must not contain a colon",
                "http://alice:s3%0Acret@proxy.example": "control characters",
                "http://proxy example": "as in http://proxy.example:3128",
                "socks5h://proxy example": "as in socks5h://proxy.example:1080",
                f"socks5h://{'a' * 256}:b@proxy.example": "SOCKS5 requires a name of 1 to 255 bytes",
                "socks5h://:s3cret@proxy.example": "SOCKS5 requires a name of 1 to 255 bytes",
                "http://a.test via http://b.test via http://c.test": "at most two upstream proxies",
                "http://a.test via http://a.test": "must not contain the same upstream proxy twice",
                "http://a.test via ftp://b.test": "other schemes are not supported",
                "http://a.test, http://b.test": "write URL via URL",
                "http://a.test,http://b.test": "write URL via URL",
                "http://alice:s3cret@proxy.example:0": "as in http://proxy.example:3128",
                "http://": "as in http://proxy.example:3128",
            },
        )

    def test_no_remedy_displays_credentials(self) -> None:
        for parse in (values.authz_url, values.upstream_proxy):
            for text in (
                "http://alice:s3cret@",
                "http://alice:s3/cret@proxy.example",
                "http://alice:s3cret@proxy example",
                "http://alice:s3cret@proxy.example:x/y",
                "ftp://alice:s3cret@proxy.example",
                "alice:s3cret@proxy..example",
                "http://alice:s3cret@proxy.example via http://alice:s3cret@proxy.example",
                "socks5h://alice:s3cret@proxy.example via http://alice:s3/cret@proxy2.example",
            ):
                with self.subTest(text):
                    with self.assertRaises(BadValue) as caught:
                        parse(text, self.place)
                    for secret in ("alice", "s3", "cret"):
                        self.assertNotIn(secret, caught.exception.remedy.replace("the credentials", ""))


class FileTests(ValueTests):
    """Files are checked when the option is parsed."""

    def write(self, name: str, data: bytes = b"") -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path

    def test_readable_file(self) -> None:
        path = self.write("a.pem")
        self.accept(values.readable_file, {"a.pem": path, str(path): path})

    def test_unreadable_files(self) -> None:
        os.mkfifo(self.directory / "fifo")
        self.refuse(
            values.readable_file,
            {
                "absent.pem": "No such file or directory",
                ".": "must be a regular file",
                "fifo": "must be a regular file",
                "a\0b": "null character",
                "x" * 300: "File name too long",
            },
        )

    def test_file_of_another_user(self) -> None:
        self.write("secret.pem")

        def refuse(path: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        self.patch(Path, "open", refuse)
        self.refuse(values.readable_file, {"secret.pem": "must be a readable file: Permission denied"})

    def test_home(self) -> None:
        self.patch(os, "environ", {"HOME": "/home/alice"})
        self.assertEqual(self.place.path("~/ca"), Path("/home/alice/ca"))
        self.refuse(values.directory, {"~nobody-of-that-name/ca": "write an absolute path"})

    def test_directory(self) -> None:
        self.write("file")
        self.accept(values.directory, {".": self.directory, "absent/ca": self.directory / "absent" / "ca"})
        self.refuse(values.directory, {"file": "must be a directory", "x" * 300: "File name too long"})

    def test_log_file(self) -> None:
        path = self.write("audit.jsonl")
        self.accept(
            values.log_file,
            {"-": "-", "audit.jsonl": str(path), "new.jsonl": str(self.directory / "new.jsonl")},
        )
        self.assertFalse((self.directory / "new.jsonl").exists())
        self.refuse(
            values.log_file,
            {".": "not a directory", "absent/audit.jsonl": "absent' first", "x" * 300: "File name too long"},
        )

    def test_audit_store(self) -> None:
        self.accept(values.audit_store, {"sqlite:new.db": f"sqlite:{self.directory / 'new.db'}"})
        self.refuse(
            values.audit_store,
            {
                "new.db": "write sqlite:FILE, as in sqlite:/var/lib/egress/audit.db",
                "sqlite:.": "must be a file, not a directory",
                "sqlite:absent/a.db": f"create the directory {str(self.directory / 'absent')!r} first",
                f"sqlite:{'x' * 300}": "must be an accessible file: File name too long",
            },
        )

    def test_log_file_is_not_writable(self) -> None:
        self.write("audit.jsonl")
        asked: list[object] = []

        def access(path: Path, mode: int) -> bool:
            asked.append(path)
            return False

        self.patch(os, "access", access)
        self.refuse(values.log_file, dict.fromkeys(["audit.jsonl", "new.jsonl"], "must be a writable file"))
        self.assertEqual(asked, [self.directory / "audit.jsonl", self.directory])

    def test_token(self) -> None:
        self.accept(values.token, {"abc.DEF-1|2": "abc.DEF-1|2"})
        self.refuse(values.token, dict.fromkeys(["two words", "\u00fc", "line\n"], "one word"))

    def test_token_file(self) -> None:
        self.write("token", b"abc123\n")
        self.accept(values.token_file, {"token": "abc123"})

    def test_invalid_token_files(self) -> None:
        self.write("empty")
        self.write("words", b"s3cret s3cret\n")
        self.write("binary", b"s3cret\xff")
        self.write("large", b"x" * 70_000)
        self.refuse(
            values.token_file,
            {
                "absent": "No such file",
                "empty": "must contain only the token",
                "words": "must contain only the token",
                "binary": "must contain only the token",
                "large": "must contain only the token",
            },
        )
