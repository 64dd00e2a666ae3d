"""Draws how a rate was over a day as a small chart: numbers for an inline SVG, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 240.0, 52.0
_TOP = 4.0
"""Room above the highest value, so that the line is not cut."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Paths of an SVG of ``WIDTH`` by ``HEIGHT``. ``limit_y`` None: the limit lies outside, or there is none."""

    line: str
    area: str
    limit_y: float | None
    highest: float


def draw_chart(
    points: Sequence[tuple[float, float]], start: float, end: float, step: float, limit: float | None = None
) -> Chart:
    """``points``: (time, value), oldest first, one each ``step``; where some are missing the line has a gap."""
    highest = max((value for _, value in points), default=0.0)
    top = max(highest, (limit or 0.0) * 1.25) or 1.0

    def x(at: float) -> float:
        return round(min(max((at - start) / (end - start), 0.0), 1.0) * WIDTH, 1)

    def y(value: float) -> float:
        return round(HEIGHT - 1 - value / top * (HEIGHT - 1 - _TOP), 1)

    lines, areas = [], []
    for run in _runs(points, step):
        last = run[-1][0] + step
        drawn = [(x(at), y(value)) for at, value in run] + [(x(last), y(run[-1][1]))]
        path = " L".join(f"{across} {down}" for across, down in drawn)
        lines.append(f"M{path}")
        areas.append(f"M{drawn[0][0]} {HEIGHT} L{path} L{drawn[-1][0]} {HEIGHT}Z")
    return Chart(" ".join(lines), " ".join(areas), y(limit) if limit else None, highest)


def _runs(points: Sequence[tuple[float, float]], step: float) -> list[list[tuple[float, float]]]:
    """The points without gaps between them."""
    runs: list[list[tuple[float, float]]] = []
    for point in points:
        if runs and point[0] - runs[-1][-1][0] <= step * 1.5:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs
