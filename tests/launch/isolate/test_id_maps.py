"""Tests for L{egress.launch.isolate.id_maps}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.id_maps import IdMaps, id_maps

_USERS = "         0          0 4294967295\n"
_OWN = IdMaps("1000 1000 1\n", "100 100 1\n", complete=False)


class IdMapsTests(SynchronousTestCase):
    """The ids in the sandbox are those outside."""

    def maps(self, capabilities: str, users: str = _USERS, groups: str = _USERS) -> IdMaps:
        status = f"Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t{capabilities}\nCapBnd:\t000001ffffffffff\n"
        return id_maps(1000, 100, status, users, groups)

    def test_root(self) -> None:
        expected = IdMaps("0 0 4294967295\n", "0 0 4294967295\n", complete=True)
        self.assertEqual(self.maps("000001ffffffffff"), expected)
        # Docker's default: CAP_SETGID, CAP_SETUID and CAP_SETFCAP are among it.
        self.assertEqual(self.maps("00000000a80425fb"), expected)

    def test_container(self) -> None:
        """Only ids of the surrounding user namespace exist.  Their numbers outside of it do not matter."""
        users = "         0     100000      65536\n     70000       1000          1\n"
        maps = self.maps("000001ffffffffff", users, "0 100000 65536\n")
        self.assertEqual(maps, IdMaps("0 0 65536\n70000 70000 1\n", "0 0 65536\n", complete=True))

    def test_own_ids(self) -> None:
        """An unprivileged process may map only its own ids; all three capabilities are necessary for more."""
        for capabilities in ("0000000000000000", "00000000000000c0", "0000000080000080", "0000000080000040"):
            self.assertEqual(self.maps(capabilities), _OWN)

    def test_unknown(self) -> None:
        self.assertEqual(id_maps(1000, 100, "", _USERS, _USERS), _OWN)
