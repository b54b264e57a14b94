"""Tests for L{egress.config.load}."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.load import load_config, reference
from egress.config.model import (
    MIB,
    AuditFailure,
    AuthzApi,
    AuthzBody,
    ConfigError,
    Limits,
    Mode,
    OversizeBody,
    ProxyConfig,
)
from egress.config.options import BY_NAME, OPTIONS
from egress.model.authority import Authority, UpstreamProxy
from egress.model.file_access import FileAccess, FileMode
from egress.model.no_proxy import Bypass
from egress.tls.origin_policy import load_origin_policies
from tests.files import make_directory

CORPORATE = UpstreamProxy("http", Authority("proxy.example", 3128))
TWISTD = {"reactor", "logfile", "pidfile", "umask", "syslog", "uid", "gid", "rundir", "nodaemon"}
OTHER = UpstreamProxy("http", Authority("other.example", 80))


class LoadTests(SynchronousTestCase):
    """Base class: a directory with files, and a configuration file."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()

    def write(self, name: str, text: str | bytes = "") -> Path:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(
        self,
        arguments: Mapping[str, Sequence[str]] | None = None,
        environ: Mapping[str, str] | None = None,
        file: str | bytes | None = None,
    ) -> ProxyConfig:
        arguments = dict(arguments or {})
        if file is not None:
            self.write("egress.toml", file)
            arguments.setdefault("config", ["egress.toml"])
        return load_config(arguments, environ or {}, MemoryReactorClock(), self.directory)

    def refuse(
        self,
        expected: str,
        arguments: Mapping[str, Sequence[str]] | None = None,
        environ: Mapping[str, str] | None = None,
        file: str | bytes | None = None,
    ) -> None:
        """Verify that a configuration is rejected with one line; C{<dir>} stands for the directory."""
        with self.assertRaises(ConfigError) as caught:
            self.load(arguments, environ, file)
        self.assertEqual(str(caught.exception), expected.replace("<dir>", str(self.directory)))
        self.assertNotIn("\n", str(caught.exception))


