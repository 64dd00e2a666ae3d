"""Generates load over plain sockets: in a closed loop for throughput, in an open loop for latency at a rate.

It runs as a separate process, so that its CPU time is not counted as the server's: ``python
tests/bench/load_generator.py JSON`` prints one JSON object.
"""

import json
import os
import random
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Target:
    """One unit: the path to post to and the instance; a send request also needs a token."""

    path: str
    instance: str
    token: str = ""


@dataclass(slots=True)
class Result:
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    sent: dict[str, float] = field(default_factory=dict)
    """External id -> time of the POST, in UTC seconds."""


FILLER = "x" * 900
"""Pads a body to the 1.5 kB of a text message with its context."""


def webhook_request(target: Target, external_id: str, host: str) -> bytes:
    """Build one messages.upsert webhook as Evolution posts it."""
    body = json.dumps(
        {
            "event": "messages.upsert",
            "instance": target.instance,
            "data": {
                "key": {
                    "remoteJid": f"55119{random.randrange(10**7, 10**8)}@s.whatsapp.net",
                    "fromMe": False,
                    "id": external_id,
                },
                "pushName": "Maria Silva",
                "status": "DELIVERY_ACK",
                "message": {
                    "conversation": "oi, tudo bem?",
                    "messageContextInfo": {"deviceListMetadata": {"senderKeyHash": FILLER}},
                },
                "contextInfo": None,
                "messageType": "conversation",
                "messageTimestamp": int(time.time()),
                "instanceId": "3e1c68da-ca8d-49c1-908c-83864ab85c19",
                "source": "android",
            },
            "destination": "https://consumer.example/webhook/evolution",
            "date_time": "2026-11-22T16:22:39.279Z",
            "sender": "5511999990000@s.whatsapp.net",
            "server_url": "http://127.0.0.1:58080",
            "apikey": None,
        }
    ).encode()
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"User-Agent: axios/1.7\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def send_request(target: Target, client_id: str, host: str) -> bytes:
    """Build one send request as a CRM posts it; its text is its client id."""
    phone = f"55119{random.randrange(10**7, 10**8)}"
    body = json.dumps({"clientMessageId": client_id, "to": phone, "text": client_id, **EXTRA}).encode()
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {target.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


EXTRA: dict[str, str] = {}
"""Further fields of each send request."""
RequestBuilder = Callable[[Target, str, str], bytes]


class _Connection:
    """One keep-alive connection with at most one request in progress."""

    __slots__ = ("answer", "due", "external_id", "sock", "started")

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.started = 0.0
        self.due = 0.0
        self.external_id = ""


def _complete(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return len(body) >= int(line[15:])
    return True


def run(
    address: tuple[str, int],
    targets: list[Target],
    connections: int,
    seconds: float,
    rate: float | None,
    remember: bool,
    build: RequestBuilder = webhook_request,
    limit: int | None = None,
) -> Result:
    """Post for ``seconds``; with ``rate`` (per second) at fixed times, else as fast as responses arrive.

    ``limit``: stop after so many requests.
    """
    selector = selectors.DefaultSelector()
    all_connections = [_Connection(address) for _ in range(connections)]
    for connection in all_connections:
        selector.register(connection.sock, selectors.EVENT_READ, connection)
    result, run_id = Result(), f"{time.time_ns():x}"
    host, number = f"{address[0]}:{address[1]}", 0
    # Built in advance, so that building them takes no CPU time from the measured server.
    ready = [
        (f"{run_id}-{index}", build(targets[index % len(targets)], f"{run_id}-{index}", host))
        for index in range(limit or int((rate or 6000) * seconds) + connections)
    ]
    start = time.perf_counter()
    end = start + seconds
    idle = deque(all_connections)  # used in turn, so that none idles until the server closes it
    busy = 0

    def send(connection: _Connection, due: float) -> None:
        nonlocal number, busy
        connection.external_id, raw = ready[number]
        number += 1
        busy += 1
        connection.started = due
        if remember:
            result.sent[connection.external_id] = time.time()
        connection.sock.sendall(raw)

    while True:
        now = time.perf_counter()
        over = now >= end or number >= len(ready)
        if not over:
            if rate is None:
                while idle and number < len(ready):
                    send(idle.popleft(), time.perf_counter())
            else:
                while idle and number < len(ready) and start + number / rate <= now:
                    send(idle.popleft(), start + number / rate)
        if over and (busy == 0 or now > end + 15):
            break
        wait = 0.5 if rate is None or over else max(0.0, min(0.5, start + number / rate - now))
        for key, _ in selector.select(wait):
            connection = key.data
            chunk = connection.sock.recv(65536)
            connection.answer += chunk
            if not chunk:
                result.errors += 1
                selector.unregister(connection.sock)
                busy -= 1
                continue
            if _complete(connection.answer):
                done = time.perf_counter()
                if connection.answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 202")):
                    result.requests += 1
                    result.latencies.append(done - connection.started)
                else:
                    result.errors += 1
                connection.answer = b""
                busy -= 1
                idle.append(connection)
    result.seconds = time.perf_counter() - start
    for connection in all_connections:
        connection.sock.close()
    return result


def main() -> None:
    options = json.loads(sys.argv[1])
    cores = sorted(os.sched_getaffinity(0))
    if options.get("core") is not None and len(cores) > 1:
        os.sched_setaffinity(0, {cores[options["core"] % len(cores)]})
    targets = [Target(*values) for values in json.loads(Path(options["targets"]).read_text())]
    EXTRA.update(options.get("extra", {}))
    build = send_request if options.get("messages") else webhook_request
    address, limit = ("127.0.0.1", options["port"]), options.get("most")
    result = run(
        address, targets, options["connections"], options["seconds"], options["rate"], options["remember"], build, limit
    )
    latencies = sorted(result.latencies) or [0.0]

    def at(share: float) -> float:
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))]

    summary = {
        "requests": result.requests,
        "errors": result.errors,
        "seconds": result.seconds,
        "p50": at(0.5),
        "p99": at(0.99),
        "sent": result.sent,
    }
    sys.stdout.write(json.dumps(summary))


if __name__ == "__main__":
    main()
