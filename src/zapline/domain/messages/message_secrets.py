"""Seals message secrets for storage, and opens what WhatsApp has encrypted under them: edits, votes, event answers.

A message may carry a secret of 32 bytes (``messageContextInfo.messageSecret``). What is later said about it is
encrypted by AES-256-GCM under HKDF-SHA256 of the secret, without a salt; the info names the message, its author, who
speaks, and the use. Both people are named by JID, by phone or by LID, and no body says which: every spelling is tried.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from itertools import islice, product
from typing import TYPE_CHECKING

import msgspec

from zapline.domain.contacts.addresses import Address
from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.messages import wire_format
from zapline.domain.messages.wire_format import BadWire, Fields

if TYPE_CHECKING:  # the library takes 6 MB, and is loaded with the first secret
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

SECRET_BYTES = 32
MAX_PAYLOAD = 512 * 1024
"""Bytes of an encrypted report; a text of the greatest length takes half of it."""
_MAX_TRIES = 512
"""Pairs of JIDs that are tried for one report, over all secrets: about eight milliseconds."""
_TAG_BYTES = 16
_NONCE_BYTES = range(8, 129)
"""What AES-GCM takes; WhatsApp's nonces have 12."""


class SecretUse(StrEnum):
    """What a report under a message's secret is."""

    MESSAGE_EDIT = "message_edit"
    EVENT_EDIT = "event_edit"
    POLL_EDIT = "poll_edit"
    POLL_ADD_OPTION = "poll_add_option"
    POLL_VOTE = "poll_vote"
    EVENT_RESPONSE = "event_response"

    @property
    def changes_message(self) -> bool:
        """Whether the message says something else from then on."""
        return self not in (SecretUse.POLL_VOTE, SecretUse.EVENT_RESPONSE)


_INFO = {
    SecretUse.MESSAGE_EDIT: b"Message Edit",
    SecretUse.POLL_VOTE: b"Poll Vote",
    SecretUse.EVENT_RESPONSE: b"Event Response",
}
"""Uses that can be opened, with their name in the key."""


class SecretSeen(msgspec.Struct, frozen=True):
    """A message carries a secret. ``lasting``: it is needed as long as the message, which is a poll or an event."""

    external_id: ExternalId
    chat: Address
    secret: bytes
    lasting: bool = False

    def __repr__(self) -> str:
        return f"SecretSeen({self.external_id!r}, lasting={self.lasting})"  # a secret has no place in a log


class EncryptedReport(msgspec.Struct, frozen=True):
    """Something is said of a message, encrypted under its secret."""

    external_id: ExternalId
    """The message it is about."""
    report_id: ExternalId
    """Of the message that carries the report."""
    use: SecretUse
    chat: Address
    from_me: bool
    sender: Address | None = None
    """Who sent it, in a group."""
    jids: tuple[str, ...] = ()
    """Further JIDs in the body: our own, and those by which the sender names the message."""
    payload: bytes = b""
    """Empty: unreadable, or too long."""
    nonce: bytes = b""
    at_ms: int = 0
    """UTC milliseconds; 0: when it arrived."""

    @property
    def actor(self) -> str:
        """Who sent it: a canonical identity, or ``me``."""
        return "me" if self.from_me else (self.sender or self.chat).canonical


