"""Loads the recorded webhooks, and addresses them to an instance of the test."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zapline.sandbox

_RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings"
BODIES = {path.stem: path.read_bytes() for path in sorted((_RECORDINGS / "webhooks").glob("*.json"))}
CONNECTION_EVENTS = (
    "connection.update",
    "v1.8-connection.update",
    "v2.4-connection.update",
    "qrcode.updated",
    "v1.8-qrcode.updated",
    "status.instance",
    "v1.8-status.instance",
    "instance.",
    "logout.instance",
    "remove.instance",
)
"""Name prefixes of the recordings that drive the connection state machine."""
STORM = [json.loads(line)["body"] for line in (_RECORDINGS / "storm.jsonl").read_text().splitlines()]


_SENT_AT = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
_DATE_TIME = re.compile(rb'("date_time"\s*:\s*")[0-9T:.-]+Z"')


def for_instance(body: bytes, instance: str) -> bytes:
    """Return ``body`` with another instance's name, as if Evolution had sent it just now, at one time for all.

    In a body that is not JSON only what is legible is replaced.
    """
    body = _DATE_TIME.sub(rb'\g<1>%s"' % _SENT_AT.encode(), body, count=1)
    for recorded_name in (b"alpha", b"loja", b"paired"):
        for form in (b'"instance": "%s"', b'"instance":"%s"'):
            body = body.replace(form % recorded_name, form % instance.encode(), 1)
    return body
