"""Response bodies of units, their line and their queue."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from zapline.domain.ids import PROVIDER
from zapline.domain.line.evolution_servers import ENVIRONMENT
from zapline.domain.line.reasons import EXPLANATIONS, STATUS_OF_PHASE, Phase, Reason
from zapline.domain.line.server_versions import version_notes
from zapline.domain.line.state import StoredLineState
from zapline.domain.line.state_machine import QR_LIFE
from zapline.domain.line.webhook_registration import WebhookRegistrationMode
from zapline.domain.privacy.masking import MASKED
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, one_of
from zapline.http.api.framework.paging import Page
from zapline.sql.units.unit_totals import UnitTotals
from zapline.sql.units.units import ArchivedUnit
from zapline.supervisors.inbound.unit_state import Unit

_Status = Annotated[str, one_of(dict.fromkeys(STATUS_OF_PHASE.values()), "The line in one word.")]
_Reason = Annotated[Reason, Meta(description="Why the line is so, for programs.")]
_Phase = Annotated[Phase, Meta(description="Where the connection stands inside its machine.")]
_Sentence = Annotated[str, Meta(description="The reason as a sentence for people.")]
_Quarantined = Annotated[bool, Meta(description="Stopped after too many crashes; webhooks are kept meanwhile.")]
_Paused = Annotated[Timestamp | None, Meta(description="Since when nothing is sent, because somebody asked for that.")]
_HeldAt = Annotated[
    Timestamp | None,
    Meta(
        description="Since when campaigns wait for `.../release-campaigns`, because WhatsApp refused too much or "
        "confirmed nothing."
    ),
]
_HeldReason = Annotated[str | None, Meta(description="Why they do, as a failure's code.")]
_Server = Annotated[str, Meta(description="The Evolution server on which it lives.")]
_LastMessage = Annotated[Timestamp | None, Meta(description="When the latest message went in or out.")]


_Registration = Annotated[
    WebhookRegistrationMode,
    Meta(
        description="What is done about a webhook that somebody changed on Evolution: `enforce` sets it again, "
        "`observe` only tells."
    ),
]


class RegistrationBody(ResponseBody, frozen=True):
    """Whether Evolution delivers the unit's webhooks as it should, as the last check found."""

    mode: _Registration
    checked_at: Annotated[Timestamp | None, Meta(description="Null: not yet since the start.")]
    differences: Annotated[
        Sequence[str],
        Meta(
            description="What somebody has changed and is still so: missing, enabled, url, headers, events, base64, "
            "byEvents."
        ),
    ]
    restored_at: Annotated[Timestamp | None, Meta(description="When it was last set again.")]


class VersionNoteBody(ResponseBody, frozen=True):
    """Something that is known of the server's version."""

    sentence: str
    advice: str
    severe: Annotated[bool, Meta(description="Messages are lost because of it.")]


class EvolutionBody(ResponseBody, frozen=True):
    """The Evolution server that serves this line."""

    name: _Server
    version: Annotated[str | None, Meta(description="Null while it has not told.")]
    away_since: Annotated[Timestamp | None, Meta(description="Since when it does not answer.")]
    notes: Sequence[VersionNoteBody]


class UnitBody(ResponseBody, frozen=True):
    """A unit. `status`, `reason`, `phase` and `sentence` are null while its state has not been read."""

    id: UUID
    name: str
    instance: Annotated[str, Meta(description="Evolution's name for the line.")]
    status: _Status | None
    reason: _Reason | None
    phase: _Phase | None
    sentence: _Sentence | None
    quarantined: _Quarantined
    provider: str
    time_zone: Annotated[str, Meta(description="Of the IANA data base; quiet hours and windows are hours of it.")]
    created_at: Timestamp | None
    last_message_at: _LastMessage
    webhook_path: Annotated[str, Meta(description="Where Evolution delivers; the secret in it is never shown.")]
    secret_generation: Annotated[int | None, Meta(description="How often the webhook secret was replaced, plus one.")]
    paused_at: _Paused
    campaigns_held_at: _HeldAt
    campaigns_held_reason: _HeldReason
    retention_days: Annotated[int | None, Meta(description="Messages are deleted after so many days; null: never.")]
    webhook_registration: _Registration
    evolution_server: _Server | None
    archived_at: Timestamp | None = None


