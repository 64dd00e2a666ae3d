"""Tells what became of a unit's webhooks once it is committed: counters move, lines are logged."""

from collections.abc import Sequence
from functools import partial

import structlog

from zapline.domain.ids import PROVIDER, Seq, UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.line.state import Stored
from zapline.domain.messages.events import MessageArrived, SendAnswered
from zapline.domain.privacy.masking import mask_phone
from zapline.sql.inbound.batches import Created, EntryWrite, Outcome
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.notifications.event_payloads import (
    created_news,
    ended_news,
    qr_news,
    reported_news,
    settled_news,
    status_news,
)
from zapline.supervisors.notifications.live_feed import Feed, Kind

_LOG = structlog.get_logger(scope="MessageHandler")
_LINE_LOG = structlog.get_logger(scope="Line")


def tell_stored(unit: UnitId, writes: Sequence[EntryWrite], outcome: Outcome, counters: Counters, feed: Feed) -> None:
    """What a unit's share of a transaction came to."""
    tell_watchers(unit, writes, outcome, feed)
    for _, reason in outcome.buried:
        counters.add("dead_letters", reason)
        counters.add("webhook_errors", reason)
        _LOG.warning("Dead letter: {reason}", reason=reason, unit=unit)
    _tell_sending(unit, writes, outcome, counters)
    created = dict(outcome.created)
    for write in writes:
        for fact in write.facts:
            if isinstance(fact, MessageArrived):
                _tell_message(unit, fact, write, created.pop(fact.external_id, None), counters)
            elif not isinstance(fact, SendAnswered):
                counters.add("facts", type(fact).__name__)


def tell_watchers(unit: UnitId, writes: Sequence[EntryWrite], outcome: Outcome, feed: Feed) -> None:
    """The same, to those who look on live."""
    feed.happened(unit)
    if not feed.watched(unit):
        return
    for made in outcome.created.values():
        feed.count_message(unit, bool(made.row["from_me"]))
        feed.publish(unit, Kind.MESSAGE, partial(created_news, unit, made))
    for settled in outcome.settled:
        feed.count_message(unit, from_me=True)
        feed.publish(unit, Kind.DELIVERY, partial(settled_news, settled))
    for told in outcome.reported:
        feed.publish(unit, Kind.DELIVERY, partial(reported_news, told))
    for write in writes:
        for fact in write.facts:
            if isinstance(fact, SendAnswered) and fact.external_id is None and not write.replayed:
                feed.publish(unit, Kind.DELIVERY, partial(ended_news, unit, fact))


def _tell_sending(unit: UnitId, writes: Sequence[EntryWrite], outcome: Outcome, counters: Counters) -> None:
    for write in writes:
        for fact in write.facts:
            if isinstance(fact, SendAnswered) and not write.replayed:
                counters.add("calls_ended", fact.failure or fact.outcome)
                if fact.move in ("dead", "uncertain"):
                    text = "Message {message} is {move}: {failure}"
                    told = {"message": str(fact.message), "move": fact.move, "failure": fact.failure}
                    _LOG.warning(text, **told, unit=str(unit))
    for settled in outcome.settled:
        counters.add("settled", settled.by)
        if settled.twice:
            counters.add("sent_twice")
            _LOG.critical("A message was delivered a second time", message=str(settled.message), unit=str(unit))
    if outcome.opted_out:
        counters.add("opted_out", amount=outcome.opted_out)


def _tell_message(
    unit: UnitId, fact: MessageArrived, write: EntryWrite, made: Created | None, counters: Counters
) -> None:
    counters.add("messages", fact.kind.value)
    # What we fetched or fed again ourselves says nothing about how often Evolution sends twice.
    rated = fact.origin == "live" and not write.backfilled and not write.replayed
    if rated:
        counters.add("messages_seen")
    if made is None:
        if rated:
            counters.add("duplicates")
        if fact.origin == "sent" or write.backfilled:
            return  # the echo of what we sent, or what was there already
        _LOG.info("Duplicate message deduplicated: {id} ({provider})", id=fact.external_id, provider=PROVIDER)
        return
    counters.add("messages_created")
    if write.backfilled:
        counters.add("backfilled")
    if not fact.from_me:
        sender = mask_phone(fact.chat.phone or fact.chat.canonical)
        text = "New message from {sender} (Unit: {unit}, Provider: {provider})"
        _LOG.info(text, sender=sender, unit=unit, provider=PROVIDER)
    _LOG.info("Message created: {message}", message=made.id, scope=f"Webhook:{_short(write.seq)}")


def tell_line(unit: Unit, before: Stored, after: Stored, feed: Feed) -> None:
    """A line as it changed."""
    if (after.phase, after.reason) != (before.phase, before.reason):
        text = "Line is {status}: {reason}"
        _LINE_LOG.info(
            text, status=after.status, reason=after.reason, unit=unit.id, phase=after.phase, before=before.phase
        )
        quarantined, paused = unit.quarantined_at is not None, unit.record.paused_at is not None
        feed.publish(unit.id, Kind.STATUS, lambda: status_news(unit.id, after, quarantined, paused))
    if _code(after) != _code(before):
        feed.publish(unit.id, Kind.QR, lambda: qr_news(unit.id, after))


def _code(stored: Stored) -> tuple[str, float | None] | None:
    """The code that can be scanned now."""
    if stored.phase is not Phase.PAIRING or stored.qr_code is None:
        return None
    return stored.qr_code, stored.qr_updated_at


def _short(seq: Seq | None) -> str:
    return f"{seq:06x}" if seq is not None else "direct"
