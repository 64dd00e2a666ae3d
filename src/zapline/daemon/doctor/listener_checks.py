"""Looks at the way in: the daemon's own port, BASE_URL from here, and whether Evolution can follow it."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import httpx2
import trio

from zapline.daemon.doctor.finding import Finding, Tell, fail, ok, warn

DAEMON, FRONT, SIDE = "daemon", "BASE_URL", "BASE_URL from Evolution's side"
SECONDS: Final = 5.0
_START = "Start it: systemctl start zapline (or zapline run), then look at its log: journalctl -u zapline"


async def look_at_front(
    http: httpx2.AsyncClient, base_url: str, evolution_url: str, binds: tuple[str, ...], tell: Tell
) -> None:
    """``binds``: where health is served, as in the settings."""
    runs = await _daemon(http, binds, tell)
    tell(await _base_url(http, base_url, runs))
    tell(_from_evolution(base_url, evolution_url))


async def _daemon(http: httpx2.AsyncClient, binds: tuple[str, ...], tell: Tell) -> bool | None:
    """Whether it answers; None where it cannot be asked directly."""
    bind = binds[0]
    if bind.startswith("fd://"):
        tell(ok(DAEMON, "it listens on a socket of systemd, which is asked through BASE_URL"))
        return None
    if bind.startswith("unix:"):
        transport = httpx2.AsyncHTTPTransport(uds=bind.removeprefix("unix:"))
        async with httpx2.AsyncClient(transport=transport, trust_env=False) as local:
            said = await _get(local, "http://localhost/livez")
    else:
        said = await _get(http, f"http://{_local(bind)}/livez")
    if isinstance(said, str):
        tell(fail(DAEMON, f"it does not answer at {bind} ({said})", _START))
        return False
    if said.status_code != 200:
        step = "Another program may have this port: ss -ltnp. Else look at the daemon's log: journalctl -u zapline"
        tell(fail(DAEMON, f"/livez at {bind} answers {said.status_code}", step))
        return False
    tell(ok(DAEMON, f"it runs at {bind}"))
    return True


def _local(bind: str) -> str:
    """Where to reach what listens on this address: everywhere means here too."""
    host, _, port = bind.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104 - compared only


async def _get(http: httpx2.AsyncClient, url: str) -> httpx2.Response | str:
    """The answer, or why there is none."""
    try:
        with trio.fail_after(SECONDS):
            return await http.get(url)
    except trio.TooSlowError:
        return f"no answer within {SECONDS:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return f"{type(error).__name__}: {error}"


async def _base_url(http: httpx2.AsyncClient, base_url: str, runs: bool | None) -> Finding:
    said = await _get(http, base_url.rstrip("/") + "/livez")
    if isinstance(said, str):
        if runs is False:
            return warn(FRONT, f"not checked: the daemon does not run ({said})", "Start the daemon, then look again.")
        step = (
            "Check its name (DNS), port, certificate and proxy. If this machine cannot see its own public "
            "address, try from another: curl -i BASE_URL/livez"
        )
        return fail(FRONT, f"{base_url} cannot be reached from here: {said}", step)
    if said.status_code in (502, 503, 504):
        step = "The proxy in front must pass /webhooks/ on to ZAPLINE_BIND."
        return fail(FRONT, f"{base_url} answers {said.status_code}: the proxy does not reach the daemon", step)
    if 300 <= said.status_code < 400:
        step = "Set BASE_URL to the address that it redirects to: Evolution does not follow with a POST."
        return fail(FRONT, f"{base_url} redirects ({said.status_code})", step)
    return ok(FRONT, f"{base_url} can be reached from here")


def _from_evolution(base_url: str, evolution_url: str) -> Finding:
    ours, theirs = urlsplit(base_url).hostname or "", urlsplit(evolution_url).hostname or ""
    step = "Set BASE_URL to an address of this machine that the Evolution server can reach."
    if loopback(ours) and not loopback(theirs):
        said = f"BASE_URL is {ours}, which on Evolution's machine ({theirs}) means that machine: no webhook arrives"
        return warn(SIDE, said, step)
    if loopback(ours):
        return ok(SIDE, "both are on this machine (if Evolution runs in a container, use the host's address instead)")
    if ours == theirs and urlsplit(base_url).port == urlsplit(evolution_url).port:
        return warn(SIDE, "BASE_URL is Evolution's own address: webhooks would go to Evolution itself", step)
    if _private(ours) and _public(theirs):
        return warn(SIDE, f"{ours} is a private address, and Evolution ({theirs}) is not in a private network", step)
    return ok(SIDE, "as far as can be told from here")


def loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback or ip_address(host).is_unspecified
    except ValueError:
        return False


def _private(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return False


def _public(host: str) -> bool:
    try:
        return ip_address(host).is_global
    except ValueError:
        return False
