"""Serves the console's static files under names that hold their hash, so that browsers may cache them for ever."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from quart import Response
from werkzeug.exceptions import NotFound

STATIC_PREFIX = "/console/static/"
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_CACHE_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    content_type: str


class StaticAssets:
    """The static files, read once. They need no session: they are the same for everybody."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        self._assets: dict[str, _Asset] = {}
        for file in files("zapline.http.console").joinpath("static").iterdir():
            stem, _, ending = file.name.rpartition(".")
            content = file.read_bytes()
            name = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{ending}"
            self._paths[file.name] = STATIC_PREFIX + name
            self._assets[name] = _Asset(content, _TYPES[ending])

    def path(self, name: str) -> str:
        """The URL path of ``static/<name>``. Raises KeyError for an unknown file."""
        return self._paths[name]

    async def serve(self, name: str) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            raise NotFound
        return Response(asset.content, content_type=asset.content_type, headers={"Cache-Control": _CACHE_FOREVER})
