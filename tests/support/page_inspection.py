"""Inspects a page in light, dark and phone variants: checks each by a script, and keeps screenshots where wanted."""

import os
import re
from pathlib import Path

from support.browser_visitor import Visitor

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
WANTED = bool(os.environ.get("CONSOLE_SCREENSHOTS"))
"""Whether screenshots are kept: they are for people, and each takes a quarter of a second."""
LOCALES = ("en-US", "pt-BR", "es-MX") if os.environ.get("ZAPLINE_ALL_LANGUAGES") else ("pt-BR",)
"""Of the walks through all pages: one, whose texts are long, in ``make long``, all in ``make pages``."""
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
_VARIANTS = (("light", "light", DESKTOP), ("dark", "dark", DESKTOP), ("phone", "light", PHONE))
_SCRIPT = Path(__file__).with_suffix(".js").read_text("utf-8")
_MAX_HEIGHT = 2400
"""Pixels; nobody looks at taller screenshots."""


def inspect_page(visitor: Visitor, name: str, *, once: bool = False) -> None:
    """Fail with everything that is wrong with the open page in any of the three variants.

    ``once``: only the first variant, for a page that was inspected before and has changed little.
    """
    page, wrong = visitor.page, []
    for variant, scheme, size in _VARIANTS[: 1 if once else None]:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        visitor.until("[...document.images].every(one => one.complete || one.loading === 'lazy')")
        if WANTED:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            tall = min(page.evaluate("document.documentElement.scrollHeight"), _MAX_HEIGHT)
            clip = {"x": 0, "y": 0, "width": size["width"], "height": max(tall, size["height"])}
            page.screenshot(path=SCREENSHOTS / f"{name}-{variant}.png", full_page=True, caret="initial", clip=clip)  # type: ignore[arg-type]
        wrong += [f"{name}, {variant}: {sentence}" for sentence in page_faults(visitor, colors=size is DESKTOP)]
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light")
    assert not wrong, "\n".join(wrong)


def page_faults(visitor: Visitor, *, colors: bool = True) -> list[str]:
    """What is wrong with the page as it is shown now; with ``colors`` also low contrast, which takes long."""
    sentences: list[str] = visitor.page.evaluate(_SCRIPT, {"colors": colors})
    return sentences


def visible_text(text: str) -> str:
    """A text as a page shows it: white space is one space, unprintable characters are missing."""
    printable = "".join(letter for letter in text if letter.isprintable() or letter.isspace())
    return re.sub(r"\s+", " ", printable).strip()
