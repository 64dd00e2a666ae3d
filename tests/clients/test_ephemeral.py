"""``zapline sandbox --ephemeral`` ends with whoever started it, leaves nothing, and uses nothing of the caller's."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.many_cases import in_one_test
from support.sandbox_process import descendants
from typer.testing import CliRunner

from zapline.daemon.cli import app
from zapline.sandbox.embedded_postgres.host import child_user, reachable_directory, running_processes

pytestmark = pytest.mark.server
COMMAND = [sys.executable, "-m", "zapline", "sandbox", "--ephemeral"]


def end_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)


def terminate(process: subprocess.Popen[bytes]) -> None:
    process.terminate()


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_units_go_with_a_sandbox_for_tests_alone() -> None:
    refused = CliRunner().invoke(app, ["sandbox", "--units", "3"])
    assert refused.exit_code == 2
    assert "goes with --ephemeral" in refused.output


@pytest.mark.long
@in_one_test([(end_input, 0, 0o711), (terminate, 0, 0o700), (kill, -9, 0o700)])
def test_however_it_ends_nothing_is_left(end: Callable[[subprocess.Popen[bytes]], None], code: int, mode: int) -> None:
    """Where only we may enter the place for temporary files, root's database is elsewhere, and is removed as well."""
    with tempfile.TemporaryDirectory(prefix="zapline-clients-") as place:
        Path(place).chmod(mode)
        real = {"DATABASE_URL": "postgresql://real:real@127.0.0.1:9/real", "ZAPLINE_BIND": "nonsense"}
        environment = {**os.environ, **real, "TMPDIR": place}
        with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            info = json.loads(process.stdout.readline())
            [directory] = Path(place).iterdir()
            elsewhere = reachable_directory(directory / "postgres", child_user()[0]).parent
            assert elsewhere.exists()
            family = descendants(process.pid)
            headers = {"authorization": f"Bearer {info['token']}"}
            status = httpx2.get(f"{info['url']}/units/{info['unit']}/whatsapp/status", headers=headers, trust_env=False)
            assert status.json()["status"] == "connected"
            end(process)
            assert process.wait(60) == code
            assert process.stdout.read() == b""
        wait_until(lambda: not (elsewhere.exists() or list(Path(place).iterdir())), "the directory is left")
        wait_until(lambda: not family & {each.pid for each in running_processes()}, "a process is left")


@pytest.mark.long
def test_it_ends_with_its_parent_where_its_input_is_no_pipe() -> None:
    start = f"import subprocess; print(subprocess.Popen({COMMAND!r}, stdin=subprocess.DEVNULL).stdout, flush=True)"
    script = start + "; import time; time.sleep(600)"
    with tempfile.TemporaryDirectory(prefix="zapline-clients-") as place:
        Path(place).chmod(0o711)
        environment = {**os.environ, "TMPDIR": place}
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"None\n"
            assert json.loads(parent.stdout.readline())["unit"]
            family = descendants(parent.pid)
            assert len(family) >= 2
            parent.kill()
        wait_until(lambda: not family & {each.pid for each in running_processes()}, "a process is left")
        wait_until(lambda: not list(Path(place).iterdir()), "the directory is left")
