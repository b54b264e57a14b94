"""Tests for L{egress.model.redact}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.redact import is_secret_key, redact_url, redact_userinfo

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"


class RedactUrlTests(SynchronousTestCase):
    """Secrets are redacted; all other text is unchanged."""

    def check(self, cases: dict[str, str]) -> None:
        for url, expected in cases.items():
            with self.subTest(url):
                self.assertEqual(redact_url(url), expected)

    def test_unchanged(self) -> None:
        for url in (
            "",
            "https://example.com/",
            "example.com:443",
            "https://-a_b.example/",
            "http://b\u00fccher.example:80/a",
            "::1:443",
            "2001:db8::1:443",
            "https://example.com/a:b",
            "/a:b@c",
            "*",
            "OPTIONS",
            "https://[2001:db8::1]:8443/a",
            "https://example.com/?page=2&sort=name&country_code=US&author=me&keyword=x&spinner=1",
            "https://example.com/@scope/package?email=alice@example.com",
            "/@scope/package",
            "https://example.com/?share=100%25&x=YWJj==&empty=&=nameless&&bare",
            "https://example.com/?next=https%3A%2F%2Fother.example%2F%3Fpage%3D2",
            "https://example.com/?q=a+b&filter=name=x#section",
        ):
            with self.subTest(url):
                self.assertEqual(redact_url(url), url)

    def test_userinfo(self) -> None:
        self.check(
            {
                "https://alice:s3cret@example.com/x?page=1": "https://REDACTED@example.com/x?page=1",
                "https://alice@example.com": "https://REDACTED@example.com",
                "alice:s3cret@example.com:80": "REDACTED@example.com:80",
                "//alice:s3cret@example.com/": "//REDACTED@example.com/",
                "https://a:b@c@example.com/": "https://REDACTED@example.com/",
                "https:\\\\alice:s3cret@example.com/": "https:\\\\REDACTED@example.com/",
                "https:///alice:s3cret@example.com/": "https:///REDACTED@example.com/",
                "http:alice:s3cret@example.com/": "REDACTED@example.com/",
            }
        )

    def test_password_without_encoding(self) -> None:
        self.check(
            {
                "https://alice:s3/cret@example.com/x": "https://REDACTED@example.com/x",
                "https://alice:s3?cret@example.com/x": "https://REDACTED@example.com/x",
                "https://alice:s3#cret@example.com/x": "https://REDACTED@example.com/x",
                "https://alice:s3cret%40example.com/x": "https://REDACTED%40example.com/x",
                "https://alice:s3/cret%40example.com/x": "https://REDACTED%40example.com/x",
                "https://alice:s3cret/": "https://REDACTED",
                "https://alice:123456/s3cret": "https://alice:123456/s3cret",
                "alice:s3cret": "REDACTED",
            }
        )

    def test_secret_keys(self) -> None:
        self.check(
            {
                "https://h/?token=a&page=2": "https://h/?token=REDACTED&page=2",
                "https://h/?page=2;sig=a": "https://h/?page=2;sig=REDACTED",
                "https://h/?%74oken=a": "https://h/?%74oken=REDACTED",
                "https://h/?API-Key=a": "https://h/?API-Key=REDACTED",
                "https://h/?user[password]=a": "https://h/?user[password]=REDACTED",
                "https://h/?X-Amz-Credential=a%2Fb": "https://h/?X-Amz-Credential=REDACTED",
                "https://h/?next=/a?token=b": "https://h/?next=/a?token=REDACTED",
                "https://h/#access_token=a&state=1": "https://h/#access_token=REDACTED&state=1",
                "?code=a": "?code=REDACTED",
                "https://h/?token=": "https://h/?token=",
            }
        )

    def test_values_that_look_like_tokens(self) -> None:
        self.check(
            {
                f"https://h/?q={JWT}": "https://h/?q=REDACTED",
                f"https://h/?{JWT}": "https://h/?REDACTED",
                "https://h/?q=PMAK-0123456789abcdef01234567": "https://h/?q=REDACTED",
                "https://h/?q=ghp%5F0123456789abcdefghij0123": "https://h/?q=REDACTED",
                "https://h/?q=Bearer+0123456789": "https://h/?q=REDACTED",
                "https://h/?q=sk-learn": "https://h/?q=sk-learn",
            }
        )

    def test_secrets_inside_values(self) -> None:
        self.check(
            {
                "https://h/?next=https%3A%2F%2Fa%3Ab%40c%2F": "https://h/?next=REDACTED",
                "https://h/?next=https%3A%2F%2Fc%2F%3Ftoken%3Dx": "https://h/?next=REDACTED",
                "https://h/?next=https%253A%252F%252Fc%252F%253Ftoken%253Dx": "https://h/?next=REDACTED",
                "https://h/?form=token%3Dx": "https://h/?form=REDACTED",
            }
        )

    def test_nesting_is_bounded(self) -> None:
        self.check({"https://h/?a=b=c=d": "https://h/?a=b=c=d", "https://h/?a=b=c=d=e=f=g=h": "https://h/?a=REDACTED"})

    @given(st.text())
    def test_never_fails(self, text: str) -> None:
        once = redact_url(text)
        self.assertIsInstance(once, str)

    @given(st.text(alphabet="ab:/?#@&=%\\[]1"))
    def test_never_fails_on_url_like_text(self, text: str) -> None:
        self.assertIsInstance(redact_url(f"http://{text}"), str)

    @given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="&;#?"), min_size=1))
    def test_any_secret(self, secret: str) -> None:
        self.assertEqual(redact_url(f"https://h/?token={secret}&z"), "https://h/?token=REDACTED&z")


class LongTests(SynchronousTestCase):
    """Text that would take long to process is redacted as a whole."""

    def test_pairs(self) -> None:
        most = "https://h/?" + "&".join(["a=1"] * 256)
        self.assertEqual(redact_url(most), most)
        for more in (most + "&a=1", most + "?", most + "&a=1" * 5000):
            self.assertEqual(redact_url(more), "https://h/?REDACTED")

    def test_nested_value(self) -> None:
        short, long = "a%3Db" + "c" * 4000, "a%3Db" + "c" * 4100
        self.assertEqual(redact_url(f"https://h/?x={short}"), f"https://h/?x={short}")
        self.assertEqual(redact_url(f"https://h/?x={long}"), "https://h/?x=REDACTED")
        self.assertEqual(redact_url(f"https://h/?x={'c' * 9000}"), f"https://h/?x={'c' * 9000}")

    def test_key(self) -> None:
        self.assertFalse(is_secret_key("b" * 1024))
        self.assertTrue(is_secret_key("b" * 1025))


class IsSecretKeyTests(SynchronousTestCase):
    """Secret keys are recognized in every spelling."""

    def test_secret(self) -> None:
        for key in (
            "token",
            "accessToken",
            "ACCESS_TOKEN",
            "client_secret",
            "passwd",
            "pwd",
            "x-api-key",
            "apikey",
            "Ocp-Apim-Subscription-Key",
            "oauth_nonce",
            "userAuth",
            "session_id",
            "sessionid",
            "JSESSIONID",
            "code",
            "code_verifier",
            "X-Amz-Date",
            "s%69g",
            "a" * 100 + "_token",
        ):
            with self.subTest(key):
                self.assertTrue(is_secret_key(key))

    def test_not_secret(self) -> None:
        for key in ("", "%%", "page", "author", "keyword", "country_code", "design", "sessions", "b" * 100):
            with self.subTest(key):
                self.assertFalse(is_secret_key(key))


class RedactUserinfoTests(SynchronousTestCase):
    """The text before the last C{@} is redacted, whether or not the text is a URL."""

    def test_redacted(self) -> None:
        for text, expected in {
            "http://proxy:3128": "http://proxy:3128",
            "http://a:b@proxy:3128": "http://REDACTED@proxy:3128",
            "http://a:b/c@proxy": "http://REDACTED@proxy",
            "a:b@proxy": "REDACTED@proxy",
            "": "",
        }.items():
            with self.subTest(text):
                self.assertEqual(redact_userinfo(text), expected)
