"""The files of a policy, which the console reads and changes."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final

from egress.runtime.safe_files import Folder

_PERMISSIONS: Final = 0o777


class NotSaved(Exception):
    """A policy file that cannot be changed; the message names the reason and the fix."""


def why_not_writable(path: Path) -> str | None:
    """Return why this process cannot replace a policy file; C{None} if it can."""
    try:
        target = path.resolve(strict=True)
        state = target.stat()
    except (OSError, RuntimeError) as error:
        return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
    if not stat.S_ISREG(state.st_mode):
        return f"{path} is not a regular file"
    for each in (target, target.parent):
        if not os.access(each, os.W_OK):
            return f"the proxy has no permission to write to {each}"
    # A new file would belong to the user of the proxy.
    if state.st_uid != os.geteuid() != 0:
        return f"{path} belongs to another user than the proxy"
    return None


def save_policy(path: Path, digest: str, text: str) -> None:
    """Replace the text of a policy file atomically.  Its owner, its group and its permissions stay as they are.

    @param path: the file; for a symbolic link, its target is replaced.
    @param digest: the SHA-256 digest of the text that is replaced, in hexadecimal.
    @param text: the new text.
    @raise NotSaved: if the file has another text, or cannot be written; then it is unchanged.
    """
    reason = why_not_writable(path)
    if reason is not None:
        raise NotSaved(reason)
    try:
        target = path.resolve(strict=True)
        with Folder(target.parent) as folder:
            descriptor = os.open(target.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.descriptor)
            with open(descriptor, "rb") as file:
                state = os.fstat(descriptor)
                if sha256(file.read()).hexdigest() != digest:
                    raise NotSaved(f"{path} was changed by someone else: look at the new text, and try again")
            owner = (state.st_uid, state.st_gid)
            folder.put(target.name, text.encode("utf-8"), stat.S_IMODE(state.st_mode) & _PERMISSIONS, owner)
    except OSError as error:
        raise NotSaved(f"{path} cannot be written: {error.strerror}") from error
