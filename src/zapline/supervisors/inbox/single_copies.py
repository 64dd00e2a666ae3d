"""Puts into the inbox what this journal alone holds: webhooks that came while PostgreSQL was away or slow."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import NOT_ROUTED, SEND_ANSWER, Arrival, Entry
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbox.shared_inbox import SharedInbox

_PAGE = 128
_OLD = 60.0
"""Seconds after which a webhook is history where its line is concerned: its facts merge, its events step nothing."""
_FRESH = 3.0
"""Seconds after which a webhook that is not done is one whose second copy failed, not one that is being made."""
_LOOK_EVERY = 1.0
_LOOK_ANYWAY = 5.0
"""Seconds after which the journal is looked at without reason: entries are replayed, units move."""
_LOG = structlog.get_logger(scope="Inbox")


def is_shared(event: str) -> bool:
    """Whether an entry of the journal goes by the inbox: whatever was received, but what the owner notes itself."""
    return not event.startswith("!") or event == "!too_large"


@dataclass(eq=False, repr=False)
class SingleCopies:
    """One for the process. ``owns``: whether a unit is this process's; None: not known, or there is no such unit."""

    _journal: Journal
    _inbox: SharedInbox
    _counters: Counters
    _owns: Callable[[UnitId], bool | None]
    clock: Callable[[], float] = time.time
    """UTC seconds."""
    left: int = field(default=0, init=False)
    """Webhooks of which there is one copy, as far as is known."""
    _began: float = field(default=0.0, init=False)
    _hurried: bool = field(default=False, init=False)
    _due: bool = field(default=True, init=False)
    _looked_at: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def is_history(self, received_at: float) -> bool:
        """Whether a webhook came so long ago (UTC seconds), or before this process, that its line has moved on."""
        return received_at < max(self._began, self.clock() - _OLD)

    def hurry(self) -> None:
        """No webhook is being taken any more: there is none whose second copy is just being made."""
        self._hurried = self._due = True

    def note(self, count: int) -> None:
        """Note that webhooks were answered with one copy."""
        self._counters.add("single_copy_webhooks", amount=count)
        self.left += count
        self._due = True

    async def run(self) -> None:
        """Make second copies until cancelled."""
        while True:
            await trio.sleep(_LOOK_EVERY)
            if not self._due and trio.current_time() < self._looked_at + _LOOK_ANYWAY:
                continue
            self._due, self._looked_at = False, trio.current_time()
            try:
                await self.make_all(float("inf") if self._hurried else self.clock() - _FRESH)
            except JournalRefused as refused:
                _LOG.error("The journal cannot be read for second copies", error=str(refused))
                self._due = True

    async def make_all(self, until: float) -> None:
        """Put in all that was received until then (UTC seconds). Raises JournalRefused."""
        after, made, fresh = Seq(0), 0, 0
        while page := await self._journal.unfinished(after, _PAGE):
            after = page[-1].seq
            wanted = [entry for entry in page if self._is_wanted(entry)]
            due = [entry for entry in wanted if entry.received_at <= until]
            fresh += len(wanted) - len(due)
            for entry in due:
                arrival = Arrival(entry.unit_id, entry.event, entry.received_at, entry.body)
                old = entry.replayed or self.is_history(entry.received_at)
                await self._inbox.put([arrival], float("inf"), replayed=old)
                self._journal.mark_done([entry.seq])
                made += 1
            others = [entry.seq for entry in page if self._is_left_to_owner(entry)]
            self._journal.mark_done(others)
            self._counters.add("left_to_owner", amount=len(others))
        await self._journal.flush()
        self.left, self._due = fresh, self._due or fresh > 0
        if made:
            _LOG.info("Second copies were made", count=made)

    def _is_wanted(self, entry: Entry) -> bool:
        """What was received; and how a call ended that was made while the unit was this process's."""
        if entry.unit_id == NOT_ROUTED or entry.damaged:
            return False
        if is_shared(entry.event):
            return True
        return entry.event == SEND_ANSWER and self._owns(entry.unit_id) is False

    def _is_left_to_owner(self, entry: Entry) -> bool:
        """What was read back for a unit that is another node's by now: its owner reads it again."""
        noted = entry.event.startswith("!") and entry.unit_id != NOT_ROUTED and not self._is_wanted(entry)
        return noted and not entry.damaged and self._owns(entry.unit_id) is False
