"""The TLS sessions of L{egress.transport.tls}: ciphertext in, plaintext out, and the reverse.

pyOpenSSL allocates a buffer for each call that reads from OpenSSL, and signals the normal end of the data with an
exception. This is two thirds of the cost of a small record (6.0 us for a record out and in, and 2.0 us here). A
L{DirectSession} calls the same functions of OpenSSL through the bindings of pyOpenSSL, with one buffer that all
sessions of the process share. If a release of pyOpenSSL has other bindings, a L{TlsSession} uses only the public
methods.
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL

from egress.transport.idle_buffers import IdleBuffers

# The maximum plaintext of one record (RFC 8446 section 5.1).
RECORD_BYTES: Final = 16 * 1024
# The maximum size of one encryption.
WRITE_BYTES: Final = 64 * 1024
# The ciphertext that OpenSSL receives before it decrypts. The buffer of a connection becomes smaller only when it is
# freed, so this is the memory that a bulk transfer leaves behind. Half of this size takes up to a tenth more CPU time.
_FEED_BYTES: Final = 64 * 1024
# The overhead of OpenSSL: 22 bytes for each record of at most 16 KiB in TLS 1.3, and occasional messages of its own.
_OVERHEAD: Final = 4 * 1024
# The size of one read without the shared buffer.
_READ_BYTES: Final = 32 * 1024
# The size of reads and writes after which the buffers of an idle session are not worth freeing.
_SMALL_BYTES: Final = 1024
# The size of the shared buffer: a full read of a socket (L{egress.transport.write_through}), and one record.
_BUFFER_BYTES: Final = 272 * 1024


class TlsSession:
    """A TLS session in memory, with the public methods of pyOpenSSL.

    @param connection: the session of pyOpenSSL.
    @param buffers: frees the buffers of the session while it is idle; C{None} to keep them.
    @ivar connection: the session of pyOpenSSL.
    @ivar ended: whether the peer has sent its closing alert.
    @ivar blocked: whether the last encryption must wait for data of the peer.
    @ivar failure: the error that ended the session.
    @ivar position: the end of the plaintext that is encrypted.
    """

    __slots__ = ("_buffers", "_grown", "blocked", "connection", "ended", "failure", "position")

    def __init__(self, connection: SSL.Connection, buffers: IdleBuffers | None = None) -> None:
        self.connection = connection
        self._buffers = buffers
        self._grown = False
        self.ended = False
        self.blocked = False
        self.failure: SSL.Error | None = None
        self.position = 0

    def decrypt(self, data: bytes, single: bool) -> bytes:
        """Decrypt a read.

        @param data: the ciphertext; it can be empty if OpenSSL has some already.
        @param single: whether the ciphertext is one complete record.
        @return: the plaintext of all records that are complete; empty if none has content.
        """
        if data:
            self.connection.bio_write(data)
        pieces: list[bytes] = []
        try:
            while True:
                pieces.append(self.connection.recv(_READ_BYTES))
                if single:
                    # This was the only record, and complete: another call would raise an exception.
                    break
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            # Without its traceback, whose frames refer to this object: a cycle would keep the session for a while.
            self.failure = error.with_traceback(None)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def encrypt(self, data: bytes, start: int) -> bytes:
        """Encrypt at most L{WRITE_BYTES} of a write.

        @param data: the plaintext.
        @param start: the position to start at; L{position} is the one to continue at.
        @return: the ciphertext, after earlier output of OpenSSL.
        """
        end = min(len(data), start + WRITE_BYTES)
        self.blocked = False
        try:
            while start < end:
                # Depending on the version of pyOpenSSL, this takes all of it, or one record.
                start += self.connection.send(memoryview(data)[start:end])
        except SSL.WantReadError:
            self.blocked = True
        except SSL.Error as error:
            # Without its traceback, whose frames refer to this object: a cycle would keep the session for a while.
            self.failure = error.with_traceback(None)
        self.position = start
        return self.output(WRITE_BYTES + _OVERHEAD)

    def output(self, size: int = _READ_BYTES) -> bytes:
        """Return the output of OpenSSL itself, such as handshake messages and alerts."""
        try:
            data = self.connection.bio_read(size)
        except SSL.WantReadError:
            return b""
        return data if len(data) < size else data + self.output(size)

    def grow(self) -> None:
        """Note that the buffers have become larger than an idle session needs."""
        if not self._grown and self._buffers is not None:
            self._grown = True
            self._buffers.add(self)

    def free_buffers(self) -> bool:
        """See L{egress.transport.idle_buffers.Buffers}. No public method frees them."""
        return True


_lib: Final[Any] = getattr(SSL, "_lib", None)
_ffi: Final[Any] = getattr(SSL, "_ffi", None)
_ssl_read: Final[Any] = getattr(_lib, "SSL_read", None)
_ssl_write: Final[Any] = getattr(_lib, "SSL_write", None)
_ssl_get_error: Final[Any] = getattr(_lib, "SSL_get_error", None)
_want_read: Final[Any] = getattr(_lib, "SSL_ERROR_WANT_READ", None)
_bio_read: Final[Any] = getattr(_lib, "BIO_read", None)
_bio_write: Final[Any] = getattr(_lib, "BIO_write", None)
_new_bio: Final[Any] = getattr(_lib, "BIO_new", None)
_in_memory: Final[Any] = getattr(_lib, "BIO_s_mem", None)
_free_bio: Final[Any] = getattr(_lib, "BIO_free", None)
_content_of: Final[Any] = getattr(_lib, "BIO_get_mem_data", None)
_set_bio: Final[Any] = getattr(_lib, "SSL_set_bio", None)
_null: Final[Any] = getattr(_ffi, "NULL", None)
_unpack: Final[Any] = getattr(_ffi, "unpack", None)
_from_buffer: Final[Any] = getattr(_ffi, "from_buffer", None)
_bound: Final = None not in (_ssl_read, _ssl_write, _ssl_get_error, _want_read, _bio_read, _bio_write, _unpack)
# Where OpenSSL stores the start of the content of a BIO, which is not used.
_start: Final[Any] = _ffi.new("char **") if _bound else None
_can_free: Final = None not in (_new_bio, _in_memory, _free_bio, _content_of, _set_bio, _null)
# TLS layers work in the reactor's thread, and no method below calls into Python before it has copied the content.
_buffer: Final[Any] = _ffi.new("char[]", _BUFFER_BYTES) if _bound else None


class DirectSession(TlsSession):
    """A TLS session that calls OpenSSL directly. Its handshake must be complete."""

    __slots__ = ("_from_ssl", "_into_ssl", "_ssl")

    def __init__(self, connection: SSL.Connection, buffers: IdleBuffers | None = None) -> None:
        super().__init__(connection, buffers)
        bindings: Any = connection
        self._ssl: Any = bindings._ssl  # noqa: SLF001 - see the docstring of the module
        self._into_ssl: Any = bindings._into_ssl  # noqa: SLF001
        self._from_ssl: Any = bindings._from_ssl  # noqa: SLF001

    def decrypt(self, data: bytes, single: bool) -> bytes:
        """See L{TlsSession.decrypt}."""
        size = len(data)
        if size > _SMALL_BYTES and not self._grown:
            self.grow()
        fed = 0
        filled = 0
        full: list[bytes] | None = None
        while True:
            if fed < size:
                count = min(size - fed, _FEED_BYTES)
                source: Any = _from_buffer(data) + fed if fed else data
                if _bio_write(self._into_ssl, source, count) != count:
                    raise MemoryError("OpenSSL cannot store the data that was received")
                fed += count
            while True:
                if _BUFFER_BYTES - filled < RECORD_BYTES:
                    full = full or []
                    full.append(_unpack(_buffer, filled))
                    filled = 0
                target: Any = _buffer + filled if filled else _buffer
                result: int = _ssl_read(self._ssl, target, _BUFFER_BYTES - filled)
                if result <= 0:
                    break
                filled += result
                if single:
                    break
            if result <= 0 and not self._wants_to_read(result):
                break
            if fed == size:
                break
        last: bytes = _unpack(_buffer, filled) if filled else b""
        return b"".join([*full, last]) if full else last

    def encrypt(self, data: bytes, start: int) -> bytes:
        """See L{TlsSession.encrypt}."""
        end = min(len(data), start + WRITE_BYTES)
        if end - start > _SMALL_BYTES and not self._grown:
            self.grow()
        self.blocked = False
        filled = 0
        while start < end:
            source: Any = _from_buffer(data) + start if start else data
            # This takes all of it, or one record if the session writes in parts.
            result: int = _ssl_write(self._ssl, source, end - start)
            if result <= 0:
                self.blocked = self._wants_to_read(result)
                break
            start += result
            filled = self._collect(filled)
        self.position = start
        filled = filled or self._collect(0)
        content: bytes = _unpack(_buffer, filled)
        return content

    def output(self, size: int = _READ_BYTES) -> bytes:
        """See L{TlsSession.output}."""
        filled = self._collect(0)
        content: bytes = _unpack(_buffer, filled) if filled else b""
        return content

    def free_buffers(self) -> bool:
        """See L{egress.transport.idle_buffers.Buffers}. New BIOs take the place of those with the buffers."""
        if not _can_free:
            return True
        if _content_of(self._into_ssl, _start) or _content_of(self._from_ssl, _start):
            return False
        into_ssl: Any = _new_bio(_in_memory())
        from_ssl: Any = _new_bio(_in_memory())
        if _null in (into_ssl, from_ssl):
            _free_bio(into_ssl)
            _free_bio(from_ssl)
            return False
        # This frees the former ones. The methods of pyOpenSSL must not use them any more.
        _set_bio(self._ssl, into_ssl, from_ssl)
        bindings: Any = self.connection
        bindings._into_ssl = self._into_ssl = into_ssl  # noqa: SLF001 - see the docstring of the module
        bindings._from_ssl = self._from_ssl = from_ssl  # noqa: SLF001
        self._grown = False
        return True

    def _collect(self, filled: int) -> int:
        """Move the output of OpenSSL to the end of the shared buffer's content.

        @return: the new length of the content.
        """
        target: Any = _buffer + filled if filled else _buffer
        count: int = _bio_read(self._from_ssl, target, _BUFFER_BYTES - filled)
        return filled + count if count > 0 else filled

    def _wants_to_read(self, result: int) -> bool:
        """Process the result of a function that failed.

        @return: whether it needs more data of the peer; otherwise, the session has ended.
        """
        if _ssl_get_error(self._ssl, result) == _want_read:
            return True
        bindings: Any = self.connection
        try:
            bindings._raise_ssl_error(self._ssl, result)  # noqa: SLF001 - see the docstring of the module
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            # Without its traceback, whose frames refer to this object: a cycle would keep the session for a while.
            self.failure = error.with_traceback(None)
        return False


def session_of(connection: SSL.Connection, buffers: IdleBuffers | None = None) -> TlsSession:
    """Return the fastest session that the release of pyOpenSSL permits.

    @param connection: a session in memory, which is not used by others.
    @param buffers: see L{TlsSession}.
    """
    bindings = ("_ssl", "_into_ssl", "_from_ssl", "_raise_ssl_error")
    if _bound and all(hasattr(connection, name) for name in bindings):
        return DirectSession(connection, buffers)
    return TlsSession(connection, buffers)


def is_unexpected_end(error: SSL.Error) -> bool:
    """Tell whether an error is the end of the data without a closing alert."""
    if isinstance(error, SSL.SysCallError):
        reason = str(error.args[-1])
    else:
        queue = error.args[0] if error.args else ()
        # OpenSSL 4 reports such an end without a reason.
        reason = str(queue[-1][-1]) if queue else "unexpected eof"
    return reason.casefold().startswith("unexpected eof")
