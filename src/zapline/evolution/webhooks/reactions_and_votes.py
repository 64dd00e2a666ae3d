"""Parses reactions and poll votes."""

from collections.abc import Mapping
from typing import Any

from zapline.domain.contacts.addresses import resolve_address
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import InboundEvent, Unusable
from zapline.domain.messages.authority import Claim
from zapline.domain.messages.facts import ReactionReported, VoteReported
from zapline.evolution.webhooks.json_fields import (
    MAX_PEOPLE,
    JsonObject,
    epoch_ms,
    external_id,
    jid,
    obj,
    objects,
    short_text,
)


def tallied_votes(identity: ExternalId, data: JsonObject, own: str | None, by: Claim) -> list[InboundEvent]:
    """Turn ``pollUpdates`` (options with their voters) of messages.update into one vote per voter."""
    chosen: dict[str, list[str]] = {}
    mine = resolve_address(own)
    for option in objects(data.get("pollUpdates")):
        name, voters = short_text(option.get("name")), option.get("voters")
        if name is None or not isinstance(voters, list):
            continue
        for voter in voters:
            actor = _voter(voter, None if mine is None else mine.canonical)
            if actor is not None:
                chosen.setdefault(actor, []).append(name)
    at_ms = epoch_ms(data.get("messageTimestamp"), data.get("datetime"))
    return [VoteReported(identity, actor, tuple(names), at_ms, by) for actor, names in chosen.items()]


def _voter(voter: Any, mine: str | None) -> str | None:
    if voter == "me":
        return "me"
    address = resolve_address(jid(voter))
    if address is None:
        return None
    return "me" if address.canonical == mine else address.canonical


def parse_reaction(value: JsonObject, sent_at: Any, actor: str, by: Claim) -> InboundEvent:
    """Parse a reaction of ``actor``; ``sent_at`` stands for a missing time of the reaction."""
    identity = external_id(obj(value.get("key")).get("id"), "no_target_id")
    if isinstance(identity, Unusable):
        return identity
    emoji = short_text(value.get("text"), 32) or ""
    return ReactionReported(identity, actor, emoji, epoch_ms(value.get("senderTimestampMs"), sent_at), by)


def merged_reactions(
    identity: ExternalId, data: JsonObject, chat: str, own: str | None, by: Claim
) -> list[InboundEvent]:
    """The reactions that came in one flush with their message: each has the key of the reaction itself."""
    found: list[InboundEvent] = []
    for reaction in objects(data.get("reactions"), MAX_PEOPLE):
        actor = _author(obj(reaction.get("key")), chat, own)
        if actor is not None:
            emoji = short_text(reaction.get("text"), 32) or ""
            found.append(ReactionReported(identity, actor, emoji, epoch_ms(reaction.get("senderTimestampMs")), by))
    return found


def event_answers(identity: ExternalId, data: JsonObject, chat: str, own: str | None, by: Claim) -> list[InboundEvent]:
    """Answers to an event that the server has opened, as votes: going, not going, maybe."""
    found: list[InboundEvent] = []
    for answer in objects(data.get("eventResponses"), MAX_PEOPLE):
        actor = _author(obj(answer.get("eventResponseMessageKey")), chat, own)
        response = obj(answer.get("eventResponseMessage")) or obj(answer.get("response")) or answer
        value = response.get("response")
        word = _ANSWERS.get(value) if isinstance(value, int | str) else None
        if actor is not None and word is not None:
            at_ms = epoch_ms(response.get("timestampMs"), answer.get("senderTimestampMs"), answer.get("timestampMs"))
            found.append(VoteReported(identity, actor, (word,), at_ms, by))
    return found


_ANSWERS: Mapping[int | str, str] = {
    1: "going",
    "GOING": "going",
    2: "not_going",
    "NOT_GOING": "not_going",
    3: "maybe",
    "MAYBE": "maybe",
}


def _author(key: JsonObject, chat: str, own: str | None) -> str | None:
    """Who wrote the message with this key: ``me``, the author in a group, or the other one of a conversation."""
    if key.get("fromMe") is True:
        return "me"
    mine = resolve_address(own)
    participant = resolve_address(jid(key.get("participant")), jid(key.get("participantAlt")))
    if participant is not None:
        return "me" if mine is not None and participant.canonical == mine.canonical else participant.canonical
    return None if chat.startswith("group:") else chat


def parse_vote(value: JsonObject, data: JsonObject, actor: str, by: Claim) -> InboundEvent:
    """Parse a vote: encrypted, or decrypted by Evolution into ``pollUpdates`` or into the vote itself."""
    identity = external_id(obj(value.get("pollCreationMessageKey")).get("id"), "no_target_id")
    if isinstance(identity, Unusable):
        return identity
    options: tuple[str, ...] | None = None
    tallied = objects(data.get("pollUpdates"))
    selected = obj(value.get("vote")).get("selectedOptions")
    if any("voters" in option for option in tallied):
        options = tuple(short_text(option.get("name")) or "" for option in tallied if option.get("voters"))
    elif isinstance(selected, list) and all(_is_readable(option) for option in selected):
        options = tuple(short_text(option) or "" for option in selected)
    at = epoch_ms(value.get("senderTimestampMs"), data.get("messageTimestamp"))
    return VoteReported(identity, actor, options, at, by)


def _is_readable(selected: Any) -> bool:
    """Whether a selected option is a name: encrypted votes hold SHA-256 digests."""
    return isinstance(selected, str) and not (len(selected) == 44 and selected.endswith("="))
