"""One delivery to a CRM: where it may go, how long it may take, and what is read of the reply."""

import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from support.crm_receiver import CrmReceiver, ReceivedCall, crm_receiver, response

from zapline.crm.webhook_client import MAX_RESPONSE_BYTES, CrmWebhookClient, NotDelivered, Resolver, open_crm_client

CERTIFICATE = Path(__file__).with_name("crm.example.com.pem")
"""Signed by itself, with its key: it opens nothing but this test."""
HEADERS = {"Content-Type": "application/json", "Content-Length": "2"}


def resolver_to(*addresses: str) -> Resolver:
    async def resolver(host: str, port: int) -> Iterable[str]:
        await trio.lowlevel.checkpoint()
        if not addresses:
            raise OSError("no such host")
        return addresses

    return resolver


@asynccontextmanager
async def client(*addresses: str, private: bool = True, timeout: float = 5.0) -> AsyncIterator[CrmWebhookClient]:
    async with open_crm_client(time.time, resolver_to(*addresses), private=private, timeout=timeout) as crm_client:
        yield crm_client


def url_of(receiver: CrmReceiver) -> str:
    """The receiver's URL with a host name that only the resolver knows."""
    return receiver.url.replace("127.0.0.1", "crm.example.com") + "/hook"


async def failure(crm_client: CrmWebhookClient, url: str) -> str:
    with pytest.raises(NotDelivered) as caught:
        await crm_client.post(url, HEADERS, b"{}")
    return caught.value.code


async def test_a_delivery_goes_to_the_checked_address_and_only_to_a_public_one() -> None:
    async with crm_receiver() as at:
        async with client("127.0.0.1") as crm_client:
            for _ in range(2):
                assert (await crm_client.post(url_of(at), HEADERS, b"{}")).status == 204
            for target in ("/a;b=1/c;d?e=f;g&h=%2F", "/?", "/"):
                await crm_client.post(url_of(at).removesuffix("/hook") + target, HEADERS, b"{}")
                assert at.calls.pop().path == target
        mapped = "::ffff:127.0.0.1"
        for inside in (["127.0.0.1"], ["10.0.0.1"], ["93.184.216.34", "169.254.169.254"], ["::1"], [mapped]):
            async with client(*inside, private=False) as crm_client:
                assert await failure(crm_client, url_of(at)) == "address_refused"
        for nowhere in ("169.254.169.254", "168.63.129.16", "fe80::1%lo", "0.0.0.0", mapped):
            async with client(nowhere) as crm_client:
                assert await failure(crm_client, url_of(at)) == "address_refused"
        assert len(at.calls) == 2


async def test_each_cause_of_a_failed_delivery_has_a_code() -> None:
    async def never(call: ReceivedCall) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with crm_receiver() as at, client("127.0.0.1", timeout=0.3) as crm_client:
        at.responders["/hook"] = never
        with trio.fail_after(30):
            assert await failure(crm_client, url_of(at)) == "timeout"
    async with crm_receiver() as at, client("127.0.0.1") as crm_client:
        at.respond("/hook", b"that is no HTTP\r\n\r\n")
        assert await failure(crm_client, url_of(at)) == "broken_connection"
        assert await failure(crm_client, "http://127.0.0.1:1/") == "unreachable"
        async with client("127.0.0.1", timeout=0.3) as impatient:
            by_tls = await failure(impatient, url_of(at).replace("http:", "https:"))
        assert by_tls in ("tls_failed", "timeout")
    async with client() as crm_client:
        assert await failure(crm_client, "https://nobody.example.com/") == "unreachable"


async def test_a_handshake_that_hangs_leaves_no_connection_behind() -> None:
    left = trio.Event()

    async def silent(stream: trio.abc.Stream) -> None:
        while await stream.receive_some():
            pass
        left.set()

    async with trio.open_nursery() as nursery, client("127.0.0.1", timeout=0.3) as crm_client:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, silent, [listener])
        port = listener.socket.getsockname()[1]
        assert await failure(crm_client, f"https://crm.example.com:{port}/") == "timeout"
        with trio.fail_after(30):
            await left.wait()
        nursery.cancel_scope.cancel()


async def test_the_certificate_is_verified_for_the_name_and_not_for_the_address() -> None:
    serving, trusting = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(cafile=CERTIFICATE),
    )
    serving.load_cert_chain(CERTIFICATE)
    async with crm_receiver(serving) as at:
        url_template = at.url.replace("http://127.0.0.1", "https://{}")
        for context, name, expected in (
            (trusting, "crm.example.com", "204"),
            (trusting, "other.example.com", "tls_failed"),
            (None, "crm.example.com", "tls_failed"),
        ):
            resolver = resolver_to("127.0.0.1")
            async with open_crm_client(time.time, resolver, private=True, context=context, timeout=5.0) as crm_client:
                try:
                    outcome = str((await crm_client.post(url_template.format(name), HEADERS, b"{}")).status)
                except NotDelivered as failed:
                    outcome = failed.code
                assert outcome == expected, name
        assert len(at.calls) == 1


async def test_a_redirect_is_not_followed_and_a_long_response_is_not_read() -> None:
    async with crm_receiver() as at, client("127.0.0.1") as crm_client:
        at.respond("/hook", response(307, f"Location: {at.url}/elsewhere"))
        assert (await crm_client.post(url_of(at), HEADERS, b"{}")).status == 307
        endless = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * (4 * MAX_RESPONSE_BYTES)
        at.respond("/hook", endless)
        with trio.fail_after(30):
            assert (await crm_client.post(url_of(at), HEADERS, b"{}")).status == 200
        assert at.calls_to("/elsewhere") == []


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 120, 120),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 1e8, 1e10),
        ("soon", None, None),
        ("-1", None, None),
    ],
)
async def test_retry_after_is_parsed(header: str, least: float | None, most: float | None) -> None:
    async with crm_receiver() as at, client("127.0.0.1") as crm_client:
        at.respond("/hook", response(429, f"Retry-After: {header}"))
        reply = await crm_client.post(url_of(at), HEADERS, b"{}")
        assert reply.status == 429
        if least is None or most is None:
            assert reply.retry_after is None
        else:
            assert reply.retry_after is not None
            assert least <= reply.retry_after <= most
