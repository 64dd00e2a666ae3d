#!/usr/bin/env bash
# triopg is the package that a search for PostgreSQL on trio leads to.
# Expected: installed with its dependencies, it can be imported.
# Happens: it imports async_generator, which it does not declare and nothing else brings along any more.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check triopg==0.6.0
told=$("$dir/venv/bin/python" -c 'import triopg' 2>&1 | tail -n 1 || true)
echo "triopg 0.6.0: import triopg -> $told"
[ "$told" = "ModuleNotFoundError: No module named 'async_generator'" ]
