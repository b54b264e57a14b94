"""Why a sandbox cannot be made on this machine, and what to change."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, NamedTuple

from egress.launch.isolate.messages import Failed

_FORBIDDEN: Final = (errno.EPERM, errno.EACCES)
_SETTINGS: Final = {
    "max_user_namespaces": "user/max_user_namespaces",
    "unprivileged": "kernel/unprivileged_userns_clone",
    "apparmor": "kernel/apparmor_restrict_unprivileged_userns",
}
_CONTAINER_MARKS: Final = (".dockerenv", "run/.containerenv")
_CONTAINER_FIX: Final = (
    "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined"
)


class Facts(NamedTuple):
    """The settings of the machine.

    @ivar max_user_namespaces: C{user.max_user_namespaces}; empty if it does not exist.
    @ivar unprivileged: C{kernel.unprivileged_userns_clone} of Debian, Ubuntu and Arch Linux.
    @ivar apparmor: C{kernel.apparmor_restrict_unprivileged_userns} of Ubuntu.
    @ivar is_filtered: whether a filter of system calls is in force.
    @ivar is_container: whether this is a container.
    @ivar is_root: whether the user is root.
    """

    max_user_namespaces: str = ""
    unprivileged: str = ""
    apparmor: str = ""
    is_filtered: bool = False
    is_container: bool = False
    is_root: bool = False


def facts(root: Path = Path("/"), user: int | None = None) -> Facts:
    """Return the settings of this machine.

    @param root: the root of its file system.
    @param user: the id of the user; by default, that of this process.
    """
    settings = {name: _content(root / "proc/sys" / path).strip() for name, path in _SETTINGS.items()}
    status = _content(root / "proc/self/status")
    return Facts(
        **settings,
        is_filtered="\nSeccomp:\t2" in status,
        is_container=any((root / mark).exists() for mark in _CONTAINER_MARKS),
        is_root=(os.getuid() if user is None else user) == 0,
    )


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def explain(failed: Failed, known: Facts) -> str:
    """Return the cause and the fix, in one line."""
    if failed.step == "platform":
        return f"namespaces exist only on Linux, and this is {failed.detail}: run it in a Linux container or machine"
    if failed.step == "machine":
        return f"the numbers of the system calls of {failed.detail} are unknown: report the machine as an issue"
    if failed.step == "packet filter":
        return (
            f"the kernel has no nf_tables with NAT ({failed.detail}): "
            "run sudo modprobe -a nf_tables nft_chain_nat nft_redir"
        )
    if failed.step in ("user namespace", "namespaces"):
        return _namespaces(failed, known)
    if failed.step in ("file system", "processes") and failed.error_number in _FORBIDDEN:
        if known.apparmor == "1" and not known.is_container:
            return _apparmor()
        return f"mounts are forbidden here ({failed.detail}): in a container, {_CONTAINER_FIX}"
    return f"{failed.step}: {failed.detail}"


def _namespaces(failed: Failed, known: Facts) -> str:
    if failed.error_number in (errno.ENOSPC, errno.EUSERS):
        limit = known.max_user_namespaces or "its limit"
        return (
            f"the kernel allows no more namespaces (user.max_user_namespaces is {limit}): "
            "run sudo sysctl -w user.max_user_namespaces=15000"
        )
    if failed.error_number in (errno.EINVAL, errno.ENOSYS):
        return "the kernel has no user namespaces: use one with CONFIG_USER_NS"
    if failed.error_number not in _FORBIDDEN:
        return f"{failed.step}: {failed.detail}"
    if known.unprivileged == "0" and not known.is_root:
        return (
            "the kernel allows user namespaces only for root (kernel.unprivileged_userns_clone is 0): "
            "run sudo sysctl -w kernel.unprivileged_userns_clone=1"
        )
    if known.is_root and "uid_map" in failed.detail:
        return "root needs the capability SETFCAP for a user namespace: add it, or run as another user"
    if known.is_container or known.is_filtered:
        return f"a filter of system calls forbids user namespaces: in a container, {_CONTAINER_FIX}"
    if known.apparmor == "1":
        return _apparmor()
    return (
        f"a chroot or a security module forbids user namespaces ({failed.detail}): "
        "run egress outside of the chroot, or allow them for egress"
    )


def _apparmor() -> str:
    return (
        "AppArmor forbids user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1): "
        "run sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    )
