"""Serves the file of a message: the one that was sent or received, else a small sample of its type."""

import base64
from typing import Any

from zapline.sandbox.simulator.http.http_server import Request, Response
from zapline.sandbox.simulator.http.responses import ApiError, json_response
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.server_state import ServerState

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
"""One pixel."""
_WEBP = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="
_OGG = (
    "T2dnUwACAAAAAAAAAAABAAAAAAAAAIRs2SQBE09wdXNIZWFkAQEAAIC7AAAAAABPZ2dTAAAAAAAAAAAAAAEA"
    "AAABAAAATCBsiAETT3B1c1RhZ3MDAAAAemFwAAAAAE9nZ1MABMADAAAAAAAAAQAAAAIAAAApk7DdAQP4//4="
)
"""Twenty milliseconds of silence in Opus."""
_MP4 = base64.b64encode(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom").decode()
_PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n").decode()
_SAMPLES = {
    "imageMessage": _PNG,
    "stickerMessage": _WEBP,
    "audioMessage": _OGG,
    "videoMessage": _MP4,
    "ptvMessage": _MP4,
}


async def get_base64(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """Return the file of a stored message. Raises ``ApiError`` for a message that is not stored or has no file."""
    key = ((body.get("message") or {}).get("key") or {}).get("id")
    stored = instance.messages.get(key) if isinstance(key, str) else None
    if stored is None:
        raise ApiError(400, ["Message not found"])
    kind = stored.message["messageType"]
    media = stored.message["message"].get(kind)
    if not isinstance(media, dict) or "mimetype" not in media:
        raise ApiError(400, ["The message is not of the media type"])
    file = stored.media or _SAMPLES.get(kind, _PDF)
    result = {
        "mediaType": kind,
        "fileName": media.get("fileName", key),
        "caption": media.get("caption"),
        "size": {"fileLength": media.get("fileLength")},
        "mimetype": media["mimetype"],
        "base64": file,
        "buffer": None,
    }
    return json_response(result, 201)
