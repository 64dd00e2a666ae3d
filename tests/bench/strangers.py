"""Holds connections to a server as strangers do who never end what they begin.

``python tests/bench/strangers.py JSON`` is a separate process, so that its CPU time is not the server's. It prints a
line once all are open, opens again whichever the server closes, and ends when its standard input does.
"""

import json
import resource
import selectors
import socket
import sys
import time
from contextlib import suppress

STALLED = (
    b"",
    b"POST /webhooks/whatsapp/evolution/nobody HTTP/1.1\r\nHost: x\r\nX-",
    b"POST /webhooks/whatsapp/evolution/nobody HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
)
"""What each has sent, and says no more: nothing, half of a head, and a body that never ends."""
PER_SECOND, AGAIN_PER_SECOND = 500, 50
"""Connections that are opened a second, at most: until all were, and then in the place of those that were closed."""
SPARE_FILES = 100


def hold(address: tuple[str, int], number: int) -> None:
    """Keep so many connections open until standard input ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    opened = closed = held = 0
    allowed = 0.0
    last, told = time.monotonic(), False
    while True:
        now = time.monotonic()
        allowed, last = allowed + (now - last) * (AGAIN_PER_SECOND if told else PER_SECOND), now
        while held < number and allowed >= 1:
            allowed -= 1
            sock = socket.create_connection(address, timeout=30)
            with suppress(OSError):  # it is closed already: there are too many
                sock.sendall(STALLED[opened % len(STALLED)])
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
            opened, held = opened + 1, held + 1
        if opened >= number and not told:
            told = True
            sys.stdout.write(f"{opened} opened, {closed} closed by the server\n")
            sys.stdout.flush()
        for key, _ in selector.select(0.01):
            if key.fileobj is sys.stdin:
                return
            sock = key.fileobj  # type: ignore[assignment]
            with suppress(OSError):
                if sock.recv(4096):
                    continue  # an answer; the end of the connection comes behind it
            selector.unregister(sock)
            sock.close()
            closed, held = closed + 1, held - 1


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    hold(("127.0.0.1", given["port"]), given["number"])
