"""Programs that tests replace, and stores in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from cryptography import x509

from egress.trust.anchors import Entry
from egress.trust.execution import Programs, StoreFault
from egress.trust.steps import Run, Step


class FakePrograms(Programs):
    """Programs that record their steps.

    @param names: the programs that exist, with their paths.
    @param outputs: returns the output of a command.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        environ: Mapping[str, str],
        outputs: Callable[[tuple[str, ...]], bytes] = lambda _: b"",
    ) -> None:
        super().__init__(environ)
        self.names = names
        self.outputs = outputs
        self.executed: list[Step] = []

    def find(self, name: str) -> str | None:
        return self.names.get(name)

    def output(self, command: tuple[str, ...], stdin: bytes = b"", directory: str | None = None) -> bytes:
        return self.outputs(command)

    def execute(self, steps: Iterable[Step]) -> None:
        self.executed.extend(steps)


class MemoryStore:
    """A store in memory, whose steps are commands with the fingerprints.

    @ivar present: the certificates in it.
    @ivar pending: the certificate of each step.
    @ivar protected: the path that is not writable.
    @ivar fault: the error of every access.
    @ivar stubborn: whether its steps have no effect.
    """

    kind = "nss"
    where = "/memory"

    def __init__(self, *present: x509.Certificate) -> None:
        self.present = list(present)
        self.pending: dict[tuple[str, ...], x509.Certificate] = {}
        self.fault: str | None = None
        self.protected: str | None = None
        self.stubborn = False

    def entries(self) -> list[Entry]:
        if self.fault is not None:
            raise StoreFault(self.fault)
        return [Entry("", each) for each in self.present]

    def install(self, certificates: Sequence[x509.Certificate]) -> list[Step]:
        return [self._step("add", each) for each in certificates]

    def remove(self, entries: Sequence[Entry]) -> list[Step]:
        return [self._step("remove", entry.certificate) for entry in entries]

    def unwritable(self) -> str | None:
        return self.protected

    def _step(self, word: str, certificate: x509.Certificate) -> Step:
        step = Run((word, self.where, Entry("", certificate).fingerprint))
        self.pending[step.command] = certificate
        return step

    def execute(self, step: Step) -> None:
        """Apply a step."""
        assert isinstance(step, Run)
        if not self.stubborn:
            certificate = self.pending[step.command]
            (self.present.append if step.command[0] == "add" else self.present.remove)(certificate)
