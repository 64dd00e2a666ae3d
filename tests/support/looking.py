"""Looks at a page as a person would: light, dark and on a phone, each kept as a picture and checked by looking.js."""

import re
from pathlib import Path

from support.visiting import Visitor

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
_VARIANTS = (("light", "light", DESK), ("dark", "dark", DESK), ("phone", "light", PHONE))
_SCRIPT = Path(__file__).with_suffix(".js").read_text("utf-8")
_LONGEST = 2400
"""Pixels of a picture's height: longer ones are for nobody's eyes."""


def look(visitor: Visitor, name: str, *, once: bool = False) -> None:
    """Keep pictures of the page that is open, and fail with everything that is wrong with it in any of the three.

    ``once``: of a page that was looked at before and has only changed a little, a single picture.
    """
    page, wrong = visitor.page, []
    for variant, scheme, size in _VARIANTS[: 1 if once else None]:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        visitor.until("[...document.images].every(one => one.complete || one.loading === 'lazy')")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        tall = min(page.evaluate("document.documentElement.scrollHeight"), _LONGEST)
        clip = {"x": 0, "y": 0, "width": size["width"], "height": max(tall, size["height"])}
        page.screenshot(path=SCREENSHOTS / f"{name}-{variant}.png", full_page=True, caret="initial", clip=clip)  # type: ignore[arg-type]
        wrong += [f"{name}, {variant}: {sentence}" for sentence in faults(visitor, colors=size is DESK)]
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light")
    assert not wrong, "\n".join(wrong)


def faults(visitor: Visitor, *, colors: bool = True) -> list[str]:
    """What is wrong with the page as it is shown now. ``colors``: also whether texts stand out, which takes long."""
    found: list[str] = visitor.page.evaluate(_SCRIPT, {"colors": colors})
    return found


def seen(text: str) -> str:
    """A text as it can be read off a page: white space is one space, what has no shape is left out."""
    kept = "".join(letter for letter in text if letter.isprintable() or letter.isspace())
    return re.sub(r"\s+", " ", kept).strip()
