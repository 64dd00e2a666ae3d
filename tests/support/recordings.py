"""The recorded webhooks, addressed to a unit of the test."""

import json
from pathlib import Path

import zapline.sandbox

_PLACE = Path(zapline.sandbox.__file__).parent / "recordings"
BODIES = {path.stem: path.read_bytes() for path in sorted((_PLACE / "webhooks").glob("*.json"))}
CONNECTION = (
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
"""Beginnings of the names of those that step the connection."""
STORM = [json.loads(line)["body"] for line in (_PLACE / "storm.jsonl").read_text().splitlines()]


def addressed(body: bytes, instance: str) -> bytes:
    """``body`` with another instance's name; a body that is no JSON only where the name can be read."""
    for recorded in (b"alpha", b"loja", b"paired"):
        for form in (b'"instance": "%s"', b'"instance":"%s"'):
            body = body.replace(form % recorded, form % instance.encode(), 1)
    return body
