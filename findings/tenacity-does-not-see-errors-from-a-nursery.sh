#!/usr/bin/env bash
# tenacity retries coroutines on trio, and a call to retry often starts its parts in a nursery.
# Expected: retry_if_exception_type(TimeoutError) makes the call again when TimeoutError is all that went wrong in it.
# Happens: out of a nursery the error comes as an ExceptionGroup, which is no TimeoutError: there is one attempt. Without the nursery there are three.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check tenacity==9.2.1 trio==0.35.0
cat > "$dir/run.py" <<'PY'
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import tenacity
import trio

attempts = {"alone": 0, "in a nursery": 0}

async def alone() -> None:
    attempts["alone"] += 1
    raise TimeoutError

async def in_a_nursery() -> None:
    attempts["in a nursery"] += 1

    async def part() -> None:
        raise TimeoutError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(part)

async def outcome(call: Callable[[], Awaitable[None]]) -> str:
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(TimeoutError),
        stop=tenacity.stop_after_attempt(3),
        sleep=trio.sleep,
        reraise=True,
    )
    try:
        await retrying(call)
    except Exception as error:
        return type(error).__name__
    return "none"

errors = [trio.run(outcome, call) for call in (alone, in_a_nursery)]
print(f"tenacity {version('tenacity')}, trio {trio.__version__}: attempts {attempts}, errors {errors}")
sys.exit(list(attempts.values()) != [3, 1] or errors != ["TimeoutError", "ExceptionGroup"])
PY
"$dir/venv/bin/python" "$dir/run.py"
