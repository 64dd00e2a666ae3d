"""Lets operators in by their session's cookie, and no form from elsewhere: what stands before every page."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from ipaddress import ip_address
from urllib.parse import urlsplit

from quart import Response, g, request

from zapline.http.api.framework.problems import Problem
from zapline.http.server.client_address import Networks, is_within

COOKIE, PLAIN_COOKIE = "__Host-zapline", "zapline"
"""The session's cookie; the second one over plain HTTP on this very machine, where browsers refuse the first."""
FORM_TOKEN_FIELD = "csrf"
LIVE_HEADER = "X-Zapline-Live"
"""Header of what the script asks for by itself: an answer that is no page goes to the script, not to a person."""
IDLE_HEADER = "X-Zapline-Idle"
"""Header by which the script says that nobody has touched the page for a while."""


class Transport(Enum):
    """How a request came to us."""

    HTTPS = "https"
    LOOPBACK = "loopback"
    """Plain, and it never left this machine."""
    PLAIN = "plain"
    """Plain, over a network: no password and no session go that way."""


@dataclass(frozen=True, slots=True)
class ConsoleOrigin:
    """How the console is reached: proxies whose headers are believed, and the address that people are given."""

    trusted: Networks = ()
    base_url: str = ""

    def carriage(self) -> Transport:
        """How the present request came."""
        peer = str((request.scope.get("client") or ("",))[0])
        believed = is_within(peer, self.trusted)
        if request.scope.get("scheme") == "https" or (
            believed and request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
        ):
            return Transport.HTTPS
        base = urlsplit(self.base_url)
        host = request.host.lower()
        if base.scheme == "https" and host == base.netloc.lower():
            return Transport.HTTPS
        return Transport.LOOPBACK if _loopback(host) else Transport.PLAIN

    def own(self, origin: str) -> bool:
        """Whether an ``Origin`` is that of the address under which the request came."""
        found = urlsplit(origin)
        return found.scheme in ("http", "https") and found.netloc.lower() == request.host.lower()


def cookie_name(carriage: Transport) -> str:
    return COOKIE if carriage is Transport.HTTPS else PLAIN_COOKIE


def presented_session(front: ConsoleOrigin) -> str | None:
    """The session's token that the request came with."""
    carriage = front.carriage()
    return None if carriage is Transport.PLAIN else request.cookies.get(cookie_name(carriage)) or None


def set_session_cookie(response: Response, front: ConsoleOrigin, token: str, ends: datetime) -> None:
    """Have the browser keep the session until it ends at the latest."""
    carriage = front.carriage()
    seconds = max(0, int((ends - datetime.now(UTC)).total_seconds()))
    secure = carriage is Transport.HTTPS
    response.set_cookie(
        cookie_name(carriage), token, max_age=seconds, path="/", httponly=True, secure=secure, samesite="Lax"
    )


def delete_session_cookie(response: Response, front: ConsoleOrigin) -> None:
    """Have the browser forget the session."""
    carriage = front.carriage()
    secure = carriage is Transport.HTTPS
    response.delete_cookie(cookie_name(carriage), path="/", httponly=True, secure=secure, samesite="Lax")


def form_token(session: str) -> str:
    """What every form of this session carries; who does not know the session cannot know it."""
    made = hmac.new(session.encode("utf-8", "surrogatepass"), b"zapline console form", hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def check_origin(front: ConsoleOrigin) -> None:
    """Refuse a POST that another site's page has made. Raises Problem 403.

    Every browser tells where a POST comes from. Ours come as ``Origin: null``, since no page of ours tells its
    address; then ``Sec-Fetch-Site`` tells.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        right = site == "same-origin" and (origin in (None, "null") or front.own(origin or ""))
    else:
        right = origin is not None and front.own(origin)
    if not right:
        raise Problem(403, "foreign_form", "this form was not sent by a page of this console")


async def check_form_token() -> None:
    """Refuse a form that is not of this session. Raises Problem 403, and what reading the body raises."""
    given = (await request.form).get(FORM_TOKEN_FIELD, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), form_token(g.session).encode()):
        raise Problem(403, "foreign_form", "this form is not of your present session; open the page again")


def safe_return_path(text: str | None) -> str:
    """A path of the console to go on to; the console itself where ``text`` is none, or leads elsewhere."""
    if not text or not text.startswith("/console/") or len(text) > 500:
        return "/console/"
    if any(character in "\\" or ord(character) < 33 or ord(character) > 126 for character in text) or "//" in text:
        return "/console/"
    return text


def _loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
