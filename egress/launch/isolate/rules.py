"""The packet filter of the sandbox, as a batch of messages (C{linux/netfilter/nf_tables.h}).

A first chain redirects port 53, of UDP and TCP and for every address, to the name server of the proxy.  It redirects
TCP to addresses outside of the loopback interface to the transparent listener.  A second chain drops all packets except
to the addresses of the loopback interface.  A packet that it drops fails in the program with EPERM, so that the program
does not wait.  C{tests.integration.test_isolate_sandbox} has the rules in the syntax of C{nft}.

Nothing depends on the rules for safety: the network namespace has no interface that leads outside.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from egress.launch.isolate.links import ADDRESS, ADDRESS6
from egress.launch.isolate.netlink import ACKNOWLEDGE, APPEND, CREATE, REQUEST, attribute, message, nested, text

DNS_PORT: Final = 53
_TABLE: Final = "egress"

# linux/netfilter/nfnetlink.h
_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_SUBSYSTEM: Final = 10
_NEW_TABLE: Final = _SUBSYSTEM << 8 | 0
_NEW_CHAIN: Final = _SUBSYSTEM << 8 | 3
_NEW_RULE: Final = _SUBSYSTEM << 8 | 6

_TABLE_NAME: Final = 1
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_ELEMENT: Final = 1
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2

# linux/netfilter.h, linux/netfilter_ipv4.h
_LOCAL_OUT: Final = 3
_DESTINATION_NAT: Final = -100
_FILTER: Final = 0
_DROP, _ACCEPT = 0, 1

_VERDICT_REGISTER, _REGISTER = 0, 1
_VALUE, _VERDICT, _VERDICT_CODE = 1, 2, 1
_L4_PROTOCOL: Final = 16
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_EQUAL, _NOT_EQUAL = 0, 1


class Family(NamedTuple):
    """A version of the Internet protocol.

    @ivar number: C{NFPROTO_IPV4} or C{NFPROTO_IPV6}.
    @ivar destination: where the destination is in the header.
    @ivar loopback: how the addresses of the loopback interface begin.
    @ivar address: the other address of the loopback interface.
    """

    number: int
    destination: int
    loopback: bytes
    address: bytes


_IPV4: Final = Family(2, 16, b"\x7f", socket.inet_pton(socket.AF_INET, ADDRESS))
_IPV6: Final = Family(10, 24, socket.inet_pton(socket.AF_INET6, "::1"), socket.inet_pton(socket.AF_INET6, ADDRESS6))


def rules(port: int) -> Sequence[bytes]:
    """Return the batch for IPv4; the first message has the sequence number 0.

    @param port: of the transparent listener.
    """
    return _batch(_IPV4, port)


def rules6(port: int) -> Sequence[bytes]:
    """Return the batch for IPv6; see L{rules}."""
    return _batch(_IPV6, port)


def _batch(family: Family, port: int) -> Sequence[bytes]:
    bodies = [
        (_NEW_TABLE, CREATE, text(_TABLE_NAME, _TABLE)),
        (_NEW_CHAIN, CREATE, _chain("redirect", "nat", _DESTINATION_NAT, _ACCEPT)),
        (_NEW_CHAIN, CREATE, _chain("reject", "filter", _FILTER, _DROP)),
        *(
            (_NEW_RULE, CREATE | APPEND, _rule(chain, *expressions))
            for chain, expressions in (
                ("redirect", (*_protocol(socket.IPPROTO_UDP), *_to_port(DNS_PORT), *_redirect(DNS_PORT))),
                ("redirect", (*_protocol(socket.IPPROTO_TCP), *_to_port(DNS_PORT), *_redirect(DNS_PORT))),
                (
                    "redirect",
                    (*_to(family, family.loopback, _NOT_EQUAL), *_protocol(socket.IPPROTO_TCP), *_redirect(port)),
                ),
                ("reject", (*_to(family, family.loopback), _accept())),
                ("reject", (*_to(family, family.address), _accept())),
            )
        ),
    ]
    header = struct.pack("!BBH", family.number, 0, 0)
    return (
        message(_BATCH_BEGIN, REQUEST, 0, struct.pack("!BBH", socket.AF_UNSPEC, 0, _SUBSYSTEM)),
        *(
            message(kind, REQUEST | ACKNOWLEDGE | flags, number, header + body)
            for number, (kind, flags, body) in enumerate(bodies, 1)
        ),
        message(_BATCH_END, REQUEST, len(bodies) + 1, struct.pack("!BBH", socket.AF_UNSPEC, 0, _SUBSYSTEM)),
    )


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def _chain(name: str, kind: str, priority: int, policy: int) -> bytes:
    hook = nested(_CHAIN_HOOK, _number(_HOOK_NUMBER, _LOCAL_OUT), _number(_HOOK_PRIORITY, priority))
    names = text(_CHAIN_TABLE, _TABLE) + text(_CHAIN_NAME, name)
    return names + hook + _number(_CHAIN_POLICY, policy) + text(_CHAIN_TYPE, kind)


def _rule(chain: str, *expressions: bytes) -> bytes:
    return text(_RULE_TABLE, _TABLE) + text(_RULE_CHAIN, chain) + nested(_RULE_EXPRESSIONS, *expressions)


def _expression(name: str, *data: bytes) -> bytes:
    return nested(_ELEMENT, text(_EXPRESSION_NAME, name), nested(_EXPRESSION_DATA, *data))


def _compare(value: bytes, operator: int = _EQUAL) -> bytes:
    return _expression("cmp", _number(1, _REGISTER), _number(2, operator), nested(3, attribute(_VALUE, value)))


def _load(base: int, offset: int, length: int) -> bytes:
    numbers = (_REGISTER, base, offset, length)
    return _expression("payload", *(_number(kind, value) for kind, value in enumerate(numbers, 1)))


def _protocol(number: int) -> tuple[bytes, bytes]:
    return _expression("meta", _number(2, _L4_PROTOCOL), _number(1, _REGISTER)), _compare(bytes([number]))


def _to_port(port: int) -> tuple[bytes, bytes]:
    return _load(_TRANSPORT_HEADER, 2, 2), _compare(struct.pack("!H", port))


def _to(family: Family, prefix: bytes, operator: int = _EQUAL) -> tuple[bytes, bytes]:
    return _load(_NETWORK_HEADER, family.destination, len(prefix)), _compare(prefix, operator)


def _redirect(port: int) -> tuple[bytes, bytes]:
    value = nested(2, attribute(_VALUE, struct.pack("!H", port)))
    return _expression("immediate", _number(1, _REGISTER), value), _expression("redir", _number(1, _REGISTER))


def _accept() -> bytes:
    verdict = nested(2, nested(_VERDICT, _number(_VERDICT_CODE, _ACCEPT)))
    return _expression("immediate", _number(1, _VERDICT_REGISTER), verdict)
