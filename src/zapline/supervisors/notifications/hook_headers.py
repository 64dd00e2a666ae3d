"""Encrypts the headers that a CRM wants with its deliveries: they may hold a key of the CRM's."""

import hmac
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV


class HeaderSealer:
    """Encrypts by AES-SIV, bound to the hook. ``key``: 32 bytes, for nothing else."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"seal hook headers", "sha512")

    @cached_property
    def _cipher(self) -> "AESSIV":
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        return AESSIV(self._key)

    def seal(self, hook: UUID, headers: Mapping[str, str]) -> bytes | None:
        """None where there are no headers."""
        return self._cipher.encrypt(msgspec.json.encode(headers), [hook.bytes]) if headers else None

    def unseal(self, hook: UUID, sealed: bytes | None) -> dict[str, str] | None:
        """The headers; None where they were encrypted under another master key, or for another hook."""
        if sealed is None:
            return {}
        from cryptography.exceptions import InvalidTag

        try:
            return msgspec.json.decode(self._cipher.decrypt(sealed, [hook.bytes]), type=dict[str, str])
        except (InvalidTag, ValueError):
            return None
