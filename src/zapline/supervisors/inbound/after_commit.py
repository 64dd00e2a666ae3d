"""Updates counters and logs, and publishes live events, after a unit's writes are committed."""

from collections.abc import Mapping, Sequence
from functools import partial

import structlog

from zapline.domain.ids import PROVIDER, Seq, UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.line.state import StoredLineState
from zapline.domain.messages.facts import MessageArrived, MessageKind, SendAnswered
from zapline.domain.privacy.masking import Plain, mask_phone
from zapline.sql.inbound.authorship import FOREIGN, UNPROVEN
from zapline.sql.inbound.recorder_types import CreatedMessage, EntryFacts, UnitOutcome
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.notifications.event_payloads import (
    failed_send_payload,
    qr_payload,
    reaction_payload,
    recorded_message_payload,
    replaced_message_payload,
    reported_delivery_payload,
    settled_delivery_payload,
    status_payload,
)
from zapline.supervisors.notifications.live_feed import EventKind, LiveFeed

_LOG = structlog.get_logger(scope="MessageHandler")
_LINE_LOG = structlog.get_logger(scope="Line")


def report_stored(
    unit: UnitId, writes: Sequence[EntryFacts], outcome: UnitOutcome, counters: Counters, feed: LiveFeed
) -> None:
    """Count, log and publish the outcome of a unit's writes."""
    publish_stored(unit, writes, outcome, feed)
    for _, reason in outcome.buried:
        counters.add("dead_letters", reason)
        counters.add("webhook_errors", reason)
        _LOG.warning("Dead letter: {reason}", reason=reason, unit=unit)
    report_strangers(unit, outcome.strangers, counters)
    for waiting, count in outcome.waiting.items():
        counters.add("waiting_facts", waiting, count)
    for encrypted, count in outcome.encrypted.items():
        counters.add("encrypted_reports", encrypted, count)
    _report_sends(unit, writes, outcome, counters)
    created = dict(outcome.created)
    for write in writes:
        for fact in write.facts:
            if isinstance(fact, MessageArrived):
                _report_message(unit, fact, write, created.pop(fact.external_id, None), counters)
            elif not isinstance(fact, SendAnswered):
                counters.add("facts", type(fact).__name__)


def report_strangers(unit: UnitId, strangers: Mapping[tuple[str, bool], int], counters: Counters) -> None:
    """Count and log what strangers said about messages of others: ids are chosen by senders."""
    for (change, proven), count in strangers.items():
        counters.add("dead_letters", FOREIGN if proven else UNPROVEN, count)
        counters.add("strangers", change, count)
        if proven:
            text = "Somebody used the id of a message that is not his own ({change}); nothing was changed"
            _LOG.warning(text, change=change, count=count, unit=str(unit), security=True)
        else:
            text = "A report whose author is not known for certain was set aside ({change})"
            _LOG.warning(text, change=change, count=count, unit=str(unit))


def publish_stored(unit: UnitId, writes: Sequence[EntryFacts], outcome: UnitOutcome, feed: LiveFeed) -> None:
    """Publish the outcome to the live feed."""
    feed.on_event(unit)
    if not feed.is_watched(unit):
        return
    deleted = {report.message for report in outcome.changed if report.deleted}
    for message in outcome.created.values():
        feed.count_message(unit, bool(message.row["from_me"]))
        told = partial(recorded_message_payload, unit, message, deleted=message.id in deleted)
        feed.publish(unit, EventKind.MESSAGE, told)
    for settled in outcome.settled:
        feed.count_message(unit, from_me=True)
        feed.publish(unit, EventKind.DELIVERY, partial(settled_delivery_payload, settled))
    for replaced in outcome.replaced:
        feed.publish(unit, EventKind.DELIVERY, partial(replaced_message_payload, replaced))
    for report in outcome.changed:
        feed.publish(unit, EventKind.DELIVERY, partial(reported_delivery_payload, report))
    for reacted in outcome.reacted:
        kind = EventKind.VOTE if reacted.kind == "vote" else EventKind.REACTION
        feed.publish(unit, kind, partial(reaction_payload, reacted))
    for write in writes:
        for fact in write.facts:
            if isinstance(fact, SendAnswered) and fact.external_id is None and not write.replayed:
                feed.publish(unit, EventKind.DELIVERY, partial(failed_send_payload, unit, fact))


