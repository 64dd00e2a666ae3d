"""A short outbound chaos run: faults and a kill while messages are sent, and a check that errors are detected."""

import httpx2
import psycopg
import pytest
import trio
from chaos.outbound.phases import dies_at, nearly_all_settled, sometimes
from chaos.outbound.run import OutboundRun, Phase, open_outbound_run

from zapline.sandbox.simulator.server import API_KEY

LIMIT = 180.0
"""Seconds after which a run that hangs is ended."""
UNITS = 3
FAULTS = [
    sometimes("drop_reply", 0.3),
    sometimes("never_echo", 0.15),
    sometimes("error", 0.18),
    sometimes("connection_closed", 0.18),
    sometimes("duplicate", 0.3, path="/"),
]


async def send_a_second_copy(run: OutboundRun, client_id: str) -> None:
    """Send by hand the second copy that the daemon must never send."""
    (submission,) = [one for one in run.environment.submitter.all if one.client_id == client_id]
    async with httpx2.AsyncClient(base_url=run.simulator.url, headers={"apikey": API_KEY}) as http:
        body = {"number": submission.to, "text": submission.text}
        assert (await http.post(f"/message/sendText/{submission.instance}", json=body)).status_code == 201
    await run.simulator.refresh()


def settled_ids(url: str, client_ids: list[str]) -> list[str]:
    """Return those of the client ids whose message is settled."""
    with psycopg.connect(url, connect_timeout=5) as conn:
        rows = conn.execute(
            "select m.client_message_id from zapline.messages m join zapline.outbox o on o.message_id = m.id"
            " where o.state = 'settled' and m.client_message_id = any(%s)",
            (client_ids,),
        )
        return [row[0] for row in rows]


def tamper(url: str, *statements: str) -> None:
    with psycopg.connect(url, connect_timeout=5) as conn:
        for statement in statements:
            conn.execute(statement.encode())


@pytest.mark.long
async def test_each_message_is_sent_once_or_reported_uncertain_and_errors_are_detected() -> None:
    with trio.fail_after(LIMIT):
        async with open_outbound_run(UNITS, seed=11) as run:
            await run.phase(Phase("faults", FAULTS, per_unit=10, dead=frozenset({"server_error"})))
            await run.phase(dies_at("after-201", most_passes=10))
            await run.check()
            for row in run.rows:
                assert row.sound, (row.failures, row.outcome.notes)
            first, second = (row.outcome for row in run.rows)
            assert first.sent + second.sent >= 44
            assert first.uncertain >= 1
            nearly_all_settled(run, second)

            # Each kind of error is now made by hand, and must be detected.
            submissions = run.environment.submitter.of_phase(run.rows[1].phase)
            duplicated, *others = settled_ids(
                run.base.postgres.url, [submission.client_id for submission in submissions]
            )
            await send_a_second_copy(run, duplicated)
            at = "(select id from zapline.messages where client_message_id = '{}')"
            lost, retried, lowered, swapped = (at.format(client_id) for client_id in others[:4])
            tamper(
                run.base.postgres.url,
                f"update zapline.messages set client_message_id = null where id = {lost}",
                f"update zapline.outbox set tries = 4 where message_id = {retried}",
                f"update zapline.messages set delivery = 'sent' where id = {lowered}",
                f"update zapline.messages set external_id = 'X' where id = {swapped}",
            )
            outcome = await run.inspector.compare(submissions)
            assert (outcome.twice, outcome.lost, outcome.wrong) == (1, 1, 3), outcome.notes
            assert await run.inspector.check_database() != []
