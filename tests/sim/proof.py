"""Writes what a long run of the simulation has counted into docs/reliability.md: ``make proof``."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .simulation import Result

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: written by make proof -->", "<!-- end of the figures -->"


def publish(results: Sequence[Result], failed: Sequence[int], seconds: float, processes: int) -> None:
    """Put the figures between the marks of the document."""
    text = DOCUMENT.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = figures(results, failed, seconds, processes)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", "utf-8")


def figures(results: Sequence[Result], failed: Sequence[int], seconds: float, processes: int) -> str:
    """Two tables in Markdown: what was run, and how often each kind of fault has struck."""
    seeds = sorted(result.seed for result in results)
    struck: Counter[str] = Counter()
    for result in results:
        struck.update(result.struck)
    virtual = sum(result.virtual for result in results)
    rows = [
        ("run on", time.strftime("%d %B %Y", time.gmtime())),
        ("seeds", f"{len(seeds):,}, from {seeds[0]} to {seeds[-1]}"),
        ("seeds that failed", ", ".join(map(str, sorted(failed))) or "none"),
        ("took", f"{seconds / 60:.0f} minutes, {processes} at a time on {os.cpu_count()} cores"),
        ("virtual time", f"{virtual / 3600:.1f} hours"),
        ("steps", f"{sum(result.steps for result in results):,}"),
        ("messages that phones sent", f"{sum(result.inbound for result in results):,}"),
        ("webhooks answered 200", f"{sum(result.webhooks for result in results):,}"),
        ("messages that the CRM asked for", f"{sum(result.outbound for result in results):,}"),
        ("messages that reached a phone", f"{sum(result.delivered for result in results):,}"),
        ("slowest to rest", f"{max(result.drained for result in results):.0f} virtual seconds after the last fault"),
    ]
    told = ["| what | figure |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    told += ["", "| fault | struck |", "|---|---:|"]
    told += [f"| {kind} | {count:,} |" for kind, count in sorted(struck.items())]
    return "\n".join(told)
