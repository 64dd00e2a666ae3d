import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from zapline.daemon.systemd import SystemdNotifier


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What systemd does: a datagram socket, and its name as NOTIFY_SOCKET writes it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@zapline-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name[1:] if name.startswith("@") else name)
        receiver.settimeout(5)
        yield name, receiver


def test_each_message_reaches_systemd(listening: tuple[str, socket.socket]) -> None:
    name, receiver = listening
    notifier = SystemdNotifier.from_environment({"NOTIFY_SOCKET": name})
    for send, message in [
        (notifier.ready, b"READY=1"),
        (notifier.watchdog, b"WATCHDOG=1"),
        (notifier.stopping, b"STOPPING=1"),
        (lambda: notifier.status("3 units, 1 of them waits for a scan"), b"STATUS=3 units, 1 of them waits for a scan"),
    ]:
        assert send() is True
        assert receiver.recv(1000) == message


def test_a_status_is_one_masked_line(listening: tuple[str, socket.socket]) -> None:
    name, receiver = listening
    SystemdNotifier(name).status("from 5511999999999\nMAINPID=1 \ud800 " + "x" * 1000)
    payload = receiver.recv(5000)
    assert payload.startswith(b"STATUS=from ****9999 MAINPID=1 ? xxx")
    assert b"\n" not in payload
    assert len(payload) < 520


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_where_nobody_listens_nothing_happens(environ: dict[str, str]) -> None:
    notifier = SystemdNotifier.from_environment(environ)
    assert notifier.address is None
    assert not any([notifier.ready(), notifier.status("x"), notifier.watchdog(), notifier.stopping()])


def test_a_socket_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    assert SystemdNotifier(str(tmp_path / "gone")).ready() is False


def test_a_full_socket_does_not_block(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "full"))
        notifier = SystemdNotifier(str(tmp_path / "full"))
        sent = [notifier.watchdog() for _ in range(20_000)]
    assert sent[0] is True
    assert sent[-1] is False


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(environ: dict[str, str], interval: float | None) -> None:
    assert SystemdNotifier.from_environment(environ).watchdog_interval == interval
