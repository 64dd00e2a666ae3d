"""Finds out which numbers are on WhatsApp: from what is known, else asked for, paced, and at most so many a day.

WhatsApp bans lines that look up many numbers, so what is asked for is counted before it is, in the database: neither a
restart nor another daemon begins anew.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog
import trio

from zapline.domain.ids import UnitId
from zapline.domain.text import Sentence
from zapline.evolution.client.directory_calls import NumberAnswer, check_numbers
from zapline.evolution.client.failures import BadAnswer, EvolutionFailure
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.directory import number_checks
from zapline.sql.directory.number_checks import CheckLimits, NumberCheck
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.directory.lookups import LineNotConnected, LookupsHeld, require_open_line
from zapline.supervisors.inbound.unit_state import Unit

MAX_NUMBERS = 50
"""Of one request; WhatsApp is asked for all of them by one question."""
DAILY = 1000
"""Numbers that a unit asks for on one day, unless the installation says otherwise."""
RATE = 0.5
"""Numbers a second after the first fifty: a person who looks through an address book is no faster."""
KNOWN_SECONDS = 7 * 86_400.0
"""Seconds for which a number counts as there; Evolution itself believes it for as long."""
MISSING_SECONDS = 6 * 3600.0
"""Seconds for which a number counts as not there: that is said for a moment's failure too (contract, section 3, 5)."""
DEADLINE = 25.0
"""Seconds of a request, with its waiting for the pace."""
_CALL_SECONDS = 20.0
_ROOM = 10.0
"""Seconds that are left for the call once numbers are counted as asked for: else they would be counted for nothing."""
_STORE_SECONDS = 2.0
"""For what was answered, also where the request is cancelled meanwhile; the call leaves as many."""
_MAX_WAITING = 4
"""Requests of a unit that wait for their turn; others are to come again."""
_LOG = structlog.get_logger(scope="Numbers")


@dataclass(frozen=True, slots=True)
class CheckPolicy:
    """``daily``: numbers of a unit on one day. The others: seconds, and numbers a second."""

    daily: int = DAILY
    rate: float = RATE
    deadline: float = DEADLINE

    @property
    def limits(self) -> CheckLimits:
        return CheckLimits(MAX_NUMBERS, self.rate, self.daily)


