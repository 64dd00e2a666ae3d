"""Names and addresses of Evolution servers, and on which of them a new unit goes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from zapline.domain.errors import InvalidField

ENVIRONMENT = "environment"
"""The server that the environment names: on it live all units that have no other."""
MAX_SERVERS = 32
"""Servers beside it: each has connections and a watch of its own, and is a label of metrics."""
DEFAULT_WEIGHT, MAX_WEIGHT = 100, 1000
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_MAX_URL, _MAX_KEY = 300, 500


class InvalidServer(InvalidField):
    """A server cannot be as asked for; the text says why."""


def check_name(name: str) -> str:
    """The name of a new server. Raises InvalidServer."""
    if _NAME.fullmatch(name) is None or name == ENVIRONMENT:
        raise InvalidServer(
            "a server's name has 1 to 32 small letters, digits or '-', and is not the word environment", "name"
        )
    return name


def check_url(text: str) -> str:
    """The address of a server, without a slash at its end. Raises InvalidServer."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or len(text) > _MAX_URL or not text.isprintable() or " " in text:
        raise InvalidServer("an address is a URL such as https://host:port", "url")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InvalidServer("an address holds neither user nor password nor query nor fragment", "url")
    return text.rstrip("/")


def check_key(text: str) -> str:
    """The global key of a server. Raises InvalidServer."""
    if not 1 <= len(text) <= _MAX_KEY or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidServer("a key is sent as a header: 1 to 500 ASCII characters without spaces", "key")
    return text


def check_weight(weight: int) -> int:
    """A server's share. Raises InvalidServer."""
    if not 1 <= weight <= MAX_WEIGHT:
        raise InvalidServer("a weight is a number from 1 to 1000", "weight")
    return weight


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """A server as it counts for who is to live on it."""

    name: str
    units: int
    weight: int = DEFAULT_WEIGHT
    paused: bool = False
    """It gets no new units."""
    answers: bool = True


def choose_server(servers: Iterable[ServerLoad]) -> str | None:
    """Where a new unit goes: where, with it, the fewest units for each weight live. None: no server takes units.

    One that does not answer is chosen only where none does.
    """
    taking = [server for server in servers if not server.paused]
    return min(taking, key=_order).name if taking else None


def _order(server: ServerLoad) -> tuple[bool, float, bool, str]:
    return not server.answers, (server.units + 1) / server.weight, server.name != ENVIRONMENT, server.name
