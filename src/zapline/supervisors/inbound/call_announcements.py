"""Has the journal know of each call to Evolution before it is made; while it refuses, nothing is sent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.messages.facts import CallStarted
from zapline.sql.journal.schema import CALL_STARTED
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.journal_entries import decode_call
from zapline.supervisors.inbound.unit_state import Unit

DISK_REFUSES = "disk_refuses"
"""The reason in the status of all units while the journal takes no calls."""
_TRY_EVERY = 1.0
"""Seconds between tries of a journal that has refused: a full disk costs little, and what waits leaves at once."""
_LOG = structlog.get_logger(scope="Sender")


@dataclass(eq=False)
class CallAnnouncements:
    """Writes to the journal that a call is about to be made; one for all senders of the process.

    The claim may be lost with the database's last commits, and the message would then be sent again. Therefore no call
    is made of which the journal does not know: where it refuses, all sending is held until it takes entries again.
    ``clock`` returns UTC seconds.
    """

    _intake: Intake
    _counters: Counters
    _clock: Callable[[], float]
    held_since: float | None = field(default=None, init=False)
    """UTC seconds since when nothing is sent; None: the journal takes the announcements."""
    _try_at: float = field(default=0.0, init=False)
    _trying: bool = field(default=False, init=False)
    _refused: trio.Event = field(default_factory=trio.Event, init=False)
    _unmade: dict[UUID, set[UUID]] = field(default_factory=dict, init=False)
    """Message -> calls that were not made, because the journal has refused to note them."""

    async def watch(self) -> None:
        """End each hold once the journal takes entries, also where nothing is left to be sent, or may be sent here."""
        while True:
            await self._refused.wait()
            while self.held_since is not None:
                await trio.sleep(_TRY_EVERY)
                await self.held_until()
            self._refused = trio.Event()

    async def last_call(self, message: UUID) -> CallStarted | None:
        """The last call of this message of which the journal knows. Raises JournalRefused: then nothing may be sent."""
        try:
            body = await self._intake.last_call(message)
            return decode_call(body) if body is not None else None
        except JournalRefused:
            self._hold()
            raise
        except msgspec.MsgspecError:
            return None

    def was_refused(self, call: CallStarted) -> bool:
        """Whether the journal has refused to note this call, which was not made then; the note may be written late."""
        return call.attempt in self._unmade.get(call.message, ())

    async def announce(self, unit: Unit, call: CallStarted) -> bool:
        """Note that this call is about to be made; False where it must not be. Cancellation: it may be noted."""
        if await self._intake.note(unit, CALL_STARTED, msgspec.json.encode(call)):
            self._unmade.pop(call.message, None)
            return True
        self._unmade.setdefault(call.message, set()).add(call.attempt)
        self._counters.add("calls_held")
        self._hold()
        return False

    async def held_until(self) -> float | None:
        """None where the journal takes announcements, as far as is known; else when to ask again (monotonic).

        One of those who ask tries to write, once a second; that takes up to 8 seconds where the disk hangs.
        """
        if self.held_since is None and not self._intake.journal_refuses:
            return None
        now = trio.current_time()
        if self._trying or now < self._try_at:
            return max(self._try_at, now + _TRY_EVERY / 2)
        self._trying = True
        try:
            taken = await self._intake.try_journal()
        finally:
            self._trying = False
        if not taken:
            self._hold()
            return self._try_at
        if self.held_since is not None:
            self.held_since = None
            _LOG.warning("The journal takes entries again, and what waited is sent")
        return None

    def _hold(self) -> None:
        self._try_at = trio.current_time() + _TRY_EVERY
        self._refused.set()
        if self.held_since is None:
            self.held_since = self._clock()
            _LOG.critical(
                "The journal refuses to note calls, and nothing is sent that nobody could remember: "
                "free the disk of the state directory or mend its rights; what waits then leaves by itself"
            )
