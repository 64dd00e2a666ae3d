"""Validates a request to send, and composes the message that is queued: its chat, its content, what it quotes."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid4

import msgspec

from zapline.domain.contacts.addresses import Address, AddressKind, resolve_address
from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId, contact_id, conversation_id
from zapline.domain.outbox import contents as sending
from zapline.domain.outbox.contents import File, Location, Poll, QuotedMessage, SharedContact
from zapline.domain.text import Sentence
from zapline.sql.outbound import outbox, uploads
from zapline.sql.outbound.outbox import ChatAddress, NewMessage, ReferencedMessage
from zapline.sql.outbound.uploads import UploadInfo
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool

_MAX_AHEAD = 366 * 86400.0
"""Seconds that a message may be scheduled ahead: enough for birthdays, too little for a slip of a digit."""
_UNKNOWN_MIMETYPE = "application/octet-stream"
"""Sent by clients that do not know the type."""


RESERVED_PREFIXES = ("campaign:", "optout:")
"""Client ids with these prefixes are assigned by Zapline itself."""


class InvalidMessage(LocalError):
    """The request cannot be sent. ``field`` as the caller names it; ``code``: a short snake_case word."""

    def __init__(self, field: str, message: str, code: str = "invalid_request") -> None:
        super().__init__(Sentence("{field}: {what}", field=field, what=message))
        self.field = field
        self.message = message
        self.code = code


class ReactionRequest(msgspec.Struct, frozen=True, tag="react"):
    """``message`` is our own id. An empty ``emoji`` takes the reaction back. The digest of requests contains it."""

    emoji: str
    message: UUID


RequestedContent = sending.Text | File | Location | SharedContact | Poll | ReactionRequest


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Goes to ``to`` (a phone in any usual form, or a JID) or into ``conversation``; a reaction needs neither.

    Times are UTC seconds. A card's phone may be in any usual form too.
    """

    client_id: str
    content: RequestedContent
    to: str | None = None
    conversation: UUID | None = None
    reply_to: UUID | None = None
    send_at: float | None = None
    expires_at: float | None = None
    mentions: tuple[str, ...] = ()
    """Phones in any usual form, or JIDs of people; of a group alone."""
    mention_everyone: bool = False


