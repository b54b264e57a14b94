#!/usr/bin/env bash
# Installs egressproxy into an environment of its own, below the temporary directory of the runner.
set -euo pipefail

directory=$RUNNER_TEMP/egressproxy
# The action is a directory of the repository of egressproxy.
package=$(cd "$GITHUB_ACTION_PATH/../.." && pwd)
if [ -n "${EGRESS_ACTION_VERSION:-}" ]; then
    package="egressproxy==$EGRESS_ACTION_VERSION"
fi
# An earlier step of the job may have installed the same.
if [ "$(cat "$directory/installed" 2>/dev/null)" != "$package" ]; then
    python3 -m venv --clear "$directory"
    "$directory/bin/pip" install --quiet --disable-pip-version-check "$package"
    printf '%s' "$package" >"$directory/installed"
fi
"$directory/bin/egress" --version