class UnitPage(Page[UnitBody], frozen=True):
    """Units in the order of their making."""


class ArchivedBody(ResponseBody, frozen=True):
    """A unit that was closed."""

    id: UUID
    archived_at: Timestamp | None


class RotatedBody(ResponseBody, frozen=True):
    """The webhook secret's generation since a rotation. The secret itself is never shown."""

    id: UUID
    secret_generation: int
    previous_valid_until: Annotated[Timestamp | None, Meta(description="Until then the one before is accepted too.")]


class QueueBody(ResponseBody, frozen=True):
    """What a unit has to do, and when it was last heard of."""

    queued: int
    oldest_queued_at: Annotated[Timestamp | None, Meta(description="Since when the oldest one that is due waits.")]
    uncertain: int
    dead: Annotated[int, Meta(description="Messages given up in the last day.")]
    dead_letters: Annotated[int, Meta(description="Dead letters that nobody has dealt with.")]
    last_inbound_at: Timestamp | None
    last_outbound_at: Timestamp | None


class SendingBody(ResponseBody, frozen=True):
    """How the unit's sender is."""

    state: str
    reason: Annotated[str | None, Meta(description="Why it does not send, as a failure's code.")]
    paused_until: Timestamp | None
    campaigns_paused_until: Timestamp | None


class ReconciliationBody(ResponseBody, frozen=True):
    """How the comparison with Evolution's own store is."""

    reconciled_until: Annotated[Timestamp | None, Meta(description="Up to here nothing is missing.")]
    gap_since: Annotated[Timestamp | None, Meta(description="Since when messages may be missing.")]
    running: bool
    store_kept: Annotated[bool | None, Meta(description="Whether Evolution keeps messages at all.")]
    error: str | None


class OutboundBody(ResponseBody, frozen=True):
    """How a unit's sending and its comparison with Evolution's store stand."""

    sending: SendingBody
    reconciliation: ReconciliationBody | None


class StatusBody(ResponseBody, frozen=True):
    """A unit's line. What is about the code is null unless there is one to scan."""

    status: _Status
    reason: _Reason
    qr_code: Annotated[str | None, Meta(description="The code to scan as `data:image/png;base64,...`.")]
    connected_at: Timestamp | None
    disconnected_at: Timestamp | None
    qr_updated_at: Timestamp | None
    last_update: Timestamp | None
    phase: _Phase
    sentence: _Sentence
    advice: Annotated[str, Meta(description="What to do next, as a sentence for people.")]
    wanted: Annotated[bool, Meta(description="Whether the line is to be connected; until somebody disconnects it.")]
    qr_text: Annotated[str | None, Meta(description="What the code says, for who draws it himself.")]
    pairing_code: Annotated[str | None, Meta(description="To be typed in on the phone instead of a scan.")]
    qr_expires_at: Timestamp | None
    qr_expired: bool | None
    profile_name: str | None
    owner_jid: Annotated[str | None, Meta(description="WhatsApp's id of the linked phone.")]
    last_message_at: _LastMessage
    quarantined: _Quarantined
    paused_at: _Paused
    campaigns_held_at: _HeldAt
    campaigns_held_reason: _HeldReason
    webhook_registration: RegistrationBody
    evolution: EvolutionBody
    sending: SendingBody | UnsetType = UNSET
    reconciliation: ReconciliationBody | UnsetType | None = UNSET


def unit_body(unit: Unit) -> UnitBody:
    """The unit as lists show it."""
    record, stored = unit.record, unit.shown
    return UnitBody(
        id=unit.id,
        name=record.name,
        instance=record.instance,
        status=stored.status if stored else None,
        reason=stored.reason if stored else None,
        phase=stored.phase if stored else None,
        sentence=EXPLANATIONS[stored.reason].sentence if stored else None,
        quarantined=unit.quarantined_at is not None,
        provider=PROVIDER,
        time_zone=record.time_zone,
        created_at=iso(record.created_at),
        last_message_at=iso(unit.last_message_at),
        webhook_path=f"/webhooks/whatsapp/{PROVIDER}/{MASKED}",
        secret_generation=record.secret_generation,
        paused_at=iso(record.paused_at),
        campaigns_held_at=iso(record.campaigns_held_at),
        campaigns_held_reason=record.campaigns_held_reason,
        retention_days=record.retention_days,
        webhook_registration=record.webhook_registration,
        evolution_server=record.evolution_server or ENVIRONMENT,
    )


