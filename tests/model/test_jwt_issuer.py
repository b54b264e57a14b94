"""Tests for L{egress.model.jwt_issuer}."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin
from egress.model.converters import BadValue, ConfigError
from egress.model.jwt_issuer import ALGORITHMS, JwtIssuer, client_auth, client_auth_setting, files_of, https_origin

ISSUER = "https://issuer.test"


class ParseTests(SynchronousTestCase):
    """L{JwtIssuer.parse}."""

    def test_issuers(self) -> None:
        for text, issuer, discovery in (
            ("jwt:https://issuer.test", ISSUER, f"{ISSUER}/.well-known/openid-configuration"),
            ("jwt:https://a:8443/b/", "https://a:8443/b/", "https://a:8443/b/.well-known/openid-configuration"),
            ("jwt:https://[::1]:1/x=y", "https://[::1]:1/x=y", "https://[::1]:1/x=y/.well-known/openid-configuration"),
        ):
            with self.subTest(text):
                found = JwtIssuer.parse(text)
                self.assertEqual(found, JwtIssuer(issuer))
                self.assertEqual((str(found), found.discovery), (text, discovery))

    def test_defaults(self) -> None:
        found = JwtIssuer.parse(f"jwt:{ISSUER}")
        self.assertEqual((found.audiences, found.claim, found.algorithms), (("egressproxy",), "sub", ALGORITHMS))
        self.assertEqual(found.files, ())

    def test_settings(self) -> None:
        found = JwtIssuer.parse(
            f"jwt:{ISSUER}:audience=a:audience=https://b:1/c:claim=email:jwks=https://c:2/keys?x=y:ca=ca.pem"
            ":token-file=token:algorithms=ES256,EdDSA",
            Path("/etc").joinpath,
        )
        expected = JwtIssuer(
            ISSUER,
            ("a", "https://b:1/c"),
            "email",
            "https://c:2/keys?x=y",
            Path("/etc/ca.pem"),
            Path("/etc/token"),
            ("ES256", "EdDSA"),
        )
        self.assertEqual(found, expected)
        self.assertEqual(found.files, (Path("/etc/ca.pem"), Path("/etc/token")))
        self.assertEqual(pickle.loads(pickle.dumps(found)), found)

    def test_key_file(self) -> None:
        """With keys from elsewhere, the issuer is any text."""
        found = JwtIssuer.parse("jwt:kubernetes/serviceaccount:jwks=keys.json", Path("/etc").joinpath)
        self.assertEqual(found, JwtIssuer("kubernetes/serviceaccount", jwks=Path("/etc/keys.json")))
        self.assertEqual(found.files, (Path("/etc/keys.json"),))

    def test_invalid(self) -> None:
        for rest, remedy in (
            ("", "write jwt:ISSUER"),
            (":audience=a", "write jwt:ISSUER"),
            ("http://issuer.test", "write an https:// URL"),
            ("issuer.test", "write an https:// URL"),
            ("https://", "write an https:// URL"),
            ("https://a:99999", "write an https:// URL"),
            ("https://[a", "write an https:// URL"),
            ("https://u:p@a", "without credentials"),
            ("https://a#b", "without credentials and fragment"),
            ("https://a?b", "remove the query"),
            ("https://a b", "the issuer must be one word"),
            ("https://a\u00e9", "the issuer must be one word"),
            (f"{ISSUER}:audiance=a", "there is no setting audiance: choose from audience, claim"),
            (f"{ISSUER}:audience=", "audience is empty"),
            (f"{ISSUER}:audience=a b", "an audience must be one word"),
            (f"{ISSUER}:claim=a:claim=b", "claim is set twice"),
            (f"{ISSUER}:claim=a b", "a claim must be one word"),
            (f"{ISSUER}:jwks=http://a/", "write an https:// URL"),
            (f"{ISSUER}:jwks=keys.json:ca=ca.pem", "apply only to a download"),
            (f"{ISSUER}:jwks=keys.json:token-file=t", "apply only to a download"),
            (f"{ISSUER}:algorithms=none", "choose from RS256, PS256, ES256, EdDSA"),
            (f"{ISSUER}:algorithms=ES256,HS256", "choose from RS256, PS256, ES256, EdDSA"),
            (f"{ISSUER}:algorithms=es256", "choose from RS256, PS256, ES256, EdDSA"),
        ):
            with self.subTest(rest):
                self.assertIn(remedy, self.assertRaises(BadValue, JwtIssuer.parse, f"jwt:{rest}").remedy)

    def test_invalid_fields(self) -> None:
        cases: tuple[dict[str, Any], ...] = (
            {"audiences": ()},
            {"audiences": "a"},
            {"algorithms": ()},
            {"jwks": ""},
            {"jwks": "a\0"},
            {"jwks": 7},
            {"ca": 7},
            {"issuer": 7},
        )
        for fields in cases:
            with self.subTest(fields):
                self.assertRaises(ConfigError, JwtIssuer, **{"issuer": ISSUER, **fields})
        self.assertEqual(JwtIssuer("x", jwks="keys.json").jwks, Path("keys.json"))


class SettingTests(SynchronousTestCase):
    """The setting C{client_auth}."""

    def test_text(self) -> None:
        self.assertEqual(client_auth("clients.txt"), Path("clients.txt"))
        self.assertEqual(client_auth("clients.txt", Path("/etc").joinpath), Path("/etc/clients.txt"))
        self.assertEqual(client_auth(f"jwt:{ISSUER}"), JwtIssuer(ISSUER))

    def test_values(self) -> None:
        for value in (Path("a"), JwtIssuer(ISSUER)):
            self.assertIs(client_auth_setting(value), value)
        self.assertEqual(client_auth_setting("a"), Path("a"))
        self.assertEqual(client_auth_setting(f"jwt:{ISSUER}"), JwtIssuer(ISSUER))
        for invalid in ("", "a\0", 7, None, "jwt:"):
            self.assertRaises(BadValue, client_auth_setting, invalid)

    def test_files(self) -> None:
        self.assertEqual(files_of(None), ())
        self.assertEqual(files_of(Path("a")), (Path("a"),))
        self.assertEqual(files_of(JwtIssuer("x", jwks=Path("b"))), (Path("b"),))

    def test_origins(self) -> None:
        self.assertEqual(https_origin("https://a/b?c"), Origin("https", Authority("a", 443)))
        self.assertRaises(BadValue, https_origin, "http://a")
