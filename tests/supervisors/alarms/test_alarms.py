"""Alarms from what is wrong to who is told: PostgreSQL, a mail server and a CRM's receiver, on a clock of ours."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio
from support.crm_receiver import CrmReceiver, crm_receiver, response
from support.database_proxy import DatabaseProxy, database_proxy
from support.smtp_server import HOST, TestMailServer, mail_server

from zapline.crm.webhook_client import CrmWebhookClient, open_crm_client
from zapline.daemon.composition.alarms import alarm_keys
from zapline.domain.alarms.destinations import DestinationKind
from zapline.domain.alarms.incidents import AlarmPolicy, Seen, Trouble
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import StoredLineState
from zapline.http.console.health.alarm_texts import alarm_text
from zapline.sql.health.alarms import Destination
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.alarms.alarm_commands import AlarmCommands, AskedDestination, TargetPolicy
from zapline.supervisors.alarms.alarm_delivery import AlarmDelivery
from zapline.supervisors.alarms.alarm_keeper import AlarmKeeper
from zapline.supervisors.alarms.channels import Channels, NotTold, SiblingLines, Telling
from zapline.supervisors.alarms.smtp_mail import MailClient, MailSecurity, MailServer
from zapline.supervisors.alarms.troubles import see
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.alarm_checks import check_alarms
from zapline.supervisors.health.check_result import HealthCheck, Verdict
from zapline.supervisors.inbound.server_standing import ServerStanding
from zapline.supervisors.leadership import Leadership, LeadershipStatus

KEYS = alarm_keys(b"k" * 40)
POLICY = AlarmPolicy(after=120, gather=30, calm=180, gap=60, update=300, remind=4 * 3600)
LINES = [f"line:{UUID(int=number)}" for number in range(6)]


@dataclass
class Scene:
    """What is wrong, the clock, and where alarms arrive."""

    proxy: DatabaseProxy
    mail: TestMailServer
    hook: CrmReceiver
    pool: Pool
    leadership: Leadership
    http: CrmWebhookClient
    now: float = 1_790_000_000.0
    wrong: dict[str, Trouble] = field(default_factory=dict)
    keeper: AlarmKeeper = None  # type: ignore[assignment]
    delivery: AlarmDelivery = None  # type: ignore[assignment]
    commands: AlarmCommands = None  # type: ignore[assignment]
    elsewhere: AlarmCommands = None  # type: ignore[assignment]
    """Those of another node."""
    on_time: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin anew, as a daemon does that knows nothing but what is stored."""
        server = MailServer(HOST, self.mail.port, "zapline@example.com", MailSecurity.NONE)
        parts = (alarm_text, MailClient(server), self.http, KEYS.signing, None, lambda: self.now, "https://z.example")
        channels, pool = Channels(*parts), self.pool

        async def look(now: float) -> Seen:
            return Seen(dict(self.wrong))

        self.keeper = AlarmKeeper(pool, self.leadership, look, POLICY, self.tell_time, uuid4)
        spread = {"draw_spread": lambda: 0.0}
        unsealing = (lambda to: KEYS.unseal(to.id, to.sealed), Counters(trio.current_time), lambda: self.now)
        self.delivery = AlarmDelivery(pool, self.keeper, channels, *unsealing, **spread)
        policy = TargetPolicy(private=True)
        about = (pool, KEYS, channels, lambda unit: None, policy)
        self.commands = AlarmCommands(*about, self.keeper.reload, lambda: self.now)
        self.elsewhere = AlarmCommands(*about, lambda: None, lambda: self.now)

    def tell_time(self) -> float:
        """The keeper's clock, which asks the time while it reads the database."""
        asked, self.on_time = self.on_time, None
        if asked is not None:
            asked()
        return self.now

    def fall(self, *keys: str) -> None:
        for key in keys:
            self.wrong[key] = Trouble(key, self.now, f"Loja {LINES.index(key)}", Reason.LOGGED_OUT.value)

    async def run(self, seconds: float, every: float = 30.0) -> None:
        """Let time pass, and do what there is to do."""
        until = self.now + seconds
        while self.now < until:
            self.now += every
            await self.keeper.look_once()
            async with trio.open_nursery() as nursery:
                await self.delivery.start_due(nursery)
            await self.delivery.count()

    @property
    def subjects(self) -> list[str]:
        return [mail["subject"] for mail in self.mail.mails]

    @property
    def events(self) -> list[str]:
        return [call.payload["event"] for call in self.hook.calls]