def archived_body(unit: ArchivedUnit) -> UnitBody:
    """An archived unit as lists show it."""
    return UnitBody(
        id=unit.id,
        name=unit.name,
        instance=unit.instance,
        status=None,
        reason=None,
        phase=None,
        sentence=None,
        quarantined=False,
        provider=PROVIDER,
        time_zone=unit.time_zone,
        created_at=iso(unit.created_at),
        last_message_at=None,
        webhook_path=f"/webhooks/whatsapp/{PROVIDER}/{MASKED}",
        secret_generation=None,
        paused_at=None,
        campaigns_held_at=None,
        campaigns_held_reason=None,
        retention_days=unit.retention_days,
        webhook_registration=unit.webhook_registration,
        evolution_server=None,
        archived_at=iso(unit.archived_at),
    )


def queue_body(totals: UnitTotals) -> QueueBody:
    """A unit's queue."""
    return QueueBody(
        queued=totals.queued,
        oldest_queued_at=iso(totals.oldest_queued),
        uncertain=totals.uncertain,
        dead=totals.dead,
        dead_letters=totals.letters,
        last_inbound_at=iso(totals.last_in),
        last_outbound_at=iso(totals.last_out),
    )


def status_body(
    unit: Unit, stored: StoredLineState, picture: str | None, outbound: OutboundBody | None, now: float
) -> StatusBody:
    """The line's status at ``now`` (seconds since the epoch); ``stored`` is the line as it is shown.

    ``picture``: the drawn QR code, None if there is none or the caller may not see it; then the code's text and the
    pairing code are left out too.
    """
    code = stored.qr_code if stored.phase is Phase.PAIRING and picture is not None else None
    drawn_at = stored.qr_updated_at if code is not None else None
    explanation = EXPLANATIONS[stored.reason]
    return StatusBody(
        status=stored.status,
        reason=stored.reason,
        qr_code=picture,
        connected_at=iso(stored.connected_at),
        disconnected_at=iso(stored.disconnected_at),
        qr_updated_at=iso(stored.qr_updated_at),
        last_update=iso(stored.updated_at),
        phase=stored.phase,
        sentence=explanation.sentence,
        advice=explanation.advice,
        wanted=stored.wanted,
        qr_text=code,
        pairing_code=stored.pairing_code if code is not None else None,
        qr_expires_at=iso(drawn_at + QR_LIFE) if drawn_at else None,
        qr_expired=(drawn_at is not None and now >= drawn_at + QR_LIFE) if code is not None else None,
        profile_name=stored.profile_name,
        owner_jid=stored.owner_jid,
        last_message_at=iso(unit.last_message_at),
        quarantined=unit.quarantined_at is not None,
        paused_at=iso(unit.record.paused_at),
        campaigns_held_at=iso(unit.record.campaigns_held_at),
        campaigns_held_reason=unit.record.campaigns_held_reason,
        webhook_registration=_registration_body(unit),
        evolution=_evolution_body(unit),
        sending=outbound.sending if outbound is not None else UNSET,
        reconciliation=outbound.reconciliation if outbound is not None else UNSET,
    )


def _registration_body(unit: Unit) -> RegistrationBody:
    report = unit.registration
    return RegistrationBody(
        mode=unit.record.webhook_registration,
        checked_at=iso(report.checked_at) if report is not None else None,
        differences=report.differences if report is not None else (),
        restored_at=iso(report.restored_at) if report is not None else None,
    )


def _evolution_body(unit: Unit) -> EvolutionBody:
    notes = [VersionNoteBody(note.sentence, note.advice, note.severe) for note in version_notes(unit.server.version)]
    name = unit.record.evolution_server or ENVIRONMENT
    return EvolutionBody(name, unit.server.version, iso(unit.server.away_since), notes)
