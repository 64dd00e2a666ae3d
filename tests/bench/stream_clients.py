"""Runs many event stream clients as a process; they read, or they never do.

``python tests/bench/stream_clients.py JSON`` connects them, prints ``{"open": n}`` once all have the first event, and
``{"events": n, "bytes": n, "lost": n}`` when its input is closed.
"""

import json
import selectors
import socket
import sys
import time

BATCH = 25
"""Clients that connect at once: more would only measure the accepting of connections."""


def connect(port: int, path: str, token: str, buffer: int | None) -> socket.socket:
    client = socket.socket()
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    return client


def wait_for_hello(client: socket.socket) -> bool:
    """Wait for the first event; False where the connection is refused."""
    data = b""
    while b"event: hello" not in data:
        part = client.recv(65536)
        data += part
        if not part or not data.startswith(b"HTTP/1.1 200"):
            return False
    return True


def main() -> None:
    options = json.loads(sys.argv[1])
    reads = options["reads"]
    buffer = None if reads else 4096
    clients: list[socket.socket] = []
    paths = options["paths"]
    for start in range(0, len(paths), BATCH):
        together = [connect(options["port"], path, options["token"], buffer) for path in paths[start : start + BATCH]]
        clients += [client for client in together if wait_for_hello(client)]
    sys.stdout.write(json.dumps({"open": len(clients)}) + "\n")
    sys.stdout.flush()
    counts = {"events": 0, "bytes": 0, "lost": 0}
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
                counts["lost"] += 1
                selector.unregister(client)
            counts["bytes"] += len(part)
            counts["events"] += part.count(b"\nevent: ")
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
