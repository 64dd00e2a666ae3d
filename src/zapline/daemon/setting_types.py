"""What a setting is, and the readers of its text; an error says what is expected, never the given value."""

import re
from collections.abc import Callable, Sequence
from dataclasses import field
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Network: TypeAlias = IPv4Network | IPv6Network
Read: TypeAlias = Callable[[str], Any]
_BIND = re.compile(r"fd://\d+|unix:/.+|(?:\[[0-9a-fA-F:.]+\]|[^:\s/]+):\d{1,5}")
_SIZE = re.compile(r"(\d*\.?\d+)\s*([kmgtpe]?)(i?)b?", re.IGNORECASE)
_BOOLEANS = dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True) | dict.fromkeys(
    ("0", "off", "f", "false", "n", "no"), False
)


class WrongSetting(ValueError):
    """A text is no value of its setting; the message continues the setting's name, as in "must be true or false"."""


class Secret:
    """A text that no log and no error shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('**********')"

    __str__ = __repr__


def setting(description: str, read: Read, default: Any = ..., name: str | None = None) -> Any:
    """A field of a class of settings. ``default``: its value, or a function that makes it; without one it is needed.

    ``name``: in the environment, where it is not the field's with our prefix.
    """
    metadata = {"description": description, "read": read, "name": name}
    if default is ...:
        return field(metadata=metadata)
    return (
        field(default_factory=default, metadata=metadata)
        if callable(default)
        else field(default=default, metadata=metadata)
    )


def boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise WrongSetting("must be true or false") from None


def number(least: float | None = None, most: float | None = None, above: float | None = None) -> Read:
    """A reader of numbers from ``least`` or ``above`` on up to ``most``."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not isfinite(value):
            raise WrongSetting("must be a number")
        _check_range(value, least, most, above)
        return value

    return read


def whole_number(least: int, most: int) -> Read:
    """A reader of whole numbers."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise WrongSetting("must be a whole number") from None
        _check_range(value, least, most, None)
        return value

    return read


def _check_range(value: float, least: float | None, most: float | None, above: float | None) -> None:
    if above is not None and value <= above:
        raise WrongSetting(f"must be greater than {above:g}")
    if least is not None and value < least:
        raise WrongSetting(f"must be greater than or equal to {least:g}")
    if most is not None and value > most:
        raise WrongSetting(f"must be less than or equal to {most:g}")


def size(text: str) -> int:
    """Bytes, with or without a unit: powers of 1000 (kB, MB ...) or of 1024 (KiB, MiB ...)."""
    match = _SIZE.fullmatch(text)
    if match is None or (match[3] and not match[2]):
        raise WrongSetting("must be a size such as 110000000 or 2GiB")
    power = " kmgtpe".index(match[2].lower() or " ")
    value = int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    _check_range(value, 1, None, None)
    return value


def one_of(*words: str) -> Read:
    """A reader of one of some words, in small or capital letters."""
    quoted = [f"'{word}'" for word in words]

    def read(text: str) -> str:
        if text.lower() not in words:
            raise WrongSetting(f"must be {', '.join(quoted[:-1])} or {quoted[-1]}")
        return text.lower()

    return read


def matching(pattern: str) -> Read:
    """A reader of texts of this pattern."""

    def read(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise WrongSetting("has letters that do not belong there, or too few or too many")
        return text

    return read


def text_up_to(most: int) -> Read:
    """A reader of texts of at most so many letters."""

    def read(text: str) -> str:
        if len(text) > most:
            raise WrongSetting(f"must have at most {most} letters")
        return text

    return read


def directory(text: str) -> Path:
    return Path(text)


def words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def binds(text: str) -> tuple[str, ...]:
    found = words(text)
    for bind in found:
        port = bind.rpartition(":")[2]
        if not _BIND.fullmatch(bind) or (port.isdigit() and int(port) > 65535):
            raise WrongSetting("must be host:port, [IPv6]:port, unix:/path or fd://3; several are parted by commas")
    return found


def some_binds(text: str) -> tuple[str, ...]:
    found = binds(text)
    if not found:
        raise WrongSetting("is empty")
    return found


def networks(text: str) -> Sequence[Network]:
    try:
        return tuple(ip_network(part) for part in words(text))
    except ValueError:
        raise WrongSetting("must be networks such as 10.0.0.0/8 or fd00::/8, parted by commas") from None


def url(text: str) -> str:
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or re.search(r"\s", text):
        raise WrongSetting("must be a URL such as https://host:port")
    if parts.username is not None or parts.password is not None:
        raise WrongSetting("must not hold a user or a password")
    if parts.query or parts.fragment:
        raise WrongSetting("must not hold a query or a fragment")
    return text.rstrip("/")


def database(text: str) -> Secret:
    if not re.match(r"postgres(?:ql)?://.", text) and not re.match(r"\w+\s*=", text):
        raise WrongSetting("must be a connection URL such as postgresql://user:password@host:5432/database")
    return Secret(text)


def header(text: str) -> Secret:
    if not text:
        raise WrongSetting("is empty")
    if not text.isascii() or re.search(r"\s", text):
        raise WrongSetting("is sent as a header: it must be ASCII without spaces or line breaks")
    return Secret(text)


def secret(text: str) -> Secret:
    """Any text that no log shows."""
    return Secret(text)


def strong_secret(text: str) -> Secret:
    if len(text) < 32:
        raise WrongSetting("must have at least 32 characters; `openssl rand -base64 32` writes a good one")
    return Secret(text)


SECONDS = number(above=0, most=86_400 * 7)
