"""Guards against server-side request forgery: checks IP addresses, and parses URLs of media and webhooks.

Evolution fetches media from inside our network, so a URL must not lead back into it. Only the public unicast space is
allowed; every form that hides an IPv4 address in an IPv6 one is unwrapped or refused.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote

import idna

from zapline.domain.errors import LocalError
from zapline.domain.text import Sentence


class InvalidMediaUrl(LocalError):
    """A URL that does not name a file in the public network; the message says why, without the URL."""


@dataclass(frozen=True, slots=True)
class MediaUrl:
    """``host`` and ``url`` in the normal form that all URL parsers read alike."""

    host: str
    """Lower case, ASCII, without brackets or a final dot."""
    port: int
    url: str
    """Without the fragment, which is not sent to servers."""

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address, so that no DNS look-up is needed."""
        return ":" in self.host or self.host.rpartition(".")[2].isdigit()


# -- addresses -----------------------------------------------------------------------------------------------

_REFUSED_4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),  # public by number, but every machine in Azure reaches its host there
        ("169.254.0.0/16", "link-local"),  # 169.254.169.254 too: the metadata of a cloud's machine
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),  # and broadcast
    )
)

_PUBLIC_6 = IPv6Network("2000::/3")
"""All unicast space that is assigned so far; the rest is local, mapped, multicast or reserved."""
_NAT64 = IPv6Network("64:ff9b::/96")
_REFUSED_6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4 in IPv6"),
        ("::ffff:0:0:0/96", "IPv4 in IPv6"),
        ("::/96", "IPv4 in IPv6"),
        ("64:ff9b:1::/48", "local NAT64"),  # which IPv4 address is meant depends on the network
        ("100::/64", "discarded"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),  # site-local, given up in 2004 and still routed here and there
        ("ff00::/8", "multicast"),
    )
)
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""The upper half of an interface id that ends in an IPv4 address (RFC 5214)."""


def refusal_reason(address: str) -> str | None:
    """Why this IP address must not be connected to, in a word or two; None where it may."""
    if "%" in address:
        return "link-local"  # a zone names an interface of ours
    try:
        parsed = ip_address(address)
    except ValueError:
        return "not an address"
    if isinstance(parsed, IPv4Address):
        return _refusal_4(parsed)
    if parsed in _NAT64:
        return _refusal_4(IPv4Address(int(parsed) & 0xFFFF_FFFF))
    for network, why in _REFUSED_6:
        if parsed in network:
            return why
    if parsed not in _PUBLIC_6:
        return "reserved"
    return "IPv4 in IPv6" if (int(parsed) >> 32) & 0xFFFF_FFFF in _ISATAP else None


def _refusal_4(address: IPv4Address) -> str | None:
    return next((why for network, why in _REFUSED_4 if address in network), None)


# -- URLs ----------------------------------------------------------------------------------------------------

MAX_URL_LENGTH = 2048
_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?i:(https?)):// (\[[^\]]*\]|[^/?#:@\[\]]*) (?::(\d{1,5}))? ((?:[/?][^#]*)?) (?:\#.*)?", re.VERBOSE)
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_LOCAL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
"""And the backslash, which some URL parsers take for a slash."""
_LOCAL_NAMES = frozenset({"localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "corp", "arpa"})
"""Last labels of names that only a local network resolves."""
_IN_PATH = "/?:@!$&'()*+,;=-._~%[]|"


def parse_media_url(url: str, *, local: bool = False) -> MediaUrl:
    """The host, port and normal form of a URL, without a DNS look-up. Raises :class:`InvalidMediaUrl`.

    Strict, because Evolution parses the URL again: what two parsers could read as two hosts is refused. Names are put
    into ASCII, spaces and letters of the path percent-encoded. ``local`` allows names that only our network resolves.
    """
    url = url.strip(" ")
    if len(url) > MAX_URL_LENGTH:
        raise InvalidMediaUrl(Sentence("The URL is longer than {limit} characters.", limit=MAX_URL_LENGTH))
    if _CONTROL.search(url) is not None:
        raise InvalidMediaUrl("The URL holds a control character or a backslash.")
    if not url.lower().startswith(("http://", "https://")):
        raise InvalidMediaUrl("The URL must begin with http:// or https://.")
    if "@" in re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]:
        raise InvalidMediaUrl("The URL must not hold a user name or a password.")
    match = _URL.fullmatch(url)
    if match is None:
        raise InvalidMediaUrl("The URL cannot be read.")
    scheme, host, port, rest = match[1].lower(), match[2], match[3], match[4]
    host = _normal_host(host, local)
    number = int(port) if port is not None else _PORTS[scheme]
    if not 0 < number < 65536:
        raise InvalidMediaUrl("The port in the URL is not one.")
    authority = f"[{host}]" if ":" in host else host
    if number != _PORTS[scheme]:
        authority += f":{number}"
    try:
        path = quote(rest, safe=_IN_PATH)
    except UnicodeEncodeError:
        raise InvalidMediaUrl("The URL holds half of a character.") from None
    if not path.startswith("/"):
        path = "/" + path
    normal = f"{scheme}://{authority}{path}"
    if len(normal) > MAX_URL_LENGTH:
        raise InvalidMediaUrl(Sentence("The URL is longer than {limit} characters.", limit=MAX_URL_LENGTH))
    return MediaUrl(host, number, normal)


def _normal_host(host: str, local: bool) -> str:
    """The host in normal form: an address as the standard writes it, or a name of at least two labels."""
    if host.startswith("["):
        try:
            address = IPv6Address(host[1:-1])
        except ValueError:
            raise InvalidMediaUrl("The address in the URL is not one.") from None
        if address.scope_id is not None:
            raise InvalidMediaUrl("The address in the URL names an interface.")
        return str(address)
    try:
        name = _ascii_name(host).removesuffix(".")
    except (idna.IDNAError, UnicodeError):
        raise InvalidMediaUrl("The URL has no usable host name.") from None
    if not name:
        raise InvalidMediaUrl("The URL has no host name.")
    last = name.rpartition(".")[2]
    if _NUMBER.fullmatch(last) is not None:
        # Every parser takes such a host for an address, and 0177.1, 0x7f.1 and 2130706433 all mean 127.0.0.1.
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise InvalidMediaUrl("An address in a URL is written as four plain numbers.") from None
    if local and len(name) <= 253 and _LOCAL.fullmatch(name) is not None:
        return name
    if len(name) > 253 or _NAME.fullmatch(name) is None or last in _LOCAL_NAMES:
        raise InvalidMediaUrl("The host in the URL is not a name in the public network.")
    return name


def _ascii_name(host: str) -> str:
    """The name in ASCII as browsers and Node make it: UTS #46, non-transitional, so that a sharp s stays one.

    The mapping also folds look-alikes of letters, digits and dots into them. Raises IDNAError, UnicodeError.
    """
    mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
    return ".".join(label if label.isascii() else _ascii_label(label) for label in mapped.split("."))


def _ascii_label(label: str) -> str:
    try:
        return idna.alabel(label).decode("ascii")
    except idna.InvalidCodepointContext:
        raise
    except idna.InvalidCodepoint:  # a sign or an emoji: no name of IDNA 2008, but one for browsers and Node
        if any(joiner in label for joiner in "\u200c\u200d"):
            raise
        idna.core.check_initial_combiner(label)
        idna.core.check_bidi(label)
        return "xn--" + label.encode("punycode").decode("ascii")
