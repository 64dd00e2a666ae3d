"""Checks what every page relies on: the session's cookie, a form's origin and token, and where a page leads back."""

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
"""The session's cookie; the second over plain HTTP on this machine, where browsers refuse ``__Host-`` cookies."""
CSRF_FIELD = "csrf"
LIVE_HEADER = "X-Zapline-Live"
"""Header of the script's own requests: errors are answered with a status and plain text instead of a page."""
IDLE_HEADER = "X-Zapline-Idle"
"""Header of the script's requests while nobody has touched the page for a while: they do not extend the session."""


class Transport(Enum):
    """How a request reached the console."""

    HTTPS = "https"
    LOOPBACK = "loopback"
    """Plain HTTP that did not leave this machine."""
    PLAIN = "plain"
    """Plain HTTP over a network: no password and no session is accepted."""


@dataclass(frozen=True, slots=True)
class ConsoleOrigin:
    """How the console is reached: proxies whose headers are trusted, and the public base URL."""

    trusted_proxies: Networks = ()
    base_url: str = ""

    def transport(self) -> Transport:
        """How the current request arrived."""
        peer = str((request.scope.get("client") or ("",))[0])
        trusted = is_within(peer, self.trusted_proxies)
        if request.scope.get("scheme") == "https" or (
            trusted and request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
        ):
            return Transport.HTTPS
        base = urlsplit(self.base_url)
        host = request.host.lower()
        if base.scheme == "https" and host == base.netloc.lower():
            return Transport.HTTPS
        return Transport.LOOPBACK if _loopback(host) else Transport.PLAIN

    def is_own(self, origin: str) -> bool:
        """Whether an ``Origin`` header names the host of the current request."""
        parsed = urlsplit(origin)
        return parsed.scheme in ("http", "https") and parsed.netloc.lower() == request.host.lower()


def cookie_name(transport: Transport) -> str:
    return COOKIE if transport is Transport.HTTPS else PLAIN_COOKIE


def presented_session(console: ConsoleOrigin) -> str | None:
    """The session token of the current request; never one that came over a plain network."""
    transport = console.transport()
    return None if transport is Transport.PLAIN else request.cookies.get(cookie_name(transport)) or None


def set_session_cookie(response: Response, console: ConsoleOrigin, token: str, ends: datetime) -> None:
    """Store the session in the browser, at most until ``ends``."""
    transport = console.transport()
    seconds = max(0, int((ends - datetime.now(UTC)).total_seconds()))
    secure = transport is Transport.HTTPS
    response.set_cookie(
        cookie_name(transport), token, max_age=seconds, path="/", httponly=True, secure=secure, samesite="Lax"
    )


def delete_session_cookie(response: Response, console: ConsoleOrigin) -> None:
    """Remove the session from the browser."""
    transport = console.transport()
    secure = transport is Transport.HTTPS
    response.delete_cookie(cookie_name(transport), path="/", httponly=True, secure=secure, samesite="Lax")


def form_token(session: str) -> str:
    """The token in every form of this session; it cannot be computed without the session."""
    digest = hmac.new(session.encode("utf-8", "surrogatepass"), b"zapline console form", hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def check_origin(console: ConsoleOrigin) -> None:
    """Refuse a POST from a page of another site. Raises Problem 403.

    Every browser sends ``Origin`` with a POST. Our pages send no referrer, so theirs is ``null``, and
    ``Sec-Fetch-Site`` decides.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        same_site = site == "same-origin" and (origin in (None, "null") or console.is_own(origin or ""))
    else:
        same_site = origin is not None and console.is_own(origin)
    if not same_site:
        raise Problem(403, "foreign_form", "this form was not sent by a page of this console")


async def check_form_token() -> None:
    """Refuse a form of another session. Raises Problem 403, and what reading the body raises."""
    token = (await request.form).get(CSRF_FIELD, "")
    if not hmac.compare_digest(token.encode("utf-8", "replace"), form_token(g.session).encode()):
        raise Problem(403, "foreign_form", "this form is not of your present session; open the page again")


def safe_return_path(text: str | None) -> str:
    """A path of the console to redirect to; the overview's if ``text`` is empty or leads to another site."""
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
