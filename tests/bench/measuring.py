"""Measures fairly: interleaved rounds, medians of ratios with their interval, cores apart, the state of the machine."""

import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_T_95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
"""Student's t for 95 % by degrees of freedom."""
_FSYNCS = 100


@dataclass(frozen=True, slots=True)
class Compared:
    """A ratio over several rounds: its median, and the interval that holds its mean with 95 %.

    The interval is that of Student's t over the logarithms, since a ratio and its inverse are worth the same.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Compared:
    """The ratio of two series, round by round; with one round nothing is known of its spread."""
    logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    median = math.exp(statistics.median(logs))
    if len(logs) < 2:
        return Compared(median, 0.0, math.inf)
    spread = _T_95[min(len(logs) - 1, 9)] * statistics.stdev(logs) / math.sqrt(len(logs))
    mean = statistics.fmean(logs)
    return Compared(median, math.exp(mean - spread), math.exp(mean + spread))


def pin(pid: int, core: int) -> None:
    """Keep all threads of a process on one core, where the machine has more than one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {cores[core % len(cores)]})


def fsync_times(directory: Path) -> tuple[float, float]:
    """Median and 99th percentile, in seconds, of an append of 4 KiB that is waited for until it is on the disk."""
    took = []
    file = directory / "fsync"
    with file.open("wb", buffering=0) as written:
        for _ in range(_FSYNCS):
            began = time.perf_counter()
            written.write(b"x" * 4096)
            os.fdatasync(written.fileno())
            took.append(time.perf_counter() - began)
    file.unlink()
    took.sort()
    return took[len(took) // 2], took[int(len(took) * 0.99)]


def machine(directory: Path) -> str:
    """The load average and the time of an fsync, which belong beside every figure."""
    median, worst = fsync_times(directory)
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"load average {load}; fsync p50 {median * 1e3:.2f} ms, p99 {worst * 1e3:.2f} ms; {os.cpu_count()} cores"


def medians(series: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in series.items() if values}
