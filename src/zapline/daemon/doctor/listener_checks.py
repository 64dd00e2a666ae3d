"""Checks the way in: the daemon's own port, BASE_URL from here, and whether Evolution can reach it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

import httpx2
import trio

from zapline.daemon.doctor.finding import Finding, Report, fail, ok, warn

DAEMON, BASE_URL, FROM_EVOLUTION = "daemon", "BASE_URL", "BASE_URL from Evolution's side"
TIMEOUT_SECONDS: Final = 5.0
_START_STEP = "Start it: systemctl start zapline (or zapline run), then look at its log: journalctl -u zapline"


async def check_listeners(
    http: httpx2.AsyncClient,
    base_url: str,
    evolution_url: str,
    binds: Sequence[str],
    lock_held: bool | None,
    report: Report,
) -> None:
    """``binds``: where health is served, as in the settings. ``lock_held``: whether a daemon works on the database."""
    runs = await _check_daemon(http, binds, lock_held, report)
    report(await _check_base_url(http, base_url, runs))
    report(_check_from_evolution(base_url, evolution_url))


async def _check_daemon(
    http: httpx2.AsyncClient, binds: Sequence[str], lock_held: bool | None, report: Report
) -> bool | None:
    """Whether the daemon answers; None if it cannot be asked directly. What answers without the lock is another's."""
    bind = binds[0]
    if bind.startswith("fd://"):
        report(ok(DAEMON, "it listens on a socket of systemd, which is asked through BASE_URL"))
        return None
    if bind.startswith("unix:"):
        transport = httpx2.AsyncHTTPTransport(uds=bind.removeprefix("unix:"))
        async with httpx2.AsyncClient(transport=transport, trust_env=False) as local:
            answer = await _get(local, "http://localhost/livez")
    else:
        answer = await _get(http, f"http://{_local_address(bind)}/livez")
    if isinstance(answer, str):
        report(fail(DAEMON, f"it does not answer at {bind} ({answer})", _START_STEP))
        return False
    if answer.status_code != 200:
        step = "Another program may have this port: ss -ltnp. Else look at the daemon's log: journalctl -u zapline"
        report(fail(DAEMON, f"/livez at {bind} answers {answer.status_code}", step))
        return False
    if lock_held is None:
        observation = f"something answers at {bind}; whether it works on this database cannot be told without it"
        report(warn(DAEMON, observation, "Mend the database first, then look again."))
        return True
    if not lock_held:
        step = (
            "Another installation may have this port (ss -ltnp): stop it, or set ZAPLINE_BIND and BASE_URL to a free "
            "one. Where it is yours, look at its log: it does not lead on this database."
        )
        report(fail(DAEMON, f"what answers at {bind} is another daemon: none works on this database", step))
        return False
    report(ok(DAEMON, f"it runs at {bind}"))
    return True


def _local_address(bind: str) -> str:
    """Where to reach a listener on this bind address: all interfaces include this one."""
    host, _, port = bind.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104 - compared only


async def _get(http: httpx2.AsyncClient, url: str) -> httpx2.Response | str:
    """The response, or why there is none."""
    try:
        with trio.fail_after(TIMEOUT_SECONDS):
            return await http.get(url)
    except trio.TooSlowError:
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return f"{type(error).__name__}: {error}"


async def _check_base_url(http: httpx2.AsyncClient, base_url: str, runs: bool | None) -> Finding:
    answer = await _get(http, base_url.rstrip("/") + "/livez")
    if isinstance(answer, str):
        if runs is False:
            return warn(
                BASE_URL, f"not checked: the daemon does not run ({answer})", "Start the daemon, then look again."
            )
        step = (
            "Check its name (DNS), port, certificate and proxy. If this machine cannot see its own public "
            "address, try from another: curl -i BASE_URL/livez"
        )
        return fail(BASE_URL, f"{base_url} cannot be reached from here: {answer}", step)
    if answer.status_code in (502, 503, 504):
        step = "The proxy in front must pass /webhooks/ on to ZAPLINE_BIND."
        return fail(BASE_URL, f"{base_url} answers {answer.status_code}: the proxy does not reach the daemon", step)
    if 300 <= answer.status_code < 400:
        step = "Set BASE_URL to the address that it redirects to: Evolution does not follow with a POST."
        return fail(BASE_URL, f"{base_url} redirects ({answer.status_code})", step)
    return ok(BASE_URL, f"{base_url} can be reached from here")


def _check_from_evolution(base_url: str, evolution_url: str) -> Finding:
    ours, theirs = urlsplit(base_url).hostname or "", urlsplit(evolution_url).hostname or ""
    step = "Set BASE_URL to an address of this machine that the Evolution server can reach."
    if is_loopback(ours) and not is_loopback(theirs):
        observation = (
            f"BASE_URL is {ours}, which on Evolution's machine ({theirs}) means that machine: no webhook arrives"
        )
        return warn(FROM_EVOLUTION, observation, step)
    if is_loopback(ours):
        return ok(
            FROM_EVOLUTION,
            "both are on this machine (if Evolution runs in a container, use the host's address instead)",
        )
    if ours == theirs and urlsplit(base_url).port == urlsplit(evolution_url).port:
        return warn(FROM_EVOLUTION, "BASE_URL is Evolution's own address: webhooks would go to Evolution itself", step)
    here, there = _address(ours), _address(theirs)
    if here is not None and here.is_private and there is not None and there.is_global:
        return warn(
            FROM_EVOLUTION, f"{ours} is a private address, and Evolution ({theirs}) is not in a private network", step
        )
    return ok(FROM_EVOLUTION, "as far as can be told from here")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