class NumberChecks:
    """One for the process; ``pool`` is the engine's, ``clock`` returns UTC seconds."""

    def __init__(
        self,
        pool: Pool,
        client: EvolutionClient,
        counters: Counters,
        policy: CheckPolicy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._client = client
        self._counters = counters
        self._policy = policy or CheckPolicy()
        self._clock = clock
        self._turns: dict[UnitId, trio.Lock] = {}

    async def find(self, unit: UnitId, phones: Collection[str]) -> dict[str, NumberCheck]:
        """What is known and fresh of these canonical phones; nothing is asked. Raises DatabaseUnavailable."""
        now = self._clock()
        async with self._pool.connection() as conn:
            return await number_checks.find_checks(
                conn, unit, sorted(phones), now - KNOWN_SECONDS, now - MISSING_SECONDS
            )

    async def check(self, unit: Unit, phones: Collection[str], *, wait: bool = True) -> dict[str, NumberCheck]:
        """What WhatsApp says of up to fifty canonical phones, each asked for only where it is not known.

        ``wait``: for the pace, if that is short.
        Raises LineNotConnected and LookupsHeld, after which nothing was asked; EvolutionFailure; DatabaseUnavailable.
        What was answered is kept, so a request that is repeated asks for nothing twice. If cancelled, what was asked
        stays counted.
        """
        assert len(phones) <= MAX_NUMBERS
        wanted = frozenset(phones)
        known = await self.find(unit.id, wanted)
        if wanted <= known.keys():
            self._counters.add("number_checks", "known", len(wanted))
            return known
        turn = self._turns.setdefault(unit.id, trio.Lock())
        if turn.statistics().tasks_waiting >= _MAX_WAITING:
            raise LookupsHeld("too many look up numbers of this unit just now", self._policy.deadline)
        with trio.move_on_after(self._policy.deadline) as patience:
            async with turn:
                known = await self.find(unit.id, wanted)  # the request before may have asked for some
                asked = sorted(wanted - known.keys())
                if asked:
                    known |= await self._ask(unit, asked, patience.deadline, wait)
        if patience.cancelled_caught:
            raise LookupsHeld("numbers of this unit are looked up just now; come again", self._policy.deadline)
        self._counters.add("number_checks", "known", len(wanted) - len(asked))
        return known

    async def look_up(self, unit: Unit, phones: Collection[str], ask: int) -> tuple[dict[str, NumberCheck], int]:
        """What is known of any number of phones, and of up to ``ask`` others if WhatsApp can be asked now; and how many
        others those were. Raises DatabaseUnavailable."""
        known = await self.find(unit.id, phones)
        others = sorted(set(phones) - known.keys())[: min(ask, MAX_NUMBERS)]
        if not others:
            return known, 0
        try:
            return known | await self.check(unit, others, wait=False), len(others)
        except (LookupsHeld, LineNotConnected, EvolutionFailure) as failure:
            _LOG.info("Numbers of a list are not looked up", unit=str(unit.id), error=type(failure).__name__)
            return known, len(others)  # one try for a list

    async def _ask(self, unit: Unit, phones: list[str], deadline: float, wait: bool) -> dict[str, NumberCheck]:
        require_open_line(unit)
        await self._wait_for_pace(unit.id, len(phones), deadline, wait)
        at = self._clock()
        digits = {phone.removeprefix("+"): phone for phone in phones}
        seconds = min(_CALL_SECONDS, max(deadline - trio.current_time() - _STORE_SECONDS, 1.0))
        try:
            answers = await check_numbers(unit.evolution(self._client), unit.record.instance, list(digits), seconds)
        except EvolutionFailure as failure:
            self._counters.add("number_checks", failure.code, len(phones))
            _LOG.warning("Numbers could not be looked up", unit=str(unit.id), count=len(phones), error=failure.code)
            raise
        told = {digits[number]: answer for number, answer in answers.items() if number in digits}
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _STORE_SECONDS):
            await self._store(unit.id, told, at)
        if len(told) < len(digits):
            raise BadAnswer(Sentence("{name} is missing in Evolution's answer", name="whatsappNumbers: number"))
        return {phone: NumberCheck(phone, answer.on_whatsapp, answer.jid, at) for phone, answer in told.items()}

    async def _wait_for_pace(self, unit: UnitId, count: int, deadline: float, wait: bool) -> None:
        """Return once so many numbers are counted as asked for. Raises LookupsHeld if that would take too long."""
        latest = deadline - min(_ROOM, self._policy.deadline / 2)
        while True:
            if trio.current_time() > latest:
                raise LookupsHeld("numbers of this unit are looked up just now; come again", self._policy.deadline)
            async with self._pool.connection() as conn:
                hold = await number_checks.claim_checks(conn, unit, count, self._policy.limits)
            if hold is None:
                return
            self._counters.add("number_checks_held", "day" if hold.left_today < count else "pace")
            if hold.left_today < count:
                what = Sentence(
                    "the unit has looked up as many numbers as it may today; {left} more can be", left=hold.left_today
                )
                raise LookupsHeld(what, hold.until_tomorrow)
            if not wait or trio.current_time() + hold.wait > latest:
                raise LookupsHeld("the unit looks up numbers too fast for WhatsApp", hold.wait)
            await trio.sleep(hold.wait + 0.01)

    async def _store(self, unit: UnitId, told: Mapping[str, NumberAnswer], at: float) -> None:
        answers = {phone: (answer.on_whatsapp, answer.jid) for phone, answer in told.items()}
        for answer in told.values():
            self._counters.add("number_checks", "there" if answer.on_whatsapp else "not_there")
        async with self._pool.connection() as conn:
            await number_checks.store_checks(conn, unit, answers, at)