class UnknownConversation(LocalError):
    """The unit has no such conversation."""


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request after all checks that need no database. ``digest`` tells a repetition from another request."""

    request: SendRequest
    address: Address | None
    content: RequestedContent
    digest: bytes
    mentioned: tuple[str, ...] = ()
    """As Evolution is told: phones as digits, and LIDs as JIDs."""


class MessageComposer:
    """``region``: country of phones without one. ``default_expiry``: seconds after the due time.

    ``clocks_agree``: whether it is known what time it is; until then a message has no end of its own.
    """

    def __init__(
        self,
        region: str,
        default_expiry: float,
        new_id: Callable[[], UUID] = uuid4,
        clocks_agree: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clocks_agree = clocks_agree
        self._new_id = new_id
        self._region = region
        self._default_expiry = default_expiry

    def parse(self, request: SendRequest) -> ParsedRequest:
        """Check what needs no database, and compute the digest of the request. Raises InvalidMessage."""
        if request.client_id.startswith(RESERVED_PREFIXES):
            raise InvalidMessage(
                "clientMessageId", Sentence("does not begin with {prefixes}", prefixes=", ".join(RESERVED_PREFIXES))
            )
        region = self._region
        address = recipient_address(request.to, region) if request.to is not None else None
        content = request.content
        if isinstance(content, SharedContact):
            try:
                content = msgspec.structs.replace(content, phone=parse_phone(content.phone, region))
            except InvalidPhone as invalid:
                raise InvalidMessage("contact.phone", invalid.sentence) from None
        recipient = address.canonical if address is not None else None
        canonical: tuple[object, ...]
        canonical = (recipient, request.conversation, content, request.reply_to, request.send_at, request.expires_at)
        mentioned = tuple(dict.fromkeys(_mentioned(one, region) for one in request.mentions))
        if mentioned or request.mention_everyone:  # what has none keeps the digest that it always had
            canonical = (*canonical, mentioned, request.mention_everyone)
        return ParsedRequest(request, address, content, sha256(msgspec.json.encode(canonical)).digest(), mentioned)

    async def compose(
        self, pool: Pool, unit: UnitId, parsed: ParsedRequest, checked_url: str | None, now: float
    ) -> NewMessage:
        """Look up what the message refers to, if anything, and build it. Raises InvalidMessage, UnknownConversation."""
        request, content, address = parsed.request, parsed.content, parsed.address
        upload: UploadInfo | None = None
        if address is not None and address.phone is not None and not _refers(request):
            target, chat = None, chat_for_address(unit, address)
        else:
            async with pool.connection() as conn:
                target = await self._find_target(conn, unit, request)
                chat = await self._find_chat(conn, unit, parsed, target)
                upload = await self._find_upload(conn, unit, content) if isinstance(content, File) else None
        everyone = request.mention_everyone
        if (parsed.mentioned or everyone) and chat.kind != AddressKind.GROUP:
            raise InvalidMessage("mentions", "are for groups alone")
        composed: sending.Content
        match content:
            case ReactionRequest(emoji=emoji):
                assert target is not None
                assert target.external_id is not None
                composed = sending.Reaction(emoji, target.external_id, remote_jid(chat), target.from_me)
            case File():
                composed = complete_file(content, checked_url, upload)
            case _:
                composed = content
        quoted = None
        if request.reply_to is not None and target is not None and target.external_id is not None:
            quoted = QuotedMessage(target.external_id, remote_jid(chat), target.from_me, target.body or "")
        due_at = max(now, request.send_at) if request.send_at is not None else now
        return NewMessage(
            id=self._new_id(),
            client_id=request.client_id,
            chat=chat,
            address=recipient_number(chat),
            outgoing=sending.OutgoingMessage(composed, quoted, () if everyone else parsed.mentioned, everyone),
            digest=parsed.digest,
            media=media_column(composed, upload) if isinstance(composed, File) else None,
            detail=detail_column(composed),
            now=now,
            due_at=due_at,
            expires_at=request.expires_at or (due_at + self._default_expiry if self._clocks_agree() else None),
        )

    async def _find_target(self, conn: Connection, unit: UnitId, request: SendRequest) -> ReferencedMessage | None:
        """Find the message that is replied or reacted to; it must have been sent."""
        reacting = isinstance(request.content, ReactionRequest)
        id = request.content.message if isinstance(request.content, ReactionRequest) else request.reply_to
        if id is None:
            return None
        field = "reaction.messageId" if reacting else "replyTo"
        target = await outbox.find_referenced_message(conn, unit, id)
        if target is None:
            raise InvalidMessage(field, "the unit has no such message", "target_not_found")
        if target.external_id is None:
            raise InvalidMessage(field, "that message has not been sent yet", "target_not_sent")
        return target

    async def _find_chat(
        self, conn: Connection, unit: UnitId, parsed: ParsedRequest, target: ReferencedMessage | None
    ) -> ChatAddress:
        """Find the chat; the target must be of the same one, or its quoted text would reach a stranger."""
        chat: ChatAddress | None = None
        if parsed.request.conversation is not None:
            chat = await outbox.find_chat(conn, unit, parsed.request.conversation)
            if chat is None:
                raise UnknownConversation("the unit has no such conversation")
        elif parsed.address is not None:
            chat = chat_for_address(unit, parsed.address)
            if parsed.address.phone is None or target is not None:
                # A LID may belong to a known phone, and a reply needs the JID of its chat.
                chat = await outbox.find_chat(conn, unit, chat.conversation) or chat
        if chat is None:
            assert target is not None  # a reaction names its message alone
            chat = await outbox.find_chat(conn, unit, target.conversation)
            assert chat is not None
        elif target is not None and target.conversation != chat.conversation:
            field = "replyTo" if parsed.request.reply_to is not None else "reaction.messageId"
            raise InvalidMessage(field, "that message belongs to another conversation", "target_elsewhere")
        if chat.kind not in (AddressKind.PERSON, AddressKind.GROUP):
            raise InvalidMessage(
                "conversationId",
                Sentence("nothing can be sent to a channel, a status or a broadcast list"),
                "not_writable",
            )
        return chat

    async def _find_upload(self, conn: Connection, unit: UnitId, file: File) -> UploadInfo | None:
        if file.upload is None:
            return None
        upload = await uploads.find_upload(conn, unit, file.upload)
        if upload is None:
            field = "audio" if file.kind in ("audio", "voice") else file.kind.value
            raise InvalidMessage(f"{field}.upload", "the unit has no such upload", "upload_not_found")
        return upload


def _refers(request: SendRequest) -> bool:
    """Whether something that is stored must be looked up before the request can be carried out."""
    uploaded = isinstance(request.content, File) and request.content.upload is not None
    return uploaded or isinstance(request.content, ReactionRequest) or bool(request.reply_to or request.conversation)


def recipient_address(to: str, region: str) -> Address:
    """Parse a phone in any usual form, or the JID of a person or a group. Raises InvalidMessage."""
    typed = to.strip()
    if "@" in typed:
        address = resolve_address(typed)
        if address is None or address.kind not in (AddressKind.PERSON, AddressKind.GROUP):
            raise InvalidMessage("to", "is a phone number, or the JID of a person or a group")
        return address
    try:
        phone = parse_phone(typed, region)
    except InvalidPhone as invalid:
        raise InvalidMessage("to", invalid.sentence) from None
    return Address(AddressKind.PERSON, phone, phone)


def _mentioned(one: str, region: str) -> str:
    """Who is mentioned, as Evolution is told. Raises InvalidMessage."""
    typed = one.strip()
    address = resolve_address(typed) if "@" in typed else None
    if "@" in typed and (address is None or address.kind is not AddressKind.PERSON):
        raise InvalidMessage("mentions", "holds phone numbers, or JIDs of people")
    try:
        phone = address.phone if address is not None else parse_phone(typed, region)
    except InvalidPhone as invalid:
        raise InvalidMessage("mentions", invalid.sentence) from None
    return phone.removeprefix("+") if phone is not None else f"{address.lid}@lid" if address is not None else ""


def remote_jid(chat: ChatAddress) -> str:
    """The chat's JID: as WhatsApp reported it, else made of the phone number, else of the LID."""
    if chat.jids and (chat.phone is None or chat.jids[0].endswith("@s.whatsapp.net")):
        return chat.jids[0]
    if chat.phone is not None:
        return f"{chat.phone.removeprefix('+')}@s.whatsapp.net"
    return f"{chat.lid}@lid" if chat.lid is not None else chat.canonical.partition(":")[2]


