"""The listeners: the endpoints for clients, and the authentication that they require."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from egress.model.authority import Authority, parse_ip
from egress.model.converters import BadValue, ConfigError, checked, string
from egress.model.jwt_issuer import ClientAuth, client_auth, client_auth_setting

_F = TypeVar("_F")

# The pieces between colons; a colon in a value is escaped with a backslash.
_PIECE: Final = re.compile(r"(?:\\.|[^:\\])*", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_OPTION: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]*)=(.*)", re.DOTALL)

_TCP_PORT: Final = re.compile(r"tcp6?:(?:port=)?([0-9]{1,5})")
_INTERFACE: Final = re.compile(r":interface=((?:\\.|[^:\\])*)")

_AUTH: Final = "client-auth"
_CA: Final = "client-ca"
_BELOW_TLS: Final = ("port", "interface", "backlog")
_CLEAR: Final = "none"
_HTTPS: Final = "https"
_PROXIED: Final = "haproxy"
_BALANCERS: Final = "balancers"
_SOCKS5: Final = "socks5"
_H2C: Final = "h2c"
_TRANSPARENT: Final = "transparent"
_YES_OR_NO: Final = {"yes": True, "no": False}
_SWITCHES: Final = {
    _HTTPS: {"allow": True, "refuse": False},
    _TRANSPARENT: _YES_OR_NO,
    _SOCKS5: _YES_OR_NO,
    _H2C: _YES_OR_NO,
}

# The endpoints of TCP sockets.
_TCP: Final = ("tcp", "tcp6", "systemd")
_NOT_TRANSPARENT: Final = (
    "the clients of a transparent listener do not know that there is a proxy: remove ssl:, client-auth=FILE, "
    "https=, socks5= and h2c="
)
_H2C_OVER_TLS: Final = "clients of an ssl: endpoint select HTTP/2 in the TLS handshake: remove h2c="


class InvalidListener(ValueError):
    """A description that cannot be parsed.

    @ivar remedy: a valid replacement, in one clause.
    """

    def __init__(self, remedy: str) -> None:
        super().__init__(remedy)
        self.remedy = remedy


@attrs.frozen(field_transformer=checked())
class ListenerTls:
    """The TLS settings of an C{https} proxy.

    @ivar key: a PEM file with the key.
    @ivar certificate: a PEM file with the certificate; it may be the same file.
    @ivar chain: a PEM file with the certificates of the chain to the root.
    @ivar client_ca: a PEM file with the CAs that sign client certificates; C{None}: no client certificates.
    """

    key: Path
    certificate: Path
    chain: Path | None = None
    client_ca: Path | None = None


@attrs.frozen(field_transformer=checked(endpoint=string, client_auth=client_auth_setting))
class Listener:
    """An endpoint for clients.

    @ivar endpoint: the description of a Twisted server endpoint; with TLS, of the endpoint below TLS.
    @ivar tls: the TLS settings.
    @ivar sets_auth: whether C{client_auth} applies here, instead of the setting of the whole proxy.
    @ivar client_auth: a file with the secrets of clients, or an issuer of tokens; C{None}: clients need no
        authentication.
    @ivar https: whether clients may request https URLs without a CONNECT; C{None}: only if no other user can read the
        requests on the way to the proxy.
    @ivar transparent: whether the system redirects connections to it, of clients that do not know the proxy.
    @ivar proxy_protocol: whether a load balancer names the client of each connection by the PROXY protocol.
    @ivar socks5: whether clients may also speak SOCKS5.
    @ivar h2c: whether clients can use HTTP/2 without TLS, with prior knowledge.
    @ivar balancers: the addresses of the load balancers; empty: every address.
    """

    endpoint: str
    tls: ListenerTls | None = None
    sets_auth: bool = False
    client_auth: ClientAuth | None = None
    https: bool | None = None
    transparent: bool = False
    proxy_protocol: bool = False
    socks5: bool = False
    h2c: bool = False
    balancers: tuple[IPv4Network | IPv6Network, ...] = ()

    @property
    def takes_https_urls(self) -> bool:
        """Whether clients may request https URLs without a CONNECT.

        Some clients do so (axios before 1.8), and thereby send data in clear text that should be encrypted.  Without a
        setting, such requests are accepted if they stay on this machine or are encrypted on the way to the proxy: on
        loopback interfaces, C{unix:} and with TLS.
        """
        if self.https is not None:
            return self.https
        # The clients of a load balancer may be on other machines.
        return self.tls is not None or (_is_local(self.endpoint) and not self.proxy_protocol)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What distinguishes it from a plain listener for HTTP, in the order of the layers."""
        layers = (
            ("PROXY protocol", self.proxy_protocol),
            ("TLS", self.tls is not None),
            ("SOCKS5 and HTTP", self.socks5),
            ("HTTP/2 without TLS", self.h2c),
            ("transparent", self.transparent),
        )
        return tuple(kind for kind, applies in layers if applies)

    def listens_on(self, authority: Authority) -> bool:
        """Tell whether it listens on an authority, as far as that is known without resolving or binding."""
        found = _TCP_PORT.match(self.endpoint)
        if found is None or int(found[1]) != authority.port:
            return False
        found = _INTERFACE.search(self.endpoint)
        interface = _ESCAPED.sub(r"\1", found[1]) if found else ""
        if authority.host == interface:
            return True
        address = authority.ip
        loopback = authority.host == "localhost" or (address is not None and address.is_loopback)
        everywhere = interface in ("", "0.0.0.0", "::")
        return loopback and (everywhere or (authority.host == "localhost" and _is_loopback(interface)))

    def __attrs_post_init__(self) -> None:
        """Reject settings that would have no effect.

        @raise ConfigError: if there is such a setting.
        """
        if self.client_auth is not None and not self.sets_auth:
            raise ConfigError("client_auth", str(self.client_auth), "has no effect without sets_auth=True: add it")
        if self.balancers and not self.proxy_protocol:
            raise ConfigError("balancers", "", "has no effect without proxy_protocol=True: add it")
        if self.h2c and self.tls is not None:
            raise ConfigError("h2c", "True", _H2C_OVER_TLS)
        clear = self.tls is None and not self.proxy_protocol and not self.socks5 and not self.h2c
        if self.transparent and (not clear or self.client_auth is not None or self.https is not None):
            raise ConfigError("transparent", "True", _NOT_TRANSPARENT)

    @classmethod
    def parse(cls, text: str, path: Callable[[str], Path] = Path) -> Listener:
        """Parse the description of an endpoint, which may contain settings of the proxy.

        C{ssl:} does not select Twisted's endpoint, but a TCP endpoint with the proxy's own TLS.  It also works with
        several worker processes, and supports no older TLS version than the other parts of the proxy.

        @param text: the text to parse.
        @param path: converts a file name to a path.
        @raise InvalidListener: if the description cannot be parsed.
        """
        pieces, switches, balancers = [], {}, None
        ours: dict[str, Any] = {}
        for piece in _split(text):
            found = _OPTION.fullmatch(piece)
            if found is not None and found[1] in _SWITCHES:
                if found[1] in switches:
                    raise InvalidListener(f"{found[1]} is set twice: remove one of them")
                values = _SWITCHES[found[1]]
                if found[2] not in values:
                    raise InvalidListener(f"{found[1]} must be {' or '.join(values)}")
                switches[found[1]] = values[found[2]]
            elif found is not None and found[1] == _BALANCERS:
                if balancers is not None:
                    raise InvalidListener(f"{_BALANCERS} is set twice: separate addresses by commas")
                balancers = _networks(found[2])
            elif found is None or found[1] not in (_AUTH, _CA):
                pieces.append(piece)
            elif found[1] in ours:
                raise InvalidListener(f"{found[1]} is set twice: remove one of them")
            else:
                ours[found[1]] = _client_auth(found[2], path) if found[1] == _AUTH else _file(_CA, found[2], path)
        proxied = pieces[0] == _PROXIED and len(pieces) > 1
        if proxied:
            del pieces[0]
        if balancers is not None and not proxied:
            raise InvalidListener(f"{_BALANCERS} requires haproxy: before the endpoint")
        over_tls = pieces[0] == "ssl"
        if _CA in ours and not over_tls:
            raise InvalidListener("client-ca requires an ssl: endpoint")
        tls = None
        if over_tls:
            pieces, tls = _over_tls(pieces[1:], ours.get(_CA), path)
        transparent, socks5, h2c = (switches.get(name, False) for name in (_TRANSPARENT, _SOCKS5, _H2C))
        if h2c and tls is not None:
            raise InvalidListener(_H2C_OVER_TLS)
        known = tls is not None or proxied or ours.get(_AUTH) is not None or _HTTPS in switches or socks5 or h2c
        if transparent and known:
            raise InvalidListener(_NOT_TRANSPARENT)
        if transparent and pieces[0] not in _TCP:
            raise InvalidListener("only connections over TCP can be redirected: set tcp: or tcp6:")
        return cls(
            ":".join(pieces),
            tls,
            _AUTH in ours,
            ours.get(_AUTH),
            switches.get(_HTTPS),
            transparent=transparent,
            proxy_protocol=proxied,
            socks5=socks5,
            h2c=h2c,
            balancers=balancers or (),
        )


