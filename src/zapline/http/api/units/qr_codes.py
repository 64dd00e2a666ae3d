"""Draws QR codes as PNG data URLs and as SVG, in a thread because drawing takes some 15 ms, and caches the latest."""

from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO

import trio

_MAX_CACHED = 64
"""Cached pictures: pages poll the same one every few seconds, and few lines pair at once."""
_BORDER = 4
"""White modules around the code; scanners need four."""
_SCALE = 6


class QrPictures:
    """Pictures by code; the latest few are cached."""

    def __init__(self) -> None:
        self._cache: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._drawing = trio.CapacityLimiter(1)

    async def png(self, code: str) -> str:
        """``data:image/png;base64,...``"""
        return await self._picture("png", code, _png)

    async def svg(self, code: str) -> str:
        """An SVG document."""
        return await self._picture("svg", code, _svg)

    async def _picture(self, format: str, code: str, draw: Callable[[str], str]) -> str:
        key = (format, code)
        picture = self._cache.get(key)
        if picture is None:
            picture = await trio.to_thread.run_sync(draw, code, limiter=self._drawing)
            self._cache[key] = picture
            if len(self._cache) > _MAX_CACHED:
                self._cache.popitem(last=False)
        return picture


def _png(code: str) -> str:
    import segno  # loaded with the first code that is shown

    data_url: str = segno.make_qr(code, error="l").png_data_uri(scale=_SCALE, border=_BORDER)
    return data_url


def _svg(code: str) -> str:
    import segno

    out = BytesIO()
    segno.make_qr(code, error="l").save(out, kind="svg", scale=_SCALE, border=_BORDER, light="white", xmldecl=False)
    return out.getvalue().decode()
