"""Runs the simulated Evolution as a process, with open instances."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2

from zapline.sandbox.simulator.server import API_KEY

from .environment import ServerProcess


class Simulator(ServerProcess):
    """The simulator's process."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open_instances(self, instances: Sequence[tuple[str, str | None]]) -> None:
        """Create and connect these instances; one with a URL posts the webhooks of sent messages to it."""
        with httpx2.Client(base_url=self.url, headers={"apikey": API_KEY}, timeout=30, trust_env=False) as http:
            for name, hook in instances:
                body: dict[str, Any] = {"instanceName": name, "integration": "WHATSAPP-BAILEYS"}
                if hook is not None:
                    body["webhook"] = {"url": hook, "events": ["SEND_MESSAGE", "MESSAGES_UPDATE"]}
                http.post("/instance/create", json=body).raise_for_status()
                http.post("/_control/scan", json={"instance": name}).raise_for_status()

    def delivered(self, since: int = 0) -> tuple[list[tuple[str, float]], int]:
        """Return text and time (UTC seconds) of what has reached phones, and the number of pending webhooks."""
        with httpx2.Client(base_url=self.url, timeout=60, trust_env=False) as http:
            deliveries = http.get(f"/_control/deliveries?since={since}").raise_for_status().json()
        return [(row[3], row[4]) for row in deliveries["rows"]], deliveries["pending"]


@contextmanager
def running_simulator() -> Iterator[Simulator]:
    """Run a simulator without statuses and faults, with Evolution's own retries of webhooks."""
    command = [sys.executable, "-m", "zapline.sandbox.simulator.server", "--statuses", "", "--seed", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Simulator(int(process.stdout.readline().rpartition(":")[2]), process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
