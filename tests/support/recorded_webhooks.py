"""Loads the recorded webhooks, and addresses them to an instance of the test."""

import json
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


def for_instance(body: bytes, instance: str) -> bytes:
    """Return ``body`` with another instance's name; in a body that is not JSON only where the name is legible."""
    for recorded_name in (b"alpha", b"loja", b"paired"):
        for form in (b'"instance": "%s"', b'"instance":"%s"'):
            body = body.replace(form % recorded_name, form % instance.encode(), 1)
    return body
