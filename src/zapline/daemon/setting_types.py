"""Types of settings and their validation; an error says what is expected, never the given value."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

_BIND = re.compile(r"fd://\d+|unix:/.+|(?:\[[0-9a-fA-F:.]+\]|[^:\s/]+):\d{1,5}")
PLAIN_MESSAGES: Final = {
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "byte_size": "must be a size such as 110000000 or 2GiB",
    "byte_size_unit": "must be a size such as 110000000 or 2GiB",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "has letters that do not belong there, or too few or too many",
}
"""Clear messages for pydantic's error types; all others start with "Input should be"."""


def invalid_setting(sentence: str) -> PydanticCustomError:
    """A validation error with our own message; the value is never part of it."""
    return PydanticCustomError("zapline", sentence)


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _binds(binds: tuple[str, ...]) -> tuple[str, ...]:
    for bind in binds:
        port = bind.rpartition(":")[2]
        if not _BIND.fullmatch(bind) or (port.isdigit() and int(port) > 65535):
            raise invalid_setting("must be host:port, [IPv6]:port, unix:/path or fd://3; several are parted by commas")
    return binds


def _url(url: str) -> str:
    url = url.strip()
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or re.search(r"\s", url):
        raise invalid_setting("must be a URL such as https://host:port")
    if parts.username is not None or parts.password is not None:
        raise invalid_setting("must not hold a user or a password")
    if parts.query or parts.fragment:
        raise invalid_setting("must not hold a query or a fragment")
    return url.rstrip("/")


def _database(url: SecretStr) -> SecretStr:
    value = url.get_secret_value().strip()
    if not re.match(r"postgres(?:ql)?://.", value) and not re.match(r"\w+\s*=", value):
        raise invalid_setting("must be a connection URL such as postgresql://user:password@host:5432/database")
    return SecretStr(value)


def _header(key: SecretStr) -> SecretStr:
    value = key.get_secret_value().strip()
    if not value.isascii() or re.search(r"\s", value):
        raise invalid_setting("is sent as a header: it must be ASCII without spaces or line breaks")
    return SecretStr(value)


def _strong(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value().strip()) < 32:
        raise invalid_setting("must have at least 32 characters; `openssl rand -base64 32` writes a good one")
    return SecretStr(key.get_secret_value().strip())


def _lowered(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _networks(value: object) -> object:
    parts = _split(value)
    if not isinstance(parts, tuple):
        return parts
    try:
        return tuple(ip_network(part) if isinstance(part, str) else part for part in parts)
    except ValueError:
        raise invalid_setting("must be networks such as 10.0.0.0/8 or fd00::/8, parted by commas") from None


Binds = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_binds)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]
WordList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Url = Annotated[str, AfterValidator(_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 7, allow_inf_nan=False)]
HeaderValue = Annotated[SecretStr, AfterValidator(_header)]
StrongSecret = Annotated[SecretStr, AfterValidator(_strong)]
Size = Annotated[ByteSize, Field(ge=1)]
LowerCase = BeforeValidator(_lowered)