class CommandLineTests(LoadTests):
    """Every option sets its part of the configuration."""

    def test_no_options(self) -> None:
        self.assertEqual(self.load(), ProxyConfig())

    def test_all_options(self) -> None:
        certificate, extra, token = self.write("client.pem"), self.write("extra.pem"), self.write("token", "abc\n")
        self.assertEqual(token.name, "token")
        config = self.load(
            {
                "listen": ["tcp:8080", "unix:/run/egress.sock"],
                "authz-url": ["https://authz.example/"],
                "authz-timeout": ["500ms"],
                "authz-token-file": ["token"],
                "authz-client-cert": ["client.pem"],
                "authz-via-upstream": ["true"],
                "authz-api": ["ext-authz"],
                "authz-body": ["never"],
                "authz-response-headers": ["X-User, x-team"],
                "authz-cache": ["9"],
                "authz-max-ttl": ["1m"],
                "authz-max-stale": ["0"],
                "body-limit": ["2m"],
                "oversize-body": ["truncate"],
                "passthrough": ["a.example", "*.b.example, c.example:8443"],
                "ca-dir": ["ca"],
                "ssl-extra-ca-certs": ["extra.pem"],
                "upstream-proxy": ["http://proxy.example:3128"],
                "no-proxy": ["localhost", ".internal 10.0.0.0/8"],
                "dns-server": ["192.0.2.53", "192.0.2.54:5353,[2001:db8::53]:53"],
                "allow-address": ["127.0.0.0/8,fd00::/8"],
                "deny-address": ["10.9.0.0/16", "fd09::/16"],
                "allow-ports": ["80,443", "8000-8999"],
                "opaque-ports": ["22", "5432-5433"],
                "upgrade-protocols": ["tcp,SPDY/3.1"],
                "max-connections": ["100"],
                "max-connections-per-client": ["10"],
                "head-timeout": ["1s"],
                "body-timeout": ["7s"],
                "idle-timeout": ["2s"],
                "connect-timeout": ["3s"],
                "response-timeout": ["4s"],
                "tunnel-timeout": ["5s"],
                "drain-timeout": ["6s"],
                "audit-log": ["audit.jsonl"],
                "audit-failure": ["deny"],
                "metrics-port": ["9090"],
                "metrics-interface": ["::1"],
            }
        )
        self.assertEqual(
            config,
            ProxyConfig(
                listen=("tcp:8080", "unix:/run/egress.sock"),
                authz_url="https://authz.example/",
                authz_timeout=0.5,
                authz_token="abc",
                authz_client_cert=certificate,
                authz_via_upstream=True,
                authz_api=AuthzApi.EXT_AUTHZ,
                authz_body=AuthzBody.NEVER,
                authz_response_headers=("x-user", "x-team"),
                authz_cache=9,
                authz_max_ttl=60.0,
                authz_max_stale=0.0,
                limits=Limits(
                    body=2 * MIB,
                    connections=100,
                    connections_per_client=10,
                    head_timeout=1.0,
                    body_timeout=7.0,
                    idle_timeout=2.0,
                    connect_timeout=3.0,
                    response_timeout=4.0,
                    tunnel_timeout=5.0,
                    drain_timeout=6.0,
                ),
                oversize_body=OversizeBody.TRUNCATE,
                passthrough=("a.example", "*.b.example", "c.example:8443"),
                ca_dir=self.directory / "ca",
                extra_ca_certs=extra,
                upstream_http=CORPORATE,
                upstream_https=CORPORATE,
                bypass=Bypass.parse("localhost,.internal,10.0.0.0/8"),
                dns_servers=("192.0.2.53", "192.0.2.54:5353", "[2001:db8::53]"),  # type: ignore[arg-type]
                allow_address=(ip_network("127.0.0.0/8"), ip_network("fd00::/8")),
                deny_address=(ip_network("10.9.0.0/16"), ip_network("fd09::/16")),
                opaque_ports=(range(22, 23), range(5432, 5434)),
                upgrade_protocols=("tcp", "spdy/3.1"),
                allow_ports=(range(80, 81), range(443, 444), range(8000, 9000)),
                audit_log=str(self.directory / "audit.jsonl"),
                audit_failure=AuditFailure.DENY,
                metrics_port=9090,
                metrics_interface="::1",
            ),
        )

    def test_http2_streams(self) -> None:
        """The number of concurrent streams is bounded, also for an application."""
        for number in (1, 1000):
            self.assertEqual(self.load({"http2-streams": [str(number)]}).limits.http2_streams, number)
        for text in ("0", "1001", "-1", "x"):
            self.refuse(f"--http2-streams {text!r}: write a number from 1 to 1000", {"http2-streams": [text]})
        for given, why in ((0, "greater than zero"), (1001, "must be at most 1000")):
            error = self.assertRaises(ConfigError, Limits, http2_streams=given)
            self.assertEqual(error.option, "http2_streams")
            self.assertIn(why, error.remedy)

    def test_audit_failure_needs_an_audit_log(self) -> None:
        self.refuse(
            "--audit-failure 'deny': has no effect without an audit log: set --audit-log or --audit-store",
            {"audit-failure": ["deny"]},
        )
        location = f"sqlite:{self.directory / 'audit.db'}"
        config = self.load({"audit-failure": ["deny"], "audit-store": ["sqlite:audit.db"], "audit-store-size": ["2m"]})
        self.assertEqual((config.audit_store, config.audit_store_size), (location, 2 * 1024 * 1024))
        self.assertIs(self.load({"audit-failure": ["continue"]}).audit_failure, AuditFailure.CONTINUE)

    def test_audit_log_permissions(self) -> None:
        """The group is a name or an id."""
        log = str(self.directory / "audit.jsonl")
        for group in ("root", "0"):
            config = self.load({"audit-log": [log], "audit-log-mode": ["0640"], "audit-log-group": [group]})
            self.assertEqual(config.audit_access, FileAccess(FileMode.GROUP_READS, 0))
        self.assertEqual(self.load({"audit-log": [log]}).audit_access, FileAccess())
        self.refuse(
            "--audit-log-group 'no such group': there is no such group: create it, or write its id",
            {"audit-log": [log], "audit-log-group": ["no such group"]},
        )
        for mode in ("644", "777", "0o640", "x", "040"):
            with self.subTest(mode):
                self.refuse(
                    f"--audit-log-mode {mode!r}: choose 600, 640 or 660", {"audit-log": [log], "audit-log-mode": [mode]}
                )

    def test_shadows(self) -> None:
        """Only one shadow authorizer is allowed, and a shadow log needs one."""
        policy = self.write("shadow.toml")
        config = self.load({"mode": ["observe"], "shadow-policy": ["shadow.toml"], "shadow-log": ["shadow.jsonl"]})
        self.assertEqual((config.mode, config.shadow_policy), (Mode.OBSERVE, policy))
        self.assertEqual(config.shadow_log, str(self.directory / "shadow.jsonl"))
        config = self.load({"shadow-authz-url": ["http://shadow.test"]}, {"EGRESS_SHADOW_AUTHZ_TOKEN": "abc"})
        self.assertEqual((config.shadow_authz_url, config.shadow_authz_token), ("http://shadow.test", "abc"))
        self.assertIsNone(config.authz_token)
        self.refuse(
            "--shadow-policy 'shadow.toml': cannot be combined with --shadow-authz-url: remove one of them",
            {"shadow-policy": ["shadow.toml"], "shadow-authz-url": ["http://shadow.test"]},
        )
        self.refuse(
            "--shadow-log 'shadow.jsonl': has no effect without a shadow: set --shadow-policy or --shadow-authz-url",
            {"shadow-log": ["shadow.jsonl"]},
        )
        self.write("token", "abc")
        self.refuse(
            "--shadow-authz-token-file 'token': has no effect without a shadow authorization service: set "
            "--shadow-authz-url",
            {"shadow-authz-token-file": ["token"], "shadow-policy": ["shadow.toml"]},
        )
        self.assertIsNone(self.load({}, {"EGRESS_SHADOW_AUTHZ_TOKEN": "abc"}).shadow_authz_url)
        self.refuse(
            "--authz-response-headers 'x': applies only to --authz-api ext-authz: remove it",
            {"authz-response-headers": ["x"]},
        )

    def test_policy(self) -> None:
        path = self.write("policy.toml")
        self.assertEqual(self.load({"policy": ["policy.toml"]}).policy, path)

    def test_last_value_applies(self) -> None:
        self.assertEqual(self.load({"metrics-port": ["what", "9090"]}).metrics_port, 9090)
        config = self.load({"upstream-proxy": ["http://proxy.example:3128"], "proxy": ["http://other.example"]})
        self.assertEqual((config.upstream_http, config.upstream_https), (OTHER, OTHER))

    def test_working_directory(self) -> None:
        self.write("policy.toml")
        with mock.patch.object(Path, "cwd", return_value=self.directory):
            config = load_config({"policy": ["policy.toml"]}, {})
        self.assertEqual(config.policy, self.directory / "policy.toml")

    def test_rejected(self) -> None:
        for arguments, expected in (
            (
                {"authz-api": ["opa"]},
                "--authz-api 'opa': has no effect without an authorization service: set --authz-url",
            ),
            ({"authz-timeout": ["soon"]}, "--authz-timeout 'soon': write a number of seconds, or with a unit, as in"),
            ({"metrics-port": ["x\ny"]}, "--metrics-port 'x\\ny': write a TCP port from 1 to 65535"),
            ({"policy": [""]}, "--policy: must not be empty"),
            ({"passthrough": [" , "]}, "--passthrough: must not be empty"),
            ({"listen": ["tcp:1", "8080"]}, "--listen '8080': write an endpoint as in"),
            ({"passthrough": ["a.example,*"]}, "--passthrough '*': write a host, or *.host"),
            ({"authz-token-file": ["absent"]}, "--authz-token-file 'absent': must be a readable file"),
            ({"no-proxy": ["\udcff"]}, "--no-proxy '\\udcff': "),
            (
                {"dns-server": ["dns.example"]},
                "--dns-server 'dns.example': write the address of a DNS server, as in 192.0.2.53",
            ),
            ({"proxy": ["socks4://proxy.example"]}, "--proxy 'socks4://proxy.example': write an http://"),
        ):
            with self.subTest(arguments):
                with self.assertRaises(ConfigError) as caught:
                    self.load(arguments)
                self.assertTrue(str(caught.exception).startswith(expected), str(caught.exception))
                self.assertNotIn("\n", str(caught.exception))

    def test_not_utf8(self) -> None:
        self.refuse(
            "--upstream-proxy 'http://REDACTED@proxy.example': must be valid UTF-8",
            {"upstream-proxy": ["http://alice:\udcff@proxy.example"]},
        )

    def test_no_message_displays_credentials(self) -> None:
        for text in (
            "http://alice:s3cret@proxy.example:x",
            "http://alice:s3/cret@proxy.example",
            "alice:s3cret@proxy.example/path",
            "ftp://proxy.example/?token=s3cret",
            "http://alice:s3cret@",
        ):
            for name in ("proxy", "authz-url"):
                with self.subTest(text, name=name):
                    with self.assertRaises(ConfigError) as caught:
                        self.load({name: [text]})
                    shown = str(caught.exception) + caught.exception.value
                    for secret in ("alice", "s3", "cret@", "cret'"):
                        self.assertNotIn(secret, shown)


