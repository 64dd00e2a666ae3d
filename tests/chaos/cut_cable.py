"""Cuts the cable of the machine that leads, in network namespaces: how long until a second daemon leads?

``PYTHONPATH=tests python -m chaos.cut_cable`` as root on Linux with iproute2 and util-linux. All of it lives
in a network namespace of its own, which ends with it.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from support.running_system import RunningSystem, running_system, wait_until

from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sandbox.simulator.server import API_KEY

HERE, THERE = "10.77.0.1", "10.77.0.2"
WITHIN = 30.0
HELD = "select count(*) from pg_locks where locktype = 'advisory' and granted and pid = any(%s)"
SESSIONS = "select pid from pg_stat_activity where client_addr = %s"


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def other_machine() -> subprocess.Popen[bytes]:
    """A namespace that a cable joins to this one; it lives as long as the process."""
    keeper = subprocess.Popen(["unshare", "-n", "sleep", "900"])
    time.sleep(0.5)
    pid = str(keeper.pid)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "name", "cable0", "type", "veth", "peer", "name", "cable1")
    run("ip", "link", "set", "cable1", "netns", pid)
    run("ip", "addr", "add", f"{HERE}/24", "dev", "cable0")
    run("ip", "link", "set", "cable0", "up")
    for command in (f"addr add {THERE}/24 dev cable1", "link set cable1 up", "link set lo up"):
        run("nsenter", "-t", pid, "-n", "ip", *command.split())
    return keeper


def listen_on_the_cable(system: RunningSystem) -> str:
    """Have PostgreSQL listen there, too; the URL."""
    usual = PostgresServer._settings
    PostgresServer._settings = lambda self: [*usual(self), "-c", "listen_addresses=*"]  # type: ignore[method-assign]
    with (system.postgres.data_dir / "pg_hba.conf").open("a") as rules:
        rules.write(f"\nhost all all {THERE}/32 scram-sha-256\n")
    system.postgres.stop()
    system.postgres.start()
    return system.postgres.url.replace("127.0.0.1", HERE)


def start_over_there(keeper: subprocess.Popen[bytes], url: str, directory: Path) -> subprocess.Popen[bytes]:
    settings = {
        "DATABASE_URL": url,
        "EVOLUTION_API_URL": "http://127.0.0.1:9",
        "EVOLUTION_API_KEY": API_KEY,
        "BASE_URL": f"http://{THERE}:8080",
        "ZAPLINE_BIND": f"{THERE}:8080",
        "ZAPLINE_STATE_DIR": str(directory / "state"),
    }
    enter = ["nsenter", "-t", str(keeper.pid), "-n", sys.executable, "-m", "zapline", "run"]
    with (directory / "daemon.log").open("wb") as log:
        return subprocess.Popen(enter, env=os.environ | settings, stdout=log, stderr=log)


def main() -> None:
    if "--inside" not in sys.argv:
        os.execvp("unshare", ["unshare", "-n", sys.executable, "-m", "chaos.cut_cable", "--inside"])
    keeper = other_machine()
    try:
        with running_system() as system:
            system.close()  # the daemon of this machine begins later, as the second one
            url = listen_on_the_cable(system)
            directory = system.directory / "over-there"
            (directory / "state").mkdir(parents=True, mode=0o700)
            shutil.copy2(system.directory / "state" / "master.key", directory / "state")
            leader = start_over_there(keeper, url, directory)
            try:
                wait_until(lambda: system.rows(HELD, pids(system)) == [(1,)], 60, "the lead of the other machine")
                second = system._start_process("zapline.daemon.cli", ["run"], system.log)
                try:
                    time.sleep(5)
                    old = pids(system)
                    run("ip", "link", "set", "cable0", "down")
                    freed = wait_until(lambda: system.rows(HELD, old) == [(0,)], 120, "the lock let go")
                    system.daemon = second
                    led = freed + wait_until(system._is_ready, WITHIN, "a new leader")
                    print(f"cable cut: lock free after {freed:.1f} s, another leads after {led:.1f} s")
                    assert led < WITHIN
                    gone = wait_until(lambda: not pids(system), 60, "its other sessions gone")
                    print(f"its last session ended after {led + gone:.1f} s")
                finally:
                    second.kill()
                    second.wait()
            finally:
                leader.kill()
                leader.wait()
    finally:
        keeper.kill()
        keeper.wait()


def pids(system: RunningSystem) -> list[int]:
    return [row[0] for row in system.rows(SESSIONS, THERE)]


if __name__ == "__main__":
    main()
