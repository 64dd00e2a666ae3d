"""Edits and deletes messages of ours at WhatsApp: one call for each wish, and no outcome that is not told as it is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import NoReturn
from uuid import UUID, uuid4

import structlog
import trio

from zapline.domain.errors import LocalError, TooLateToCall
from zapline.domain.ids import UnitId
from zapline.domain.messages.message_changes import Changeable, refusal_of_deletion, refusal_of_edit
from zapline.domain.outbox.send_outcomes import TOO_LATE
from zapline.domain.outbox.work_states import WorkState
from zapline.domain.text import Sentence
from zapline.domain.timestamps import Moment
from zapline.evolution.client.failures import EvolutionFailure
from zapline.evolution.client.message_changes import DELETED, EDITED, MessageChanger, changed_nothing, event_body
from zapline.evolution.client.rest_client import EvolutionClient, MessageKey
from zapline.sql.conversations.conversations import TrackedMessage, get_message
from zapline.sql.outbound import message_changes, outbox
from zapline.sql.outbound.message_changes import Begun, ChangeKind, ChangeState, ChangeTarget
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import WriterStanding
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.outbound.changes.change_lookup import FIRST_LOOK
from zapline.supervisors.outbound.message_composition import remote_jid
from zapline.supervisors.outbound.submission import UnknownMessage

LONGEST_TEXT = 65_536
"""Characters that WhatsApp takes."""
AT_ONCE = 20
"""Changes of a unit one right after the other: what a person corrects, and no more than that."""
RATE = 0.2
"""Changes a second after these."""
_CALL_SECONDS = 60.0
"""After which a call without an end was the last thing that a process did: it is looked for."""
_SHOWN_WITHIN = 3.0
"""Seconds in which what Evolution has answered is in the database, on a machine that is not overloaded."""
_LOOKS_APART, _LOOK_AGAIN = 0.02, 1.0
"""Seconds between two looks whether it is: no sooner, however much happens on the line; and though nothing does."""
_LOG = structlog.get_logger(scope="Changes")


class NotChangeable(LocalError):
    """The message cannot be edited or deleted; the text says why."""


class ChangeUnderWay(LocalError):
    """Another change of the message is under way, and its outcome is not known yet."""


class ChangesHeld(LocalError):
    """Nothing is changed of any message of the unit just now; the text says why. It may be asked again."""


class ChangesTooFast(LocalError):
    """The unit has changed too many messages. ``wait``: seconds after which it may change another one."""

    def __init__(self, what: str, wait: float) -> None:
        super().__init__(what)
        self.wait = max(1, ceil(wait))


@dataclass(frozen=True, slots=True)
class Asked:
    """``certain``: the message shows what was asked for; else it is not known yet, and looked for."""

    message: TrackedMessage
    certain: bool


class MessageChanges:
    """``pool`` is the engine's; ``clock`` returns UTC seconds; ``standing``: of this process, None: not asked.

    ``feed`` tells what has been stored of a unit.
    """

    def __init__(
        self,
        pool: Pool,
        client: EvolutionClient,
        intake: Intake,
        clock: Callable[[], float],
        new_id: Callable[[], UUID] = uuid4,
        standing: WriterStanding | None = None,
        feed: LiveFeed | None = None,
    ) -> None:
        self._pool = pool
        self._client = client
        self._intake = intake
        self._clock = clock
        self._new_id = new_id
        self._standing = standing or WriterStanding()
        self._feed = feed or LiveFeed()
        self._full_at: dict[UnitId, float] = {}  # monotonic time at which the unit may change ``AT_ONCE`` again

    async def edit(self, unit: Unit, message: UUID, text: str) -> Asked:
        """Give a message of ours a new text or caption. Asked again with the same text, nothing is sent.

        Raises UnknownMessage, NotChangeable, ChangeUnderWay, ChangesHeld, ChangesTooFast, and EvolutionFailure where
        certainly nothing was changed. The call itself is not cancelled.
        """
        return await self._change(unit, message, ChangeKind.EDIT, text)

    async def delete(self, unit: Unit, message: UUID) -> Asked:
        """Delete a message of ours for everyone. Raises as ``edit``."""
        return await self._change(unit, message, ChangeKind.DELETE, None)

    async def _change(self, unit: Unit, id: UUID, kind: ChangeKind, text: str | None) -> Asked:
        async with self._pool.connection() as conn:
            target = await message_changes.find_target(conn, unit.id, id)
            chat = await outbox.find_chat(conn, unit.id, target.conversation) if target is not None else None
        if target is None:
            raise UnknownMessage("the unit has no such message")
        if _shows(target, kind, text):
            return await self._asked(unit, id, kind, text)
        if target.open_kind is not None:
            return await self._join(unit, id, target, kind, text)
        refusal = self._refusal(unit, target, kind)
        if refusal is not None:
            raise NotChangeable(refusal)
        self._brake(unit)
        assert chat is not None
        assert target.external_id is not None
        instance = unit.record.instance
        changer = MessageChanger(unit.evolution(self._client))
        key = await changer.stored_key(instance, target.external_id)
        key = key or MessageKey(target.external_id, remote_jid(chat), True)
        with trio.CancelScope(shield=True):
            change, at = self._new_id(), self._moment()
            async with self._pool.connection() as conn:
                due = at.wall + _CALL_SECONDS
                begun = await message_changes.begin(conn, unit.id, id, change, kind, text, at.wall, due, unit.held)
            if begun is Begun.YES:
                begin = partial(self._refuse_if_late, at)
                await self._call(unit, changer, key, change, kind, text, begin)
        if begun is Begun.NOT_OURS:
            _refuse_taken_over()
        if begun is Begun.UNDER_WAY:
            raise ChangeUnderWay("another change of this message is under way")
        return await self._asked(unit, id, kind, text)

    def _refusal(self, unit: Unit, target: ChangeTarget, kind: ChangeKind) -> Sentence | None:
        if unit.record.paused_at is not None:
            return Sentence("the unit is paused: nothing is sent")
        settled = target.work_state in (None, WorkState.SETTLED)
        has_id, sent_at = target.external_id is not None, target.sent_at.timestamp()
        changeable = Changeable(target.kind, target.from_me, has_id, target.delivery, settled, target.deleted, sent_at)
        decide = refusal_of_edit if kind is ChangeKind.EDIT else refusal_of_deletion
        return decide(changeable, self._clock())

    def _brake(self, unit: Unit) -> None:
        """Count one change more. Raises ChangesHeld and ChangesTooFast."""
        if unit.catching_up is not None:
            raise ChangesHeld("the database was set back, and is told again what has happened since: ask again later")
        now = trio.current_time()
        full_at = max(self._full_at.get(unit.id, now), now) + 1 / RATE
        if full_at > now + AT_ONCE / RATE:
            wait = full_at - now - AT_ONCE / RATE
            raise ChangesTooFast("the unit edits and deletes messages too fast for WhatsApp", wait)
        self._full_at[unit.id] = full_at

    async def _join(self, unit: Unit, id: UUID, target: ChangeTarget, kind: ChangeKind, text: str | None) -> Asked:
        if (target.open_kind, target.open_text) != (kind.value, text):
            raise ChangeUnderWay("another change of this message is under way")
        return await self._asked(unit, id, kind, text)

    def _moment(self) -> Moment:
        return Moment(self._clock(), trio.current_time())

    def _refuse_if_late(self, since: Moment) -> None:
        self._standing.refuse_late_call(since, self._moment())

    async def _call(
        self,
        unit: Unit,
        changer: MessageChanger,
        key: MessageKey,
        change: UUID,
        kind: ChangeKind,
        text: str | None,
        begin: Callable[[], None],
    ) -> None:
        """Make the call, once; store how it ended.

        Raises EvolutionFailure and ChangesHeld where certainly nothing was changed.
        """
        instance, state, code = unit.record.instance, ChangeState.UNCERTAIN, None
        failure: EvolutionFailure | None = None
        try:
            begin()
            if kind is ChangeKind.EDIT:
                assert text is not None
                event, data = EDITED, await changer.edit(instance, key, text, self._clock(), begin)
            else:
                event, data = DELETED, await changer.delete(instance, key, begin)
        except TooLateToCall:
            code, state = TOO_LATE, ChangeState.FAILED
        except EvolutionFailure as failed:
            failure, code = failed, failed.code
            state = ChangeState.FAILED if changed_nothing(failed) else ChangeState.UNCERTAIN
        else:
            own = unit.state.stored.owner_jid if unit.state is not None else None
            if await self._intake.accept(unit, event, event_body(event, instance, own, data)):
                state = ChangeState.DONE
        now = self._clock()
        async with self._pool.connection() as conn:
            look_at = now + FIRST_LOOK if state is ChangeState.UNCERTAIN else None
            await message_changes.end_call(conn, change, state, code, now, look_at)
        _LOG.info("A change of a message was asked for", unit=str(unit.id), kind=kind.value, state=state.value)
        if code == TOO_LATE:
            _refuse_taken_over()
        if failure is not None and state is ChangeState.FAILED:
            raise failure

    async def _asked(self, unit: Unit, id: UUID, kind: ChangeKind, text: str | None) -> Asked:
        """The message as it is stored; what Evolution has confirmed is waited for."""
        until = trio.current_time() + _SHOWN_WITHIN
        with self._feed.watch(unit.id) as events:
            while True:
                events.take()
                async with self._pool.connection() as conn:
                    target = await message_changes.find_target(conn, unit.id, id)
                    certain = target is not None and _shows(target, kind, text)
                    over = certain or target is None or target.open_kind is not None or trio.current_time() > until
                    stored = await get_message(conn, unit.id, id) if over else None
                if stored is not None:
                    return Asked(stored, certain)
                if over:
                    raise UnknownMessage("the unit has no such message")
                await trio.sleep(_LOOKS_APART)
                await events.wait(_LOOK_AGAIN)


def _shows(target: ChangeTarget, kind: ChangeKind, text: str | None) -> bool:
    """Whether the message is as it was asked to be."""
    return target.deleted if kind is ChangeKind.DELETE else target.text == text and not target.deleted


def _refuse_taken_over() -> NoReturn:
    raise ChangesHeld("another process has taken over the unit: ask again")
