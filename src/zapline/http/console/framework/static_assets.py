"""The console's static files: read once, and named by their content, so that a browser may keep them for ever."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from quart import Response
from werkzeug.exceptions import NotFound

STATIC_PREFIX = "/console/static/"
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_KEPT = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    content_type: str


class StaticAssets:
    """``path`` names a file in a page; ``serve`` gives it. No session is needed: they are the same for all."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        self._known: dict[str, _Asset] = {}
        for file in files("zapline.http.console").joinpath("static").iterdir():
            stem, _, ending = file.name.rpartition(".")
            content = file.read_bytes()
            name = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{ending}"
            self._paths[file.name] = STATIC_PREFIX + name
            self._known[name] = _Asset(content, _TYPES[ending])

    def path(self, name: str) -> str:
        """The address of ``static/<name>``. Raises KeyError for a file that is not there."""
        return self._paths[name]

    async def serve(self, name: str) -> Response:
        found = self._known.get(name)
        if found is None:
            raise NotFound
        return Response(found.content, content_type=found.content_type, headers={"Cache-Control": _KEPT})
