"""Encrypts edits, votes and event answers as WhatsApp does, with a protobuf writer and key derivation of its own."""

from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET = bytes(range(32))
NONCE = bytes(range(100, 112))


def field(number: int, value: int | str | bytes) -> bytes:
    """One field on the wire; texts and messages are bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def edit_of(content: bytes, at_ms: int | None = None, target: str | None = None) -> bytes:
    """The plaintext of an edit: a ``Message`` with a protocol message around the new content."""
    key = field(1, field(2, 1) + field(3, target)) if target is not None else b""
    time = field(15, at_ms) if at_ms is not None else b""
    return field(12, key + field(2, 14) + field(14, content) + time)


def text_content(text: str) -> bytes:
    return field(1, text)


def caption_content(text: str) -> bytes:
    """An edited caption: a picture without the file."""
    return field(3, field(3, text))


def vote_for(*options: str) -> bytes:
    return b"".join(field(1, sha256(option.encode()).digest()) for option in options)


def encrypt(
    plaintext: bytes,
    target: str,
    author: str,
    speaker: str,
    use: str = "Message Edit",
    secret: bytes = SECRET,
    nonce: bytes = NONCE,
) -> bytes:
    """The payload of a report about ``target``; ``author`` and ``speaker`` are JIDs."""
    info = target + author + speaker + use
    key = HKDF(SHA256(), 32, salt=None, info=info.encode()).derive(secret)
    bound = None if use == "Message Edit" else f"{target}\0{speaker}".encode()
    return AESGCM(key).encrypt(nonce, plaintext, bound)


def indices(raw: bytes) -> dict[str, int]:
    """Bytes as Evolution writes those of typed arrays."""
    return {str(index): octet for index, octet in enumerate(raw)}


def buffer(raw: bytes) -> dict[str, Any]:
    return {"type": "Buffer", "data": list(raw)}