class EnvironmentTests(LoadTests):
    """Every option has an environment variable, and some have several."""

    def test_variables(self) -> None:
        config = self.load(
            environ={
                "EGRESS_LISTEN": " tcp:8080  unix:/run/a,b.sock ",
                "EGRESS_AUTHZ_TIMEOUT": "2s",
                "EGRESS_AUTHZ_VIA_UPSTREAM": "yes",
                "EGRESS_UPSTREAM_PROXY": "http://proxy.example:3128",
                "EGRESS_AUTHZ_URL": "http://a.test",
                "EGRESS_PASSTHROUGH": "a.example,b.example c.example",
                "EGRESS_METRICS_PORT": "9090\n",
                "UNRELATED": "x",
            }
        )
        self.assertEqual(
            config,
            ProxyConfig(
                listen=("tcp:8080", "unix:/run/a,b.sock"),
                authz_timeout=2.0,
                authz_url="http://a.test",
                authz_via_upstream=True,
                upstream_http=UpstreamProxy("http", Authority("proxy.example", 3128)),
                upstream_https=UpstreamProxy("http", Authority("proxy.example", 3128)),
                passthrough=("a.example", "b.example", "c.example"),
                metrics_port=9090,
            ),
        )

    def test_spelling(self) -> None:
        self.refuse("EGRESS_METRICS_PORT 'x': write a TCP port from 1 to 65535", environ={"EGRESS_METRICS_PORT": "x"})
        self.refuse(
            "POSTMAN_RUNNER_AUTHZ_URL 'authz': write an http:// or https:// URL as in http://127.0.0.1:9000",
            environ={"POSTMAN_RUNNER_AUTHZ_URL": "authz"},
        )

    def test_empty_variable_is_ignored(self) -> None:
        self.assertEqual(self.load(environ={"EGRESS_AUTHZ_URL": "", "EGRESS_METRICS_PORT": " "}), ProxyConfig())

    def test_postman_variable(self) -> None:
        environ = {"POSTMAN_RUNNER_AUTHZ_URL": "http://postman.example"}
        self.assertEqual(self.load(environ=environ).authz_url, "http://postman.example")
        environ["EGRESS_AUTHZ_URL"] = "http://ours.example"
        self.assertEqual(self.load(environ=environ).authz_url, "http://ours.example")

    def test_token(self) -> None:
        self.write("token", "from-file")
        self.assertIsNone(self.load(environ={"EGRESS_AUTHZ_TOKEN": "from-variable"}).authz_token)
        environ = {"EGRESS_AUTHZ_TOKEN": "from-variable", "EGRESS_AUTHZ_URL": "http://a.test"}
        self.assertEqual(self.load(environ=environ).authz_token, "from-variable")
        self.assertEqual(self.load({"authz-token-file": ["token"]}, environ).authz_token, "from-file")
        environ["EGRESS_AUTHZ_TOKEN_FILE"] = "token"
        self.assertEqual(self.load(environ=environ).authz_token, "from-file")

    def test_token_is_not_displayed(self) -> None:
        self.refuse(
            "EGRESS_AUTHZ_TOKEN: a token must be one word of visible ASCII characters",
            environ={"EGRESS_AUTHZ_TOKEN": "s3cret s3cret"},
        )

    def test_conventional_proxies(self) -> None:
        config = self.load(
            environ={
                "HTTP_PROXY": "http://proxy.example:3128",
                "https_proxy": "http://other.example",
                "HTTPS_PROXY": "http://overruled.example",
                "NO_PROXY": "localhost,.internal",
            }
        )
        self.assertEqual((config.upstream_http, config.upstream_https), (CORPORATE, OTHER))
        self.assertEqual(config.bypass, Bypass.parse("localhost,.internal"))

    def test_one_conventional_proxy(self) -> None:
        config = self.load(environ={"HTTPS_PROXY": "http://other.example"})
        self.assertEqual((config.upstream_http, config.upstream_https), (None, OTHER))

    def test_own_variables_override_conventional_ones(self) -> None:
        environ = {"EGRESS_UPSTREAM_PROXY": "http://proxy.example:3128", "https_proxy": "socks4://wrong.example"}
        config = self.load(environ=environ)
        self.assertEqual((config.upstream_http, config.upstream_https), (CORPORATE, CORPORATE))

    def test_all_proxy(self) -> None:
        """It applies to what has no variable of its own."""
        environ = {"ALL_PROXY": "http://proxy.example:3128"}
        config = self.load(environ=environ)
        self.assertEqual((config.upstream_http, config.upstream_https), (CORPORATE, CORPORATE))
        config = self.load(environ={**environ, "https_proxy": str(OTHER)})
        self.assertEqual((config.upstream_http, config.upstream_https), (CORPORATE, OTHER))
        config = self.load(environ={**environ, "all_proxy": str(OTHER)})
        self.assertEqual((config.upstream_http, config.upstream_https), (OTHER, OTHER), "lower case takes precedence")

    def test_invalid_conventional_proxy(self) -> None:
        self.refuse(
            "https_proxy 'socks4://REDACTED@proxy.example': write an http://, https://, socks5:// or socks5h:// URL "
            "as in http://proxy.example:3128; other schemes are not supported",
            environ={"https_proxy": "socks4://alice:s3cret@proxy.example"},
        )

    def test_conventional_bypass_needs_an_upstream_proxy(self) -> None:
        environ = {"NO_PROXY": "127.*"}
        self.assertEqual(self.load(environ=environ), ProxyConfig())
        environ["HTTP_PROXY"] = "http://proxy.example:3128"
        self.assertEqual(self.load(environ=environ).bypass, Bypass.parse("127.0.0.0/8"))

    def test_unknown_entries_of_a_conventional_bypass_are_skipped(self) -> None:
        with capturedLogs() as logged:
            found = self.load(
                environ={
                    "no_proxy": "a.test,<local>,10.0.0.0/99, http://u:s3cret@b.test b.test",
                    "HTTP_PROXY": "http://proxy.example:3128",
                }
            )
        self.assertEqual(found.bypass, Bypass.parse("a.test,b.test"))
        events = [event["error"] for event in logged]
        self.assertEqual(len(events), 3)
        self.assertTrue(all(event.startswith("no_proxy '") for event in events), events)
        self.assertIn("<local>", events[0])
        self.assertNotIn("s3cret", "".join(events))
        self.assertEqual({event["log_level"] for event in logged}, {LogLevel.warn})

    def test_own_bypass_always_applies(self) -> None:
        self.assertEqual(self.load({"no-proxy": ["*"]}).bypass, Bypass(everything=True))
        with self.assertRaises(ConfigError):
            self.load(environ={"EGRESS_NO_PROXY": "<local>"})
        with self.assertRaises(ConfigError):
            self.load({"no-proxy": ["a.test,<local>"]})


