"""Draws a growth curve as an SVG picture, for docs/images; readable on light and dark pages, and without any script."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 640, 376
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 92, 48
_COLOURS = ("#0b7285", "#d9480f", "#5f3dc4", "#2b8a3e")
_STYLE = "font-family:system-ui,sans-serif;font-size:12px"
Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points (x, y) of each line by its name, by growing x."""


def draw(title: str, across: str, up: str, series: Series, goal: float | None = None) -> str:
    """The picture: x on a logarithmic scale with a mark at each measured point, y from zero; ``goal`` as a dashed line.

    Raises ValueError where no line has a point.
    """
    places = sorted({x for line in series.values() for x, _ in line})
    if not places:
        raise ValueError("a chart needs a point")
    top = _round_up(max([y for line in series.values() for _, y in line] + ([goal] if goal else [])))
    first, last = _log(places[0]), _log(places[-1])

    def left(x: float) -> float:
        share = (_log(x) - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def down(y: float) -> float:
        return round(HEIGHT - _BOTTOM - y / top * (HEIGHT - _TOP - _BOTTOM), 1)

    parts = [_text(_LEFT, 18, title, "start", ";font-size:15px;font-weight:600")]
    for step in range(5):
        y = top * step / 4
        parts.append(_line(_LEFT, down(y), WIDTH - _RIGHT, down(y), "#868e96", 0.35))
        parts.append(_text(_LEFT - 8, down(y) + 4, _short(y), "end"))
    parts += [_text(left(x), HEIGHT - _BOTTOM + 18, _short(x), "middle") for x in places]
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, across, "middle"))
    parts.append(_text(_LEFT, 38, up, "start"))
    if goal is not None:
        parts.append(_line(_LEFT, down(goal), WIDTH - _RIGHT, down(goal), "#e03131", 0.8, ' stroke-dasharray="5 4"'))
        parts.append(_text(WIDTH - _RIGHT, down(goal) - 5, f"goal {_short(goal)}", "end"))
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{left(x)},{down(y)}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{left(x)}" cy="{down(y)}" r="3.5" fill="{colour}"/>' for x, y in points]
        parts.append(_text(WIDTH - _RIGHT, 18 + 16 * number, name, "end", f";font-weight:600;fill:{colour}"))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img" aria-label="{escape(title)}">\n<style>text{{fill:#495057}}'
        f"@media(prefers-color-scheme:dark){{text{{fill:#ced4da}}}}</style>\n{body}\n</svg>\n"
    )


def write(directory: Path, name: str, picture: str) -> None:
    """Keep the picture as ``name.svg``; the directory is made if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.svg").write_text(picture)


def _log(value: float) -> float:
    return math.log10(max(value, 1.0))


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value * (1 - 1e-9))


def _short(value: float) -> str:
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" style="{_STYLE}{style}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, opacity: float, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-opacity="{opacity}"{more}/>'
