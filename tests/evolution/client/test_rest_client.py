"""The client against the simulated server, over real sockets."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.failures import (
    BadAnswer,
    EvolutionFailure,
    FailureVerdict,
    GatewayFailed,
    InstanceExists,
    InstanceUnknown,
    NoAnswer,
    NotConnected,
    OperationFailed,
    ServerError,
    ServerNotReady,
    Throttled,
    Unauthorized,
    Unreachable,
)
from zapline.evolution.client.response_parser import WebhookRegistration
from zapline.evolution.client.rest_client import EvolutionClient, is_transient, open_http_client
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.server_state import Behaviour

HOOK = WebhookRegistration(
    "http://127.0.0.1:9/hook", ("QRCODE_UPDATED", "MESSAGES_UPSERT"), {"X-Zapline-Secret": "s3cret-canary"}
)
QUICK = CallPolicy(connect=10.0, call=3.0, overall=6.0, first_wait=0.01, longest_wait=0.05)


@pytest.fixture
async def evolution() -> AsyncIterator[SimulatedEvolution]:
    with trio.fail_after(30):
        async with SimulatedEvolution.running(behaviour=Behaviour(connect_wait=0.5, statuses=())) as evo:
            evo.inject_fault("webhooks_off")
            yield evo


@pytest.fixture
async def client(evolution: SimulatedEvolution) -> AsyncIterator[EvolutionClient]:
    async with open_http_client() as http:
        yield EvolutionClient(http, evolution.url, evolution.api_key, QUICK)


async def test_an_instance_is_created_connected_scanned_listed_logged_out_and_deleted(
    evolution: SimulatedEvolution, client: EvolutionClient
) -> None:
    created = await client.create_instance("loja", HOOK)
    assert (created.name, created.state, created.qr) == ("loja", "close", None)
    assert created.token
    assert created.token not in repr(created)

    offered = await client.connect("loja")
    assert offered.code is not None
    assert offered.code.startswith("2@")
    assert (offered.count, offered.pairing_code, offered.state) == (1, None, None)
    assert await client.connection_state("loja") == "connecting"

    evolution.scan("loja", "5511999990000")
    assert await client.connection_state("loja") == "open"
    assert (await client.connect("loja")).state == "open"
    (info,) = await client.fetch_instances("loja")
    assert (info.name, info.state, info.instance_id) == ("loja", "open", created.instance_id)
    assert info.owner_jid == "5511999990000@s.whatsapp.net"
    assert "5511999990000" not in repr(info)

    assert await client.restart("loja") == "open"
    await client.logout("loja")
    (info,) = await client.fetch_instances()
    assert info.disconnection_code == 401
    await client.delete("loja")
    with pytest.raises(InstanceUnknown):
        await client.connection_state("loja")


async def test_a_number_asks_for_a_pairing_code(client: EvolutionClient) -> None:
    await client.create_instance("loja", HOOK)
    offered = await client.connect("loja", "5511999990000")
    assert offered.pairing_code is not None
    assert len(offered.pairing_code) == 8


async def test_the_webhook_that_was_set_is_found_with_media_off_and_one_url(client: EvolutionClient) -> None:
    await client.create_instance("loja", HOOK)
    other = WebhookRegistration("http://127.0.0.1:9/other", ("CONNECTION_UPDATE",), {"X-A": "b"})
    for webhook in (await client.set_webhook("loja", other), await client.find_webhook("loja")):
        assert webhook is not None
        assert (webhook.url, webhook.events, dict(webhook.headers)) == (other.url, other.events, {"X-A": "b"})
        assert (webhook.base64, webhook.by_events, webhook.enabled) == (False, False, True)
        assert other.url not in repr(webhook)


async def test_messages_are_read_page_by_page_within_both_ends_of_a_window(
    evolution: SimulatedEvolution, client: EvolutionClient
) -> None:
    await client.create_instance("loja", HOOK)
    evolution.scan("loja")
    ids = [evolution.receive("loja", f"m{n}", at=1_800_000_000 + n) for n in range(5)]
    window = (1_800_000_001, 1_800_000_003)
    first = await client.find_messages("loja", *window, page=1, page_size=2)
    second = await client.find_messages("loja", *window, page=2, page_size=2)
    assert (first.total, first.pages, first.page) == (3, 2, 1)
    record_ids = [record["key"]["id"] for record in (*first.records, *second.records)]
    assert record_ids == [ids[3], ids[2], ids[1]]


async def test_names_are_percent_encoded(client: EvolutionClient) -> None:
    name = "loja São João/1?a"
    await client.create_instance(name, HOOK)
    assert await client.connection_state(name) == "close"
    await client.delete(name)


async def test_server_info_needs_no_right_key(evolution: SimulatedEvolution) -> None:
    async with open_http_client() as http:
        stranger = EvolutionClient(http, evolution.url + "/", "wrong", QUICK)
        assert (await stranger.server_info()).version == "2.3.7"
        with pytest.raises(Unauthorized):
            await stranger.fetch_instances()


async def test_refusals_are_translated(client: EvolutionClient) -> None:
    await client.create_instance("loja", HOOK)
    with pytest.raises(InstanceExists):
        await client.create_instance("loja", HOOK)
    with pytest.raises(OperationFailed):
        await client.restart("loja")
    with pytest.raises(NotConnected):
        await client.logout("loja")
    with pytest.raises(InstanceUnknown):
        await client.fetch_instances("ghost")


@pytest.mark.parametrize(
    ("kind", "failure", "attempts"),
    [
        ("refuse", NoAnswer, 3),
        ("drop_reply", NoAnswer, 3),
        ("error", ServerError, 3),
        ("html", GatewayFailed, 3),
        ("throttle", Throttled, 1),
        ("license", ServerNotReady, 1),
    ],
)
async def test_an_idempotent_call_is_repeated_only_while_that_may_help(
    evolution: SimulatedEvolution,
    client: EvolutionClient,
    kind: str,
    failure: type[EvolutionFailure],
    attempts: int,
) -> None:
    evolution.inject_fault(kind, count=10, path="/instance/fetchInstances")
    with pytest.raises(failure):
        await client.fetch_instances()
    planted = next(fault for fault in evolution.state.faults.as_json() if fault["kind"] == kind)
    assert 10 - planted["count"] == attempts


async def test_a_fault_that_passes_is_not_seen(evolution: SimulatedEvolution, client: EvolutionClient) -> None:
    evolution.inject_fault("error", count=2)
    assert await client.fetch_instances() == []


async def test_what_is_not_idempotent_is_never_repeated(evolution: SimulatedEvolution, client: EvolutionClient) -> None:
    evolution.inject_fault("drop_reply", count=1)
    with pytest.raises(NoAnswer) as caught:
        await client.create_instance("loja", HOOK)
    assert caught.value.verdict is FailureVerdict.UNCERTAIN
    assert "loja" in evolution.state.instances  # it had acted


async def test_a_server_that_hangs_is_left_at_the_deadline(evolution: SimulatedEvolution) -> None:
    evolution.inject_fault("hang")
    async with open_http_client() as http:
        client = EvolutionClient(http, evolution.url, "key", CallPolicy(call=0.2, overall=0.3))
        with trio.fail_after(30), pytest.raises(NoAnswer):
            await client.connection_state("loja")


async def test_a_server_that_is_down_is_unreachable_and_back_when_it_listens_again(
    evolution: SimulatedEvolution, client: EvolutionClient
) -> None:
    await client.fetch_instances()
    evolution.take_down()
    await wait_all_tasks_blocked()
    with pytest.raises(Unreachable) as caught:
        await client.fetch_instances()
    assert caught.value.verdict is FailureVerdict.LINE
    evolution.bring_up()
    await wait_all_tasks_blocked()
    assert await client.fetch_instances() == []


async def test_throttling_carries_its_pause(evolution: SimulatedEvolution, client: EvolutionClient) -> None:
    evolution.inject_fault("throttle", seconds=7)
    with pytest.raises(Throttled) as caught:
        await client.fetch_instances()
    assert caught.value.retry_after == 7.0


async def test_a_cancelled_call_ends_as_cancelled_and_is_not_repeated(
    evolution: SimulatedEvolution, client: EvolutionClient
) -> None:
    evolution.inject_fault("hang", count=10)

    def hangs_left() -> int:
        return next(fault["count"] for fault in evolution.state.faults.as_json() if fault["kind"] == "hang")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.fetch_instances)
        while hangs_left() == 10:  # noqa: ASYNC110
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught
    await wait_all_tasks_blocked()
    assert hangs_left() == 9


async def test_cancellation_is_not_transient() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(trio.Cancelled) as caught:
            await trio.sleep_forever()
        assert not is_transient(caught.value)
    assert not is_transient(ValueError())
    assert is_transient(Unreachable())


async def test_no_secret_is_in_a_failure_or_in_a_log_line(
    evolution: SimulatedEvolution, client: EvolutionClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    evolution.inject_fault("error")
    with pytest.raises(ServerError) as caught:
        await client.create_instance("loja", HOOK, "5511999990000")
    for text in (str(caught.value), repr(HOOK), caplog.text):
        for secret in (evolution.api_key, "s3cret-canary", "5511999990000", HOOK.url):
            assert secret not in text


def answering(body: Any) -> EvolutionClient:
    """A client whose server always answers this; for answers that the simulated server never gives."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=content))
    return EvolutionClient(httpx2.AsyncClient(transport=transport), "http://evo.invalid", "key", QUICK)


