"""Privacy: what is stored of a person, its export and erasure, and how long messages are kept."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from quart import Response

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.http.api.accounts.privacy import export_response
from zapline.http.api.framework.problems import Problem
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout, NavigationLink, query_text
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.inbox.conversation_list import conversation_row, is_searchable
from zapline.sql.conversations import inbox
from zapline.sql.conversations.inbox import ChatHeader
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy import erasure, export
from zapline.sql.privacy.export import Person
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.privacy.erasure_jobs import ErasureJobs
from zapline.supervisors.units.unit_commands import UnitCommands

PATH = "/console/units/{unit}/privacy"
_MAX_FOUND = 20
_MAX_JOBS = 20
_CONFIRMED_DIGITS = 4
"""Digits that the operator types to erase: enough to have looked at whom it concerns."""
_WAITING_FOR: Mapping[str, str] = {
    "call": N_("waits for a message that is being sent"),
    "journal": N_("waits for webhooks that are being stored"),
    "files": N_("waits for files that are being removed"),
}
_ERASED_KINDS: Mapping[str, str] = {
    "messages": N_("messages"),
    "journal": N_("webhooks in the journal"),
    "letters": N_("dead letters"),
    "reactions": N_("reactions"),
    "recipients": N_("places on campaign lists"),
    "suppressions": N_("opt-outs"),
    "cancelled": N_("queued messages"),
    "mentions": N_("mentions by others"),
    "contacts": N_("contacts"),
    "conversations": N_("conversations"),
}


class PrivacyPage:
    """``/console/units/{unit}/privacy``."""

    def __init__(self, layout: Layout, commands: UnitCommands, erasures: ErasureJobs, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._erasures = erasures
        self._pool = pool

    def attach(self) -> None:
        path = "/console/units/<uuid:unit>/privacy"
        self._layout.get(path, "privacy", self.show)
        self._layout.get(f"{path}/jobs", "privacy_jobs", self.jobs)
        self._layout.post(f"{path}/export", "privacy_export", self.export)
        self._layout.post(f"{path}/erase", "privacy_erase", self.erase)
        self._layout.add_tab(NavigationLink("privacy", N_("Privacy"), PATH, 80))

    async def show(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        search = query_text("q")
        chosen = _contact_id(query_text("contact", 40))
        chats = await inbox.search_chats(self._pool, record.id, search, _MAX_FOUND) if is_searchable(search) else []
        values = await self._person_values(record, chosen) if chosen is not None else {}
        return self._page(
            record, await self._job_values(record), search, [conversation_row(chat) for chat in chats], **values
        )

    async def jobs(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        return self._layout.render("privacy_jobs.html", **await self._job_values(record))

    async def export(self, unit: UUID) -> Response:
        """Everything stored of a person as one JSON file; the export itself is audited."""
        record, head, person = await self._requested_person(unit)
        async with self._layout.audited("export_person", record.id, str(head.id)):
            pass
        return export_response(self._pool, person)

    async def erase(self, unit: UUID) -> Response:
        """Start to erase a person whose last digits were typed."""
        record, head, _person = await self._requested_person(unit)
        base = PATH.format(unit=record.id)
        if (await read_form()).text("digits", 20) != _last_digits(head):
            page = f"{base}?contact={head.id}"
            return self._layout.redirect(page, Tone.BAD, _("These are not the last four digits. Nothing was erased."))
        try:
            async with self._layout.audited("erase_person", record.id, str(head.id)) as line:
                line.note(who=f"****{_last_digits(head)}")
                await self._erasures.request(record.id, id=head.id)
        except ZaplineError as error:
            return self._layout.redirect(base, Tone.BAD, error_text(error))
        return self._layout.redirect(base, Tone.GOOD, _("The person is being erased. This cannot be taken back."))

    async def _requested_person(self, unit: UUID) -> tuple[UnitRecord, ChatHeader, Person]:
        record = self._commands.find(UnitId(unit)).record
        head, person = await self._person(record, (await read_form()).uuid("contact"))
        if head is None or person is None:
            raise Problem(404, "contact_not_found", "the unit has no such contact")
        return record, head, person

    async def _person(self, record: UnitRecord, conversation: UUID) -> tuple[ChatHeader | None, Person | None]:
        head = await inbox.find_chat(self._pool, record.id, conversation)
        person = await export.find_person(self._pool, record.id, (), head.id) if head is not None else None
        return head, person

    async def _person_values(self, record: UnitRecord, conversation: UUID) -> dict[str, Any]:
        head, person = await self._person(record, conversation)
        if head is None:
            raise Problem(404, "contact_not_found", "the unit has no such contact")
        if person is None:
            return {"refused": _("This is a group. People are erased one by one, with what they wrote here too.")}
        counts = await export.count_personal_data(self._pool, record.id, person.names)
        return {"head": head, "counts": counts, "lid_only": head.phone is None}

    async def _job_values(self, record: UnitRecord) -> dict[str, Any]:
        jobs = await erasure.list_erasures(self._pool, record.id, None, _MAX_JOBS)
        return {
            "jobs": [
                {
                    "job": job,
                    "waiting_for": _(_WAITING_FOR[job.waits_for])
                    if job.waits_for is not None and job.waits_for in _WAITING_FOR
                    else "",
                    "counts": [
                        (_(label), job.counts[kind]) for kind, label in _ERASED_KINDS.items() if job.counts.get(kind)
                    ],
                }
                for job in jobs
            ],
            "running": any(job.state == "running" for job in jobs),
            "zone": record.time_zone,
            "unit": record,
        }

    def _page(self, record: UnitRecord, jobs: dict[str, Any], search: str, found: list[Any], **person: Any) -> Response:
        person = {"head": None, "counts": None, "lid_only": False, "refused": ""} | person
        return self._layout.render(
            "privacy.html",
            at="privacy",
            search=search,
            found=found,
            base=PATH.format(unit=record.id),
            searched=is_searchable(search),
            **jobs,
            **person,
        )


def _last_digits(head: ChatHeader) -> str:
    """The last digits of the phone, or of the LID of a person who hides it."""
    digits = "".join(filter(str.isdigit, head.phone or head.lid or head.canonical))
    return digits[-_CONFIRMED_DIGITS:]


def _contact_id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise Problem(404, "contact_not_found", "the unit has no such contact") from None
