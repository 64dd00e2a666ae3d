"""Verifies that a webhook is Zapline's, whole and of now, by the library of the Standard Webhooks."""

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from standardwebhooks import Webhook, WebhookVerificationError

from zapline_client.errors import InvalidWebhook
from zapline_client.generated.models import WebhookEvent


class HasItems(Protocol):
    """A mapping, or what looks like one: headers of Flask, Django, Starlette, ``http.server``."""

    def items(self) -> Iterable[tuple[str, str]]: ...


Headers = HasItems | Iterable[tuple[str, str] | tuple[bytes, bytes]]
"""As any framework has them; a name counts in small and capital letters, and as WSGI's ``HTTP_WEBHOOK_ID``."""
_NEEDED = ("webhook-id", "webhook-timestamp", "webhook-signature")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook that was verified. ``id`` is the same at each try: drop what you have seen."""

    id: str
    event: WebhookEvent


class Webhooks:
    """Verifies with one secret, or with several: of more hooks, or the old and the new one while it is rotated.

    Raises ValueError for a text that is no secret.
    """

    def __init__(self, *secrets: str) -> None:
        if not secrets:
            raise ValueError("a hook's secret is needed: `whsec_...`, from the answer to POST .../hooks")
        self._verifiers = [_verifier(secret) for secret in secrets]

    def verify(self, headers: Headers, body: bytes | str) -> Delivery:
        """The event of a webhook; ``body`` as it came, before anything has parsed it. Raises InvalidWebhook."""
        found = _found(headers)
        missing = [name for name in _NEEDED if not found.get(name)]
        if missing:
            raise InvalidWebhook(f"no {missing[0]}")
        found["webhook-signature"] = _well_formed(found["webhook-signature"])
        try:
            text = body if isinstance(body, str) else body.decode()
        except UnicodeDecodeError:
            raise InvalidWebhook("the body is not UTF-8") from None
        reason = ""
        for verifier in self._verifiers:
            try:
                verifier.verify(text, found, json_parse=False)
            except WebhookVerificationError as error:
                reason = str(error)
            else:
                return Delivery(found["webhook-id"], _event(text))
        raise InvalidWebhook(reason)


def _verifier(secret: str) -> Webhook:
    # The library takes whatever base64 has in it, and leaves out the rest.
    try:
        key = base64.b64decode(secret.removeprefix("whsec_") + "==", validate=False)
        strict = base64.b64encode(key).decode().rstrip("=") == secret.removeprefix("whsec_").rstrip("=")
    except (binascii.Error, ValueError):
        strict, key = False, b""
    if not strict or not key:
        raise ValueError("this is no hook's secret, which is `whsec_` and base64")
    return Webhook(key)


def _found(headers: Headers) -> dict[str, str]:
    given: Any = headers
    pairs = given.items() if hasattr(given, "items") else given
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.decode("latin-1") if isinstance(name, bytes) else name
        key = key.lower().removeprefix("http_").replace("_", "-")
        if key in _NEEDED:
            found[key] = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return found


def _well_formed(signatures: str) -> str:
    """Signatures of this version that can be read: the library stumbles over others."""
    kept = []
    for signature in signatures.split(" "):
        version, comma, text = signature.partition(",")
        try:
            readable = version == "v1" and bool(comma) and bool(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            readable = False
        if readable:
            kept.append(signature)
    if not kept:
        raise InvalidWebhook("no signature that can be read")
    return " ".join(kept)


def _event(text: str) -> WebhookEvent:
    try:
        event: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidWebhook("signed, but not JSON") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str) or "data" not in event:
        raise InvalidWebhook("signed, but no event")
    return cast(WebhookEvent, event)
