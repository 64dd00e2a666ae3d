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


_UNWRAPPED = ("ephemeralMessage", "documentWithCaptionMessage", "viewOnceMessage", "viewOnceMessageV2")
"""The wrappers that 2.3.x takes off; a better copy's is none of them."""
_MEDIA = ("imageMessage", "documentMessage", "audioMessage", "videoMessage", "stickerMessage", "ptvMessage")


async def get_base64(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """Return the file of a message, which is stored or described whole by the request.

    Raises ``ApiError`` for a message that is neither, or that has no file.
    """
    asked = body.get("message") or {}
    key = (asked.get("key") or {}).get("id")
    stored = instance.messages.get(key) if isinstance(key, str) else None
    content = asked.get("message") or (stored.message["message"] if stored is not None else None)
    if not isinstance(content, dict):
        raise ApiError(400, ["Message not found"])
    for wrapper in _UNWRAPPED:
        if content.get(wrapper):
            content = content[wrapper]["message"]
    kind = next((name for name in _MEDIA if content.get(name)), None)
    if kind is None:
        raise ApiError(400, ["The message is not of the media type"])
    media = content[kind]
    file = (stored.media if stored is not None else None) or _SAMPLES.get(kind, _PDF)
    result = {
        "mediaType": kind,
        "fileName": media.get("fileName", key),
        "caption": media.get("caption"),
        "size": {"fileLength": media.get("fileLength")},
        "mimetype": media.get("mimetype"),
        "base64": file,
        "buffer": None,
    }
    return json_response(result, 201)
