"""What the API says of messages: what they hold, how far they have come, and the work on those of ours."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from zapline.domain.messages.delivery_status import Delivery
from zapline.domain.messages.events import Kind
from zapline.domain.outbox.failure_texts import reason_of
from zapline.domain.outbox.work_states import Lane, Work
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import Answer, Moment, one_of
from zapline.http.api.framework.paging import Page
from zapline.sql.conversations.conversations import Call, Message, Said, Sending, Watched

_Kind = Annotated[str, one_of([*Kind, "reaction"], "`reaction`: one of ours; those of others are in `reactions`.")]
_Delivery = Annotated[str, one_of([step.label for step in Delivery], "How far it has come; it never goes back.")]
_WORK = "Where the work stands. `uncertain`: it may have been delivered, and is never sent again blindly."
_Work = Annotated[str, one_of(Work, _WORK)]


class ReactionBody(Answer, frozen=True):
    """What one person says to a message."""

    actor: str
    emoji: str | None


class VoteBody(Answer, frozen=True):
    """What one person chose of a poll."""

    actor: str
    options: Annotated[Sequence[str] | None, Meta(description="Null: encrypted, and Evolution has not told.")]


class MessageBody(Answer, frozen=True, kw_only=True):
    """A message, from WhatsApp or to it. What a deleted one said is left out."""

    id: UUID
    seq: Annotated[int, Meta(description="Place in the order of arrival; what `afterSeq` counts by.")]
    conversation_id: UUID
    external_id: Annotated[str | None, Meta(description="WhatsApp's id; null until it has been sent.")]
    client_message_id: Annotated[str | None, Meta(description="Yours, of a message that was sent through Zapline.")]
    from_me: Annotated[bool, Meta(description="Whether the unit has written it.")]
    kind: _Kind
    text: Annotated[str | None, Meta(description="Its text, or its caption.")]
    edited_at: Moment | None
    deleted_at: Moment | None
    media: Annotated[dict[str, Any] | None, Meta(description="What the file is; its bytes are at `.../media`.")]
    detail: Annotated[dict[str, Any], Meta(description="What is particular to its kind, as a place or a poll.")]
    sender: Annotated[str | None, Meta(description="Who has written it, in a group.")]
    sender_name: str | None
    quoted_id: Annotated[str | None, Meta(description="WhatsApp's id of the message that it answers.")]
    forwarded: bool
    view_once: bool
    expires_after: Annotated[int | None, Meta(description="Seconds after which it disappears from phones.")]
    delivery_status: Annotated[_Delivery | None, Meta(description="Null for what others wrote.")]
    work_state: Annotated[_Work | None, Meta(description="Null for what Zapline did not send.")]
    reactions: Sequence[ReactionBody]
    votes: Sequence[VoteBody]
    sent_at: Moment | None
    received_at: Moment | None
    origin: Annotated[str, Meta(description="Where it was first seen.")]
    backfilled: Annotated[bool, Meta(description="Read back from Evolution's store, not told by a webhook.")]


class AttemptBody(Answer, frozen=True):
    """A call to Evolution that was to send the message."""

    started_at: Moment | None
    ended_at: Moment | None
    outcome: str
    failure: str | None
    matched_by: Annotated[str | None, Meta(description="What settled a call that had no answer.")]
    external_id: str | None


class FailureBody(Answer, frozen=True):
    """Why it was not sent; `code` for programs, `sentence` for people."""

    code: str
    sentence: str
    detail: str | None


class WorkBody(Answer, frozen=True):
    """The work on a message that is sent by Zapline."""

    state: _Work
    lane: Annotated[str, one_of(Lane, "Replies go before campaigns.")]
    campaign_id: UUID | None
    tries: Annotated[int, Meta(description="Failures by the message's own fault; after three it is dead.")]
    resends: int
    due_at: Moment | None
    expires_at: Moment | None
    settled_at: Moment | None
    ended_at: Moment | None
    stalled: Annotated[bool, Meta(description="Evolution took it, and nobody has confirmed it in time.")]
    twice: Annotated[bool, Meta(description="It was delivered a second time.")]
    failure: FailureBody | None
    look_at: Annotated[Moment | None, Meta(description="When Evolution's store is searched for it again.")]
    waits_for_person: Annotated[bool, Meta(description="Uncertain, and only a person can decide: `.../release`.")]
    attempts: Annotated[Sequence[AttemptBody], Meta(description="Left out of lists.")]


class WatchedMessageBody(MessageBody, frozen=True, kw_only=True):
    """A message with the work on it."""

    work: Annotated[WorkBody | None, Meta(description="Null for what Zapline did not send.")]


class ThreadPage(Page[MessageBody], frozen=True):
    """Messages of a conversation, newest first."""


class OutboxPage(Page[WatchedMessageBody], frozen=True):
    """Messages to be sent, those asked for last first."""


class ArrivedBody(Answer, frozen=True):
    """Messages in the order of their arrival."""

    items: Sequence[MessageBody]
    next_after_seq: Annotated[int, Meta(description="The `afterSeq` to ask with next, whatever came.")]
    has_more: Annotated[bool, Meta(description="Ask again at once.")]


def message_body(one: Message) -> MessageBody:
    """A message as every list shows it."""
    return MessageBody(**_shown(one))


def watched_body(one: Watched) -> WatchedMessageBody:
    """A message as lists show it, with the work on it."""
    return WatchedMessageBody(**_shown(one.message), work=_work(one.sending) if one.sending is not None else None)


def _shown(one: Message) -> dict[str, Any]:
    return {
        "id": one.id,
        "seq": one.seq,
        "conversation_id": one.conversation_id,
        "external_id": one.external_id,
        "client_message_id": one.client_message_id,
        "from_me": one.from_me,
        "kind": one.kind,
        "text": one.text,
        "edited_at": iso(one.edited_at),
        "deleted_at": iso(one.deleted_at),
        "media": one.media,
        "detail": one.detail,
        "sender": one.sender,
        "sender_name": one.sender_name,
        "quoted_id": one.quoted_id,
        "forwarded": one.forwarded,
        "view_once": one.view_once,
        "expires_after": one.expires_after,
        "delivery_status": one.delivery,
        "work_state": one.work_state,
        "reactions": [ReactionBody(said.actor, said.emoji) for said in one.reactions],
        "votes": [_vote(said) for said in one.votes],
        "sent_at": iso(one.sent_at),
        "received_at": iso(one.received_at),
        "origin": one.origin,
        "backfilled": one.backfilled,
    }


def _vote(said: Said) -> VoteBody:
    return VoteBody(said.actor, said.options)


def _work(work: Sending) -> WorkBody:
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
        waits_for_person=work.state == Work.UNCERTAIN and work.look_at is None,
        attempts=[_attempt(call) for call in work.calls],
    )


def _failure(code: str | None, detail: str | None) -> FailureBody | None:
    return FailureBody(code, reason_of(code), detail) if code is not None else None


def _attempt(call: Call) -> AttemptBody:
    return AttemptBody(
        started_at=iso(call.started_at),
        ended_at=iso(call.ended_at),
        outcome=call.outcome,
        failure=call.failure,
        matched_by=call.matched_by,
        external_id=call.external_id,
    )