class FileTests(LoadTests):
    """The keys of the file have the names of the options."""

    def test_types(self) -> None:
        self.write("policy.toml")
        config = self.load(
            file="""
            listen = ["tcp:8080", "tcp:8081"]
            authz-timeout = 2.5
            authz-via-upstream = false
            policy = "policy.toml"
            body-limit = 4096
            passthrough = "a.example b.example"
            allow-address = ["127.0.0.0/8"]
            proxy = "http://proxy.example:3128"
            no-proxy = []
            """
        )
        self.assertEqual(
            config,
            ProxyConfig(
                listen=("tcp:8080", "tcp:8081"),
                authz_timeout=2.5,
                policy=self.directory / "policy.toml",
                limits=Limits(body=4096),
                passthrough=("a.example", "b.example"),
                allow_address=(ip_network("127.0.0.0/8"),),
                upstream_http=CORPORATE,
                upstream_https=CORPORATE,
            ),
        )

    def test_paths_are_relative_to_the_file(self) -> None:
        self.write("etc/egress.toml", 'policy = "policy.toml"\naudit-log = "audit.jsonl"\n')
        path = self.write("etc/policy.toml")
        config = self.load(environ={"EGRESS_CONFIG": "etc/egress.toml"})
        self.assertEqual((config.policy, config.audit_log), (path, str(self.directory / "etc" / "audit.jsonl")))

    def test_file_is_unset(self) -> None:
        self.assertEqual(self.load({"config": ["none"]}, {"EGRESS_CONFIG": "absent.toml"}), ProxyConfig())

    def test_rejected(self) -> None:
        for file, expected in (
            (
                'authz-timeout = "soon"',
                "authz-timeout in <dir>/egress.toml:1 'soon': write a number of seconds, or with a "
                "unit, as in 5, 2.5s, 500ms or 2m",
            ),
            (
                "authz-timeout = -1",
                "authz-timeout in <dir>/egress.toml:1 '-1': write a number of seconds, or with a "
                "unit, as in 5, 2.5s, 500ms or 2m",
            ),
            ("autz_url = 'x'", "autz_url in <dir>/egress.toml:1: unknown option; did you mean authz-url?"),
            (
                "zzz = 1",
                "zzz in <dir>/egress.toml:1: unknown option; use the names of the command-line options, without the "
                "dashes",
            ),
            (
                '"a\\nb" = 1',
                "'a\\nb' in <dir>/egress.toml: unknown option; use the names of the command-line options, "
                "without the dashes",
            ),
            ("[authz]\nurl = 'x'", "authz in <dir>/egress.toml:1: unknown option; did you mean authz-url?"),
            (
                "config = 'other.toml'",
                "config in <dir>/egress.toml:1: cannot be set in a configuration file: remove it",
            ),
            ("# a comment\n\n policy= true", "policy in <dir>/egress.toml:3: write a string or a number"),
            ("policy = true", "policy in <dir>/egress.toml:1: write a string or a number"),
            ("policy = ['a']", "policy in <dir>/egress.toml:1: write a string or a number"),
            ("passthrough = [1]", "passthrough in <dir>/egress.toml:1: write a list of strings"),
            ("authz-via-upstream = 2024-01-01", "authz-via-upstream in <dir>/egress.toml:1: write true or false"),
            ("listen = []", "listen in <dir>/egress.toml:1: must not be empty"),
            ("=", "--config 'egress.toml': must be TOML: Invalid statement (at line 1, column 1)"),
            (b"\xff", "--config 'egress.toml': must be TOML in UTF-8"),
        ):
            with self.subTest(file):
                self.refuse(expected, file=file)

    def test_missing_file(self) -> None:
        self.refuse(
            "EGRESS_CONFIG 'absent.toml': must be a readable file: No such file or directory",
            environ={"EGRESS_CONFIG": "absent.toml"},
        )


