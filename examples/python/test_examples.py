"""How a CRM's own tests look with the fixture ``zapline``: a real Zapline, phones, and faults by name."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from receiver import Inbox, Receiver

from pytest_zapline.sandbox import Sandbox
from zapline_client import Zapline

HERE = Path(__file__).parent


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


@pytest.fixture
def bot(zapline: Sandbox, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the bot as it is run in earnest, and returns once it looks on."""
    settings = {"ZAPLINE_URL": zapline.url, "ZAPLINE_TOKEN": zapline.token, "ZAPLINE_UNIT": zapline.unit}
    environment = os.environ | settings | {"BOT_PLACE": str(tmp_path / "bot.seq"), "BOT_BACKEND": "trio"}
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, str(HERE / "bot.py")]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "looking on\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_the_bot_answers_once_also_what_was_written_while_it_was_killed(
    zapline: Sandbox, bot: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = bot()
    assert (tmp_path / "bot.seq").read_text().isdecimal(), "the place is written before anything is answered"
    zapline.phone.writes("Good morning, when are you open?")
    assert zapline.phone.waits_for().text.startswith("We are open from 9 to 18.")
    process.kill()
    process.wait()
    other = zapline.new_phone("João")
    other.writes("And on Saturdays?")
    bot()
    other.waits_for()
    assert len(zapline.phone.messages()) == len(other.messages()) == 1


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_receiver_stores_each_event_once_and_no_status_goes_back(
    zapline: Sandbox, receiver: Receiver, tmp_path: Path
) -> None:
    with Zapline(zapline.url, zapline.token) as client:
        hook = client.api.create_hook(zapline.unit, {"url": f"http://127.0.0.1:{receiver.server_port}/zapline"})
        receiver.inbox = inbox = Inbox(str(tmp_path / "crm.db"), hook["secret"])
        asked = "select count(*) from messages where text = 'Do you deliver?'"
        with zapline.fault("doubled"):
            zapline.phone.writes("Do you deliver?")
            wait_until(lambda: inbox.rows(asked) == [(1,)])
        sent = client.send(zapline.unit, zapline.phone.number, "Yes, from 20 on.")
        zapline.phone.waits_for("Yes, from 20 on.")
        zapline.phone.reads()
        wait_until(lambda: inbox.rows("select status from deliveries where id = ?", sent["id"]) == [("read",)])
        assert inbox.rows(asked) == [(1,)]
        client.api.delete_hook(zapline.unit, hook["id"])