def recipient_number(chat: ChatAddress) -> str:
    """The recipient in a call to Evolution: a phone's digits, else a JID."""
    return chat.phone.removeprefix("+") if chat.phone is not None else remote_jid(chat)


def chat_for_address(unit: UnitId, address: Address) -> ChatAddress:
    """The chat with this address, which need not be stored yet."""
    canonical = address.canonical
    conversation, contact = UUID(conversation_id(unit, canonical)), UUID(contact_id(unit, canonical))
    return ChatAddress(conversation, contact, address.kind.value, canonical, address.phone, address.lid, address.jids)


def find_invalid_time(request: SendRequest, now: float) -> InvalidMessage | None:
    """The error in the requested times at this moment, if there is one."""
    due_at = max(now, request.send_at or 0.0)
    if due_at > now + _MAX_AHEAD:
        return InvalidMessage("sendAt", "is at most a year ahead")
    if request.expires_at is not None and request.expires_at <= due_at:
        return InvalidMessage("expiresAt", "is later than now and than sendAt")
    if request.expires_at is not None and request.expires_at > now + 2 * _MAX_AHEAD:
        return InvalidMessage("expiresAt", "is at most two years ahead")
    return None


def complete_file(file: File, checked_url: str | None, upload: UploadInfo | None) -> File:
    """The file with its checked URL, or with name and type of its upload where the request has none."""
    if upload is None:
        return msgspec.structs.replace(file, url=checked_url)
    mimetype = upload.mimetype if upload.mimetype != _UNKNOWN_MIMETYPE else None
    return msgspec.structs.replace(
        file, mimetype=file.mimetype or mimetype, file_name=file.file_name or upload.file_name
    )


def media_column(file: File, upload: UploadInfo | None) -> dict[str, object]:
    """The value of ``messages.media``. Without the URL: a signed one would open the file to every reader."""
    values: dict[str, object | None] = {"mimetype": file.mimetype, "fileName": file.file_name}
    if upload is not None:
        values |= {"size": upload.size, "sha256": base64.b64encode(upload.sha256).decode()}
    return {name: value for name, value in values.items() if value is not None}


def detail_column(content: sending.Content) -> dict[str, object]:
    """The value of ``messages.detail``, in the form that incoming messages have."""
    match content:
        case Location(latitude=latitude, longitude=longitude, name=name, address=address):
            location: dict[str, object] = {"latitude": latitude, "longitude": longitude}
            return location | {key: value for key, value in (("name", name), ("address", address)) if value}
        case SharedContact(name=name, phone=phone):
            return {"contacts": [{"name": name, "phones": [phone]}]}
        case Poll(options=options, selectable=selectable):
            return {"options": options, "selectable": selectable}
        case sending.Reaction(emoji=emoji, external_id=external_id):
            return {"emoji": emoji, "externalId": external_id}
    return {}
