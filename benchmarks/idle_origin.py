"""An origin that keeps thousands of connections open, for a process of its own."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import Callable, Collection, Mapping
from functools import partial

Respond = Callable[[bytes], bytes]
"""Returns the content of the response to a request, from its path."""


class _Connection(asyncio.Protocol):
    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        while b"\r\n\r\n" in self._head:
            head, _, self._head = self._head.partition(b"\r\n\r\n")
            content = self._respond(head.split(b" ")[1])
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))


class TooFewDescriptors(Exception):
    """The system allows fewer descriptors than a benchmark needs."""


def raise_limit(needed: int = 0) -> None:
    """Permit this process and its children as many descriptors as the system allows.

    @param needed: the number of descriptors that one of them needs. Only a privileged process can raise the hard limit.
    @raise TooFewDescriptors: if the system does not allow this number.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed))
        except (OSError, ValueError) as error:
            raise TooFewDescriptors(
                f"a process needs {needed} descriptors, but the hard limit is {hard} (ulimit -Hn), and this process "
                f"may not raise it ({error})"
            ) from error
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(
    respond: Respond, ports: Mapping[str, int], certificate: str, key: str, *, without_tls: Collection[str] = ()
) -> None:
    """Serve until the process is stopped.

    @param ports: the port of each address.
    @param without_tls: the addresses without TLS.
    """

    async def run() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        loop = asyncio.get_running_loop()
        for host, port in ports.items():
            tls = None if host in without_tls else context
            await loop.create_server(partial(_Connection, respond), host, port, backlog=4096, ssl=tls)
        await asyncio.Event().wait()

    raise_limit()
    asyncio.run(run())
