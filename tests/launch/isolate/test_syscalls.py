"""Tests for L{egress.launch.isolate.syscalls}."""

from __future__ import annotations

import errno

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.syscalls import BIND, mount, unmount, unshare


class ErrorTests(SynchronousTestCase):
    """A call that fails raises the error of the kernel.  The calls have no effect, also for root."""

    def test_unshare(self) -> None:
        error = self.assertRaises(OSError, unshare, 1)
        self.assertEqual(error.errno, errno.EINVAL)

    def test_mounts(self) -> None:
        """The error names the path."""
        for call in (lambda: mount("/absent", "/absent", None, BIND), lambda: unmount("/absent")):
            error = self.assertRaises(OSError, call)
            self.assertIn(error.errno, (errno.ENOENT, errno.EPERM))
            self.assertEqual(error.filename, "/absent")
