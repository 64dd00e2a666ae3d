"""Runs commands of ``zapline`` and returns what they print."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from typer.testing import CliRunner

from zapline.daemon.cli import app

ZAPLINE = Path(sys.executable).with_name("zapline")
LONGEST_SECONDS = 40.0


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def output(self) -> str:
        return (self.stdout + self.stderr).decode()


async def run_command(*arguments: str, variables: Mapping[str, str] | None = None) -> Done:
    """Run a command in a thread, with a trio of its own. A process for each would cost a second of CPU time."""
    with trio.fail_after(LONGEST_SECONDS):
        ran = await trio.to_thread.run_sync(partial(CliRunner().invoke, app, arguments, env=variables))
    return Done(ran.exit_code, ran.stdout_bytes, ran.stderr_bytes)


async def run_process(*arguments: str, variables: Mapping[str, str] | None = None) -> Done:
    """Run a command as the operator does: the console script, in a process of its own."""
    environment = {**os.environ, **(variables or {})}
    with trio.fail_after(LONGEST_SECONDS):
        ran = await trio.run_process(
            [str(ZAPLINE), *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            stdin=b"",
            env=environment,
        )
    return Done(ran.returncode, ran.stdout, ran.stderr)
