"""Two daemons as real processes: one leads, the other one takes over when that one stands still or is killed."""

import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx2
import pytest
from support.prepared_processes import DAEMON
from support.running_system import STOP_SECONDS, RunningSystem, running_system, wait_until

WITHIN = 30.0
"""Seconds within which another one must lead."""
CUSTOMER = "5511999990001"


@contextmanager
def second_daemon(first: RunningSystem) -> Iterator[RunningSystem]:
    """Another daemon on the same database, with a state directory of its own and the same master key."""
    directory = first.directory / "second"
    (directory / "state").mkdir(mode=0o700, parents=True)
    shutil.copy2(first.directory / "state" / "master.key", directory / "state")
    second = RunningSystem(directory, first.postgres, first.password, evolution_url=first.evolution_url)
    second.daemon = second._start_process(DAEMON, ["run"], second.log)
    second.http = httpx2.Client(base_url=second.url, timeout=15, trust_env=False, headers=first.http.headers)
    try:
        yield second
    finally:
        second.daemon.send_signal(signal.SIGCONT)
        second.close()


def code(system: RunningSystem) -> str:
    """What ``/readyz`` says: "pass", the code of the problem, or nothing."""
    try:
        answer = system.http.get("/readyz").json()
    except httpx2.TransportError:
        return ""
    return str(answer.get("code") or answer["status"])


@contextmanager
def busy_journal(system: RunningSystem) -> Iterator[None]:
    """Nothing can be written to the journal until the block ends; then what waits goes on."""
    path = system.directory / "state" / "journal" / "journal.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as other:
        other.execute("begin immediate")
        yield
        other.execute("rollback")


@pytest.mark.long
def test_whoever_stood_still_between_claim_and_call_does_not_send_what_another_one_has_sent() -> None:
    with running_system() as first:
        unit = first.new_unit("loja", "loja")
        first.allow_fast_sending(unit)
        with second_daemon(first) as second:
            wait_until(lambda: code(second) == "standby", 30, "a standby")
            assert second.http.post("/webhooks/whatsapp/evolution/x", json={}).status_code == 503
            assert first.daemon is not None
            message = {"to": CUSTOMER, "clientMessageId": "once", "text": "uma vez"}
            calling = "select message_id from zapline.attempts where outcome = 'calling'"
            with busy_journal(first):
                first.call("POST", f"/units/{unit}/messages", message, 202)
                wait_until(lambda: first.rows(calling), 15, "a claim")
                first.daemon.send_signal(signal.SIGSTOP)
            [[id]] = first.rows(calling)
            owned = "select distinct owner::text, epoch from zapline.unit_whatsapp_connections"
            [[owner, epoch]] = first.rows(owned)
            took = wait_until(lambda: code(second) == "pass", WITHIN, "a new leader")
            print(f"led after {took:.1f} s of standing still")
            uncertain = "select 1 from zapline.outbox where message_id = %s and state = 'uncertain'"
            wait_until(lambda: second.rows(uncertain, id), 30, "an uncertain message")
            path = f"/units/{unit}/messages/{id}/release"
            wait_until(lambda: second.http.post(path, json={"decision": "resend"}).status_code < 400, 30, "a release")
            settled = "select 1 from zapline.outbox where message_id = %s and state = 'settled'"
            wait_until(lambda: second.rows(settled, id), 60, "the message sent")
            first.daemon.send_signal(signal.SIGCONT)
            wait_until(lambda: code(first) == "standby", 30, "the former leader standing by")
            time.sleep(1)  # nothing is to happen
            assert len(first.control("deliveries", "GET")["rows"]) == 1
            [[now, since]] = first.rows(owned)
            assert (now != owner, since > epoch) == (True, True)
            # What the former owner has to say of its call changes nothing: not that it was never made, either.
            assert first.rows("select epoch, outcome, failure from zapline.attempts order by fence") == [
                (epoch, "uncertain", "crashed"),
                (since, "sent", None),
            ]
            health = second.http.get("/health").json()["database"]
            assert (health["node"], health["epoch"]) == (now, since)
            assert first.http.get("/health").json()["database"]["node"] is None

            assert second.daemon is not None
            second.daemon.kill()
            took = wait_until(lambda: code(first) == "pass", WITHIN, "the first one leading again")
            print(f"led after {took:.1f} s of the other's death")
            second.daemon.wait(STOP_SECONDS)
            message |= {"clientMessageId": "again", "text": "outra vez"}
            wait_until(lambda: first.http.post(f"/units/{unit}/messages", json=message).status_code == 202, 30, "a 202")
            wait_until(lambda: len(first.control("deliveries", "GET")["rows"]) == 2, 60, "the next message")
