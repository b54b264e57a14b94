"""Tests for L{egress.shared.script}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.shared.script import Run, Script, accepts_no_digests, is_unknown


class ScriptTests(SynchronousTestCase):
    """The commands that run a script."""

    def test_commands(self) -> None:
        script = Script("return 'é'")
        self.assertEqual(script.digest, "6832e39b721242dbb406e4bf358bfebb712064d7")
        run = Run(script, [b"a", b"b"], ("x", 2, 0.5))
        self.assertEqual(run.by_digest(), ("EVALSHA", script.digest, 2, b"a", b"b", "x", 2, 0.5))
        self.assertEqual(run.by_text(), ("EVAL", "return 'é'", 2, b"a", b"b", "x", 2, 0.5))

    def test_unknown(self) -> None:
        self.assertTrue(is_unknown("NOSCRIPT No matching script. Please use EVAL."))
        for error in ("", "ERR NOSCRIPT", "NOSCRIPTS x", "WRONGTYPE Operation against a key"):
            self.assertFalse(is_unknown(error), error)

    def test_no_digests(self) -> None:
        """The texts of Redis 5 to 8 and of Valkey."""
        for error in (
            "NOPERM this user has no permissions to run the 'evalsha' command or its subcommand",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "NOPERM User egress has no permissions to run the 'evalsha' command",
            "NOPERM User egress has no permissions to run the 'EVALSHA' command",
            "ERR unknown command `EVALSHA`, with args beginning with: `0a8e`",
            "ERR unknown command 'EVALSHA', with args beginning with: '0a8e'",
        ):
            self.assertTrue(accepts_no_digests(error), error)

    def test_failures_of_a_script(self) -> None:
        """After these errors, the script may have changed values, or the text has the same result."""
        for error in (
            "NOPERM ACL failure in script: User egress has no permissions to run the 'set' command script: 0a8e",
            "NOPERM ACL failure in script: No permissions to access a key script: 0a8e, on @user_script:48.",
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            "ERR The user executing the script can't run this command or subcommand script: 0a8e, on @user_script:1.",
            "ERR Unknown Redis command called from script script: 0a8e",
            "ERR unknown command 'EVAL', with args beginning with: 'evalsha'",
            "NOPERM User 'evalsha' has no permissions to run the 'eval' command",
            "ERR no permissions to run the 'evalsha' command",
        ):
            self.assertFalse(accepts_no_digests(error) or is_unknown(error), error)
