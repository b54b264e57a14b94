"""Tests for L{egress.model.shared_location}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.converters import BadValue
from egress.model.shared_location import SharedLocation


class SharedLocationTests(SynchronousTestCase):
    """Locations of an engine."""

    def test_valid(self) -> None:
        for text, expected, shown in (
            ("redis://a.test", SharedLocation(authority=Authority("a.test", 6379)), "redis://a.test:6379"),
            (
                "rediss://ci@a.test:7000/2",
                SharedLocation(authority=Authority("a.test", 7000), tls=True, user="ci", database=2),
                "rediss://a.test:7000/2",
            ),
            ("redis://[::1]:1/0", SharedLocation(authority=Authority("::1", 1)), "redis://[::1]:1"),
            ("redis://a%40b@c.test", SharedLocation(authority=Authority("c.test", 6379), user="a@b"), None),
            (
                "redis+sentinel://a.test,b.test:7000,[::1]/my-master",
                SharedLocation(
                    sentinels=(Authority("a.test", 26379), Authority("b.test", 7000), Authority("::1", 26379)),
                    master="my-master",
                ),
                "redis+sentinel://a.test:26379,b.test:7000,[::1]:26379/my-master",
            ),
            (
                "rediss+sentinel://ci@a.test,a.test/m/2?sentinel_username=w%40x",
                SharedLocation(
                    sentinels=(Authority("a.test", 26379),),
                    master="m",
                    tls=True,
                    user="ci",
                    sentinel_user="w@x",
                    database=2,
                ),
                "rediss+sentinel://a.test:26379/m/2",
            ),
            ("unix:/run/r.sock", SharedLocation(path="/run/r.sock"), "unix:/run/r.sock"),
            ("unix:ci@/r s?db=3", SharedLocation(path="/r s", user="ci", database=3), "unix:/r s?db=3"),
        ):
            with self.subTest(text):
                found = SharedLocation.parse(text)
                self.assertEqual(found, expected)
                self.assertIs(SharedLocation.parse(found), found)
                if shown is not None:
                    self.assertEqual(str(found), shown)

    def test_invalid(self) -> None:
        for text, reason in (
            ("", "write redis://"),
            ("a.test", "write redis://"),
            ("http://a.test", "write redis://"),
            ("redis://", "write redis://"),
            ("redis://a.test/x", "write redis://"),
            ("redis://a.test:0", "port"),
            ("redis://a b", "write redis://"),
            ("unix:run", "write redis://"),
            ("redis+sentinel://a.test", "write redis+sentinel://"),
            ("redis+sentinel://a.test,/m", "host is empty"),
            ("redis+sentinel://a.test:0/m", "port"),
            ("redis+sentinel://a.test/a b", "write redis+sentinel://"),
            ("redis+sentinel://a.test/m?sentinel_password=secret", "--shared-sentinel-password-file"),
            ("redis+sentinel://u:secret@a.test/m", "--shared-password-file"),
            ("redis-sentinel://a.test#m", "write redis+sentinel://"),
            (f"redis+sentinel://{','.join(f'a{number}.test' for number in range(17))}/m", "at most 16"),
            ("redis+cluster://a.test", "a cluster is not supported"),
            ("rediss-cluster://a.test", "a cluster is not supported"),
            ("redis://u:secret@a.test", "--shared-password-file"),
            ("redis://:secret@a.test", "--shared-password-file"),
            ("unix:u:secret@/run/r", "--shared-password-file"),
        ):
            with self.subTest(text):
                error = self.assertRaises(BadValue, SharedLocation.parse, text)
                self.assertIn(reason, error.remedy)
                self.assertNotIn("secret@", error.remedy)