class PrecedenceTests(LoadTests):
    """Command-line options override environment variables, which override the file."""

    def test_layers(self) -> None:
        arguments: dict[str, list[str]] = {}
        environ: dict[str, str] = {}
        file = "metrics-port = 1001\npassthrough = ['file.example', 'both.example']\n"
        self.assertEqual(self.load(arguments, environ, file).metrics_port, 1001)
        environ.update(EGRESS_METRICS_PORT="1002", EGRESS_PASSTHROUGH="variable.example")
        config = self.load(arguments, environ, file)
        self.assertEqual((config.metrics_port, config.passthrough), (1002, ("variable.example",)))
        arguments.update({"metrics-port": ["1003"], "passthrough": ["line.example"]})
        config = self.load(arguments, environ, file)
        self.assertEqual((config.metrics_port, config.passthrough), (1003, ("line.example",)))

    def test_overridden_values_are_not_parsed(self) -> None:
        file = "metrics-port = 'x'\npolicy = 'absent.toml'\n"
        environ = {"EGRESS_METRICS_PORT": "y", "EGRESS_POLICY": "none"}
        self.assertEqual(self.load({"metrics-port": ["1003"]}, environ, file), ProxyConfig(metrics_port=1003))

    def test_none_unsets(self) -> None:
        environ = {
            "HTTPS_PROXY": "http://proxy.example",
            "EGRESS_METRICS_PORT": "9090",
            "EGRESS_PASSTHROUGH": "a.example",
            "EGRESS_NO_PROXY": "a.example",
        }
        for value in ("none", "None"):
            arguments = {name: [value] for name in ("upstream-proxy", "metrics-port", "passthrough", "no-proxy")}
            with self.subTest(value):
                self.assertEqual(self.load(arguments, environ), ProxyConfig())

    def test_empty_upstream_proxy_unsets(self) -> None:
        self.assertEqual(self.load({"proxy": [""]}, {"HTTPS_PROXY": "http://proxy.example"}), ProxyConfig())

    def test_conventional_proxy_overrides_the_file(self) -> None:
        config = self.load(environ={"HTTP_PROXY": "http://other.example"}, file='proxy = "http://proxy.example:3128"')
        self.assertEqual((config.upstream_http, config.upstream_https), (OTHER, CORPORATE))


