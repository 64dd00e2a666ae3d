"""Creates campaigns, loads their recipients, forecasts their course, and starts, pauses or cancels them."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID, uuid4

import msgspec
import structlog
import trio

from zapline.domain.campaigns.recipient_checks import MAX_RECIPIENTS, RecipientCounts
from zapline.domain.campaigns.recipients_csv import InvalidRecipients
from zapline.domain.campaigns.schedule import CampaignTiming, estimate_end
from zapline.domain.campaigns.states import STATE_WORDS, CampaignCommand, CampaignState, next_state
from zapline.domain.campaigns.text_templates import MessageTemplate
from zapline.domain.errors import InvalidField, LocalError, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, OutgoingMessage, Text, text_of_content
from zapline.domain.outbox.quiet_hours import day_began, local_day
from zapline.domain.outbox.work_states import Lane
from zapline.domain.text import Sentence, clean_text
from zapline.sql.campaigns import campaigns
from zapline.sql.campaigns.campaigns import NewCampaign
from zapline.sql.outbound.unit_pace import count_calls_since, read_pace
from zapline.sql.outbound.uploads import find_upload
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy.erasure import find_earlier_opt_outs
from zapline.supervisors.campaigns.number_refusals import NumberRefusals
from zapline.supervisors.campaigns.outbox_feeder import OutboxFeeder
from zapline.supervisors.campaigns.recipient_loading import (
    Batch,
    FindRefusals,
    RecipientCsv,
    RecipientLoader,
    RecipientRows,
    RecipientSource,
    batches,
    with_refusals,
)
from zapline.supervisors.campaigns.suppressions import Suppressions
from zapline.supervisors.directory.number_checks import NumberChecks
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.media_url_check import check_media_url
from zapline.supervisors.outbound.message_composition import complete_file

CLEAN_UP_TIMEOUT = 5.0
"""Seconds to take back a list that was not read to its end; after that the feeder does it."""
_FILES = frozenset({MessageKind.IMAGE, MessageKind.VIDEO, MessageKind.AUDIO, MessageKind.VOICE, MessageKind.DOCUMENT})
_LOG = structlog.get_logger(scope="Campaigns")
_EARLIEST, _LATEST = 1_230_768_000, 4_102_444_800
"""2009 and 2100: a start outside them is a mistake."""


class UnknownCampaign(LocalError):
    """The unit has no such campaign."""


class CampaignConflict(LocalError):
    """The client's id belongs to another campaign."""


class NotFillable(LocalError):
    """The campaign takes no recipients in its present state."""


class NoRecipients(LocalError):
    """The campaign has no recipient that it may write to."""


