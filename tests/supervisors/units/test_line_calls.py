"""The calls for lines against the simulated server: changed webhooks, pairings and instances made anew."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from zapline.domain.line.events import (
    ConnectionEvent,
    ConnectStarted,
    QrOffered,
    Registered,
    RegistrationChecked,
    StateObserved,
)
from zapline.domain.line.transitions import LineAction
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state import pairing_faults
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.supervisors.counters import Counters
from zapline.supervisors.units import line_calls
from zapline.supervisors.units.line_calls import LineCalls, WebhookAddress
from zapline.supervisors.units.registration import WEBHOOK_EVENTS

URL = "http://127.0.0.1:9/webhooks/whatsapp/evolution/"
NUMBER = "5511977770500"
CHANGES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"url": "http://elsewhere.example/hook"}, ("url",)),
    ({"url": f"{URL}secret-of-generation-0"}, ("url",)),
    ({"events": ["MESSAGES_UPSERT"]}, ("events",)),
    ({"events": [*WEBHOOK_EVENTS, "MESSAGES_EDITED"]}, ("events",)),
    ({"headers": {"x-who": "somebody"}}, ("headers",)),
    ({"base64": True}, ("base64",)),
    ({"by_events": True}, ("byEvents",)),
    ({"enabled": False, "events": []}, ("enabled", "events")),
]


class Line:
    """One line, and the calls that its actor would make."""

    name = "loja"

    def __init__(self, evolution: SimulatedEvolution, client: EvolutionClient) -> None:
        self.evolution = evolution
        self.secret_id = (uuid4().bytes, 1)
        self.calls = LineCalls(client, self.address, Counters(lambda: 0.0))

    @staticmethod
    def address(unit: bytes, generation: int) -> WebhookAddress:
        return WebhookAddress(f"{URL}secret-of-generation-{generation}")

    async def perform(self, action: LineAction, number: str | None = None, *, enforce: bool = True) -> ConnectionEvent:
        return await self.calls.perform(action, self.name, number, self.secret_id, enforce)

    def change(self, **changes: Any) -> None:
        pairing_faults.change_webhook(self.evolution.instance(self.name), changes)

    @property
    def url(self) -> str:
        webhook = self.evolution.instance(self.name).webhook
        assert webhook is not None
        return webhook.url


@pytest.fixture
async def line(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    monkeypatch.setattr(line_calls, "_CLOSE_PAUSE", 0.01)
    behaviour = Behaviour(connect_wait=0.2)
    async with SimulatedEvolution.running(behaviour=behaviour) as evolution, open_http_client() as http:
        line = Line(evolution, EvolutionClient(http, evolution.url, evolution.api_key, CallPolicy(attempts=1)))
        assert await line.perform(LineAction.REGISTER) == Registered()
        yield line


async def test_a_webhook_as_it_should_be_is_only_read(line: Line) -> None:
    assert await line.perform(LineAction.CHECK) == RegistrationChecked()


@pytest.mark.parametrize(("changes", "told"), CHANGES)
async def test_a_webhook_that_somebody_changed_is_told_and_set_again(
    line: Line, changes: dict[str, Any], told: tuple[str, ...]
) -> None:
    line.change(**changes)
    assert await line.perform(LineAction.CHECK) == RegistrationChecked(told, restored=True)
    assert await line.perform(LineAction.CHECK) == RegistrationChecked()


@pytest.mark.parametrize(("changes", "told"), CHANGES)
async def test_a_unit_that_says_so_only_tells(line: Line, changes: dict[str, Any], told: tuple[str, ...]) -> None:
    line.change(**changes)
    for _ in range(2):
        assert await line.perform(LineAction.CHECK, enforce=False) == RegistrationChecked(told)


async def test_a_start_leaves_what_somebody_else_looks_after_but_renews_its_own_secret(line: Line) -> None:
    line.change(url="http://elsewhere.example/hook")
    assert await line.perform(LineAction.REGISTER, enforce=False) == Registered(("url",))
    assert line.url == "http://elsewhere.example/hook"
    line.change(url=f"{URL}secret-of-generation-0")
    assert await line.perform(LineAction.REGISTER, enforce=False) == Registered()
    assert line.url == f"{URL}secret-of-generation-1"


@pytest.mark.parametrize("version", ["2.2.3", "2.3.0", "2.3.7", "2.4.0-rc2"])
async def test_a_webhook_is_set_again_on_servers_of_every_version(line: Line, version: str) -> None:
    line.evolution.state.behaviour = replace(line.evolution.state.behaviour, version=version)
    line.change(url="http://elsewhere.example/hook", events=["MESSAGES_UPSERT"])
    assert await line.perform(LineAction.CHECK) == RegistrationChecked(("url", "events"), restored=True)
    assert await line.perform(LineAction.CHECK) == RegistrationChecked()


async def test_a_check_of_an_instance_that_is_gone_says_so(line: Line) -> None:
    del line.evolution.state.instances[line.name]
    assert await line.perform(LineAction.CHECK) == StateObserved("missing")


async def test_a_pairing_made_anew_hears_the_number(line: Line) -> None:
    shown = await line.perform(LineAction.CONNECT)
    assert isinstance(shown, QrOffered)
    ignored = await line.perform(LineAction.CONNECT, NUMBER)
    assert isinstance(ignored, QrOffered)
    assert ignored.pairing_code is None, "Evolution hears a number only when it begins a pairing"
    assert await line.perform(LineAction.RENEW_PAIRING, NUMBER) == Registered()
    offered = await line.perform(LineAction.CONNECT, NUMBER)
    assert isinstance(offered, QrOffered)
    assert offered.pairing_code is not None


async def test_a_line_that_sticks_opens_after_its_instance_was_made_anew(line: Line) -> None:
    pairing_faults.stick(line.evolution.instance(line.name))
    for _ in range(2):
        assert await line.perform(LineAction.CONNECT) == ConnectStarted()
        assert await line.perform(LineAction.OBSERVE) == StateObserved("close")
    before = line.evolution.instance(line.name).id
    assert await line.perform(LineAction.RECREATE) == Registered()
    assert line.evolution.instance(line.name).id != before
    assert isinstance(await line.perform(LineAction.CONNECT), QrOffered)
    assert line.url == f"{URL}secret-of-generation-1"


async def test_a_scan_that_was_not_finished_is_finished_by_another_connect(line: Line) -> None:
    await line.perform(LineAction.CONNECT)
    pairing_faults.scan_in_vain(line.evolution.state, line.evolution.instance(line.name), "unfinished")
    assert await line.perform(LineAction.OBSERVE) == StateObserved("close")
    assert await line.perform(LineAction.CONNECT) == ConnectStarted()
