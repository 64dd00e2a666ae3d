"""Masks phones, WhatsApp addresses, secrets and errors for logs and display; in doubt it masks.

A phone in a text is:

- A run of 8 to 15 digits, or groups of digits joined by up to three of space, dot, dash, slash, bracket or
  their Unicode and percent-encoded forms ("+55 (11) 99999-9999"), becomes ``****`` and its last four digits.
- The user part of a WhatsApp address (``...@s.whatsapp.net``, ``@c.us``, ``@lid``, ``@g.us``), whatever its
  length; old group names start with their founder's phone. The part behind ``@`` stays.
- Not a phone: digits that adjoin a letter or an underscore (``3EB0A1...``, ``unit_12345678``), UUIDs, ISO
  dates and times, IPv4 addresses, decimals that start with ``0.``, single runs of 16 digits and more. An
  escape (``\\n``, ``%2B``) in front of the digits does not count as a letter.
- Epoch seconds inside a text look like a phone and are masked; pass them as numbers, which are never masked.

A secret is the path segment behind ``/webhooks/whatsapp/<provider>/``, the user part of a URL,
the value behind a name of a secret (``apikey=``, ``"token": "..."``, ``Authorization: Bearer ...``), and JWTs.
"""

import re

MASKED = "[MASKED]"
_STARS = "****"


class Plain(str):
    """A text of our own making that holds nothing to mask: a masked phone, a number of ours. Logs take it as it is."""

    __slots__ = ()


