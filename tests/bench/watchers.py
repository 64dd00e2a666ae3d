"""Many clients that watch units live, as a process of its own: they read, or they never do.

``python tests/bench/watchers.py JSON`` opens them, prints ``{"open": n}`` once all are greeted, and when its input is
closed ``{"events": n, "bytes": n, "lost": n}``.
"""

import json
import selectors
import socket
import sys
import time

AT_A_TIME = 25
"""Opened together: more would only measure how fast connections are made."""


def connect(port: int, path: str, token: str, buffer: int | None) -> socket.socket:
    client = socket.socket()
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    return client


def greeted(client: socket.socket) -> bool:
    """Wait for the first event, or for a refusal."""
    data = b""
    while b"event: hello" not in data:
        part = client.recv(65536)
        data += part
        if not part or not data.startswith(b"HTTP/1.1 200"):
            return False
    return True


def main() -> None:
    given = json.loads(sys.argv[1])
    reads = given["reads"]
    buffer = None if reads else 4096
    clients: list[socket.socket] = []
    paths = given["paths"]
    for start in range(0, len(paths), AT_A_TIME):
        together = [connect(given["port"], path, given["token"], buffer) for path in paths[start : start + AT_A_TIME]]
        clients += [client for client in together if greeted(client)]
    sys.stdout.write(json.dumps({"open": len(clients)}) + "\n")
    sys.stdout.flush()
    told = {"events": 0, "bytes": 0, "lost": 0}
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    if reads:
        for client in clients:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
    ended = time.monotonic() + 600
    while time.monotonic() < ended:
        for key, _ in selector.select(1.0):
            if key.fileobj is sys.stdin:
                ended = 0.0
                break
            client = key.fileobj
            assert isinstance(client, socket.socket)
            part = client.recv(65536)
            if not part:
                told["lost"] += 1
                selector.unregister(client)
            told["bytes"] += len(part)
            told["events"] += part.count(b"\nevent: ")
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
