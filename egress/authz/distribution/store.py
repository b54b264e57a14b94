"""The last good version of a policy URL, on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from egress.model.policy_url import PolicyUrl
from egress.runtime.safe_files import Folder, check_private, make_private, read_plain

if TYPE_CHECKING:
    from egress.policy.rules import RuleSet

MAX_POLICY: Final = 16 * 1024 * 1024
_MAX_STATUS: Final = 64 * 1024
_POLICY: Final = "policy"
_STATUS: Final = "status.json"


class RejectedPolicy(Exception):
    """A policy that does not replace the one in use; the message names the reason."""


@attrs.frozen
class CheckStatus:
    """The results of the checks of a policy URL.

    @ivar checked: the time of the last successful check, in seconds since the epoch; C{None}: there was none.
    @ivar digest: the SHA-256 digest of the stored policy, in hexadecimal.
    @ivar etag: the entity tag of the stored policy, if it has one.
    @ivar fault: why the last check failed; empty if it succeeded.
    """

    checked: float | None = None
    digest: str = ""
    etag: str | None = None
    fault: str = ""

    @classmethod
    def parse(cls, content: bytes) -> CheckStatus:
        """Parse a status that this program wrote.

        @raise ValueError: if it is damaged.
        """
        table = json.loads(content)
        kinds: dict[str, Any] = {"checked": (int, float, type(None)), "digest": str, "etag": (str, type(None))}
        if not isinstance(table, dict) or not all(isinstance(table.get(name), kind) for name, kind in kinds.items()):
            raise ValueError("not a status")
        return cls(table["checked"], table["digest"], table["etag"], str(table.get("fault", "")))


class PolicyStore:
    """The files of one policy URL in the state directory.  The methods block, so they are called in a thread.

    The policy is stored before its status: after a crash between the two, the digest of the status differs, and the
    policy is downloaded again.

    @param directory: the state directory, which contains a directory for each URL.
    @ivar policy: the file with the policy.
    @ivar status: the file with the status.
    """

    def __init__(self, directory: Path, url: PolicyUrl) -> None:
        self._folder = directory / url.key
        self._parent = directory
        self.policy = self._folder / _POLICY
        self.status = self._folder / _STATUS

    def prepare(self) -> None:
        """Create the directory, and check that no other user can replace its files.

        @raise OSError: if it cannot be created, or another user can.
        """
        make_private(self._parent)
        make_private(self._folder)
        check_private(self._folder, "the policy")

    def read(self) -> bytes | None:
        """Read the policy.

        @return: C{None} if there is none.
        @raise OSError: if it cannot be read, or another user could have written it.
        """
        if not self._folder.exists():
            return None
        check_private(self._folder, "the policy")
        try:
            return read_plain(self.policy, MAX_POLICY + 1)
        except FileNotFoundError:
            return None

    def read_status(self) -> CheckStatus:
        """Read the status; a missing or damaged one is like that before the first check."""
        try:
            return CheckStatus.parse(read_plain(self.status, _MAX_STATUS))
        except (OSError, ValueError, RecursionError):
            return CheckStatus()

    def save(self, content: bytes) -> None:
        """Replace the policy.

        @raise OSError: if it cannot be written; then the old one remains.
        """
        self._put(_POLICY, content)

    def save_status(self, status: CheckStatus) -> None:
        """Replace the status.

        @raise OSError: if it cannot be written.
        """
        self._put(_STATUS, json.dumps(attrs.asdict(status)).encode("ascii"))

    def _put(self, name: str, content: bytes) -> None:
        with Folder(self._folder) as folder:
            folder.put(name, content, 0o600)


class PolicyIntake:
    """Decides whether a downloaded policy replaces the stored one.  The methods block, so they are called in a thread.

    @param store: the stored policy.
    @param parse: verifies and parses the content of a policy; raises C{ValueError} with the reason if it is not valid.
    @param now: returns the seconds since the epoch.
    """

    def __init__(self, store: PolicyStore, parse: Callable[[bytes], RuleSet], now: Callable[[], float]) -> None:
        self._store = store
        self._parse = parse
        self._now = now
        # The digest of the content that was valid with the current keys, and its rules.
        self._valid: tuple[str, RuleSet] | None = None

    def forget(self) -> None:
        """Verify the stored policy again, because the keys could be others."""
        self._valid = None

    def etag(self) -> str | None:
        """Return the entity tag of the stored policy; C{None} if the policy must be downloaded.

        @raise OSError: if the state directory cannot be used.
        """
        self._store.prepare()
        status = self._store.read_status()
        current = self._current()
        return status.etag if current is not None and current[0] == status.digest else None

    def unchanged(self) -> None:
        """Record that the server still has the stored policy.

        @raise OSError: if that cannot be written.
        """
        status = self._store.read_status()
        self._store.save_status(attrs.evolve(status, checked=self._now(), fault=""))

    def accept(self, content: bytes, etag: str | None) -> bool:
        """Store a downloaded policy.

        @return: whether it differs from the stored one.
        @raise ValueError: if it is not valid.
        @raise RejectedPolicy: if it is older than the stored one.
        @raise OSError: if it cannot be written.
        """
        rules = self._parse(content)
        digest = sha256(content).hexdigest()
        current = self._current()
        differs = current is None or current[0] != digest
        if current is not None and differs:
            _check_version(rules, current[1])
        if differs:
            self._store.save(content)
        self._valid = (digest, rules)
        self._store.save_status(CheckStatus(self._now(), digest, etag))
        return differs

    def failed(self, fault: str) -> None:
        """Record that a check failed.

        @raise OSError: if that cannot be written.
        """
        status = self._store.read_status()
        if status.fault != fault:
            self._store.save_status(attrs.evolve(status, fault=fault))

    def _current(self) -> tuple[str, RuleSet] | None:
        """Return the digest and the rules of the stored policy, if it is valid."""
        content = self._store.read()
        if content is None:
            return None
        digest = sha256(content).hexdigest()
        if self._valid is None or self._valid[0] != digest:
            try:
                self._valid = (digest, self._parse(content))
            except ValueError:
                self._valid = None
        return self._valid


def _check_version(rules: RuleSet, current: RuleSet) -> None:
    """Check that a policy is not older than the current one.

    @raise RejectedPolicy: if it is.
    """
    if current.version is None:
        return
    if rules.version is None:
        raise RejectedPolicy(f"it is not a bundle, but version {current.version} in use is one")
    if rules.version < current.version:
        raise RejectedPolicy(f"its version {rules.version} is older than version {current.version} in use")
    if rules.version == current.version and rules.digest != current.digest:
        raise RejectedPolicy(f"its version {rules.version} is that of another policy: give each policy a new version")
