"""Bugs that are planted by patch, to prove that the simulation can see: each takes away one guard of the daemon."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from zapline.domain.ids import Seq
from zapline.domain.text import Sentence
from zapline.evolution.client import failure_classifier, rest_client
from zapline.evolution.client.failures import NoAnswer, Unreachable
from zapline.sql.journal import sqlite_file
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Arrival, Entry
from zapline.sql.journal.writer import Request
from zapline.sql.outbound import send_claims
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.intake import Intake

from .plan import Death, Plan, Window

Plant = Callable[[pytest.MonkeyPatch], None]


def missing_fsync(patch: pytest.MonkeyPatch) -> None:
    """The journal's commits are not synced."""
    connect = sqlite_file.connect

    def careless(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("pragma synchronous = off")
        return connection

    patch.setattr(sqlite_file, "connect", careless)


def answered_before_the_disk(patch: pytest.MonkeyPatch) -> None:
    """A webhook is answered before its entry is on disk."""

    async def append_many(self: Journal, arrivals: Sequence[Arrival]) -> list[Seq]:
        entries = []
        for arrival in arrivals:
            self._last_seq += 1
            given = (arrival.unit_id, arrival.event, arrival.received_at, arrival.body)
            entries.append(Entry(Seq(self._last_seq), *given))
        self._waiting += len(entries)
        self._writer._requests.append(Request(entries, 0))
        self._writer._wake()
        return [entry.seq for entry in entries]

    patch.setattr(Journal, "append_many", append_many)


def silent_loss(patch: pytest.MonkeyPatch) -> None:
    """A webhook that neither disk nor database took is answered, and nobody is told."""
    patch.setattr(Intake, "_count_lost", lambda *arguments: None)


def lost_wake_up(patch: pytest.MonkeyPatch) -> None:
    """Nobody reads what a stopped daemon has left in the journal until the next webhook of the unit."""
    patch.setattr(Dispatcher, "refill", lambda self, unit: None)


def silence_taken_for_refusal(patch: pytest.MonkeyPatch) -> None:
    """A call without an answer counts as one that never left."""

    def hopeful(exc: Any) -> Any:
        known = failure_classifier.classify_exception(exc)
        return Unreachable(Sentence("nothing came")) if isinstance(known, NoAnswer) else known

    patch.setattr(rest_client, "classify_exception", hopeful)


def claim_without_its_fence(patch: pytest.MonkeyPatch) -> None:
    """What a killed daemon had claimed is sent again, whatever became of its call."""
    listed = send_claims.list_unended_calls

    async def careless(*arguments: Any) -> Any:
        return [replace(call, repeatable=True) for call in await listed(*arguments)]

    patch.setattr(send_claims, "list_unended_calls", careless)


_SMALL = Plan(units=1, seconds=6.0, inbound=30, outbound=0, store=False)
_DYING = replace(_SMALL, deaths=[Death(3.0, "power loss", 0.5)], windows=[Window(2.0, "database down", 2.0)])
_REFUSED = replace(_SMALL, windows=[Window(1.0, kind, 28.0) for kind in ("disk refuses", "database down")])
_KILLS = [Death(at, "kill", 0.1) for at in (1.5, 3.5, 5.0)]
_SENDING = replace(_SMALL, inbound=0, outbound=12)
PLANTED: Mapping[str, tuple[Plant, Plan]] = {
    "missing_fsync": (missing_fsync, _DYING),
    "answered_before_the_disk": (answered_before_the_disk, replace(_SMALL, disk_write=0.2)),
    "silent_loss": (silent_loss, _REFUSED),
    "lost_wake_up": (lost_wake_up, _DYING),
    "silence_taken_for_refusal": (silence_taken_for_refusal, replace(_SENDING, sends={"act_then_reset": 0.5})),
    "claim_without_its_fence": (
        claim_without_its_fence,
        replace(_SENDING, sends={"act_then_hang": 1.0}, webhook_lost=0.8, deaths=_KILLS),
    ),
}
"""Each bug, and the traffic and faults that it needs to show; a seed draws the moments."""
