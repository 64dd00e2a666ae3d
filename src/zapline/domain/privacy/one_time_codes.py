"""Time-based one-time codes (RFC 6238: SHA-1, six digits, steps of 30 seconds), as authenticator apps show them."""

import base64
import hmac
from urllib.parse import quote

STEP = 30
"""Seconds for which a code is shown."""
_TOLERATED = 1
"""Steps before and after the present one whose codes are taken: clocks of phones differ."""
SECRET_BYTES = 20


def code_of(secret: bytes, step: int) -> str:
    """The code of a time step (RFC 4226, section 5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0x0F
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


def step_of(secret: bytes, code: str, now: float, latest: int) -> int | None:
    """The step whose code this is, about ``now`` (UTC seconds) and after ``latest``; None: it is wrong, or was used.

    All steps are compared, so that the time that it takes tells nothing.
    """
    plain = code.replace(" ", "").encode("utf-8", "replace")
    present, found = int(now // STEP), None
    for step in range(present - _TOLERATED, present + _TOLERATED + 1):
        if hmac.compare_digest(code_of(secret, step).encode(), plain) and step > latest:
            found = step
    return found


def secret_text(secret: bytes) -> str:
    """The secret as people type it into their app."""
    return base64.b32encode(secret).decode().rstrip("=")


def app_address(secret: bytes, account: str) -> str:
    """What the QR code for an authenticator app says."""
    return f"otpauth://totp/Zapline:{quote(account)}?secret={secret_text(secret)}&issuer=Zapline"
