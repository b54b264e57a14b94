"""A sandbox, as the proxy outside of it sees it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import egress
from egress.launch.isolate.diagnosis import Facts, explain, facts
from egress.launch.isolate.messages import (
    MAX_BYTES,
    MAX_DESCRIPTORS,
    RUN,
    Command,
    Failed,
    View,
    decode,
    encode_command,
    encode_view,
)
from egress.launch.runner import exit_status
from egress.runtime.signals import forwarded_signals

_SOURCE: Final = str(Path(egress.__file__).parent.parent)
# Without the site packages, and without modules of the current directory: "python -m" would import those first.
_CODE: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from egress.launch.isolate import helper; "
    "sys.exit(helper.main(int(sys.argv[2]), sys.argv[3]))"
)
_DESCRIPTOR: Final = 3
_DEFAULT_VIEW: Final = View()


class CannotIsolate(Exception):
    """The sandbox cannot be made; the text names the cause and the fix."""


@attrs.frozen
class SandboxSockets:
    """Listening sockets in the network of the sandbox.  Each is open in this process only.

    @ivar proxy: TCP, for programs that know the proxy, on the loopback interface of the sandbox.
    @ivar transparent: TCP, for redirected connections to all addresses; one socket for IPv4, one for IPv6 if the kernel
        has it.  C{SO_ORIGINAL_DST} of an accepted socket is the original address.
    @ivar dns_udp: UDP, for queries to any name server; like C{transparent}.
    @ivar dns_tcp: TCP, for queries to any name server; like C{transparent}.
    """

    proxy: socket.socket
    transparent: Sequence[socket.socket]
    dns_udp: Sequence[socket.socket]
    dns_tcp: Sequence[socket.socket]

    def close(self) -> None:
        """Close all of them."""
        for each in (self.proxy, *self.transparent, *self.dns_udp, *self.dns_tcp):
            each.close()


class Sandbox:
    """Namespaces for one command, made by a helper process.

    @ivar sockets: the sockets of the proxy.
    """

    def __init__(self, reactor: Any, helper: _Helper, sockets: SandboxSockets) -> None:
        self.sockets = sockets
        self._reactor = reactor
        self._helper = helper

    @property
    def pid(self) -> int:
        """The helper process."""
        return self._helper.pid

    @classmethod
    def start(cls, reactor: Any, view: View = _DEFAULT_VIEW) -> Deferred[Sandbox]:
        """Make a sandbox.

        @param reactor: an C{IReactorProcess} and C{IReactorFDSet}.
        @param view: what the command sees of the file system.
        @return: fires with the sandbox, or fails with L{CannotIsolate}.  Cancelling it ends the helper.
        """
        if not sys.platform.startswith("linux"):
            return fail(CannotIsolate(explain(Failed("platform", 0, sys.platform), Facts())))
        helper = _Helper(reactor)
        return helper.start(view).addCallback(lambda sockets: cls(reactor, helper, sockets))

    def run(
        self,
        executable: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        forwarding: Callable[[Any, Callable[[int], object]], AbstractContextManager[None]] = forwarded_signals,
        *,
        hidden: Sequence[str] = (),
    ) -> Deferred[int]:
        """Run the command of the sandbox, as L{egress.launch.runner.run_command} runs one outside.

        @param executable: the program.
        @param command: the command and its arguments.
        @param environ: the whole environment of the command.
        @param forwarding: see L{forwarded_signals}.
        @param hidden: files and directories that are empty for the command, such as the secrets of the proxy.
        @return: fires with the exit status, as a shell reports it.  Cancelling it sends SIGTERM to the command.
        """
        return self._helper.run(Command(executable, list(command), dict(environ), list(hidden)), forwarding)

    def close(self) -> None:
        """End every process of the sandbox."""
        self._helper.kill()


class _Helper(ProcessProtocol):
    """The helper process, and the socket to it."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ended: Deferred[int] | None = None
        self._status: int | None = None
        self._block = ExitStack()

    def start(self, view: View) -> Deferred[SandboxSockets]:
        """Start the process."""
        own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = own
        arguments = [sys.executable, "-I", "-S", "-c", _CODE, _SOURCE, str(_DESCRIPTOR), encode_view(view)]
        with its:
            descriptors = {0: 0, 1: 1, 2: 2, _DESCRIPTOR: its.fileno()}
            self._process = self._reactor.spawnProcess(
                self, sys.executable, arguments, env=dict(os.environ), childFDs=descriptors
            )
        reader = _Reader(self._reactor, own)
        reader.received.addErrback(self._failed)
        return reader.received

    @property
    def pid(self) -> int:
        """The number of the process."""
        number: int = self._process.pid
        return number

    def _failed(self, failure: Failure) -> Failure:
        self.kill()
        return failure

    def run(
        self,
        command: Command,
        forwarding: Callable[[Any, Callable[[int], object]], AbstractContextManager[None]],
    ) -> Deferred[int]:
        """Run the command; see L{Sandbox.run}."""
        ended: Deferred[int] = Deferred(lambda _: self._signal(signal.SIGTERM))
        self._ended = ended
        descriptor = os.memfd_create("command")
        with open(descriptor, "wb") as file:
            file.write(encode_command(command))
            file.flush()
            with suppress(OSError):
                socket.send_fds(self._socket, [RUN], [descriptor])
        self._block.enter_context(forwarding(self._reactor, self._signal))
        if self._status is not None:
            self._finish(self._status)
        return ended

    def _signal(self, number: int) -> None:
        with suppress(ProcessExitedAlready):
            self._process.signalProcess(number)

    def kill(self) -> None:
        """End the process, and with it the sandbox."""
        self._signal(signal.SIGKILL)
        self._socket.close()

    def processExited(self, reason: Failure) -> None:
        """Report the exit status."""
        self._finish(exit_status(reason))

    def _finish(self, status: int) -> None:
        self._status = status
        self._socket.close()
        self._block.close()
        if self._ended is not None and not self._ended.called:
            self._ended.callback(status)


class _Reader:
    """Reads one message with descriptors: an C{IReadDescriptor}."""

    def __init__(self, reactor: Any, source: socket.socket) -> None:
        self._reactor = reactor
        self._source = source
        self.received: Deferred[SandboxSockets] = Deferred(lambda _: self._stop())
        source.setblocking(False)
        reactor.addReader(self)

    def fileno(self) -> int:
        """See C{IFileDescriptor.fileno}."""
        return self._source.fileno()

    def logPrefix(self) -> str:
        """See C{ILoggingContext.logPrefix}."""
        return "sandbox"

    def connectionLost(self, reason: Failure) -> None:
        """See C{IFileDescriptor.connectionLost}: the reactor stops."""

    def doRead(self) -> None:
        """Receive the message."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._source, MAX_BYTES, MAX_DESCRIPTORS)
        except BlockingIOError:
            return
        self._stop()
        opened = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        if not data:
            self.received.errback(CannotIsolate("the helper process ended early; its error is above"))
            return
        message = decode(data)
        if isinstance(message, Failed):
            self.received.errback(CannotIsolate(explain(message, facts())))
            return
        named: dict[str, list[socket.socket]] = {}
        for name, each in zip(message.sockets, opened, strict=True):
            named.setdefault(name, []).append(each)
        (proxy,) = named.pop("proxy")
        self.received.callback(SandboxSockets(proxy, **named))

    def _stop(self) -> None:
        self._reactor.removeReader(self)
