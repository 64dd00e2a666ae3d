"""Writes what long runs of the simulation have counted into docs/reliability.md: ``make proof``.

Runs of one version of the program add up: what the earlier ones have counted is kept beside the build.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .simulation import Result

ROOT = Path(__file__).parents[2]
DOCUMENT, STATE = ROOT / "docs" / "reliability.md", ROOT / "build" / "proof.json"
BEGIN, END = "<!-- figures: written by make proof -->", "<!-- end of the figures -->"


def publish(results: Sequence[Result], seconds: float, processes: int) -> None:
    """Put the figures of this run and of the earlier ones of the same program between the marks of the document."""
    program = _program()
    earlier = json.loads(STATE.read_text("utf-8")) if STATE.exists() else {}
    runs = earlier["runs"] if earlier.get("program") == program else []
    runs.append({"seconds": seconds, "processes": processes} | counted(results))
    STATE.parent.mkdir(exist_ok=True)
    STATE.write_text(json.dumps({"program": program, "runs": runs}), "utf-8")
    text = DOCUMENT.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{figures(runs)}\n\n{END}{after}", "utf-8")


def counted(results: Sequence[Result]) -> dict[str, Any]:
    """What one run has counted."""
    struck: Counter[str] = Counter()
    for result in results:
        struck.update(result.struck)
    return {
        "seeds": sorted(result.seed for result in results),
        "failed": [result.seed for result in results if result.violations],
        "drained": max(result.drained for result in results),
        "struck": struck,
        **{
            name: sum(getattr(result, name) for result in results)
            for name in ("virtual", "steps", "inbound", "webhooks", "outbound", "delivered")
        },
    }


def figures(runs: Sequence[dict[str, Any]]) -> str:
    """Two tables in Markdown: what was run, and how often each kind of fault has struck."""
    struck: Counter[str] = Counter()
    for run in runs:
        struck.update(run["struck"])

    def total(name: str) -> str:
        return f"{sum(run[name] for run in runs):,}"

    ranges = ", ".join(f"{run['seeds'][0]} to {run['seeds'][-1]}" for run in runs)
    minutes = sum(run["seconds"] for run in runs) / 60
    at_once = max(run["processes"] for run in runs)
    rows = [
        ("run on", time.strftime("%d %B %Y", time.gmtime())),
        ("seeds", f"{sum(len(run['seeds']) for run in runs):,}, from {ranges}"),
        ("seeds that failed", ", ".join(map(str, sorted(seed for run in runs for seed in run["failed"]))) or "none"),
        ("took", f"{minutes:.0f} minutes, {at_once} at a time on {os.cpu_count()} cores"),
        ("virtual time", f"{sum(run['virtual'] for run in runs) / 3600:.1f} hours"),
        ("steps", total("steps")),
        ("messages that phones sent", total("inbound")),
        ("webhooks answered 200", total("webhooks")),
        ("messages that the CRM asked for", total("outbound")),
        ("messages that reached a phone", total("delivered")),
        ("slowest to rest", f"{max(run['drained'] for run in runs):.0f} virtual seconds after the last fault"),
    ]
    told = ["| what | figure |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    told += ["", "| fault | struck |", "|---|---:|"]
    told += [f"| {kind} | {count:,} |" for kind, count in sorted(struck.items())]
    return "\n".join(told)


def _program() -> str:
    """Digest of the daemon and of the simulation."""
    digest = hashlib.sha256()
    for folder in (ROOT / "src" / "zapline", ROOT / "tests" / "sim"):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".sql"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
