"""Tests for L{egress.cli.completion}."""

from __future__ import annotations

from egress.cli.completion import SHELLS
from egress.config.options import OPTIONS
from tests.cli.running import CommandTestCase


class CompletionTests(CommandTestCase):
    """The scripts; L{tests.integration.test_completion} loads them in their shells."""

    def script(self, shell: str) -> str:
        status, out, err = self.run_egress("completion", shell)
        self.assertEqual((status, err), (0, ""))
        return out

    def test_options_of_the_proxy(self) -> None:
        """The options that C{egress run --help} leaves out are in the script of each shell."""
        for shell in SHELLS:
            script = self.script(shell)
            for option in OPTIONS:
                with self.subTest(f"{shell} {option.name}"):
                    self.assertIn(f"-l {option.name} " if shell == "fish" else f"--{option.name}", script)

    def test_values(self) -> None:
        script = self.script("bash")
        for line in (
            "_shtab_egress_run___mode_choices=(enforce observe)",
            "_shtab_egress_run___policy_COMPGEN=_shtab_compgen_files",
            "_shtab_egress_run___report_COMPGEN=_shtab_compgen_files",
            "_shtab_egress_policy_check_pos_0_COMPGEN=_shtab_compgen_files",
            "_shtab_egress_run___ca_dir_COMPGEN=_shtab_compgen_dirs",
            "_shtab_egress_run_pos_0_COMPGEN=_egress_compgen_commands",
        ):
            with self.subTest(line):
                self.assertIn(f"\n{line}\n", script)
        self.assertNotIn("___workers_choices", script)

    def test_unknown_shell(self) -> None:
        self.assertEqual(self.run_egress("completion", "tcsh")[0], 2)
