"""A sandbox as a newcomer starts it: one command in a directory of its own."""

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

from zapline.sandbox.embedded_postgres.host import processes


@dataclass
class Sandbox:
    place: Path
    process: subprocess.Popen[bytes]
    started: float
    seconds: float
    told: dict[str, Any]
    http: httpx2.Client
    children: set[int] = field(default_factory=set)

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self, unit: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/units/{self.told['units'][unit]['id']}/whatsapp/status")
        return found

    def control(self, word: str, **given: Any) -> Any:
        answer = httpx2.post(f"{self.told['evolutionUrl']}/_control/{word}", json=given, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def until(self, true: Callable[[], bool], seconds: float) -> float:
        started = time.monotonic()
        while not true():
            assert time.monotonic() - started < seconds, f"not within {seconds} s"
            time.sleep(0.02)
        return time.monotonic() - started


@contextmanager
def new_place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="zapline-sandbox-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def below(pid: int) -> set[int]:
    """All descendants of a process that are alive."""
    parents = {one.pid: one.parent for one in processes()}
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found - {pid}
        found |= more


@contextmanager
def sandbox(place: Path) -> Iterator[Sandbox]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZAPLINE_")}
    for name in ("DATABASE_URL", "EVOLUTION_API_URL", "BASE_URL"):
        environment.pop(name, None)
    file = place / ".zapline" / "sandbox.json"
    file.unlink(missing_ok=True)
    started = time.monotonic()
    with (place / "out.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "zapline", "sandbox"], cwd=place, env=environment, stdout=log, stderr=log
        )
        try:
            while not file.exists():
                assert process.poll() is None, (place / "out.log").read_text()[-3000:]
                assert time.monotonic() - started < 60, (place / "out.log").read_text()[-3000:]
                time.sleep(0.02)
            seconds = time.monotonic() - started
            told = json.loads(file.read_text())
            with httpx2.Client(base_url=told["baseUrl"], timeout=10, trust_env=False) as http:
                login = {"email": told["adminEmail"], "password": told["adminPassword"]}
                http.headers["authorization"] = f"Bearer {http.post('/admin/login', json=login).json()['token']}"
                yield Sandbox(place, process, started, seconds, told, http, below(process.pid))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
