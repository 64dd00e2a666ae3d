"""What both clients make of a call: its address, headers and body, and the result of its answer."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx2

from zapline_client.retries import Attempts, Patience

USER_AGENT = "zapline-client/0.3.0"
TIMEOUT = 40.0
"""Seconds for one try: longer than Zapline waits for Evolution."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one route. ``names_itself``: its body can hold the caller's own name for what it asks for."""

    method: str
    route: str
    path: Mapping[str, object] = field(default_factory=dict)
    query: Mapping[str, object] = field(default_factory=dict)
    body: object = None
    content_type: str | None = None
    names_itself: bool = False

    @property
    def client_id(self) -> str | None:
        """The caller's name for what is asked for."""
        if not (self.names_itself and isinstance(self.body, Mapping)):
            return None
        given = (value for name, value in self.body.items() if name in CLIENT_IDS)
        return next((str(value) for value in given if isinstance(value, str | uuid.UUID) and str(value)), None)

    def attempts(self, patience: Patience) -> Attempts:
        """Decides how often it is tried."""
        client_id = self.client_id
        return Attempts(patience, self.method, self.route, client_id is not None, client_id)

    def arguments(self) -> dict[str, Any]:
        """For ``httpx2``'s ``request``. Raises ValueError for an empty id, which would be another route."""
        address = self.route
        for name, value in self.path.items():
            text = quote(str(value), safe="")
            if not text or not text.strip("."):
                raise ValueError(f"{name} is no id")
            address = address.replace("{" + name + "}", text)
        query = {name: _query_text(value) for name, value in self.query.items() if value is not None}
        arguments: dict[str, Any] = {"method": self.method, "url": address, "params": query}
        if isinstance(self.body, bytes):
            arguments |= {"content": self.body, "headers": {"content-type": self.content_type}}
        elif self.body is not None:
            encoded = json.dumps(self.body, default=_plain, ensure_ascii=False).encode()
            arguments |= {"content": encoded, "headers": {"content-type": "application/json"}}
        return arguments


CLIENT_IDS = ("clientMessageId", "clientCampaignId")
"""Fields of a body by which the same request is known again."""


def new_client_id() -> str:
    """A name that nobody else gives."""
    return str(uuid.uuid4())


def result_of(response: httpx2.Response, answer: str, attempts: Attempts) -> Any:
    """What a successful answer holds. Raises Unanswered for a page in the place of JSON."""
    if answer == "bytes":
        return response.content
    try:
        return response.json() if answer == "json" and response.content else None
    except ValueError:
        raise attempts.not_by_zapline(response) from None


def defaults(url: str, token: str | None, timeout: float) -> dict[str, Any]:
    """For ``httpx2``'s clients. Raises ValueError for what is no address."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("url is where Zapline is served, as https://zapline.example")
    headers = {"user-agent": USER_AGENT, "accept": "application/json, */*;q=0.5"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return {"base_url": url, "headers": headers, "timeout": timeout}


def _query_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")
