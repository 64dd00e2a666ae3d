"""The kinds of metrics: a counter of events and a gauge of the present state, as they are exported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zapline.supervisors.health.health_report import HealthReport

PREFIX = "zapline_"


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter, exported as ``zapline_<name>_total``, counted as ``source``. ``known_labels`` start at 0."""

    name: str
    help: str
    label: str | None = None
    known_labels: tuple[str, ...] = ()
    source: str = ""

    @property
    def exported_name(self) -> str:
        return f"{PREFIX}{self.name}_total"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge, exported as ``zapline_<name>``; with a label ``read`` gives a value for each."""

    name: str
    help: str
    read: Callable[[HealthReport], float | Mapping[str, float]]
    label: str | None = None

    @property
    def exported_name(self) -> str:
        return PREFIX + self.name
