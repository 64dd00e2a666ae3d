"""Response bodies of messages: content, delivery status, and the work on those that Zapline sends."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.failure_texts import failure_text
from zapline.domain.outbox.work_states import Lane, WorkState
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, one_of
from zapline.http.api.framework.paging import Page
from zapline.sql.conversations.conversations import Message, SendCall, SendWork, TrackedMessage

_Kind = Annotated[
    str, one_of([*MessageKind, "reaction"], "`reaction`: one of ours; those of others are in `reactions`.")
]
_Delivery = Annotated[str, one_of([step.label for step in DeliveryStatus], "How far it has come; it never goes back.")]
_WORK = "Where the work stands. `uncertain`: it may have been delivered, and is never sent again blindly."
_Work = Annotated[str, one_of(WorkState, _WORK)]


_FILE = "What became of its file: `wanted` (to be fetched yet), `kept`, `gone` (nobody has it any more), `left_out`."
_FileState = Annotated[str, one_of(("wanted", "kept", "gone", "left_out"), _FILE)]


class ReactionBody(ResponseBody, frozen=True):
    """What one person says to a message."""

    actor: str
    emoji: str | None


class VoteBody(ResponseBody, frozen=True):
    """What one person chose of a poll, or answered to an event: `going`, `not_going` or `maybe`."""

    actor: str
    options: Annotated[Sequence[str] | None, Meta(description="Null: encrypted, and nobody could read it.")]


class FailureBody(ResponseBody, frozen=True):
    """Why it was not sent, or not delivered; `code` for programs, `sentence` for people."""

    code: str
    sentence: str
    detail: str | None


class QuotedBody(ResponseBody, frozen=True):
    """What a message answers, as WhatsApp has sent it along: the original need not be known here."""

    id: Annotated[str | None, Meta(description="WhatsApp's id of the original.")]
    kind: Annotated[_Kind | None, Meta(description="Null where WhatsApp has not told what it says.")]
    text: Annotated[str | None, Meta(description="Its text or caption, at most 1,000 characters.")]
    author: Annotated[str | None, Meta(description="Who has written it: a phone, or `lid:` and digits.")]
    from_me: Annotated[bool | None, Meta(description="Whether the unit has written it; null where nobody knows.")]
    status: Annotated[bool, Meta(description="It is a status (story), which the contact has answered.")]


class MessageBody(ResponseBody, frozen=True, kw_only=True):
    """A message, from WhatsApp or to it. What a deleted one said is left out."""

    id: UUID
    seq: Annotated[int, Meta(description="Place in the order of arrival; what `afterSeq` counts by.")]
    conversation_id: UUID
    external_id: Annotated[str | None, Meta(description="WhatsApp's id; null until it has been sent.")]
    client_message_id: Annotated[str | None, Meta(description="Yours, of a message that was sent through Zapline.")]
    from_me: Annotated[bool, Meta(description="Whether the unit has written it.")]
    kind: _Kind
    text: Annotated[str | None, Meta(description="Its text, or its caption.")]
    edited_at: Timestamp | None
    edit_text_unknown: Annotated[
        bool, Meta(description="It was edited, and only the phone shows the new text: `text` is the one before.")
    ]
    deleted_at: Timestamp | None
    media: Annotated[dict[str, Any] | None, Meta(description="What the file is; its bytes are at `.../media`.")]
    file_state: Annotated[_FileState | None, Meta(description="Null: the unit does not keep it.")]
    detail: Annotated[dict[str, Any], Meta(description="What is particular to its kind, as a place or a poll.")]
    sender: Annotated[str | None, Meta(description="Who has written it, in a group.")]
    sender_name: str | None
    quoted_id: Annotated[str | None, Meta(description="WhatsApp's id of the message that it answers.")]
    quoted: Annotated[QuotedBody | None, Meta(description="What it answers; null where nothing is told of it.")]
    forwarded: bool
    view_once: bool
    expires_after: Annotated[int | None, Meta(description="Seconds after which it disappears from phones.")]
    delivery_status: Annotated[_Delivery | None, Meta(description="Null for what others wrote.")]
    work_state: Annotated[_Work | None, Meta(description="Null for what Zapline did not send.")]
    failure: Annotated[FailureBody | None, Meta(description="Why it was not sent, or not delivered, or not surely.")]
    reactions: Sequence[ReactionBody]
    votes: Sequence[VoteBody]
    sent_at: Timestamp | None
    received_at: Timestamp | None
    origin: Annotated[str, Meta(description="Where it was first seen.")]
    backfilled: Annotated[bool, Meta(description="Read back from Evolution's store, not told by a webhook.")]


class AttemptBody(ResponseBody, frozen=True):
    """A call to Evolution that was to send the message."""

    started_at: Timestamp | None
    ended_at: Timestamp | None
    outcome: str
    failure: str | None
    matched_by: Annotated[str | None, Meta(description="What settled a call that had no answer.")]
    external_id: str | None


class WorkBody(ResponseBody, frozen=True):
    """The work on a message that is sent by Zapline."""

    state: _Work
    lane: Annotated[str, one_of(Lane, "Replies go before campaigns.")]
    campaign_id: UUID | None
    tries: Annotated[int, Meta(description="Failures by the message's own fault; after three it is dead.")]
    resends: int
    due_at: Timestamp | None
    expires_at: Timestamp | None
    settled_at: Timestamp | None
    ended_at: Timestamp | None
    stalled: Annotated[bool, Meta(description="Evolution took it, and nobody has confirmed it in time.")]
    twice: Annotated[bool, Meta(description="It was delivered a second time.")]
    failure: FailureBody | None
    look_at: Annotated[Timestamp | None, Meta(description="When Evolution's store is searched for it again.")]
    waits_for_person: Annotated[bool, Meta(description="Uncertain, and only a person can decide: `.../release`.")]
    attempts: Annotated[Sequence[AttemptBody], Meta(description="Left out of lists.")]


class WatchedMessageBody(MessageBody, frozen=True, kw_only=True):
    """A message with the work on it."""

    work: Annotated[WorkBody | None, Meta(description="Null for what Zapline did not send.")]


class ThreadPage(Page[MessageBody], frozen=True):
    """Messages of a conversation, newest first."""


class FoundPage(Page[MessageBody], frozen=True):
    """Messages with the words of a search, the latest arrival first."""


class OutboxPage(Page[WatchedMessageBody], frozen=True):
    """Messages to be sent, those asked for last first."""


class ArrivedBody(ResponseBody, frozen=True):
    """Messages in the order of their arrival, and what has changed of those from before."""

    items: Sequence[MessageBody]
    changed: Annotated[
        Sequence[MessageBody],
        Meta(description="Messages from before `afterSeq`, whole, with a reaction, vote, edit or deletion since."),
    ]
    next_after_seq: Annotated[int, Meta(description="The `afterSeq` to ask with next, whatever came.")]
    has_more: Annotated[bool, Meta(description="Ask again at once.")]


def message_body(message: Message) -> MessageBody:
    """A message as lists show it."""
    return MessageBody(**_message_fields(message))


def watched_body(watched: TrackedMessage) -> WatchedMessageBody:
    """The same with the work on it."""
    return WatchedMessageBody(
        **_message_fields(watched.message), work=_work(watched.sending) if watched.sending is not None else None
    )


def _message_fields(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "seq": message.seq,
        "conversation_id": message.conversation_id,
        "external_id": message.external_id,
        "client_message_id": message.client_message_id,
        "from_me": message.from_me,
        "kind": message.kind,
        "text": message.text,
        "edited_at": iso(message.edited_at),
        "edit_text_unknown": message.edit_text_unknown,
        "deleted_at": iso(message.deleted_at),
        "media": message.media,
        "file_state": message.file_state,
        "detail": message.detail,
        "sender": message.sender,
        "sender_name": message.sender_name,
        "quoted_id": message.quoted_id,
        "quoted": _quoted(message.quoted),
        "forwarded": message.forwarded,
        "view_once": message.view_once,
        "expires_after": message.expires_after,
        "delivery_status": message.delivery,
        "work_state": message.work_state,
        "failure": _failure(message.failure, message.failure_detail),
        "reactions": [ReactionBody(reaction.actor, reaction.emoji) for reaction in message.reactions],
        "votes": [VoteBody(vote.actor, vote.options) for vote in message.votes],
        "sent_at": iso(message.sent_at),
        "received_at": iso(message.received_at),
        "origin": message.origin,
        "backfilled": message.backfilled,
    }


def _quoted(quoted: dict[str, Any] | None) -> QuotedBody | None:
    if not quoted:
        return None
    named = {name: quoted.get(name) for name in ("id", "kind", "text", "author")}
    return QuotedBody(**named, from_me=quoted.get("fromMe"), status=quoted.get("status") is True)


def _work(work: SendWork) -> WorkBody:
    return WorkBody(
        state=work.state,
        lane=work.lane,
        campaign_id=work.campaign,
        tries=work.tries,
        resends=work.resends,
        due_at=iso(work.due_at),
        expires_at=iso(work.expires_at),
        settled_at=iso(work.settled_at),
        ended_at=iso(work.ended_at),
        stalled=work.stalled,
        twice=work.twice,
        failure=_failure(work.failure, work.failure_detail),
        look_at=iso(work.look_at),
        waits_for_person=work.state == WorkState.UNCERTAIN and work.look_at is None,
        attempts=[_attempt(call) for call in work.calls],
    )


def _failure(code: str | None, detail: str | None) -> FailureBody | None:
    return FailureBody(code, failure_text(code), detail) if code is not None else None


def _attempt(call: SendCall) -> AttemptBody:
    return AttemptBody(
        started_at=iso(call.started_at),
        ended_at=iso(call.ended_at),
        outcome=call.outcome,
        failure=call.failure,
        matched_by=call.matched_by,
        external_id=call.external_id,
    )
