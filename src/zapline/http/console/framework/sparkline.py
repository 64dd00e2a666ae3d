"""Computes the paths of a small chart of a rate over a day, for an inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 240.0, 52.0
_TOP = 4.0
"""Room above the highest value, so that the line is not cut."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Paths of an SVG of ``WIDTH`` by ``HEIGHT``. ``limit_y`` is None without a limit."""

    line: str
    area: str
    limit_y: float | None
    highest: float


def draw_chart(
    points: Sequence[tuple[float, float]], start: float, end: float, step: float, limit: float | None = None
) -> Chart:
    """``points`` are (time, value), oldest first, each ``step`` seconds; the line has gaps where some are missing."""
    highest = max((value for _, value in points), default=0.0)
    top = max(highest, (limit or 0.0) * 1.25) or 1.0

    def x(at: float) -> float:
        return round(min(max((at - start) / (end - start), 0.0), 1.0) * WIDTH, 1)

    def y(value: float) -> float:
        return round(HEIGHT - 1 - value / top * (HEIGHT - 1 - _TOP), 1)

    lines, areas = [], []
    for run in _runs(points, step):
        last = run[-1][0] + step
        vertices = [(x(at), y(value)) for at, value in run] + [(x(last), y(run[-1][1]))]
        path = " L".join(f"{across} {down}" for across, down in vertices)
        lines.append(f"M{path}")
        areas.append(f"M{vertices[0][0]} {HEIGHT} L{path} L{vertices[-1][0]} {HEIGHT}Z")
    return Chart(" ".join(lines), " ".join(areas), y(limit) if limit else None, highest)


def _runs(points: Sequence[tuple[float, float]], step: float) -> list[list[tuple[float, float]]]:
    """Split the points where one is missing."""
    runs: list[list[tuple[float, float]]] = []
    for point in points:
        if runs and point[0] - runs[-1][-1][0] <= step * 1.5:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs
