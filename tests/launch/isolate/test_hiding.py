"""Tests for L{egress.launch.isolate.hiding}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.hiding import bound_paths, hidden_directories, is_service, named_paths

_TABLE = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 19044 /run/docker.sock
0000000000000000: 00000002 00000000 00000000 0002 01 19045 /home/a user/log
0000000000000000: 00000003 00000000 00000000 0001 03 19046
0000000000000000: 00000002 00000000 00010000 0001 01 19047 @/tmp/.X11-unix/X0
0000000000000000: 00000002 00000000 00010000 0001 01 19048 relative.sock
"""


class HidingTests(SynchronousTestCase):
    """Sockets of programs outside."""

    def test_bound_paths(self) -> None:
        """Names of sockets that are not in the file system end with the network namespace."""
        self.assertEqual(bound_paths(_TABLE), {"/run/docker.sock", "/home/a user/log"})

    def test_named_paths(self) -> None:
        """Variables name sockets with and without a scheme."""
        environ = {
            "SSH_AUTH_SOCK": "/tmp/ssh-1/agent.2",
            "DOCKER_HOST": "unix:///home/a/docker.sock",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/a/bus,guid=1;unix:abstract=/b",
            "TMUX": "/tmp/tmux-1000/default,123,0",
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "URL": "http://a.test/path",
        }
        found = named_paths(environ)
        sockets = {"/tmp/ssh-1/agent.2", "/home/a/docker.sock", "/a/bus", "/tmp/tmux-1000/default"}
        self.assertLess(sockets, found)
        self.assertEqual(found - sockets, {"/b", "/usr/bin", "/bin", "/a.test/path"})

    def test_services(self) -> None:
        """The directories of services that start later, and not those with the programs of a distribution."""
        for name in ("user", "dbus", "systemd", "docker", "containerd", "podman", "snapd", "nscd", "avahi-daemon"):
            self.assertTrue(is_service(name), name)
        for name in ("current-system", "wrappers", "secrets", "lock", "media"):
            self.assertFalse(is_service(name), name)

    def test_directories(self) -> None:
        self.assertIn("/tmp/.X11-unix", list(hidden_directories("")))
        self.assertIn("/home/a/.docker/run", list(hidden_directories("/home/a/")))
        self.assertEqual([path for path in hidden_directories("") if not path.startswith(("/tmp/", "/var/"))], [])