@asynccontextmanager
async def scene(database: str) -> AsyncIterator[Scene]:
    async def resolve(host: str, port: int) -> list[str]:
        return [host]

    async def ignore(*_: Any) -> None:
        pass

    async with database_proxy(database) as proxy:

        async def open_direct() -> Connection:
            return await connect(proxy.url)

        async def notified(_: str) -> None:
            made.keeper.reload()

        leadership = Leadership(open_direct, ignore, notified)
        async with (
            mail_server() as mail,
            crm_receiver() as hook,
            open_crm_client(lambda: 0.0, resolve, private=True) as http,
            Pool.open(proxy.url, size=2, patience=2.0, role="zapline_engine") as pool,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(leadership.run)
            with trio.fail_after(120):
                await leadership.may_write()
            made = Scene(proxy, mail, hook, pool, leadership, http)
            made.start()
            await made.commands.add(AskedDestination(DestinationKind.EMAIL, "ana@example.com", "pt-BR"))
            _, secret = await made.commands.add(AskedDestination(DestinationKind.WEBHOOK, f"{hook.url}/alarm?key=A1"))
            made.hook.responders.clear()
            made.secret = secret  # type: ignore[attr-defined]
            yield made
            nursery.cancel_scope.cancel()


async def test_six_lines_are_one_alarm_and_one_all_clear_over_restarts_and_refusals(database: str) -> None:
    async with scene(database) as at:
        at.mail.refusals = ["451 later", "451 later"]
        at.fall(*LINES)
        await at.run(180)
        assert (at.mail.mails, at.events) == ([], ["alarm"])
        at.now += 130
        check = check_alarms(at.delivery.report())
        assert (check.verdict, check.value) == (Verdict.WARN, 1)
        assert check.detail == "a…@example.com: refused_451"
        await at.run(60)
        assert at.subjects == ["Alarme: 6 linhas fora (Loja 0, Loja 1, Loja 2, e mais 3)"]
        assert at.mail.tries == 3
        assert check_alarms(at.delivery.report()).verdict is Verdict.PASS
        at.start()
        await at.run(600)
        assert (len(at.mail.mails), at.events) == (1, ["alarm"]), "a restart repeats nothing"
        at.wrong.clear()
        await at.run(120)
        at.start()
        await at.run(420)
        assert at.events == ["alarm", "all_clear"]
        assert at.subjects[1:] == ["Tudo certo de novo: 6 linhas voltaram (Loja 0, Loja 1, Loja 2, e mais 3)"]
        alarm, clear = at.hook.calls
        assert all(call.signed_with(at.secret) for call in (alarm, clear))  # type: ignore[attr-defined]
        assert alarm.payload["type"] == "failure"
        assert [each["name"] for each in alarm.payload["incident"]["members"]] == [f"Loja {n}" for n in range(6)]
        assert alarm.payload["incident"]["id"] == clear.payload["incident"]["id"]
        assert len({mail["references"] for mail in at.mail.mails}) == 1, "one thread"
        (past,) = await at.commands.incidents(None, 10)
        assert (past.incident.said, past.failed, len(past.incident.members)) == (2, 0, 6)


async def test_a_node_that_becomes_the_first_goes_on_where_the_other_was(database: str) -> None:
    async with scene(database) as at:
        first = at.keeper
        at.start()
        other, at.leadership.is_first = at.keeper, False
        await other.look_once()
        assert (other.destinations, other.acts) == ((), False), "it reads nothing that will be out of date"
        at.keeper, at.leadership.is_first = first, True
        at.fall(LINES[0])
        await at.run(210)
        at.leadership.is_first = False
        await other.look_once()
        at.keeper, at.leadership.is_first = other, True
        await at.run(300)
        assert at.events == ["alarm"]


async def test_destinations_that_others_change_are_read_also_while_they_are_being_read(database: str) -> None:
    async with scene(database) as at:
        await at.keeper.look_once()
        new, _ = await at.elsewhere.add(AskedDestination(DestinationKind.EMAIL, "bia@example.com"))
        for known, change in ((3, lambda: at.elsewhere.remove(new.id)), (2, trio.lowlevel.checkpoint)):
            with trio.fail_after(120):
                while len(at.keeper.destinations) != known:
                    await at.keeper.look_once()
                    await trio.sleep(0.01)
            await change()
        at.keeper.reload()
        at.on_time = at.keeper.reload
        await at.keeper.look_once()
        assert at.on_time is None
        async with at.pool.connection() as conn:
            await conn.execute("delete from zapline.alarm_destinations")
        await at.keeper.look_once()
        assert at.keeper.destinations == ()


async def test_a_destination_that_hangs_delays_no_other(database: str) -> None:
    async with scene(database) as at, trio.open_nursery() as nursery:
        answers = trio.Event()

        async def hang(call: Any) -> bytes:
            await answers.wait()
            return response(204)

        async def pass_time(seconds: int) -> None:
            for _ in range(0, seconds, 30):
                at.now += 30
                await at.keeper.look_once()

        at.hook.responders["/alarm?key=A1"] = hang
        nursery.start_soon(at.delivery.run)
        at.fall(LINES[0])
        await pass_time(210)
        await at.hook.wait_for_calls(1)
        await at.mail.wait_for_mails(1)
        at.wrong.clear()
        await pass_time(300)
        await at.mail.wait_for_mails(2)
        assert set(at.events) == {"alarm"}
        answers.set()
        with trio.fail_after(120):
            while at.events[-1] != "all_clear":  # noqa: ASYNC110
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_an_error_of_ours_in_one_delivery_is_a_failure_of_that_delivery() -> None:
    def words(*_: Any) -> Any:
        raise ValueError("ours")

    channels = Channels(words, None, None, KEYS.signing, None, lambda: 0.0)  # type: ignore[arg-type]
    to = Destination(UUID(int=1), DestinationKind.EMAIL, b"", "a…@example.com", (), "en", 1, 0.0)
    with pytest.raises(NotTold) as refused:
        await channels.tell(to, "ana@example.com", Telling(UUID(int=2), None, None, 0.0))
    assert refused.value.code == "unforeseen"


async def test_what_was_told_before_a_kill_is_told_again_under_the_same_id(database: str) -> None:
    async with scene(database) as at:
        killed = trio.CancelScope()

        async def arrive(call: Any) -> bytes:
            killed.cancel()
            return response(204)

        at.hook.responders["/alarm?key=A1"] = arrive
        at.fall(LINES[0])
        with killed:
            await at.run(300)
        assert killed.cancelled_caught
        at.start()
        at.hook.responders.clear()
        await at.run(120)
        first, second = at.hook.calls
        assert (first.id, first.body) == (second.id, second.body)


async def test_who_is_told_learns_of_a_database_that_is_away_and_once_only(database: str) -> None:
    async with scene(database) as at:
        await at.keeper.look_once()
        await at.proxy.refuse()
        with trio.fail_after(120):
            while at.leadership.status is LeadershipStatus.LEADING:  # noqa: ASYNC110
                await trio.sleep(0.01)
        at.wrong["check:database"] = Trouble("check:database", at.now, "database")
        at.hook.respond("/alarm?key=A1", response(500))
        await at.run(180)
        assert at.subjects == ["Alarme: Banco de dados"]
        at.hook.responders.clear()
        await at.proxy.come_back()
        with trio.fail_after(120):
            await at.leadership.may_write()
        await at.run(60)
        assert (len(at.mail.mails), at.events[-1], len({call.id for call in at.hook.calls})) == (1, "alarm", 1)
        at.wrong.clear()
        await at.run(300)
        assert (at.subjects[1:], at.events[-1]) == (["Tudo certo de novo: Banco de dados"], "all_clear")


async def test_a_test_says_of_each_destination_whether_it_was_reached(database: str) -> None:
    async with scene(database) as at:
        at.hook.respond("/alarm?key=A1", response(404))
        results = await at.commands.test()
        assert [(each.destination.shown, each.error) for each in results] == [
            ("a…@example.com", None),
            (f"http://{HOST}/…", "status_404"),
        ]
        assert at.subjects == ["Teste dos alarmes"]
        assert [to.error for to in await at.commands.destinations()] == [None, "status_404"]
        (stored,) = await rows(at.pool)
        assert b"A1" not in stored


async def rows(pool: Pool) -> list[bytes]:
    async with pool.connection() as conn:
        found = await conn.fetch("select string_agg(d::text, '') as text from zapline.alarm_destinations d", {})
    return [found[0].text.encode()]


def a_unit(number: int, phase: Phase, **more: Any) -> Any:
    stored = StoredLineState(phase, wanted=True, connected_at=1.0, disconnected_at=50.0)
    record = {"name": f"Loja +55 11 98888-000{number}", "paused_at": None, "archived_at": None} | more
    return SimpleNamespace(id=UUID(int=number), record=SimpleNamespace(**record), shown=stored)


def test_an_alarm_goes_over_a_line_that_is_open_and_not_over_one_that_is_down() -> None:
    units = {
        1: a_unit(1, Phase.LOGGED_OUT),
        2: a_unit(2, Phase.OPEN, paused_at=1.0),
        3: a_unit(3, Phase.OPEN),
        4: a_unit(4, Phase.OPEN),
    }
    lines = SiblingLines(lambda id: units.get(id.int), None)  # type: ignore[arg-type]
    chosen: Any = [UUID(int=number) for number in (1, 2, 9, 3, 4)]
    assert lines.choose(chosen, set()) == UUID(int=3)
    assert lines.choose(chosen, {f"line:{UUID(int=3)}"}) == UUID(int=4), "nor over one that is told of"
    assert lines.choose(chosen[:3], set()) is None


def test_lines_that_were_lost_and_checks_that_fail_are_troubles_and_hold_no_phone() -> None:
    fresh, off = a_unit(5, Phase.PAIRING), a_unit(6, Phase.IDLE)
    fresh.shown = StoredLineState(Phase.PAIRING, wanted=True)
    unread = a_unit(7, Phase.OPEN)
    unread.shown = None
    units = [a_unit(1, Phase.LOGGED_OUT), a_unit(2, Phase.BACKING_OFF), a_unit(3, Phase.OPEN), fresh, off, unread]
    checks = [
        HealthCheck("linesDown", 1, "0", Verdict.FAIL),
        HealthCheck("journalClosed", 1, "0", Verdict.FAIL),
        HealthCheck("uncertainMessages", 1, "0", Verdict.WARN),
        HealthCheck("hookWaitsSeconds", 1, "0", Verdict.WARN),
    ]
    first_seen: dict[str, float] = {"sentTwice": 1.0}
    seen = see(units, {}, checks, first_seen, 100.0)
    assert sorted(seen.troubles) == [
        *("check:journalClosed", "check:uncertainMessages", f"line:{UUID(int=1)}", f"line:{UUID(int=2)}")
    ]
    assert set(seen.unknown) == {f"line:{UUID(int=7)}"}
    assert first_seen == {"journalClosed": 100.0, "uncertainMessages": 100.0}
    assert see(units, {}, checks, first_seen, 200.0) == seen, "since when it fails is remembered"
    names = [each.name for each in seen.troubles.values() if each.key.startswith("line:")]
    assert names == ["Loja ****0001", "Loja ****0002"]
    unread.server = ServerStanding()
    stored_as = {"connected_at": 1.0, "disconnected_at": 50.0}
    down, up = (StoredLineState(phase, **stored_as) for phase in (Phase.LOGGED_OUT, Phase.OPEN))
    for stored, falls in ((down, True), (up, False)):
        seen = see(units, {unread.id: stored}, checks, first_seen, 300.0)
        assert (f"line:{unread.id}" in seen.troubles, seen.unknown) == (falls, frozenset()), "of another node"


@pytest.mark.parametrize("language", ["en", "pt-BR", "es"])
def test_a_text_groups_lines_by_their_reason_and_is_bounded(language: str) -> None:
    from zapline.domain.alarms.incidents import Incident, Member, NoticeKind

    members = [Member(Trouble(f"line:{n}", 0.0, f"Loja {n}", "logged_out")) for n in range(200)]
    members += [Member(Trouble("check:database", 0.0, "database")), Member(Trouble("line:x", 0.0, "X", "unheard"))]
    incident = Incident(UUID(int=1), 0.0, 0.0, tuple(members), 1, 0.0)
    told = {kind: alarm_text(kind, incident, language, 7260.0) for kind in NoticeKind}
    alarm = told[NoticeKind.ALARM]
    assert "201" in alarm.title
    assert alarm.body.count("Loja ") == 30
    assert "170" in alarm.body
    assert "2 h 1 min" in alarm.body
    assert len({text.title for text in told.values()}) == 4
    assert "{" not in "".join(text.title + text.body for text in told.values())