class ContradictionTests(LoadTests):
    """Contradictory options are rejected."""

    def test_two_authorizers(self) -> None:
        self.write("policy.toml")
        environ = {"POSTMAN_RUNNER_AUTHZ_URL": "http://authz.example"}
        self.refuse(
            "--policy 'policy.toml': cannot be combined with POSTMAN_RUNNER_AUTHZ_URL: remove one of them, or "
            "set it to none",
            {"policy": ["policy.toml"]},
            environ,
        )
        config = self.load({"policy": ["policy.toml"], "authz-url": ["none"]}, environ)
        self.assertEqual((config.authz_url, config.policy), (None, self.directory / "policy.toml"))

    def test_client_certificate_without_tls(self) -> None:
        self.write("client.pem")
        arguments = {"authz-client-cert": ["client.pem"], "authz-url": ["http://authz.example"]}
        self.refuse("--authz-client-cert 'client.pem': requires an https:// --authz-url", arguments)
        arguments["authz-url"] = ["https://authz.example"]
        self.assertEqual(self.load(arguments).authz_client_cert, self.directory / "client.pem")

    def test_admin_port_requires_a_token(self) -> None:
        words = "every user of this machine could use it: set --admin-token-file, or use unix:PATH"
        self.refuse(f"--admin 'tcp:9099': {words}", {"admin": ["tcp:9099"]})
        config = self.load({"admin": ["tcp:9099"]}, {"EGRESS_ADMIN_TOKEN": "hunter2"})
        self.assertEqual((str(config.admin), config.admin_token), ("http://127.0.0.1:9099", "hunter2"))
        self.assertNotIn("hunter2", repr(config))
        self.assertEqual(str(self.load({"admin": ["unix:/a"]}).admin), "unix:/a")

    def test_upstream_proxy_is_this_proxy(self) -> None:
        for listen, proxy in (
            ("tcp:8080:interface=127.0.0.1", "http://127.0.0.1:8080"),
            ("tcp:8080:interface=127.0.0.1", "http://localhost:8080"),
            ("tcp:port=8080", "http://localhost:8080"),
            ("tcp:8080:backlog=5:interface=0.0.0.0", "http://127.0.0.1:8080"),
            ("tcp6:8080:interface=\\:\\:1", "http://[::1]:8080"),
            ("tcp:8080:interface=192.0.2.1", "http://192.0.2.1:8080"),
            ("tcp:8080:interface=gateway", "http://gateway:8080"),
        ):
            with self.subTest(listen, proxy=proxy):
                self.refuse(
                    f"HTTPS_PROXY {proxy!r}: is the address of this proxy: remove it, or set another proxy",
                    {"listen": [listen]},
                    {"HTTPS_PROXY": proxy},
                )

    def test_upstream_proxy_on_the_same_machine(self) -> None:
        for listen, proxy in (
            ("tcp:8080:interface=127.0.0.1", "http://127.0.0.1:3128"),
            ("tcp:8080:interface=127.0.0.1", "http://127.0.0.2:8080"),
            ("tcp:8080:interface=192.0.2.1", "http://localhost:8080"),
            ("tcp:8080:interface=gateway", "http://localhost:8080"),
            ("tcp:8080", "http://proxy.example:8080"),
            ("tcp:8080", "http://192.0.2.1:8080"),
            ("unix:/run/egress.sock", "http://127.0.0.1:8080"),
        ):
            with self.subTest(listen, proxy=proxy):
                config = self.load({"listen": [listen], "proxy": [proxy]})
                self.assertEqual(str(config.upstream_http), proxy)

    def test_unknown_home_directory(self) -> None:
        def unknown() -> Path:
            raise RuntimeError("Could not determine home directory.")

        self.patch(Path, "home", unknown)
        self.refuse("--ca-dir: the home directory is unknown: set a directory")
        self.assertEqual(self.load({"ca-dir": ["ca"]}).ca_dir, self.directory / "ca")


