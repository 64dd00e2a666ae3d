"""The simulated server delivers webhooks as the real one: envelope, retries, order, faults."""

import base64
import hashlib
import hmac
import json
import random
from itertools import pairwise
from typing import Any

import pytest
import trio
from support.simulated_evolution import add, serving

from zapline.sandbox.simulator.endpoints.phone_actions import recording_names
from zapline.sandbox.simulator.state.webhook_delivery import WebhookRetryPolicy


def test_the_default_delays_are_those_of_evolution() -> None:
    policy = WebhookRetryPolicy()
    delays = [policy.delay(failed, 0.5) for failed in range(1, 10)]
    assert delays == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert policy.delay(1, 0.0) == 4.0
    assert policy.delay(1, 1.0) == 6.0
    assert (policy.attempts, policy.timeout) == (10, 30.0)


async def test_the_envelope_has_the_fields_of_the_contract_and_no_api_key(receiver: Any) -> None:
    async with serving(receiver) as evo:
        sent = evo.receive("alpha", "olá")
        (arrival,) = await receiver.wait_for("messages.upsert")
    body = arrival.body
    assert list(body) == [
        "event", "instance", "data", "destination", "date_time", "sender", "server_url", "apikey"
    ]  # fmt: skip
    assert body["apikey"] is None
    assert body["sender"] == "5511999990000@s.whatsapp.net"
    assert body["destination"] == receiver.url
    assert body["data"]["key"] == {
        "remoteJid": "5511999990001@s.whatsapp.net",
        "fromMe": False,
        "id": sent,
        "participant": "",
        "addressingMode": "pn",
    }
    assert arrival.headers["user-agent"].startswith("axios/")
    assert "olá".encode() in arrival.raw


async def test_the_sender_is_absent_before_the_first_login(receiver: Any) -> None:
    async with serving(receiver) as evo:
        add(evo, "new", receiver.url)
        await evo.storm("new", 1, rate=1000)
        (arrival,) = await receiver.wait_for("connection.update")
    assert "sender" not in arrival.body


async def test_only_subscribed_events_are_sent_and_none_when_disabled(receiver: Any) -> None:
    async with serving(receiver) as evo:
        hook = evo.instance("alpha").webhook
        hook.events = ["MESSAGES_UPDATE"]
        evo.receive("alpha", "not subscribed")
        evo.status("alpha", "3EB0", "READ", "5511999990001@s.whatsapp.net")
        hook.enabled = False
        evo.status("alpha", "3EB0", "READ", "5511999990001@s.whatsapp.net")
        await evo.wait_until_idle()
    assert receiver.events() == ["messages.update"]


async def test_a_url_per_event_has_a_suffix_and_the_destination_field_has_none(receiver: Any) -> None:
    async with serving(receiver) as evo:
        evo.instance("alpha").webhook.by_events = True
        evo.receive("alpha")
        evo.replay("alpha", "group-participants.update-add")
        await evo.wait_until_idle()
    assert sorted(arrival.path for arrival in receiver.arrivals) == [
        "/hook/alpha/group-participants-update",
        "/hook/alpha/messages-upsert",
    ]
    assert {arrival.body["destination"] for arrival in receiver.arrivals} == {receiver.url}


async def test_configured_headers_are_sent_verbatim_and_jwt_key_becomes_a_bearer_token(receiver: Any) -> None:
    async with serving(receiver) as evo:
        evo.instance("alpha").webhook.headers = {"X-Secret": "abc", "jwt_key": "k3y"}
        evo.receive("alpha")
        (arrival,) = await receiver.wait_for("messages.upsert")
    assert arrival.headers["x-secret"] == "abc"
    assert "jwt_key" not in arrival.headers
    scheme, _, token = arrival.headers["authorization"].partition(" ")
    signed, _, signature = token.rpartition(".")
    expected = base64.urlsafe_b64encode(hmac.new(b"k3y", signed.encode(), hashlib.sha256).digest())
    assert (scheme, signature.encode()) == ("Bearer", expected.rstrip(b"="))
    claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
    assert (claims["app"], claims["action"]) == ("evolution", "webhook")
    assert claims["exp"] - claims["iat"] == 600


async def test_retries_interleave_and_bodies_stay_the_same(receiver: Any) -> None:
    """As recorded in webhook-retry-500.json: 500 for a while; a later event does not wait for the first."""
    receiver.statuses = [500] * 6
    async with serving(receiver, WebhookRetryPolicy(attempts=4, initial=0.1, cap=0.5)) as evo:
        evo.receive("alpha", "retry me")
        await trio.sleep(0.03)
        evo.receive("alpha", "second, after first failed")
        await evo.wait_until_idle()
        counts = evo.ledger.webhook_counts()
    texts = [arrival.data["message"]["conversation"] for arrival in receiver.arrivals]
    assert texts[:2] == ["retry me", "second, after first failed"]
    assert sorted(texts[2:]) == ["retry me"] * 3 + ["second, after first failed"] * 3
    assert len({arrival.raw for arrival in receiver.arrivals}) == 2
    assert [arrival.response_status for arrival in receiver.arrivals] == [500] * 6 + [200] * 2
    first = [arrival.at for arrival, text in zip(receiver.arrivals, texts, strict=True) if text == "retry me"]
    gaps = [later - earlier for earlier, later in pairwise(first)]
    for gap, backoff in zip(gaps, (0.1, 0.2, 0.4), strict=True):
        assert backoff * 0.8 <= gap <= backoff * 1.2
    assert counts == {"acknowledged": 2}


