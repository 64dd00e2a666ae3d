"""Parses JIDs and LIDs (WhatsApp addresses) into user and server.

The forms of JIDs per version of Evolution are in the contract, section 2.
"""

import re

_LONGEST_JID = 128
PHONE_SERVER = "s.whatsapp.net"
LID_SERVER = "lid"
_PHONE_SERVERS = frozenset({PHONE_SERVER, "c.us", "hosted"})
"""``c.us`` is the old name; ``hosted`` are lines that Meta runs for a business."""
_LID_SERVERS = frozenset({LID_SERVER, "hosted.lid"})
_USER = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
_SERVER = re.compile(r"[a-z][a-z0-9.-]{0,39}")


def parse_jid(raw: str | None) -> tuple[str, str] | None:
    """(user, server) without device and agent parts, aliases of servers folded; None if it cannot be parsed."""
    if not isinstance(raw, str) or len(raw) > _LONGEST_JID:
        return None
    user, at, server = raw.strip().partition("@")
    if not at:
        return None
    server = server.lower()
    if server in _PHONE_SERVERS:
        user = user.partition(":")[0].partition("_")[0]
        if not (user.isascii() and user.isdigit()):
            return None
        if 7 <= len(user) <= 15 and user[0] != "0":
            return user, PHONE_SERVER
        # WhatsApp's service account is 0@s.whatsapp.net: an address, but no phone.
        return (user, "service.whatsapp.net") if len(user) <= 20 else None
    if server in _LID_SERVERS:
        user = user.partition(":")[0].partition("_")[0]
        return (user, LID_SERVER) if user.isascii() and user.isdigit() and len(user) <= 20 else None
    user = user.partition(":")[0]
    if _USER.fullmatch(user) is None or _SERVER.fullmatch(server) is None:
        return None
    return user, server