class DocumentationTests(SynchronousTestCase):
    """The page contains the complete table, and no other option."""

    def page(self, name: str) -> str:
        return (Path(__file__).parent.parent.parent / "docs" / name).read_text("utf-8")

    def test_table(self) -> None:
        self.assertIn(reference(), self.page("reference/configuration.md"), f"put this into the page:\n{reference()}")

    def test_no_other_options(self) -> None:
        for name in ("reference/configuration.md", "how-to/operating.md"):
            with self.subTest(name):
                named = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", self.page(name)))
                self.assertLessEqual(
                    named, {*BY_NAME, "check", "help", "help-all", "help-for", "json", "version"} | TWISTD
                )
                self.assertTrue(named)

    def test_file(self) -> None:
        example, origins = re.findall(r"```toml\n(.*?)```", self.page("reference/configuration.md"), re.DOTALL)
        keys = re.findall(r"^([^ =\n]+) = ", example, re.MULTILINE)
        self.assertGreater(len(keys), 10)
        self.assertLessEqual(set(keys), set(BY_NAME))
        path = Path(self.mktemp())
        path.write_text(origins, "utf-8")
        self.assertEqual(len(load_origin_policies(path)), 2)

    def test_every_option_is_in_the_table(self) -> None:
        rows = reference().splitlines()[2:]
        self.assertEqual(len(rows), len(OPTIONS))
        for option, row in zip(OPTIONS, rows, strict=True):
            with self.subTest(option.name):
                self.assertTrue(row.startswith(f"| `--{option.name}"), row)
                for variable in option.environment:
                    self.assertIn(f"`{variable.name}`", row)


