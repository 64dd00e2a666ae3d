"""Accepts what people ask about campaigns: make, fill, try out, start, stop; and who wants none."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID, uuid4

import msgspec
import structlog
import trio

from zapline.domain.campaigns.recipients_csv import MOST_RECIPIENTS, InvalidRecipients, Judged, Tally, read_phone
from zapline.domain.campaigns.states import Ask, CampaignState, Timing, estimate_end, follow
from zapline.domain.campaigns.text_templates import Letter
from zapline.domain.contacts.phone_numbers import InvalidPhone
from zapline.domain.errors import LocalError, RemoteError, Unfit
from zapline.domain.ids import UnitId
from zapline.domain.messages.events import Kind
from zapline.domain.outbox.rate_limits import day_began, local_day
from zapline.domain.outbox.work_states import File, Lane, Outgoing, Text
from zapline.domain.text import clean_text
from zapline.sql.campaigns import campaigns
from zapline.sql.campaigns.campaigns import NewCampaign
from zapline.sql.inbound import opt_outs
from zapline.sql.outbound.claims import calls_today, read_pace
from zapline.sql.outbound.outbox import find_upload
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy.erasure import forget_opt_out, opted_out_before
from zapline.supervisors.campaigns.feeder import Feeder
from zapline.supervisors.campaigns.recipient_loading import Csv, Listed, Lists, parted, refused
from zapline.supervisors.outbound.media_url_check import check_media_url
from zapline.supervisors.outbound.message_composition import file_of

CLEAN_UP_WITHIN = 5.0
"""Seconds to take back a list that was given up; after that the feeder does it."""
_FILES = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.VOICE, Kind.DOCUMENT})
_LOG = structlog.get_logger(scope="Campaigns")


_EARLIEST, _LATEST = 1_230_768_000, 4_102_444_800
"""2009 and 2100: a start outside is a mistake."""


class UnknownCampaign(LocalError):
    """The unit has no such campaign."""


class CampaignConflict(LocalError):
    """The client's id stands for another campaign."""


class NotFillable(LocalError):
    """The campaign takes no recipients as it stands."""


class NoRecipients(LocalError):
    """Nobody on the list can be written to."""


class InvalidCampaign(Unfit):
    """What is asked for is no campaign; the text says why."""


