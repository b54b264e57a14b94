"""Tests for L{egress.launch.isolate.network}."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate import network
from egress.launch.isolate.links import routes, routes6, up
from egress.launch.isolate.network import TRANSPARENT_PORT, bring_up, redirect
from egress.launch.isolate.rules import rules, rules6

_NETFILTER = 12


class NetworkTests(SynchronousTestCase):
    """The messages to the kernel; C{tests.integration.test_isolate_sandbox} shows their effect."""

    def sent(self, *, ipv6: bool) -> list[tuple[int, Sequence[bytes]]]:
        sent: list[tuple[int, Sequence[bytes]]] = []
        self.patch(network, "has_ipv6", lambda: ipv6)
        for send in (bring_up, redirect):
            send(lambda protocol, messages: sent.append((protocol, messages)))
        return sent

    def test_ipv4(self) -> None:
        """A kernel without IPv6 rejects the messages for it."""
        routing = socket.NETLINK_ROUTE
        expected = [(routing, [up(1)]), (routing, routes(2)), (_NETFILTER, rules(TRANSPARENT_PORT))]
        self.assertEqual(self.sent(ipv6=False), expected)

    def test_ipv6(self) -> None:
        sent = self.sent(ipv6=True)
        self.assertEqual(sent[2], (socket.NETLINK_ROUTE, routes6(4)))
        self.assertEqual(sent[4], (_NETFILTER, rules6(TRANSPARENT_PORT)))
