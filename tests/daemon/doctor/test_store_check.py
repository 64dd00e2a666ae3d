"""What the doctor finds out about Evolution's store: messages, and what became of them."""

import time
from uuid import uuid4

import pytest

from zapline.daemon.doctor.evolution_checks import STORAGE, Server, _check_storage, _raw_instances
from zapline.daemon.doctor.finding import Finding, Verdict
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.line.state import StoredLineState
from zapline.evolution.client.response_parser import WebhookRegistration
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sql.units.units import UnitRecord


@pytest.mark.parametrize(
    ("statuses", "fault", "verdict", "words"),
    [
        (("DELIVERY_ACK",), None, Verdict.OK, ""),
        ((), None, Verdict.WARN, "DATABASE_SAVE_MESSAGE_UPDATE=true"),
        ((), "error", Verdict.WARN, "findMessages"),
    ],
)
async def test_whether_statuses_are_kept_shows_in_what_was_sent(
    statuses: tuple[str, ...], fault: str | None, verdict: Verdict, words: str
) -> None:
    async with SimulatedEvolution.running() as evolution, open_http_client() as http:
        server = Server(http, evolution.url, evolution.api_key, "http://zapline.example")
        client = EvolutionClient(http, evolution.url, evolution.api_key)
        await client.create_instance("loja", WebhookRegistration("http://127.0.0.1:9/", ("CALL",)))
        evolution.scan("loja")
        for number in range(6):
            id = evolution.receive("loja", "oi", from_me=True, external_id=f"X{number}", at=time.time() - 900)
            for word in statuses:
                evolution.status("loja", id, word)
        if fault is not None:
            evolution.inject_fault(fault, path="/chat/findMessages")
        unit = UnitRecord(UnitId(uuid4()), "Loja", "loja", 1, b"", stored=StoredLineState(phase=Phase.OPEN))
        result: list[Finding] = []
        await _check_storage(server, await _raw_instances(server), [unit], result.append)
        [finding] = result
        assert (finding.what, finding.verdict) == (STORAGE, verdict)
        assert words in finding.next_step