class SecretSealer:
    """Encrypts secrets for storage by AES-SIV, bound to their unit and message. ``key``: 32 bytes, for nothing else.

    The same secret of the same message is sealed to the same bytes, so that to store it again changes nothing.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"seal message secrets", "sha512")

    @cached_property
    def _cipher(self) -> "AESSIV":
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        return AESSIV(self._key)

    def seal(self, unit: UnitId, message: ExternalId, secret: bytes) -> bytes:
        return self._cipher.encrypt(secret, [unit.bytes, message.encode()])

    def unseal(self, unit: UnitId, message: ExternalId, sealed: bytes) -> bytes | None:
        """The secret; None where it was sealed under another key, or for another message."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed, [unit.bytes, message.encode()])
        except (InvalidTag, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """An encrypted report about the message ``target``."""

    use: SecretUse
    target: ExternalId
    payload: bytes
    nonce: bytes


def decrypt(
    ciphertext: Ciphertext, secrets: Iterable[bytes], authors: Sequence[str], speakers: Sequence[str]
) -> bytes | None:
    """The plaintext under one of the secrets; None where none opens it. Never raises for what came from outside.

    ``authors``: JIDs of who wrote the target, ``speakers``: of who sent the report, likeliest first.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    use = _INFO.get(ciphertext.use)
    payload, nonce = ciphertext.payload, ciphertext.nonce
    if use is None or not _TAG_BYTES <= len(payload) <= MAX_PAYLOAD or len(nonce) not in _NONCE_BYTES:
        return None
    target = ciphertext.target.encode()
    extracted = [hmac.digest(bytes(sha256().digest_size), secret, "sha256") for secret in secrets]
    for drawn, author, speaker in islice(product(extracted, authors, speakers), _MAX_TRIES):
        info = target + author.encode() + speaker.encode() + use
        key = hmac.digest(drawn, info + b"\x01", "sha256")
        bound = None if ciphertext.use is SecretUse.MESSAGE_EDIT else target + b"\x00" + speaker.encode()
        try:
            return AESGCM(key).decrypt(nonce, payload, bound)
        except InvalidTag:
            continue
    return None


@dataclass(frozen=True, slots=True)
class OpenedEdit:
    """The new text of a message, or the new caption of its file. ``at_ms``: UTC milliseconds; None: it has no time."""

    text: str
    at_ms: int | None


_MESSAGE_EDIT = 14
_EARLIEST_MS, _LATEST_MS = 1_230_768_000_000, 4_102_444_800_000
"""From 2009, when WhatsApp began, to 2100."""


def read_edit(plaintext: bytes, target: ExternalId) -> OpenedEdit | None:
    """The edit in a plaintext; None where it holds no text, or is about another message than ``target``."""
    try:
        message = wire_format.unwrapped(wire_format.read_fields(plaintext))
        protocol = wire_format.inner(message, 12)
        if protocol is None:
            new_text = wire_format.message_text(message)
            return None if new_text is None else OpenedEdit(new_text, None)
        return _protocol_edit(protocol, target)
    except BadWire:
        return None


def _protocol_edit(protocol: Fields, target: ExternalId) -> OpenedEdit | None:
    kind = wire_format.number(protocol, 2)
    edited = wire_format.inner(protocol, 14)
    if edited is None or kind not in (None, _MESSAGE_EDIT):
        return None
    key = wire_format.inner(protocol, 1)
    named = None if key is None else wire_format.text(key, 3)
    if named is not None and named != target:
        return None
    new_text = wire_format.message_text(edited)
    at_ms = wire_format.number(protocol, 15)
    if at_ms is not None and not _EARLIEST_MS <= at_ms <= _LATEST_MS:
        at_ms = None
    return None if new_text is None else OpenedEdit(new_text, at_ms)


def read_vote(plaintext: bytes, options: Sequence[str]) -> tuple[str, ...] | None:
    """The chosen ones of a poll's options, none for a vote that was taken back; None where one is not of the poll."""
    try:
        chosen = wire_format.read_fields(plaintext).get(1, [])
    except BadWire:
        return None
    names = {sha256(option.encode("utf-8", "replace")).digest(): option for option in options}
    if not all(isinstance(digest, bytes) and digest in names for digest in chosen):
        return None
    digests = {digest for digest in chosen if isinstance(digest, bytes)}
    return tuple(name for digest, name in names.items() if digest in digests)


_RESPONSES = {0: "unknown", 1: "going", 2: "not_going", 3: "maybe"}


def read_event_response(plaintext: bytes) -> str | None:
    """``going``, ``not_going`` or ``maybe``; None where the plaintext is none of them."""
    try:
        answer = wire_format.number(wire_format.read_fields(plaintext), 1)
    except BadWire:
        return None
    return _RESPONSES.get(answer) if answer else None