class CaOptionsTests(LoadTests):
    """The CA of a configuration."""

    def test_provided_ca(self) -> None:
        chain, key = self.write("chain.pem"), self.write("key.pem")
        config = self.load({"ca-cert": ["chain.pem"], "ca-key": ["key.pem"]}, {"EGRESS_CA_DIR": "ca"})
        self.assertEqual((config.ca_cert, config.ca_key), (chain, key))
        self.refuse("--ca-key 'absent': must be a readable file: No such file or directory", {"ca-key": ["absent"]})

    def test_constraints(self) -> None:
        for arguments, environ, expected in (
            ({}, {}, ()),
            ({"ca-name-constraints": ["example.com, 10.0.0.0/8"]}, {}, ("example.com", ip_network("10.0.0.0/8"))),
            ({"ca-name-constraints": ["none"]}, {"EGRESS_CA_NAME_CONSTRAINTS": "example.com"}, ()),
        ):
            with self.subTest(arguments):
                self.assertEqual(self.load(arguments, environ).ca_name_constraints, expected)

    def test_contradictions(self) -> None:
        self.write("chain.pem")
        self.refuse(
            "--ca-name-constraints 'example.com': cannot be combined with EGRESS_CA_CERT, which has its own "
            "name constraints: remove one of them",
            {"ca-name-constraints": ["example.com"]},
            {"EGRESS_CA_CERT": "chain.pem"},
        )

    def test_default_store(self) -> None:
        """A proxy with an admin API has an audit store in its state directory; so does one of egress run."""
        admin = {"admin": [f"unix:{self.directory / 'admin.sock'}"]}
        state = {"ca-dir": ["state"]}
        default = f"sqlite:{self.directory / 'state' / 'audit.db'}"
        for arguments, environ, run, expected in (
            (state, {}, False, (None, True)),
            ({**state, **admin}, {}, False, (default, False)),
            (state, {}, True, (default, False)),
            ({**state, **admin, "audit-store": ["none"]}, {}, True, (None, True)),
            ({**state, **admin}, {"EGRESS_AUDIT_STORE": "none"}, True, (None, True)),
            (
                {**state, **admin, "audit-store": ["sqlite:a.db"]},
                {},
                True,
                (f"sqlite:{self.directory / 'a.db'}", True),
            ),
            (admin, {}, False, (f"sqlite:{Path.home() / '.egressproxy' / 'ca' / 'audit.db'}", False)),
            ({**state, **admin, "audit-failure": ["deny"], "audit-store-days": ["1"]}, {}, False, (default, False)),
        ):
            with self.subTest(arguments=arguments, run=run):
                config = load_config(arguments, environ, MemoryReactorClock(), self.directory, default_store=run)
                self.assertEqual((config.audit_store, config.audit_store_required), expected)
        only = ("audit_store", "ca_dir")
        found = load_config(state, {}, directory=self.directory, only=only, default_store=True)
        self.assertEqual(found.audit_store, default)

    def test_only(self) -> None:
        """A command that needs a part of the configuration does not fail because of other parts."""
        environ = {"EGRESS_POLICY": "/does/not/exist", "EGRESS_CA_DIR": "ca"}
        config = load_config({}, environ, directory=self.directory, only=["ca_dir"])
        self.assertEqual(config, ProxyConfig(ca_dir=self.directory / "ca"))