_GAP = r"[ \t.\-/()\u00a0\u00ad\u2000-\u2015\u202a-\u202f\u2060\u2212\ufeff]|%20|%2[89dD]|(?<=\d)\+(?=\d)"
_GAPS = re.compile(f"(?:{_GAP}){{1,3}}")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_UUID = r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
_DATE = r"(?<!\d)(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_CLOCK = r"[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?"

# Escapes end in letters or digits that do not belong to what follows them.
_START = r"(?:(?<!\w)|(?<=\\[nrtbfv])|(?<=\\x[0-9a-fA-F]{2})|(?<=\\u[0-9a-fA-F]{4})|(?<=%[0-9a-fA-F]{2}))"

_SERVER = r"@(?:s\.whatsapp\.net|c\.us|lid|hosted\.lid|hosted|g\.us)(?![A-Za-z0-9])"

_CANDIDATE = re.compile(rf"\d(?:(?:{_GAP}){{0,3}}\d){{7}}|\d@")
_NUMBERS = re.compile(
    # The first line skips the alternatives at most letters, which halves the time.
    rf"""(?=[0-9A-Fa-f*+(]|\d)(?:
      (?P<keep> {_UUID}
        | {_DATE}(?:{_CLOCK}|(?![\w-]))(?!\d)
        | (?<![\w.]){_OCTET}(?:\.{_OCTET}){{3}}(?!\w|(?:{_GAP}){{1,3}}\d)
        | (?<![\w.])0\.\d+(?![\w.\-])
        | \*{{4}}\d{{4}}(?!\d) )
    | (?P<address> (?<!\d)\d+(?:[-:.]\d+){{0,3}}(?={_SERVER}) )
    | (?P<phone> {_START}\+?\(?\d+(?:(?:{_GAP}){{1,3}}\d+)*(?!\w) )
    )""",
    re.VERBOSE,
)
_DIGITS = re.compile(r"\d")


def mask_phone(phone: str) -> str:
    """``+5511999999999`` -> ``****9999``; an address loses its server and device.

    Fewer than eight digits become ``****``, since four of them would show half of the number.
    """
    digits = _DIGITS.findall(re.split(r"[@:]", phone, maxsplit=1)[0])
    return _STARS + "".join(digits[-4:]) if len(digits) >= 8 else _STARS


def mask_text(text: str) -> str:
    """Every phone and WhatsApp address in the text as ``****`` and its last four digits."""
    if _CANDIDATE.search(text) is None:
        return text
    return _NUMBERS.sub(_masked_number, text)


def _masked_number(match: re.Match[str]) -> str:
    number = match[0]
    if match.lastgroup == "keep":
        return number
    if match.lastgroup == "address":
        user = re.split(r"[-:.]", number, maxsplit=1)[0]
        return _STARS + user[-4:] if len(user) >= 8 else _STARS
    groups = _digit_groups(number)
    count = sum(map(len, groups))
    if count < 8:
        return number
    if count <= 15:
        return _STARS + "".join(groups)[-4:]
    return _masked_list(number)


def _digit_groups(chain: str) -> list[str]:
    return [re.sub(r"\D", "", group) for group in _GAPS.split(chain)]


def _masked_list(chain: str) -> str:
    """Mask more digits than one phone has: long groups each alone, short groups between them together."""
    parts: list[str] = []
    short: list[str] = []

    def close() -> None:
        joined = "".join(short)
        digits = re.sub(r"\D", "", _GAPS.sub("", joined))
        parts.append(_with_spaces(joined, _STARS + digits[-4:]) if len(digits) >= 8 else joined)
        short.clear()

    for piece in re.split(f"((?:{_GAP}){{1,3}})", chain):
        digits = re.sub(r"\D", "", piece)
        if len(digits) >= 8 and not _GAPS.fullmatch(piece):
            close()
            parts.append(piece if len(digits) > 15 else _STARS + digits[-4:])
        else:
            short.append(piece)
    close()
    return "".join(parts)


def _with_spaces(joined: str, masked: str) -> str:
    """Keep the spaces around masked digits, so that words stay separate."""
    return joined[: len(joined) - len(joined.lstrip(" "))] + masked + joined[len(joined.rstrip(" ")) :]


# -- secrets ---------------------------------------------------------------------------------------------

_WEBHOOK = re.compile(r"(/webhooks/whatsapp/[^/\s?#\"'<>]{1,80}/)[^/\s?#\"'<>\\]+")
# A password in a PostgreSQL URL may hold a bare slash or at sign; in other URLs a path may hold an address.
_USER_INFO = re.compile(
    r"(?i)(?:(?<=postgres://)|(?<=postgresql://)|(?<=psycopg://))[^\s\"'<>]{0,512}@"
    r"|(?<=://)[^\s/?#\"'<>]{0,512}@"
)
_HINTS = (
    *("key", "token", "passw", "passphrase", "pwd", "secret", "authoriz"),
    *("credential", "cookie", "signature", "bearer", "basic"),
)
_NAME = (
    r"(?:api[_-]?key|token|passw(?:or)?d|passphrase|pwd|secret|authorization|credentials?"
    r"|master[_-]?key|private[_-]?key|cookie|jwt[_-]?key|signature)"
)
_QUOTED = r"\"(?:[^\"\\]|\\.){0,4000}\"|'(?:[^'\\]|\\.){0,4000}'|\\\"(?:(?!\\\").){0,4000}\\\""
_NAMED = re.compile(
    # name=value; "name": value; name:value without a space ...
    rf"(?i)({_NAME}(?:=|\\?[\"']\s{{0,9}}[:=]\s{{0,9}}|:(?=\S)(?!//)))"
    rf"((?:bearer\s+|basic\s+)?(?:{_QUOTED}|\\?[\"']?[^\s&;,\"'<>)\]}}\\]+))"
    # ... and headers, which have a space. In other texts a colon and a space start an explanation.
    r"|\b((?:x-)?(?:api-?key|(?:proxy-)?authorization|(?:set-)?cookie)\s{0,9}:\s{0,9})[^\r\n\"'<>]+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic) +[\w.~+/=\-]{6,}")
_JWT = re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?")


def mask_secrets(text: str) -> str:
    """The text with the secrets of URLs, headers, DSNs and query strings as ``[MASKED]``."""
    if "/" in text:
        text = _WEBHOOK.sub(rf"\1{MASKED}", text)
        if "@" in text:
            text = _USER_INFO.sub(f"{MASKED}@", text)
    if "eyJ" in text:
        text = _JWT.sub(MASKED, text)
    if "=" in text or ":" in text or " " in text:
        lower = text.lower()
        if any(hint in lower for hint in _HINTS):
            text = _NAMED.sub(_masked_value, text)
            text = _BEARER.sub(rf"\1 {MASKED}", text)
    return text


def _masked_value(match: re.Match[str]) -> str:
    if match[3] is not None:
        return f"{match[3]}{MASKED}"
    quote = re.match(r"\\?[\"']", match[2])
    return f"{match[1]}{quote[0]}{MASKED}{quote[0]}" if quote else match[1] + MASKED


_SECRET_NAMES = frozenset({"key", "pwd", "jwt", "hash", "signature", "credential"})
_SECRET_ENDINGS = (
    *("secret", "token", "password", "passwd", "passphrase", "credentials", "cookie", "authorization", "dsn"),
    *("apikey", "masterkey", "privatekey", "signingkey", "secretkey", "jwtkey", "databaseurl"),
)


def is_secret_name(name: str) -> bool:
    """Whether the value of a field with this name is never shown (``apiKey``, ``webhook_secret`` ...)."""
    normalized = re.sub(r"[^a-z0-9]", "", name.lower())
    return normalized in _SECRET_NAMES or normalized.endswith(_SECRET_ENDINGS)


# -- errors shown to people ------------------------------------------------------------------------------

_ERROR_LIMIT = 500
"""Characters of an error that is shown in a list."""
_NAMED_PATH = r"[\w.@+~\-]{1,255}"
_PATHS = re.compile(
    rf"""
      (?P<quote>["'])(?:~?/(?!/)|[A-Za-z]:[\\/]|\\\\)[^"'\n]{{0,1000}}(?P=quote)
    | (?<![\w/:.\]%])(?:~|\.{{1,2}})?/{_NAMED_PATH}(?:/{_NAMED_PATH})*/?
    | \bfile:///?[^\s"']+
    | (?<![\w/:.\-]){_NAMED_PATH}(?:/{_NAMED_PATH})+\.\w{{1,8}}\b
    | (?<!\w)(?:[A-Za-z]:\\|\\\\)[^\s"']+
    """,
    re.VERBOSE,
)
_IDS = re.compile(_UUID)
_TOKENS = re.compile(r"(?<![\w+/=-])[A-Za-z0-9_+/-]{16,}={0,2}")


def sanitize_error(text: str) -> str:
    """One line of an error without paths (``[path]``), ids (``[id]``), keys (``[MASKED]``) and phones."""
    text = mask_secrets(text[: 20 * _ERROR_LIMIT])
    text = _PATHS.sub("[path]", text)
    text = _IDS.sub("[id]", text)
    text = _TOKENS.sub(_without_token, text)
    text = " ".join(mask_text(text).split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _ERROR_LIMIT else text[: _ERROR_LIMIT - 1] + "…"


def _without_token(match: re.Match[str]) -> str:
    """Mask a key; it differs from a long name by its digits, of which names of tables and functions have few."""
    word = match[0]
    digits = sum(letter.isdigit() for letter in word)
    if digits == len(word) and digits <= 15:
        return word
    hexadecimal = re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", word) is not None
    mixed = any(letter.isupper() for letter in word) and any(letter.islower() for letter in word)
    random = len(word) >= 20 and (digits >= 3 or (mixed and digits >= 1))
    return MASKED if random or (hexadecimal and digits >= 1) else word