async def test_the_answers_of_version_1_are_understood() -> None:
    created = await answering(
        {"instance": {"instanceName": "a", "status": "created"}, "hash": {"apikey": "T0KEN"}}
    ).create_instance("a", HOOK)
    assert (created.name, created.instance_id, created.token) == ("a", None, "T0KEN")
    rows = [{"instance": {"instanceName": "a", "instanceId": "1", "owner": "55@s", "status": "open"}}]
    (info,) = await answering(rows).fetch_instances()
    assert (info.name, info.instance_id, info.state, info.owner_jid) == ("a", "1", "open", "55@s")


@pytest.mark.parametrize(
    "body",
    [b"<html>hello</html>", b"", b"\xff", [], "text", 7, {"instance": []}, {"instance": {"state": 3}}],
)
async def test_an_answer_of_another_shape_is_a_bad_answer(body: Any) -> None:
    with pytest.raises(BadAnswer):
        await answering(body).connection_state("a")


@pytest.mark.parametrize(
    "messages",
    [None, {}, {"total": 1, "pages": 1, "currentPage": 1, "records": [1]}, {"total": "1", "records": []}],
)
async def test_a_page_of_another_shape_is_a_bad_answer(messages: Any) -> None:
    with pytest.raises(BadAnswer):
        await answering({"messages": messages}).find_messages("a", 0, 1)


@pytest.mark.parametrize("body", [[1], [{}], {"instance": 1}, None])
async def test_rows_of_another_shape_are_a_bad_answer(body: Any) -> None:
    with pytest.raises(BadAnswer):
        await answering(body).fetch_instances()
