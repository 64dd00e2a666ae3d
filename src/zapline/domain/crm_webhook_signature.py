"""Signs webhooks to the CRM as the Standard Webhooks specification says."""

import hmac
from base64 import b64encode
from collections.abc import Sequence
from uuid import UUID


def webhook_id(delivery: UUID) -> str:
    """The header ``webhook-id``, by which a CRM recognises a delivery that it has seen."""
    return f"msg_{delivery}"


def format_secret(key: bytes) -> str:
    """A signing key in the form that is shown to a person."""
    return "whsec_" + b64encode(key).decode()


def sign_webhook(keys: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: one signature for each key, the newest key first."""
    signed = b"%s.%d.%s" % (id.encode(), timestamp, body)
    return " ".join("v1," + b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