async def test_a_receiver_slower_than_the_timeout_gets_the_same_event_again(receiver: Any) -> None:
    """As recorded in webhook-timeout-duplicate.json."""
    receiver.delay = 0.2
    policy = WebhookRetryPolicy(attempts=3, initial=0.05, cap=0.05, timeout=0.1)
    async with serving(receiver, policy) as evo:
        evo.receive("alpha", "slow")
        await evo.wait_until_idle()
        (record,) = evo.ledger.webhooks
    assert len(receiver.arrivals) == 3
    assert len({arrival.raw for arrival in receiver.arrivals}) == 1
    assert (record.fate, record.attempts, record.last_status) == ("lost", 3, None)


async def test_an_edit_blocks_the_later_events_of_its_instance_alone(receiver: Any) -> None:
    """As recorded in webhook-edited-blocks-queue.json."""
    receiver.statuses = [500, 500, 500]
    async with serving(receiver) as evo:
        evo.replay("alpha", "messages.edited-text")
        await receiver.wait_for("messages.edited")
        evo.receive("alpha", "waits behind the edit")
        await evo.wait_until_idle()
        assert receiver.events() == ["messages.edited"] * 4 + ["messages.upsert"]
        assert [arrival.response_status for arrival in receiver.arrivals] == [500, 500, 500, 200, 200]

        receiver.arrivals.clear()
        receiver.statuses = [500]
        add(evo, "beta", receiver.url)
        evo.replay("alpha", "messages.edited-text")
        await receiver.wait_for("messages.edited")
        evo.receive("beta", "does not wait")
        await evo.wait_until_idle()
    assert receiver.events() == ["messages.edited", "messages.upsert", "messages.edited"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_some_statuses_are_never_retried(receiver: Any, status: int) -> None:
    receiver.status = status
    async with serving(receiver) as evo:
        evo.receive("alpha")
        await evo.wait_until_idle()
        (record,) = evo.ledger.webhooks
    assert len(receiver.arrivals) == 1
    assert (record.fate, record.last_status) == ("refused", status)


@pytest.mark.parametrize("status", [429, 500, 503, 302])
async def test_other_statuses_are_retried_until_the_attempts_are_used_up(receiver: Any, status: int) -> None:
    receiver.status = status
    async with serving(receiver, WebhookRetryPolicy(attempts=3, initial=0.01, cap=0.01)) as evo:
        evo.receive("alpha")
        await evo.wait_until_idle()
        assert evo.ledger.webhook_counts() == {"lost": 1}
    assert len(receiver.arrivals) == 3


async def test_an_unreachable_receiver_is_retried(receiver: Any) -> None:
    async with serving(receiver, WebhookRetryPolicy(attempts=3, initial=0.01, cap=0.01)) as evo:
        evo.instance("alpha").webhook.url = "http://127.0.0.1:1/closed"
        evo.receive("alpha")
        await evo.wait_until_idle()
        (record,) = evo.ledger.webhooks
    assert (record.fate, record.attempts) == ("lost", 3)


async def test_faults_duplicate_reorder_and_drop_webhooks(receiver: Any) -> None:
    async with serving(receiver) as evo:
        evo.inject_fault("duplicate", count=1)
        evo.receive("alpha", "twice")
        await evo.wait_until_idle()
        assert len(receiver.arrivals) == 2
        assert receiver.arrivals[0].raw == receiver.arrivals[1].raw

        receiver.arrivals.clear()
        evo.inject_fault("reorder", seconds=0.2)
        sent = [evo.receive("alpha", str(n)) for n in range(20)]
        await evo.wait_until_idle()
        arrived = [arrival.data["key"]["id"] for arrival in receiver.arrivals]
        assert sorted(arrived) == sorted(sent)
        assert arrived != sent

        receiver.arrivals.clear()
        evo.clear_faults("reorder")
        evo.inject_fault("webhooks_off", instance="alpha")
        missed = evo.receive("alpha", "missed")
        await evo.wait_until_idle()
        assert receiver.arrivals == []
        assert missed in evo.instance("alpha").messages  # so that it can be read back
        assert evo.ledger.webhooks[-1].fate == "off"


async def test_the_server_ends_at_once_with_retries_and_requests_in_progress(receiver: Any) -> None:
    receiver.delay = 30
    async with serving(receiver, WebhookRetryPolicy(initial=60, timeout=60)) as evo:
        for _ in range(100):
            evo.receive("alpha")
        await receiver.wait_for("messages.upsert", 10)
        ending = trio.current_time()
    assert trio.current_time() == ending, "it waited for a timer"


async def test_every_recording_can_be_replayed_with_the_name_of_the_instance(receiver: Any) -> None:
    names = recording_names("webhooks")
    assert len(names) > 80
    async with serving(receiver) as evo:
        for name in names:
            evo.replay("alpha", name)
        await evo.wait_until_idle()
        assert evo.ledger.webhook_counts() == {"acknowledged": len(names)}
    assert len(receiver.arrivals) == len(names)
    for arrival in receiver.arrivals:
        if b'"instance":"' in arrival.raw and arrival.raw.endswith(b"}"):
            assert arrival.body["instance"] == "alpha"


async def test_a_storm_has_the_requested_rate(receiver: Any) -> None:
    async with serving(receiver) as evo:
        started = trio.current_time()
        await evo.storm("alpha", 40, rate=200)
        assert trio.current_time() - started == pytest.approx(0.2)
        await evo.wait_until_idle()
    states = {(a.data["state"], a.data["statusReason"]) for a in receiver.received("connection.update")}
    assert (len(receiver.arrivals), states) == (40, {("connecting", 200)})


def test_the_jitter_is_at_most_a_fifth() -> None:
    policy, rng = WebhookRetryPolicy(), random.Random(1)
    delays = [policy.delay(1, rng.random()) for _ in range(1000)]
    assert 4.0 <= min(delays) < 4.1
    assert 5.9 < max(delays) <= 6.0