def _split(text: str) -> list[str]:
    pieces, at = [], 0
    while True:
        piece = _PIECE.match(text, at)
        assert piece is not None
        end = piece.end()
        if end < len(text) and text[end] != ":":
            raise InvalidListener(
                "ends with a backslash that escapes nothing: write an endpoint as in tcp:8080:interface=127.0.0.1"
            )
        pieces.append(text[at:end])
        if end == len(text):
            return pieces
        at = end + 1


def _is_loopback(interface: str) -> bool:
    address = parse_ip(interface)
    return address is not None and address.is_loopback


def _is_local(endpoint: str) -> bool:
    """Tell whether only programs on this machine can connect to an endpoint, as far as its description tells."""
    kind, *pieces = [_ESCAPED.sub(r"\1", piece) for piece in _split(endpoint)]
    if kind in ("tcp", "tcp6"):
        # The second argument without a name is the interface, as in Twisted.
        unnamed = [piece for piece in pieces if not _OPTION.fullmatch(piece)]
        named = [piece.partition("=")[2] for piece in pieces if piece.startswith("interface=")]
        interface = next(iter(named + unnamed[1:2]), "")
        return interface == "localhost" or _is_loopback(interface)
    return kind == "unix"


def _networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse addresses and ranges, separated by commas."""
    try:
        return tuple(ip_network(entry.strip()) for entry in _ESCAPED.sub(r"\1", value).split(","))
    except ValueError as error:
        remedy = f"write addresses or ranges as in {_BALANCERS}=192.0.2.7,10.0.0.0/8, and a backslash before a colon"
        raise InvalidListener(remedy) from error


def _file(name: str, value: str, path: Callable[[str], _F]) -> _F | None:
    value = _ESCAPED.sub(r"\1", value)
    if value == _CLEAR:
        return None
    if not value:
        raise InvalidListener(f"{name} is empty: set a file name, or none")
    return path(value)


def _client_auth(value: str, path: Callable[[str], Path]) -> ClientAuth | None:
    try:
        return _file(_AUTH, value, lambda text: client_auth(text, path))
    except BadValue as error:
        raise InvalidListener(f"{_AUTH}: {error.remedy}") from error


def _over_tls(pieces: list[str], client_ca: Path | None, path: Callable[[str], Path]) -> tuple[list[str], ListenerTls]:
    below, files, kind = [], {}, "tcp"
    for piece in pieces:
        found = _OPTION.fullmatch(piece)
        name = "port" if found is None else found[1]
        if name in ("privateKey", "certKey", "extraCertChain"):
            files[name] = _file(name, piece.partition("=")[2], path)
        elif name in _BELOW_TLS:
            below.append(piece)
            if name == "interface" and "\\:" in piece:
                kind = "tcp6"
        else:
            raise InvalidListener(
                f"an ssl: endpoint has no setting {name}: remove it (TLS has version 1.2 or later, and strong ciphers)"
            )
    key = files.get("privateKey") or path("server.pem")
    return [kind, *below], ListenerTls(key, files.get("certKey") or key, files.get("extraCertChain"), client_ca)
