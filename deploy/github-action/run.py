"""Runs the commands of a step behind C{egress run}, and writes the summary and the outputs of the step.

The inputs of the action are variables.  The exit status is that of the commands, or 1 for a new destination.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# GitHub runs "run" steps with these options.
OPTIONS = {"bash": ["--noprofile", "--norc", "-e", "-o", "pipefail"], "sh": ["-e"]}
FILES = ("policy", "lock", "learn", "report")


def command(inputs: Mapping[str, str], directory: Path) -> list[str]:
    """Return the command line of C{egress run}.

    @param inputs: the inputs of the action.
    @param directory: a directory for the reports and for the file with the commands.
    """
    script = directory / "commands"
    script.write_text(inputs["run"] + "\n", "utf-8")
    shell = inputs.get("shell") or "bash"
    options = [f"--{name}={inputs[name]}" for name in FILES if inputs.get(name)]
    options += [f"--report={directory / name}" for name in ("summary.md", "summary.json")]
    # Options of the user come last: they take precedence.
    options += [line.strip() for line in inputs.get("options", "").splitlines() if line.strip()]
    return ["run", *options, "--", shell, *OPTIONS.get(shell, []), str(script)]


def publish(directory: Path, environ: Mapping[str, str]) -> None:
    """Append the summary to the page of the job, and write the outputs of the step."""
    markdown, document = directory / "summary.md", directory / "summary.json"
    # Both are missing if egress itself failed.
    if markdown.exists() and environ.get("GITHUB_STEP_SUMMARY"):
        with open(environ["GITHUB_STEP_SUMMARY"], "a", encoding="utf-8") as page:
            page.write(markdown.read_text("utf-8"))
    if document.exists() and environ.get("GITHUB_OUTPUT"):
        summary = json.loads(document.read_text("utf-8"))
        with open(environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as outputs:
            outputs.write(f"requests={summary['requests']}\nrefused={summary['refused']}\n")


def main(environ: Mapping[str, str]) -> int:
    """Run the commands of the step, and return their exit status."""
    prefix = "EGRESS_ACTION_"
    inputs = {name[len(prefix) :].lower(): value for name, value in environ.items() if name.startswith(prefix)}
    env = {name: value for name, value in environ.items() if not name.startswith(prefix)}
    egress = Path(environ["RUNNER_TEMP"]) / "egressproxy" / "bin" / "egress"
    with tempfile.TemporaryDirectory(dir=environ["RUNNER_TEMP"]) as name:
        directory = Path(name)
        arguments = [egress, *command(inputs, directory)]
        status = subprocess.run(arguments, env=env, check=False).returncode  # noqa: S603 - the purpose of the action
        publish(directory, environ)
    return status


if __name__ == "__main__":
    sys.exit(main(os.environ))
