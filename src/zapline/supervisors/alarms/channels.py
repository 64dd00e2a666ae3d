"""Tells one notice to one destination: by e-mail, by a signed webhook, or by the line of a unit that is open."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import structlog

from zapline.crm.webhook_client import CrmWebhookClient, NotDelivered
from zapline.domain.alarms.destinations import GIVE_UP_AFTER, DestinationKind
from zapline.domain.alarms.incidents import Incident, NoticeKind
from zapline.domain.crm_webhook_signature import sign_webhook, webhook_id
from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import Text
from zapline.domain.timestamps import iso
from zapline.sql.health.alarms import Destination
from zapline.supervisors.alarms.smtp_mail import Mail, MailClient, MailRefused
from zapline.supervisors.alarms.troubles import line_key
from zapline.supervisors.health.line_checks import LineStanding, line_standing
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.message_composition import SendRequest
from zapline.supervisors.outbound.submission import Submissions

TEST = "test"
_USER_AGENT = "Zapline-Alarms/1"
_TYPES = {
    NoticeKind.ALARM.value: "failure",
    NoticeKind.UPDATE.value: "failure",
    NoticeKind.REMINDER.value: "warning",
    NoticeKind.ALL_CLEAR.value: "success",
}
"""Words of Apprise's API, which takes these bodies as they are."""
_LOG = structlog.get_logger(scope="Alarms")


class NotTold(RemoteError):
    """The destination was not reached. ``code`` is a short snake_case word."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class AlarmText:
    """What people read. Phones in it are masked."""

    title: str
    body: str


class Words(Protocol):
    """Writes a notice (or, without an incident, a test) in a language."""

    def __call__(self, kind: NoticeKind | None, incident: Incident | None, language: str, at: float) -> AlarmText: ...


@dataclass(frozen=True, slots=True)
class Telling:
    """What is told: ``id`` is the same at every try, ``at`` (UTC seconds) is when it was said first."""

    id: UUID
    kind: NoticeKind | None
    incident: Incident | None
    at: float


class SiblingLines:
    """Chooses the line that tells an alarm: one that is open, and of which nothing is told."""

    def __init__(self, find: Callable[[UnitId], Unit | None], outgoing: Submissions) -> None:
        self._find = find
        self._outgoing = outgoing

    def choose(self, units: Sequence[UnitId], fallen: Collection[str]) -> UnitId | None:
        """The first of the units whose line is open and not among ``fallen`` (keys of troubles)."""
        for id in units:
            unit = self._find(id)
            if unit is None or unit.record.archived_at is not None or unit.record.paused_at is not None:
                continue
            if line_standing(unit.shown) is LineStanding.CONNECTED and line_key(unit) not in fallen:
                return id
        return None

    async def tell(self, units: Sequence[UnitId], phone: str, telling: Telling, text: AlarmText) -> None:
        """Queue the text at a sibling's line, at its pace. Raises NotTold, DatabaseUnavailable."""
        fallen = {member.key for member in telling.incident.wrong} if telling.incident is not None else set()
        unit = self.choose(units, fallen)
        if unit is None:
            raise NotTold("no_line_open")
        content = Text(f"*{text.title}*\n{text.body}", link_preview=False)
        until = telling.at + GIVE_UP_AFTER
        try:
            await self._outgoing.send(unit, SendRequest(f"alarm-{telling.id}", content, to=phone, expires_at=until))
        except LocalError:
            raise NotTold("message_refused") from None


class Channels:
    """One for the process. ``mail`` None: no SMTP server is set. ``key_of`` derives a webhook's signing key."""

    def __init__(
        self,
        words: Words,
        mail: MailClient | None,
        http: CrmWebhookClient,
        key_of: Callable[[UUID, int], bytes],
        lines: SiblingLines | None,
        clock: Callable[[], float],
        base_url: str = "",
    ) -> None:
        self._words = words
        self._mail = mail
        self._http = http
        self._key_of = key_of
        self._lines = lines
        self._clock = clock
        self._console = f"{base_url}/console"

    @property
    def has_mail(self) -> bool:
        return self._mail is not None

    async def tell(self, to: Destination, target: str, telling: Telling) -> None:
        """Tell it once. ``target``: the destination's address. Raises NotTold, DatabaseUnavailable (of a line).

        Cancelled, it may have arrived.
        """
        try:
            await self._tell(to, target, telling)
        except RemoteError:
            raise
        except Exception as unforeseen:  # noqa: BLE001 - one destination must not end the telling of all others
            _LOG.error("A notice could not be told", error=type(unforeseen).__name__, to=to.shown)
            raise NotTold("unforeseen") from None

    async def _tell(self, to: Destination, target: str, telling: Telling) -> None:
        text = self._words(telling.kind, telling.incident, to.language, telling.at)
        text = AlarmText(text.title, f"{text.body}\n\n{self._console}")
        match to.kind:
            case DestinationKind.EMAIL:
                await self._send_mail(target, telling, text)
            case DestinationKind.WEBHOOK:
                await self._post(to, target, telling, text)
            case DestinationKind.LINE:
                if self._lines is None:
                    raise NotTold("no_line_open")
                await self._lines.tell(to.units, target, telling, text)

    async def _send_mail(self, target: str, telling: Telling, text: AlarmText) -> None:
        if self._mail is None:
            raise NotTold("no_mail_server")
        thread = telling.incident.id if telling.incident is not None else None
        try:
            await self._mail.send(Mail(telling.id, target, text.title, text.body, telling.at, thread))
        except MailRefused as refused:
            raise NotTold(refused.code) from None

    async def _post(self, to: Destination, target: str, telling: Telling, text: AlarmText) -> None:
        body = webhook_body(telling, text)
        id, timestamp = webhook_id(telling.id), int(self._clock())
        headers = {
            "Host": urlsplit(target).netloc,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": _USER_AGENT,
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign_webhook([self._key_of(to.id, to.generation)], id, timestamp, body),
        }
        try:
            answer = await self._http.post(target, headers, body)
        except NotDelivered as failure:
            raise NotTold(failure.code) from None
        if not 200 <= answer.status < 300:
            raise NotTold(f"status_{answer.status}")


def webhook_body(telling: Telling, text: AlarmText) -> bytes:
    """The body of a webhook: for people as ``title`` and ``body``, for programs the incident and what is wrong."""
    event = telling.kind.value if telling.kind is not None else TEST
    incident = telling.incident
    body: dict[str, object] = {
        "type": _TYPES.get(event, "info"),
        "title": text.title,
        "body": text.body,
        "event": event,
        "id": str(telling.id),
        "at": iso(telling.at),
    }
    if incident is not None:
        body["incident"] = {
            "id": str(incident.id),
            "number": incident.said,
            "openedAt": iso(incident.opened_at),
            "closedAt": iso(incident.closed_at),
            "members": [
                {
                    "key": member.key,
                    "name": member.trouble.name,
                    "reason": member.trouble.reason or None,
                    "since": iso(member.trouble.since),
                    "wellSince": iso(member.well_since),
                    "falls": member.falls,
                }
                for member in incident.members
            ],
        }
    return msgspec.json.encode(body)
