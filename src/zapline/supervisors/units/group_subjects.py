"""Asks Evolution for the subjects of groups that no event has told: paced, while their lines are connected."""

import time
from collections.abc import Awaitable, Callable

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.evolution.client.directory_calls import group_subject
from zapline.evolution.client.failures import EvolutionFailure, FailureVerdict
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import group_subjects
from zapline.sql.units.group_subjects import NamelessGroup
from zapline.supervisors.counters import Counters

EVERY = 2.0
"""Seconds between two rounds, each with one question at most for each line: WhatsApp throttles who asks faster."""
MAX_QUESTIONS = 10
"""Of one round, over all lines."""
WAITS = (60.0, 600.0, 3600.0, 6 * 3600.0, 24 * 3600.0, 7 * 24 * 3600.0)
"""Seconds until a group is asked for again, by how often that was in vain."""
FRESH = 24 * 3600.0
"""Seconds after which the subject of a group with new messages is asked for again: renaming is told to few."""
_REFRESH_EVERY = 300.0
_ANSWER_SECONDS = 10.0

_LOG = structlog.get_logger(scope="Groups")


class GroupSubjects:
    """One for the process; ``pool`` is the engine's, ``may_write`` returns once this process may write."""

    def __init__(
        self,
        pool: Pool,
        client: EvolutionClient,
        may_write: Callable[[], Awaitable[None]],
        counters: Counters,
        clock: Callable[[], float] = time.time,
        client_of: Callable[[UnitId], EvolutionClient] | None = None,
    ) -> None:
        """``client_of`` knows the client of a unit's server; without it all have ``client``."""
        self._pool = pool
        self._client_of = client_of or (lambda unit: client)
        self._may_write = may_write
        self._counters = counters
        self._clock = clock

    async def run(self) -> None:
        """Ask until cancelled. What fails is asked again later; nothing is lost by a kill."""
        refresh_at = trio.current_time() + _REFRESH_EVERY
        while True:
            await trio.sleep(EVERY)
            await self._may_write()
            refresh = trio.current_time() >= refresh_at
            if refresh:
                refresh_at = trio.current_time() + _REFRESH_EVERY
            try:
                await self.ask(refresh=refresh)
            except RemoteError as away:
                _LOG.debug("Subjects of groups must wait", error=str(away))

    async def ask(self, *, refresh: bool = False) -> None:
        """Ask once for each line that has a group to ask for. Raises DatabaseUnavailable, StatementFailed."""
        async with self._pool.connection() as conn:
            groups = await group_subjects.claim_groups(conn, WAITS, MAX_QUESTIONS)
            if refresh:
                groups += await group_subjects.claim_named_groups(conn, FRESH, MAX_QUESTIONS)
        answers: list[tuple[NamelessGroup, str | EvolutionFailure, float]] = []

        async def ask_for(group: NamelessGroup) -> None:
            answer: str | EvolutionFailure
            at = self._clock()
            try:
                client = self._client_of(group.unit)
                answer = await group_subject(client, group.instance, group.jid, _ANSWER_SECONDS)
            except EvolutionFailure as failure:
                answer = failure
            answers.append((group, answer, at))

        async with trio.open_nursery() as nursery:
            for group in groups:
                nursery.start_soon(ask_for, group)
        if not answers:
            return
        async with self._pool.connection() as conn:
            for group, answer, at in answers:
                if isinstance(answer, str):
                    await group_subjects.store_subjects(conn, {group.id: answer}, at, again=True)
                elif answer.transient or answer.verdict is FailureVerdict.LINE:
                    await group_subjects.postpone(conn, group.unit, group.id, WAITS[0])
                self._counters.add("group_subjects", "told" if isinstance(answer, str) else answer.code)