class UnknownSuppression(LocalError):
    """Campaigns were never kept from this contact."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign as somebody asks for it. ``start_at`` in UTC seconds; ``start``: once it is made."""

    name: str
    content: Text | File
    listed: Listed = ()
    timing: Timing = field(default_factory=Timing)
    start_at: float | None = None
    client_id: str | None = None
    start: bool = False

    @property
    def digest(self) -> bytes:
        """Tells a repetition from another request."""
        timing = (self.timing.seconds, self.timing.window_from, self.timing.window_until)
        told = (self.name, self.content, self.listed, timing, self.start_at, self.start)
        return sha256(msgspec.json.encode(told, order="sorted")).digest()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of a campaign. Times in UTC seconds; ``ends_at`` None: it would never end."""

    tally: Tally
    starts_at: float
    ends_at: float | None


class Campaigns:
    """One for the process. ``find`` gives the active unit or raises; ``region`` is that of phones without country."""

    def __init__(
        self,
        pool: Pool,
        feeder: Feeder,
        find: Callable[[UnitId], object],
        region: str = "BR",
        clock: Callable[[], float] = time.time,
        check_url: Callable[[str], Awaitable[str]] = check_media_url,
        erasure_key: bytes = b"",
    ) -> None:
        self._erasure_key = erasure_key
        self._pool = pool
        self._feeder = feeder
        self._find = find
        self._region = region
        self._clock = clock
        self._check_url = check_url
        self._lists = Lists(region)
        self._making = trio.Lock()  # the same request fifty times at once waits here, and not in the database

    # -- making and filling --------------------------------------------------------------------------------------

    async def create(self, unit: UnitId, plan: Plan) -> tuple[UUID, bool]:
        """Make a campaign, its recipients with it, in one transaction; its id and whether it is new.

        Raises UnknownUnit, CampaignConflict, InvalidCampaign, InvalidTemplate, InvalidRecipients, NoRecipients, and
        what is wrong with a media URL.
        """
        self._find(unit)
        known = await self._known(unit, plan)
        if known is not None:
            return known, False
        if len(plan.listed) > MOST_RECIPIENTS:
            raise InvalidRecipients(f"a campaign has at most {MOST_RECIPIENTS:,} recipients")
        _require_start(plan.start_at)
        letter = Letter.read(Outgoing(await self._checked(unit, plan.content)))
        judged = await self._lists.judge(plan.listed, letter)
        id, now = uuid4(), self._clock()
        new = NewCampaign(id, plan.name, letter.outgoing, plan.timing, plan.start_at, plan.client_id, plan.digest, now)
        async with self._making, self._pool.connection() as conn, conn.transaction():
            made = await campaigns.insert_campaign(conn, unit, new)
            if made:
                await self._fill(conn, unit, id, judged)
                if plan.start:
                    await self._move(conn, unit, id, Ask.START)
        if not made:
            known = await self._known(unit, plan)
            assert known is not None
            return known, False
        self._feeder.changed(unit, id)
        return id, True

    async def _known(self, unit: UnitId, plan: Plan) -> UUID | None:
        """The campaign that this very request has made before. Raises CampaignConflict."""
        if plan.client_id is None:
            return None
        async with self._pool.connection() as conn:
            found = await campaigns.find_by_client_id(conn, unit, plan.client_id)
        if found is not None and found[1] != plan.digest:
            raise CampaignConflict("this clientCampaignId stands for a campaign that was asked for in other words")
        return found[0] if found is not None else None

    async def _fill(self, conn: Connection, unit: UnitId, id: UUID, judged: Sequence[Judged]) -> None:
        for part in parted(judged):
            unfit = await self._find_unfit(conn, unit, id, part)
            await campaigns.insert_recipients(conn, unit, id, refused(part, unfit))

    async def load(self, unit: UnitId, id: UUID, source: Csv | Listed) -> Tally:
        """Add a list to a campaign that is not started: all of it, or nothing.

        Its recipients are stored while they come in, and counted where the campaign is shown; they are taken back
        where the list is not read to its end, also when the process is killed. Raises UnknownUnit,
        UnknownCampaign, NotFillable, InvalidRecipients, TooManyLists. Cancellation takes the list back.
        """
        self._find(unit)
        async with self._pool.connection() as conn:
            found = await campaigns.look_at(conn, unit, id)
        if found is None:
            raise UnknownCampaign("the unit has no such campaign")
        state = CampaignState.LOADING if id in self._feeder.loading else found[0].state
        if state is not CampaignState.READY:
            raise NotFillable(f"the campaign is {state.value}: recipients are added before it is started")
        self._feeder.loading.add(id)
        try:
            return await self._load(unit, id, source)
        finally:
            self._feeder.loading.discard(id)

    async def _load(self, unit: UnitId, id: UUID, source: Csv | Listed) -> Tally:
        tally = Tally()

        async def store(part: Sequence[Judged]) -> None:
            async with self._pool.connection() as conn:
                await campaigns.insert_recipients(conn, unit, id, part)

        done = False
        try:
            async with self._pool.connection() as conn:
                begun = await campaigns.begin_load(conn, unit, id)
            if begun is None:
                raise NotFillable("the campaign was started or cancelled just now")
            first, outgoing = begun
            letter = Letter.read(outgoing)
            await self._lists.read(source, letter, first, unfit=self._unfit(unit, id), store=store, tally=tally)
            async with self._pool.connection() as conn:
                done = await campaigns.end_load(conn, id)
            if not done:
                raise NotFillable("the list was taken back meanwhile")
        finally:
            if not done:
                await self._take_back(id)
        return tally

    async def _take_back(self, id: UUID) -> None:
        """Also when cancelled, for a few seconds; what is left then is taken back by the feeder."""
        with trio.move_on_after(CLEAN_UP_WITHIN, shield=True):
            try:
                async with self._pool.connection() as conn:
                    await campaigns.abandon_load(conn, id)
            except RemoteError as away:
                _LOG.warning("A list that was not read to its end waits to be taken back", error=str(away))

    def _unfit(self, unit: UnitId, id: UUID | None) -> Callable[[Sequence[Judged]], Awaitable[dict[int, str]]]:
        async def unfit(part: Sequence[Judged]) -> dict[int, str]:
            async with self._pool.connection() as conn:
                return await self._find_unfit(conn, unit, id, part)

        return unfit

    async def _find_unfit(
        self, conn: Connection, unit: UnitId, id: UUID | None, part: Sequence[Judged]
    ) -> dict[int, str]:
        found = await campaigns.find_unfit(conn, unit, id, part)
        asked = {one.number: one.recipient for one in part if one.reason is None}
        return found | await opted_out_before(conn, self._erasure_key, unit, asked)

    async def _checked(self, unit: UnitId, content: Text | File) -> Text | File:
        """The content, cleaned. Raises InvalidCampaign, and what is wrong with a media URL."""
        if isinstance(content, Text):
            text = clean_text(content.text)
            if not text.strip():
                raise InvalidCampaign("the text is empty", "text")
            return msgspec.structs.replace(content, text=text)
        if content.kind not in _FILES:
            raise InvalidCampaign(f"a file is one of {', '.join(sorted(_FILES))}", content.kind)
        if (content.url is None) == (content.upload is None):
            raise InvalidCampaign("a file has either a url or an upload", content.kind)
        if content.caption is not None and content.kind in (Kind.AUDIO, Kind.VOICE):
            raise InvalidCampaign("WhatsApp shows no caption with audio", "audio")
        content = msgspec.structs.replace(
            content,
            caption=clean_text(content.caption) if content.caption is not None else None,
            file_name=clean_text(content.file_name) if content.file_name is not None else None,
        )
        if content.url is not None:
            return file_of(content, await self._check_url(content.url), None)
        assert content.upload is not None
        async with self._pool.connection() as conn:
            upload = await find_upload(conn, unit, content.upload)
        if upload is None:
            raise InvalidCampaign("the unit has no such upload", "upload")
        return file_of(content, None, upload)

    # -- trying out ----------------------------------------------------------------------------------------------

    async def try_out(self, unit: UnitId, plan: Plan, source: Csv | None = None) -> Forecast:
        """What would become of a campaign with the plan's list, or a CSV instead; nothing is stored.

        Raises as ``create``, and TooManyLists.
        """
        self._find(unit)
        _require_start(plan.start_at)
        letter = Letter.read(Outgoing(await self._checked(unit, plan.content)))
        tally = Tally()
        listed = plan.listed if source is None else source
        await self._lists.read(listed, letter, 1, unfit=self._unfit(unit, None), store=None, tally=tally)
        return await self._forecast(unit, plan.timing, plan.start_at, tally)

    async def try_list(self, unit: UnitId, id: UUID, source: Csv | Listed) -> Forecast:
        """What would become of a list added to a campaign, and when that would end; nothing is stored."""
        self._find(unit)
        async with self._pool.connection() as conn:
            found = await campaigns.look_at(conn, unit, id)
        if found is None:
            raise UnknownCampaign("the unit has no such campaign")
        held, first, pending = found
        letter, tally = Letter.read(held.outgoing), Tally()
        await self._lists.read(source, letter, first, unfit=self._unfit(unit, id), store=None, tally=tally)
        return await self._forecast(unit, held.timing, held.start_at, tally, pending)

    async def _forecast(
        self, unit: UnitId, timing: Timing, start_at: float | None, tally: Tally, pending: int = 0
    ) -> Forecast:
        now = self._clock()
        start = max(now, start_at or now)
        async with self._pool.connection() as conn:
            pace = await read_pace(conn, unit)
            assert pace is not None
            today = await calls_today(conn, unit, day_began(now, pace.zone))
        opens = timing.opens_at(pace, start)
        counts = today if local_day(start, pace.zone) == local_day(now, pace.zone) else {}
        ends = estimate_end(
            tally.accepted + pending, timing, pace, start, sum(counts.values()), counts.get(Lane.CAMPAIGN, 0)
        )
        return Forecast(tally, start if opens is None else opens, ends)

    # -- control -------------------------------------------------------------------------------------------------

    async def ask(self, unit: UnitId, id: UUID, ask: Ask) -> int:
        """Start, pause, resume, cancel, or try again what failed: how many recipients that is, else 0.

        May be repeated. Raises UnknownUnit, UnknownCampaign, WrongCampaignState, NoRecipients.
        """
        self._find(unit)
        async with self._pool.connection() as conn, conn.transaction():
            count = await self._move(conn, unit, id, ask)
        self._feeder.changed(unit, id)
        return count

    async def _move(self, conn: Connection, unit: UnitId, id: UUID, ask: Ask) -> int:
        held = await campaigns.hold(conn, unit, id)
        if held is None:
            raise UnknownCampaign("the unit has no such campaign")
        now, count = self._clock(), 0
        state = follow(ask, held.state, held.start_at, now)
        if state is None:
            return 0
        if ask is Ask.RETRY_FAILED:
            count = await campaigns.retry_failed(conn, id)
            if count == 0:
                return 0
        if ask in (Ask.START, Ask.RESUME, Ask.RETRY_FAILED):
            pending = await campaigns.skip_opted_out(conn, id)
            if ask is Ask.START and not pending:
                raise NoRecipients("the campaign has nobody to write to; add recipients first")
        if ask is Ask.CANCEL:
            await campaigns.cancel_rest(conn, id, now)
        await campaigns.set_state(conn, id, state, now)
        return count

    # -- who wants none ------------------------------------------------------------------------------------------

    async def suppress(self, unit: UnitId, who: str) -> tuple[str, bool]:
        """Keep campaigns from a phone, or from a LID (``lid:`` and digits): its canonical name, and whether it is new.

        Raises UnknownUnit, InvalidPhone.
        """
        self._find(unit)
        canonical = self._canonical(who)
        async with self._pool.connection() as conn, conn.transaction():
            return canonical, await opt_outs.suppress(conn, unit, canonical, self._clock())

    async def release(self, unit: UnitId, who: str) -> None:
        """Let campaigns reach somebody again. Raises UnknownUnit, InvalidPhone, UnknownSuppression."""
        self._find(unit)
        canonical = self._canonical(who)
        async with self._pool.connection() as conn:
            before = await forget_opt_out(conn, self._erasure_key, unit, canonical)
            if not await opt_outs.release(conn, unit, canonical) and not before:
                raise UnknownSuppression("campaigns were not kept from this contact")

    def _canonical(self, who: str) -> str:
        lid = who.strip().lower().removeprefix("lid:")
        if lid != who.strip().lower() and lid.isascii() and lid.isdigit() and len(lid) <= 20:
            return f"lid:{lid}"
        phone = read_phone(who, self._region)
        if phone is None:
            raise InvalidPhone("this is neither a phone number nor a LID; write it with country and area code")
        return phone


def _require_start(start_at: float | None) -> None:
    """Raises InvalidCampaign for a time that no calendar of ours holds."""
    if start_at is not None and not _EARLIEST <= start_at <= _LATEST:
        raise InvalidCampaign("startAt is between the years 2009 and 2100", "startAt")
