"""Encrypts credentials for the database, each bound to what it is for."""

import hmac
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV


class CredentialSealer:
    """Encrypts by AES-SIV. ``key``: 32 bytes, for nothing else.

    The same credential for the same purpose is sealed to the same bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"seal credentials", "sha512")

    @cached_property
    def _cipher(self) -> "AESSIV":
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        return AESSIV(self._key)

    def seal(self, purpose: str, credential: str) -> bytes:
        """``purpose`` names the one thing that it opens, as ``evolution server evo-2``."""
        return self._cipher.encrypt(credential.encode(), [purpose.encode()])

    def unseal(self, purpose: str, sealed: bytes) -> str | None:
        """The credential; None where it was sealed under another key, or for another purpose."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed, [purpose.encode()]).decode()
        except (InvalidTag, ValueError):
            return None
