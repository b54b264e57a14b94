"""The pages that configure clients: C{/proxy.pac} and C{/ca.pem}. They contain no secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred, succeed

from egress.client_settings import pac
from egress.model.authority import Authority
from egress.model.errors import InvalidTarget
from egress.model.no_proxy import Bypass
from egress.observability.health import Reply
from egress.runtime.startup import TcpListener, tcp_listeners

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress
    from twisted.web.server import Request

    from egress.config.listener import Listener

_PEM: Final = "application/x-pem-file"
_TEXT: Final = "text/plain; charset=utf-8"
_PARAMETERS: Final = ("proxy", "direct")


class ClientPages:
    """The pages.

    @param listeners: the settings of the listeners.
    @param listening: returns the addresses of the listeners, once they are bound.
    @param ca_pem: returns the certificates that clients must trust.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        listening: Callable[[], Deferred[tuple[IAddress, ...]]],
        ca_pem: Callable[[], bytes],
    ) -> None:
        self._listeners = listeners
        self._listening = listening
        self._ca_pem = ca_pem

    def routes(self) -> Mapping[bytes, Callable[[Request], Deferred[Reply]]]:
        """Return the pages by path."""
        return {b"/proxy.pac": self._proxy_pac, b"/ca.pem": self._ca}

    def _ca(self, request: Request) -> Deferred[Reply]:
        return succeed((HTTPStatus.OK, self._ca_pem(), _PEM))

    def _proxy_pac(self, request: Request) -> Deferred[Reply]:
        return self._listening().addCallback(self._pac_for, request)

    def _pac_for(self, addresses: Sequence[IAddress], request: Request) -> Reply:
        usable = [
            each
            for each in tcp_listeners(addresses, self._listeners)
            if not (each.listener.transparent or each.listener.proxy_protocol)
        ]
        if not usable:
            return HTTPStatus.NOT_FOUND, b"No listener of the proxy has a TCP port for clients.\n", _TEXT
        try:
            given = _parameters(request)
            proxy = _named(given["proxy"]) if "proxy" in given else _address_of(usable[0], request)
            direct = Bypass.parse(given.get("direct", ""))
        except InvalidTarget as error:
            return HTTPStatus.BAD_REQUEST, f"{error.reason}.\n".encode(), _TEXT
        script = pac.proxy_pac(proxy, direct, tls=usable[0].listener.tls is not None)
        return HTTPStatus.OK, script.encode("ascii"), pac.CONTENT_TYPE


def _parameters(request: Request) -> dict[str, str]:
    """Parse the query.

    @raise InvalidTarget: if it contains anything else than one value of each parameter.
    """
    try:
        query = parse_qs(request.uri.partition(b"?")[2].decode("ascii"), strict_parsing=False, max_num_fields=8)
    except ValueError as error:
        raise InvalidTarget("the query is malformed") from error
    for name, values in query.items():
        if name not in _PARAMETERS or len(values) != 1:
            raise InvalidTarget(f"the query may contain one value of {' and of '.join(_PARAMETERS)}")
    return {name: value for name, (value,) in query.items()}


def _named(text: str) -> Authority:
    """Parse the parameter with the address of the proxy."""
    try:
        return Authority.parse(text)
    except InvalidTarget as error:
        raise InvalidTarget(f"proxy must be HOST:PORT: {error.reason}") from error


def _address_of(listener: TcpListener, request: Request) -> Authority:
    """Return the address of a listener, as the client reaches this machine.

    @raise InvalidTarget: if the request does not name its host.
    """
    if not listener.is_unspecified:
        return listener.authority
    host = request.getHeader("host")
    if host is None:
        raise InvalidTarget("the request has no Host: write the address of the proxy as proxy=HOST:PORT")
    return Authority(Authority.parse(host, 80, bare_ipv6=True).host, listener.address.port)
