"""Probes, health and metrics: open, truthful, and silent about people."""

from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.inbound_events import IGNORED_REASONS
from zapline.http.ops.metrics import COUNTERS, GAUGES, exported_names

TEXT = {
    "key": {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": "A1"},
    "pushName": "Maria Canary",
    "message": {"conversation": "bom dia"},
    "messageType": "conversation",
    "messageTimestamp": 1_795_364_451,
}


async def scrape(api: Any) -> dict[str, dict[tuple[str, ...], float]]:
    async with httpx2.AsyncClient(trust_env=False) as stranger:
        answer = await stranger.get(f"{api.url}/metrics")
    assert answer.status_code == 200
    result: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            result.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return result


async def test_probes_need_no_token(api: Any) -> None:
    async with httpx2.AsyncClient(base_url=api.url, trust_env=False) as stranger:
        for path in ("/livez", "/readyz", "/health", "/metrics"):
            assert (await stranger.get(path)).status_code == 200
            assert (await stranger.post(path)).status_code == 405


async def test_health_tells_the_four_rates_and_what_stands_still(api: Any) -> None:
    await api.add_unit()
    report = await api.until("/health", lambda result: result["database"]["latencySeconds"] is not None)
    assert report["status"] == "pass"
    assert set(report["rates"]) == {"webhookErrorRate", "unknownInstances", "dedupeRate", "unexpectedDisconnects"}
    for rate in report["rates"].values():
        assert set(rate) == {"value", "threshold", "verdict", "explanation"}
    assert report["journal"]["depth"] == 0
    assert report["database"]["standing"] == "leading"
    assert report["database"]["node"] is not None
    assert report["database"]["epoch"] >= 1
    assert report["units"]["total"] == report["units"]["byPhase"]["idle"] == 1
    assert report["units"]["quarantined"] == []
    assert 0 <= report["loopLagSeconds"] < 5


async def test_health_warns_of_an_unknown_instance_and_metrics_count_it(api: Any) -> None:
    answer = await api.client.post(
        "/webhooks/whatsapp/evolution/nonsense", content=b'{"event":"x","instance":"nobody"}'
    )
    assert answer.status_code == 200
    report = await api.until("/health", lambda metrics: metrics["status"] != "pass")
    assert report["rates"]["unknownInstances"]["verdict"] == "warn"
    metrics = await scrape(api)
    assert metrics["zapline_unknown_instances_total"] == {(): 1}
    assert metrics["zapline_refused_webhooks_total"][("unknown_instance",)] == 1
    assert metrics["zapline_unknown_instances_recent"] == {(): 1}


async def test_readiness_ends_when_a_webhook_cannot_be_made_durable(api: Any) -> None:
    await api.until("/health", lambda result: result["database"]["latencySeconds"] is not None)
    api.journal.refusing = True
    assert (await api.client.get("/readyz")).status_code == 200  # the database still takes it
    api.health.database_latency = None
    refused = await api.client.get("/readyz")
    assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
    assert (await api.client.get("/livez")).status_code == 200
    api.journal.refusing = False
    assert (await api.client.get("/readyz")).status_code == 200


async def test_readiness_ends_while_another_daemon_leads(api: Any) -> None:
    leadership = api.health._leadership
    leadership.stands_by = True
    refused = await api.client.get("/readyz")
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "standby", "5")
    leadership.stands_by = False
    assert (await api.client.get("/readyz")).status_code == 200


async def test_health_answers_200_while_the_database_is_away(api: Any, monkeypatch: Any) -> None:
    def away() -> Any:
        raise DatabaseUnavailable("connection to server at 10.1.2.3 failed: password=hunter2")

    for pool in (api.api_pool, api.engine_pool):
        monkeypatch.setattr(pool, "connection", away)
    api.health.database_latency = None
    await api.until("/health", lambda report: report["database"]["latencySeconds"] is None)
    metrics = await scrape(api)
    assert metrics["zapline_database_up"] == {(): 0}


async def test_the_catalogue_is_what_is_exported_with_every_counter_at_nought(api: Any) -> None:
    metrics = await scrape(api)
    ours = {name for name in metrics if name.startswith("zapline_")}
    assert ours == exported_names()
    for counter in COUNTERS:
        samples = metrics[counter.exported_name]
        assert samples, counter.name
        if counter.label is not None:
            assert {(label,) for label in counter.known_labels} <= set(samples)
        if counter.name not in ("connection_events", "unexpected_events"):
            assert set(samples.values()) == {0.0}, counter.name
    assert len(metrics["zapline_units"]) == 8
    assert "process_resident_memory_bytes" in metrics
    assert len(COUNTERS) + len(GAUGES) == len(exported_names())


async def test_a_stored_message_moves_the_counters(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", TEXT)
    await api.send(unit, "messages.upsert", TEXT)
    await api.send(unit, "messages.upsert", "no object")
    metrics = await scrape(api)
    assert metrics["zapline_messages_total"][("text",)] == 2
    assert metrics["zapline_messages_created_total"] == {(): 1}
    assert metrics["zapline_duplicates_total"] == {(): 1}
    assert (await api.get("/health"))["rates"]["dedupeRate"]["threshold"].endswith("too few messages to judge")
    assert sum(metrics["zapline_dead_letters_total"].values()) == 1
    assert metrics["zapline_journal_depth"] == {(): 0}


async def test_labels_are_bounded_whatever_is_counted(api: Any) -> None:
    for number in range(1000):
        api.counters.add("ignored", f"reason{number}")
    samples = (await scrape(api))["zapline_ignored_total"]
    assert len(samples) <= max(64, len(IGNORED_REASONS)) + 1
    assert sum(samples.values()) == 1000


async def test_what_is_open_to_all_names_nobody(api: Any) -> None:
    unit = await api.add_unit("Canary Store")
    await api.send(unit, "messages.upsert", TEXT)
    for path in ("/health", "/metrics"):
        text = (await api.client.get(path)).text
        for canary in ("Canary", "551199999", unit.record.instance, api.token, f"{unit.id}1", api.database):
            assert canary not in text, (path, canary)
