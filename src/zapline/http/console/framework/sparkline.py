"""Computes the paths of a small chart of a rate over a day, for an inline SVG, and what is told where one points."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

WIDTH, HEIGHT = 240.0, 52.0
_LEAST_WIDTH = 1.5
"""Of a band: a short one can be pointed at."""
_TOP = 4.0
"""Room above the highest value, so that the line is not cut."""


@dataclass(frozen=True, slots=True)
class Band:
    """A part of the width: from ``start`` to ``end`` (UTC seconds) the value was this; an incident has none."""

    x: float
    width: float
    start: float
    end: float
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Chart:
    """Paths of an SVG of ``WIDTH`` by ``HEIGHT``. ``limit_y`` is None without a limit. ``top``: the scale's end.

    ``bands``: what the value was when; ``incidents``: when people were told of one.
    """

    line: str
    area: str
    limit_y: float | None
    highest: float
    top: float
    bands: tuple[Band, ...] = ()
    incidents: tuple[Band, ...] = ()


def draw_chart(
    points: Sequence[tuple[float, float]],
    start: float,
    end: float,
    step: float,
    limit: float | None = None,
    incidents: Sequence[tuple[float, float | None]] = (),
) -> Chart:
    """``points`` are (time, value), oldest first, each ``step`` seconds; the line has gaps where some are missing.

    ``incidents`` are (opened, closed) in UTC seconds; None: it goes on.
    """
    highest = max((value for _, value in points), default=0.0)
    top = max(highest, (limit or 0.0) * 1.25) or 1.0

    def x(at: float) -> float:
        return round(min(max((at - start) / (end - start), 0.0), 1.0) * WIDTH, 1)

    def y(value: float) -> float:
        return round(HEIGHT - 1 - value / top * (HEIGHT - 1 - _TOP), 1)

    def band(since: float, until: float, value: float = 0.0) -> Band:
        return Band(x(since), max(round(x(until) - x(since), 1), _LEAST_WIDTH), since, until, value)

    lines, areas, bands = [], [], list[Band]()
    for run in _runs(points, step):
        last = run[-1][0] + step
        vertices = [(x(at), y(value)) for at, value in run] + [(x(last), y(run[-1][1]))]
        path = " L".join(f"{across} {down}" for across, down in vertices)
        lines.append(f"M{path}")
        areas.append(f"M{vertices[0][0]} {HEIGHT} L{path} L{vertices[-1][0]} {HEIGHT}Z")
        for value, same in groupby(run, key=lambda point: point[1]):
            times = [at for at, _ in same]
            bands.append(band(times[0], min(times[-1] + step, end), value))
    told = [(opened, closed or end) for opened, closed in incidents if start < (closed or end) and opened < end]
    marks = tuple(band(max(opened, start), closed) for opened, closed in told)
    return Chart(" ".join(lines), " ".join(areas), y(limit) if limit else None, highest, top, tuple(bands), marks)


def _runs(points: Sequence[tuple[float, float]], step: float) -> list[list[tuple[float, float]]]:
    """Split the points where one is missing."""
    runs: list[list[tuple[float, float]]] = []
    for point in points:
        if runs and point[0] - runs[-1][-1][0] <= step * 1.5:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs
