"""A media URL is accepted only if every address of its host is public."""

import socket
import threading
from collections.abc import Iterable

import pytest
import trio
import trio.testing

from zapline.domain.network_addresses import InvalidMediaUrl
from zapline.supervisors.outbound.media_url_check import (
    LOOKUP_TIMEOUT,
    MediaUrlRefused,
    MediaUrlUnresolvable,
    Resolver,
    check_media_url,
    resolve_host,
)


def resolving_to(*addresses: str) -> Resolver:
    async def resolver(host: str, port: int) -> Iterable[str]:
        assert (host, port) == ("files.example.com", 443)
        await trio.lowlevel.checkpoint()
        return addresses

    return resolver


async def never_called(host: str, port: int) -> Iterable[str]:
    raise AssertionError(host)


async def test_a_url_whose_addresses_are_all_public_comes_back_in_its_plain_form() -> None:
    resolver = resolving_to("93.184.216.34", "2606:4700:4700::1111")
    url = "HTTPS://files.EXAMPLE.com:443/fotos/São.png#top"
    assert await check_media_url(url, resolver) == "https://files.example.com/fotos/S%C3%A3o.png"


@pytest.mark.parametrize(
    "inside", ["10.0.0.5", "::1", "169.254.169.254", "64:ff9b::7f00:1", "fe80::1%eth0", "nonsense"]
)
async def test_one_private_address_is_enough_to_refuse_and_is_not_shown(inside: str) -> None:
    with pytest.raises(MediaUrlRefused) as caught:
        await check_media_url("https://files.example.com/a.png", resolving_to("93.184.216.34", inside))
    assert inside not in str(caught.value)
    assert "files.example.com" not in str(caught.value)


async def test_an_address_in_the_url_is_checked_without_a_lookup() -> None:
    assert await check_media_url("http://93.184.216.34/a", never_called) == "http://93.184.216.34/a"
    for url in ("http://127.0.0.1/a", "http://[::1]/a", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest/"):
        with pytest.raises(MediaUrlRefused):
            await check_media_url(url, never_called)
    with pytest.raises(InvalidMediaUrl):
        await check_media_url("http://2130706433/", never_called)


async def test_a_host_without_addresses_is_unresolvable() -> None:
    async def unknown(host: str, port: int) -> Iterable[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for resolver in (unknown, resolving_to()):
        with pytest.raises(MediaUrlUnresolvable):
            await check_media_url("https://files.example.com/a.png", resolver)


async def test_a_resolver_that_hangs_is_left_at_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async def hanging(host: str, port: int) -> Iterable[str]:
        await trio.sleep_forever()
        return ()

    began = trio.current_time()
    with pytest.raises(MediaUrlUnresolvable):
        await check_media_url("https://files.example.com/a.png", hanging)
    assert trio.current_time() - began == pytest.approx(LOOKUP_TIMEOUT)


async def test_the_system_resolves_this_machine_and_no_name_that_cannot_exist() -> None:
    with trio.fail_after(30):
        assert "127.0.0.1" in await resolve_host("127.0.0.1", 80)
        with pytest.raises(OSError, match=r"."):
            await resolve_host("no-such-host.invalid", 80)


async def test_names_whose_servers_are_silent_delay_only_those_who_share_their_limiter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def silent(host: str, port: int, **more: object) -> list[tuple[object, ...]]:
        if host == "silent.example.com":
            answered.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))]

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    limiter = trio.CapacityLimiter(2)
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(resolve_host, "silent.example.com", 443, limiter)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert limiter.borrowed_tokens == 2  # their threads go on, though nobody waits for them
        with trio.fail_after(30):
            assert await resolve_host("files.example.com", 443) == ["93.184.216.34"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolve_host, "files.example.com", 443, limiter)
            await trio.testing.wait_all_tasks_blocked()
            assert limiter.statistics().tasks_waiting == 1
            nursery.cancel_scope.cancel()
    finally:
        answered.set()
