"""Draws QR codes: PNG as a data URL, SVG; each code once, in a thread, for drawing takes some 15 ms."""

from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO

import segno
import trio

_KEPT = 64
"""Pictures remembered: a page asks for the same one every few seconds, and few lines pair at once."""
_BORDER = 4
"""Modules of white around the code; scanners need four."""
_SCALE = 6


class QrPictures:
    """Pictures by code, the latest few kept."""

    def __init__(self) -> None:
        self._drawn: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._drawing = trio.CapacityLimiter(1)

    async def png(self, code: str) -> str:
        """``data:image/png;base64,...``"""
        return await self._picture("png", code, _png)

    async def svg(self, code: str) -> str:
        """An SVG document."""
        return await self._picture("svg", code, _svg)

    async def _picture(self, form: str, code: str, draw: Callable[[str], str]) -> str:
        key = (form, code)
        known = self._drawn.get(key)
        if known is None:
            known = await trio.to_thread.run_sync(draw, code, limiter=self._drawing)
            self._drawn[key] = known
            if len(self._drawn) > _KEPT:
                self._drawn.popitem(last=False)
        return known


def _png(code: str) -> str:
    drawn: str = segno.make_qr(code, error="l").png_data_uri(scale=_SCALE, border=_BORDER)
    return drawn


def _svg(code: str) -> str:
    out = BytesIO()
    segno.make_qr(code, error="l").save(out, kind="svg", scale=_SCALE, border=_BORDER, light="white", xmldecl=False)
    return out.getvalue().decode()
