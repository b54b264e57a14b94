"""Clients behind C{egress run}: each works without other settings, and shows the reason of a denial."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.names import NameServer
from tests.integration.peers import GOOD, ORIGIN
from tests.integration.run_clients import CLIENTS
from tests.integration.run_steps import Place, Step
from tests.integration.test_run import RunTestCase


class ClientTests(RunTestCase):
    """Each client sends its requests to the proxy, trusts its CA, and shows the reason of a denial.

    @cvar options: more options of C{egress run}.
    """

    forks_commands = True
    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        # Programs of other users read files here.
        self.directory.chmod(0o755)
        # Only the proxy can resolve the name of the origin.
        self.names = NameServer({ORIGIN: [GOOD]})
        self.addCleanup(self.names.close)

    def check_client(self, name: str) -> None:
        """Run the commands of a client."""
        for step in CLIENTS[name](Place(self.directory, self.origins)):
            self.check_step(step)

    def check_step(self, step: Step) -> None:
        """Run one command, and check its result."""
        options = ("--dns-server", self.names.address, *self.options)
        done = self.egress_run(*step.command, options=options, **step.environ)
        said = f"{done.stdout}\n{done.stderr}"
        if step.works is not None:
            self.assertEqual(done.returncode == 0, step.works, said)
        for text, times in step.shows.items():
            self.assertGreaterEqual(done.stdout.count(text), times, said)
        if step.makes is not None:
            self.assertTrue(step.makes.exists(), said)
        self.assertIn(step.summary, done.stderr)


def _test(name: str) -> Callable[[ClientTests], None]:
    def test(self: ClientTests) -> None:
        self.check_client(name)

    return test


for _name in CLIENTS:
    setattr(ClientTests, f"test_{_name}", _test(_name))
