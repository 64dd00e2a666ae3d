"""A CRM's end of the webhooks, with the standard library: verifies, stores each event once, and answers at once.

    ZAPLINE_HOOK_SECRET=whsec_... python receiver.py 9000 crm.db

Behind any web framework ``Inbox.take`` is the same.
"""

import json
import os
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from zapline_client import InvalidWebhook, Webhooks
from zapline_client.generated.models import WebhookEvent
from zapline_client.webhooks import Headers

LARGEST = 2**20


class Inbox:
    """What was told, each event once. The order is Zapline's: ``seq`` for messages, rising statuses."""

    def __init__(self, database: str, *secrets: str) -> None:
        self._webhooks = Webhooks(*secrets)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        self._database.executescript(
            "create table if not exists events (id text primary key, type text, data text);"
            "create table if not exists messages (id text primary key, seq integer, phone text, text text);"
            "create table if not exists deliveries (id text primary key, status text, rank integer);"
        )

    def take(self, headers: Headers, body: bytes) -> int:
        """Store an event and return the status to answer. What is stored already is answered like what is new."""
        try:
            delivery = self._webhooks.verify(headers, body)
        except InvalidWebhook as error:
            print(f"refused: {error}", file=sys.stderr)
            return 400
        event = delivery.event
        with self._lock, self._database:
            self._database.execute("begin")
            row = (delivery.id, event["type"], json.dumps(event["data"]))
            if self._database.execute("insert or ignore into events values (?, ?, ?)", row).rowcount:
                self._apply(event)
        return 204

    def _apply(self, event: WebhookEvent) -> None:
        if event["type"] in ("message.received", "message.sent", "message.edited"):
            data = event["data"]
            row = (data["id"], data["seq"], data["phone"], data["text"])
            self._database.execute("insert or replace into messages values (?, ?, ?, ?)", row)
        elif event["type"] == "message.delivery":
            steps = ("queued", "sent", "failed", "delivered", "read", "played")
            status = str(event["data"]["deliveryStatus"])
            # A word that is not known here is newer than this program: keep it, and let nothing known replace it.
            rank = steps.index(status) if status in steps else len(steps)
            self._database.execute(
                "insert into deliveries values (?, ?, ?) on conflict (id) do update"
                " set status = excluded.status, rank = excluded.rank where excluded.rank > deliveries.rank",
                (event["data"]["messageId"], status, rank),
            )

    def rows(self, query: str, *values: str) -> list[tuple[object, ...]]:
        """For the rest of the CRM, and for tests."""
        with self._lock:
            return self._database.execute(query, values).fetchall()


class Receiver(ThreadingHTTPServer):
    """Serves on this port of this machine (0: any). Until there is an inbox it asks to be told again later."""

    def __init__(self, port: int, inbox: Inbox | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.inbox = inbox


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = 15

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        self.send_response(503 if self.server.inbox is None else self.server.inbox.take(self.headers, body))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Addresses may hold secrets: they are not logged."""


if __name__ == "__main__":
    # Two secrets, parted by a comma, while one is being rotated.
    keys = os.environ["ZAPLINE_HOOK_SECRET"].split(",")
    with Receiver(int(sys.argv[1]), Inbox(sys.argv[2], *keys)) as receiver:
        print(f"listening on port {receiver.server_port}", flush=True)
        receiver.serve_forever()