def _report_sends(unit: UnitId, writes: Sequence[EntryFacts], outcome: UnitOutcome, counters: Counters) -> None:
    for write in writes:
        for fact in write.facts:
            if isinstance(fact, SendAnswered) and not write.replayed:
                counters.add("calls_ended", fact.failure or fact.outcome)
                if fact.move in ("dead", "uncertain"):
                    text = "Message {message} is {move}: {failure}"
                    fields = {"message": str(fact.message), "move": fact.move, "failure": fact.failure}
                    _LOG.warning(text, **fields, unit=str(unit))
    for changed in outcome.changed:
        if changed.refusal is not None:
            counters.add("messages_refused", changed.refusal)
            _LOG.warning("WhatsApp refused {message}: {why}", message=str(changed.message), why=changed.refusal)
    for replaced in outcome.replaced:
        counters.add("echoes_replaced")
        text = "{message}, stored from an echo, is our own {by}"
        _LOG.info(text, message=str(replaced.message), by=str(replaced.by), unit=str(unit))
    for settled in outcome.settled:
        counters.add("settled", settled.by)
        if settled.twice:
            counters.add("sent_twice")
            _LOG.critical("A message was delivered a second time", message=str(settled.message), unit=str(unit))
    if outcome.opted_out:
        counters.add("opted_out", amount=outcome.opted_out)


def _report_message(
    unit: UnitId, fact: MessageArrived, write: EntryFacts, message: CreatedMessage | None, counters: Counters
) -> None:
    counters.add("messages", fact.kind.value)
    # Backfilled and replayed entries say nothing about how often Evolution sends twice.
    rated = fact.origin == "live" and not write.backfilled and not write.replayed
    if rated:
        counters.add("messages_seen")
    if message is None:
        if fact.kind is MessageKind.CALL_LOG or (fact.media is not None and fact.media.copy_id is not None):
            return  # the better copy of a file, or how a call went on
        if rated:
            counters.add("duplicates")
        if fact.origin == "sent" or write.backfilled:
            return  # the echo of our own send, or stored already
        _LOG.info("Duplicate message deduplicated: {id} ({provider})", id=fact.external_id, provider=PROVIDER)
        return
    counters.add("messages_created")
    if write.backfilled:
        counters.add("backfilled")
    if not fact.from_me:
        sender = Plain(mask_phone(fact.chat.phone or fact.chat.canonical))
        text = "New message from {sender} (Unit: {unit}, Provider: {provider})"
        _LOG.info(text, sender=sender, unit=unit, provider=PROVIDER)
    _LOG.info("Message created: {message}", message=message.id, scope=Plain(f"Webhook:{_short_seq(write.seq)}"))


def report_line_change(unit: Unit, before: StoredLineState, after: StoredLineState, feed: LiveFeed) -> None:
    """Log and publish the change of a line's status or QR code."""
    if (after.phase, after.reason) != (before.phase, before.reason):
        text = "Line is {status}: {reason}"
        fields = {"status": after.status, "reason": after.reason, "unit": unit.id, "phase": after.phase}
        _LINE_LOG.info(text, **fields, before=before.phase)
        quarantined, paused = unit.quarantined_at is not None, unit.record.paused_at is not None
        held = unit.record.campaigns_held_reason
        feed.publish(
            unit.id,
            EventKind.STATUS,
            lambda: status_payload(unit.id, unit.server.shown(after), quarantined, paused, held),
        )
    if _scannable_code(after) != _scannable_code(before):
        feed.publish(unit.id, EventKind.QR, lambda: qr_payload(unit.id, after))


def _scannable_code(stored: StoredLineState) -> tuple[str, float | None] | None:
    """The QR code that can be scanned now, and its time."""
    if stored.phase is not Phase.PAIRING or stored.qr_code is None:
        return None
    return stored.qr_code, stored.qr_updated_at


def _short_seq(seq: Seq | None) -> str:
    return f"{seq:06x}" if seq is not None else "direct"
