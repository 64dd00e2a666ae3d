"""Reads webhooks over which a node may have died in a process of their own, before this one does.

``python -m zapline.supervisors.cluster.trial`` reads them from its standard input and comes to its end, or does not.
"""

import resource
import sys
from collections.abc import Sequence
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.campaigns.opt_out_words import OptOutWords
from zapline.domain.ids import Seq, UnitId
from zapline.domain.inbound_events import Ignored, Unusable
from zapline.domain.line.events import ConnectionEvent
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import prepare_batch
from zapline.sql.journal.schema import Entry
from zapline.supervisors.inbound.journal_entries import parse_entry

_SECONDS = 60.0
"""Within which all must be read; a machine under load takes a second or two for some hundreds."""
_MOST_MEMORY = 2 * 2**30
_RETRY_PAUSE = 1.0
_LOG = structlog.get_logger(scope="Inbox")


class _Tried(msgspec.Struct, array_like=True):
    """What goes into the trial's standard input."""

    unit: UUID
    event: str
    received_at: float
    body: bytes


async def find_deadly(entries: Sequence[Entry]) -> set[int]:
    """Places of the entries that a process does not survive. Takes a second, and more where there is one.

    One of them is believed to be deadly where it has died alone twice, each time while a process that reads nothing
    lived. While there is none that does, it waits. Cancellation ends the process.
    """
    if await _are_harmless(entries):
        return set()
    if len(entries) == 1:
        return set() if await _are_harmless(entries) else {0}
    middle = len(entries) // 2
    first, second = await find_deadly(entries[:middle]), await find_deadly(entries[middle:])
    return first | {middle + place for place in second}


async def _are_harmless(entries: Sequence[Entry]) -> bool:
    """Whether a process survives them; no death counts where one that reads nothing dies, too."""
    while True:
        try:
            if await _survives(entries):
                return True
            if await _survives(()):
                return False
            error = "one that reads nothing does not come to its end"
        except OSError as failure:
            error = str(failure)
        _LOG.error("Webhooks wait: no process can try them", error=error)
        await trio.sleep(_RETRY_PAUSE)


async def _survives(entries: Sequence[Entry]) -> bool:
    given = msgspec.msgpack.encode([_Tried(each.unit_id, each.event, each.received_at, each.body) for each in entries])
    command = [sys.executable, "-m", __name__]
    with trio.move_on_after(_SECONDS):
        ended = await trio.run_process(command, stdin=given, capture_stdout=True, capture_stderr=True, check=False)
        return ended.returncode == 0
    return False


def read_all(given: bytes) -> None:
    """Do with each entry what its actor will do, short of storing it."""
    for tried in msgspec.msgpack.decode(given, type=list[_Tried]):
        unit = UnitId(tried.unit)
        entry = Entry(Seq(0), unit, tried.event, tried.received_at, tried.body)
        parsed = parse_entry(entry, OptOutWords())
        facts = [item for item in parsed if not isinstance(item, Ignored | Unusable | ConnectionEvent)]
        told = EntryFacts(None, entry.event, entry.received_at, entry.body, facts)
        prepare_batch(unit, [told], None, None, unit)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(_SECONDS), int(_SECONDS)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    read_all(sys.stdin.buffer.read())
