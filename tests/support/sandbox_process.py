"""Runs ``zapline sandbox`` as a user starts it: one command in a directory of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from zapline.sandbox.embedded_postgres.host import running_processes


@dataclass
class SandboxProcess:
    directory: Path
    process: subprocess.Popen[bytes]
    startup_seconds: float
    info: dict[str, Any]
    http: httpx2.Client
    children: set[int] = field(default_factory=set)

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self, unit: int = 0) -> dict[str, Any]:
        status: dict[str, Any] = self.get(f"/units/{self.info['units'][unit]['id']}/whatsapp/status")
        return status

    def control(self, command: str, **arguments: Any) -> Any:
        answer = httpx2.post(
            f"{self.info['evolutionUrl']}/_control/{command}", json=arguments, timeout=10, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def thread_count(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Poll until the condition holds; return the seconds it took. Fails after ``seconds``."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < seconds, f"not within {seconds} s"
            time.sleep(0.02)
        return time.monotonic() - started


@contextmanager
def new_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="zapline-sandbox-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def descendants(pid: int) -> set[int]:
    """Process ids of all live descendants of a process."""
    parents = {process.pid: process.parent for process in running_processes()}
    family = {pid}
    while True:
        children = {child for child, parent in parents.items() if parent in family} - family
        if not children:
            return family - {pid}
        family |= children


@contextmanager
def running_sandbox(directory: Path) -> Iterator[SandboxProcess]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZAPLINE_")}
    for name in ("DATABASE_URL", "EVOLUTION_API_URL", "BASE_URL"):
        environment.pop(name, None)
    file = directory / ".zapline" / "sandbox.json"
    file.unlink(missing_ok=True)
    started = time.monotonic()
    with (directory / "out.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "zapline", "sandbox"], cwd=directory, env=environment, stdout=log, stderr=log
        )
        try:
            while not file.exists():
                assert process.poll() is None, (directory / "out.log").read_text()[-3000:]
                assert time.monotonic() - started < 60, (directory / "out.log").read_text()[-3000:]
                time.sleep(0.02)
            startup_seconds = time.monotonic() - started
            info = json.loads(file.read_text())
            with httpx2.Client(base_url=info["baseUrl"], timeout=10, trust_env=False) as http:
                login = {"email": info["adminEmail"], "password": info["adminPassword"]}
                http.headers["authorization"] = f"Bearer {http.post('/admin/login', json=login).json()['token']}"
                yield SandboxProcess(directory, process, startup_seconds, info, http, descendants(process.pid))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