class InvalidCampaign(InvalidField):
    """The requested content or start is not valid for a campaign; the text says why."""


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """A requested campaign. ``start_at`` in UTC seconds; ``start``: start it once it is created."""

    name: str
    content: Text | File
    recipients: RecipientRows = ()
    timing: CampaignTiming = field(default_factory=CampaignTiming)
    start_at: float | None = None
    client_id: str | None = None
    start: bool = False
    wordings: tuple[str, ...] = ()
    """Texts, or captions, that recipients get in turn, the content's first; empty: there is one."""

    @property
    def digest(self) -> bytes:
        """Distinguishes a repeated request from another one."""
        timing = (self.timing.seconds, self.timing.window_from, self.timing.window_until)
        request = (self.name, self.content, self.recipients, timing, self.start_at, self.start)
        if self.wordings:
            request = (*request, self.wordings)  # type: ignore[assignment]  # earlier campaigns keep their digests
        return sha256(msgspec.json.encode(request, order="sorted")).digest()


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected course of a campaign. Times in UTC seconds; ``ends_at`` None: it would never end."""

    counts: RecipientCounts
    starts_at: float
    ends_at: float | None


class Campaigns:
    """One for the process. ``find`` returns the active unit or raises UnknownUnit."""

    def __init__(
        self,
        pool: Pool,
        feeder: OutboxFeeder,
        find: Callable[[UnitId], Unit],
        region: str = "BR",
        clock: Callable[[], float] = time.time,
        check_url: Callable[[str], Awaitable[str]] = check_media_url,
        erasure_key: bytes = b"",
        new_id: Callable[[], UUID] = uuid4,
        checks: NumberChecks | None = None,
    ) -> None:
        self._checks = checks
        self._erasure_key = erasure_key
        self._pool = pool
        self._feeder = feeder
        self._find = find
        self.suppressions = Suppressions(pool, find, region, clock, erasure_key)
        self._clock = clock
        self._new_id = new_id
        self._check_url = check_url
        self._loader = RecipientLoader(region)
        self._create_lock = trio.Lock()  # repeated requests wait here instead of holding a connection each

    async def create(self, unit: UnitId, plan: CampaignPlan) -> tuple[UUID, bool]:
        """Create a campaign with its recipients in one transaction; return its id, and whether it is new.

        Raises UnknownUnit, CampaignConflict, InvalidCampaign, InvalidTemplate, InvalidRecipients, NoRecipients, and
        what ``check_url`` raises.
        """
        self._find(unit)
        known = await self._find_repeated(unit, plan)
        if known is not None:
            return known, False
        if len(plan.recipients) > MAX_RECIPIENTS:
            raise InvalidRecipients(Sentence("a campaign has at most {limit} recipients", limit=MAX_RECIPIENTS))
        _require_start(plan.start_at)
        template = await self._template(unit, plan)
        checked = await self._loader.check(plan.recipients, template)
        id, now = self._new_id(), self._clock()
        times = (plan.timing, plan.start_at)
        wordings = tuple(text_of_content(each.outgoing.content) or "" for each in template.wordings)
        new = NewCampaign(id, plan.name, template.outgoing, *times, plan.client_id, plan.digest, now, wordings)
        async with self._create_lock, self._pool.connection() as conn, conn.transaction():
            created = await campaigns.insert_campaign(conn, unit, new)
            if created:
                await self._insert_recipients(conn, unit, id, checked)
                if plan.start:
                    await self._apply(conn, unit, id, CampaignCommand.START)
        if not created:
            known = await self._find_repeated(unit, plan)
            assert known is not None
            return known, False
        self._feeder.campaign_changed(unit, id)
        return id, True

    async def _find_repeated(self, unit: UnitId, plan: CampaignPlan) -> UUID | None:
        """Find the campaign of an earlier identical request. Raises CampaignConflict if that request was another."""
        if plan.client_id is None:
            return None
        async with self._pool.connection() as conn:
            found = await campaigns.find_by_client_id(conn, unit, plan.client_id)
        if found is not None and found[1] != plan.digest:
            raise CampaignConflict("this clientCampaignId stands for a campaign that was asked for in other words")
        return found[0] if found is not None else None

    async def _insert_recipients(self, conn: Connection, unit: UnitId, id: UUID, checked: Batch) -> None:
        for batch in batches(checked):
            refusals = await self._find_refusals(conn, unit, id, batch)
            await campaigns.insert_recipients(conn, unit, id, with_refusals(batch, refusals))

    async def load(
        self, unit: UnitId, id: UUID, source: RecipientSource, *, check_numbers: bool = False
    ) -> RecipientCounts:
        """Add a list to a campaign that is not started: all of it, or nothing.

        ``check_numbers``: leave out who is not on WhatsApp, as far as that is known or can be asked now.

        Recipients are stored, and counted in answers, as they arrive. If the list is not read to its end (an error,
        cancellation, a kill) all of them are deleted again. Raises UnknownUnit, UnknownCampaign, NotFillable,
        InvalidRecipients, TooManyLists.
        """
        self._find(unit)
        async with self._pool.connection() as conn:
            found = await campaigns.find_plan(conn, unit, id)
        if found is None:
            raise UnknownCampaign("the unit has no such campaign")
        state = CampaignState.LOADING if id in self._feeder.loading else found[0].state
        if state is not CampaignState.READY:
            words = STATE_WORDS[state]
            raise NotFillable(
                Sentence("the campaign is {state}: recipients are added before it is started", state=words)
            )
        self._feeder.loading.add(id)
        try:
            return await self._load(unit, id, source, check_numbers)
        finally:
            self._feeder.loading.discard(id)

    async def _load(self, unit: UnitId, id: UUID, source: RecipientSource, check_numbers: bool) -> RecipientCounts:
        counts = RecipientCounts()

        async def store(batch: Batch) -> None:
            async with self._pool.connection() as conn:
                await campaigns.insert_recipients(conn, unit, id, batch)

        done = False
        try:
            async with self._pool.connection() as conn:
                begun = await campaigns.begin_load(conn, unit, id)
            if begun is None:
                raise NotFillable("the campaign was started or cancelled just now")
            first, template = begun
            finder = self._refusal_finder(unit, id, counts if check_numbers else None)
            await self._loader.read(source, template, first, finder, counts, store)
            async with self._pool.connection() as conn:
                done = await campaigns.end_load(conn, id)
            if not done:
                raise NotFillable("the list was taken back meanwhile")
        finally:
            if not done:
                await self._abandon_load(id)
        return counts

    async def _abandon_load(self, id: UUID) -> None:
        """Delete what was loaded, shielded from cancellation for a few seconds; after that the feeder does it."""
        with trio.move_on_after(CLEAN_UP_TIMEOUT, shield=True):
            try:
                async with self._pool.connection() as conn:
                    await campaigns.abandon_load(conn, id)
            except RemoteError as away:
                _LOG.warning("A list that was not read to its end waits to be taken back", error=str(away))

    def _refusal_finder(self, unit: UnitId, id: UUID | None, checked: RecipientCounts | None = None) -> FindRefusals:
        """``checked``: numbers are looked up, and these counts told of it."""
        numbers: NumberRefusals | None = None
        if checked is not None and self._checks is not None:
            numbers = NumberRefusals(self._checks, self._find(unit), checked)

        async def find_refusals(batch: Batch) -> dict[int, str]:
            async with self._pool.connection() as conn:
                refused = await self._find_refusals(conn, unit, id, batch)
            if numbers is None:
                return refused
            others = {one.number: one for one in batch if one.reason is None and one.number not in refused}
            return refused | await numbers.find(others)

        return find_refusals

    async def _find_refusals(self, conn: Connection, unit: UnitId, id: UUID | None, batch: Batch) -> dict[int, str]:
        refusals = await campaigns.find_excluded(conn, unit, id, batch)
        accepted = {checked.number: checked.recipient for checked in batch if checked.reason is None}
        return refusals | await find_earlier_opt_outs(conn, self._erasure_key, unit, accepted)

    async def _template(self, unit: UnitId, plan: CampaignPlan) -> MessageTemplate:
        """What recipients get. Raises InvalidCampaign, InvalidTemplate, and what ``check_url`` raises."""
        content, wordings = await self._check_content(unit, plan.content), [clean_text(one) for one in plan.wordings]
        if wordings and not isinstance(content, Text) and content.kind in (MessageKind.AUDIO, MessageKind.VOICE):
            raise InvalidCampaign("WhatsApp shows no caption with audio", "wordings")
        if not all(one.strip() for one in wordings):
            raise InvalidCampaign("the text is empty", "wordings")
        return MessageTemplate.parse(OutgoingMessage(content), wordings)

    async def _check_content(self, unit: UnitId, content: Text | File) -> Text | File:
        """Return the content cleaned and complete. Raises InvalidCampaign, and what ``check_url`` raises."""
        if isinstance(content, Text):
            text = clean_text(content.text)
            if not text.strip():
                raise InvalidCampaign("the text is empty", "text")
            return msgspec.structs.replace(content, text=text)
        if content.kind not in _FILES:
            raise InvalidCampaign(Sentence("a file is one of {kinds}", kinds=", ".join(sorted(_FILES))), content.kind)
        if (content.url is None) == (content.upload is None):
            raise InvalidCampaign("a file has either a url or an upload", content.kind)
        if content.caption is not None and content.kind in (MessageKind.AUDIO, MessageKind.VOICE):
            raise InvalidCampaign("WhatsApp shows no caption with audio", "audio")
        content = msgspec.structs.replace(
            content,
            caption=clean_text(content.caption) if content.caption is not None else None,
            file_name=clean_text(content.file_name) if content.file_name is not None else None,
        )
        if content.url is not None:
            return complete_file(content, await self._check_url(content.url), None)
        assert content.upload is not None
        async with self._pool.connection() as conn:
            upload = await find_upload(conn, unit, content.upload)
        if upload is None:
            raise InvalidCampaign("the unit has no such upload", "upload")
        return complete_file(content, None, upload)

    async def forecast(
        self, unit: UnitId, plan: CampaignPlan, source: RecipientCsv | None = None, *, check_numbers: bool = False
    ) -> Forecast:
        """Forecast a campaign with the plan's recipients, or with a CSV instead; of the campaign nothing is stored.

        Raises as ``create``, and TooManyLists.
        """
        self._find(unit)
        _require_start(plan.start_at)
        template, counts = await self._template(unit, plan), RecipientCounts()
        recipients = plan.recipients if source is None else source
        finder = self._refusal_finder(unit, None, counts if check_numbers else None)
        await self._loader.read(recipients, template, 1, finder, counts)
        return await self._forecast(unit, plan.timing, plan.start_at, counts)

    async def forecast_load(
        self, unit: UnitId, id: UUID, source: RecipientSource, *, check_numbers: bool = False
    ) -> Forecast:
        """Forecast a campaign with a list added to it; nothing is stored. Raises as ``load``."""
        self._find(unit)
        async with self._pool.connection() as conn:
            found = await campaigns.find_plan(conn, unit, id)
        if found is None:
            raise UnknownCampaign("the unit has no such campaign")
        held, first, pending = found
        template, counts = held.template, RecipientCounts()
        finder = self._refusal_finder(unit, id, counts if check_numbers else None)
        await self._loader.read(source, template, first, finder, counts)
        return await self._forecast(unit, held.timing, held.start_at, counts, pending)

    async def _forecast(
        self, unit: UnitId, timing: CampaignTiming, start_at: float | None, counts: RecipientCounts, pending: int = 0
    ) -> Forecast:
        now = self._clock()
        start = max(now, start_at or now)
        async with self._pool.connection() as conn:
            pace = await read_pace(conn, unit)
            assert pace is not None
            today = await count_calls_since(conn, unit, day_began(now, pace.zone))
        opens = timing.opens_at(pace, start)
        calls = today if local_day(start, pace.zone) == local_day(now, pace.zone) else {}
        ends = estimate_end(
            counts.accepted + pending, timing, pace, start, sum(calls.values()), calls.get(Lane.CAMPAIGN, 0)
        )
        return Forecast(counts, start if opens is None else opens, ends)

    async def change_state(self, unit: UnitId, id: UUID, command: CampaignCommand) -> int:
        """Start, pause, resume, cancel, or retry failed recipients; return how many are retried, else 0.

        Idempotent. Raises UnknownUnit, UnknownCampaign, WrongCampaignState, NoRecipients.
        """
        self._find(unit)
        async with self._pool.connection() as conn, conn.transaction():
            count = await self._apply(conn, unit, id, command)
        self._feeder.campaign_changed(unit, id)
        return count

    async def _apply(self, conn: Connection, unit: UnitId, id: UUID, command: CampaignCommand) -> int:
        held = await campaigns.lock_campaign(conn, unit, id)
        if held is None:
            raise UnknownCampaign("the unit has no such campaign")
        now, count = self._clock(), 0
        state = next_state(command, held.state, held.start_at, now)
        if state is None:
            return 0
        if command is CampaignCommand.RETRY_FAILED:
            count = await campaigns.retry_failed(conn, id)
            if count == 0:
                return 0
        if command in (CampaignCommand.START, CampaignCommand.RESUME, CampaignCommand.RETRY_FAILED):
            pending = await campaigns.skip_opted_out(conn, id)
            if command is CampaignCommand.START and not pending:
                raise NoRecipients("the campaign has nobody to write to; add recipients first")
        if command is CampaignCommand.CANCEL:
            await campaigns.cancel_remaining(conn, id, now)
        await campaigns.set_state(conn, id, state, now)
        return count


def _require_start(start_at: float | None) -> None:
    """Raises InvalidCampaign."""
    if start_at is not None and not _EARLIEST <= start_at <= _LATEST:
        raise InvalidCampaign("startAt is between the years 2009 and 2100", "startAt")
