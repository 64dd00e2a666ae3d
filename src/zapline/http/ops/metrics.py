"""Defines every metric of /metrics, and the collector that exports them.

Nothing is exported per unit. A counter is exported as 0 with each of its known labels before it first increases, so
that alerts see its first increase.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import nan
from operator import attrgetter
from typing import get_args

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zapline import __version__
from zapline.domain.inbound_events import IGNORED_REASONS
from zapline.domain.line.events import ConnectionEvent
from zapline.domain.line.transitions import LineAction, LineSignal
from zapline.domain.messages.delivery_status import REFUSED
from zapline.domain.messages.facts import MessageArrived, MessageFact, MessageKind
from zapline.domain.messages.message_secrets import SecretUse
from zapline.domain.outbox.refusal_brake import NO_RECEIPTS
from zapline.domain.outbox.work_states import Lane
from zapline.evolution.client.failures import ALL_FAILURES, EvolutionFailure
from zapline.evolution.client.failures import FailureVerdict as SendVerdict
from zapline.http.ops.file_metrics import FILE_COUNTERS, FILE_GAUGES
from zapline.http.ops.metric_kinds import PREFIX, Counter, Gauge
from zapline.sql.notifications.crm_webhooks import HookTotals
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check_result import Verdict
from zapline.supervisors.health.health_report import HealthReport
from zapline.supervisors.inbound.journal_losses import LOSS_TEXTS
from zapline.supervisors.inbound.pending_writes import LaneState
from zapline.supervisors.leadership import LeadershipStatus
from zapline.supervisors.servers.server_registry import ServerReport
from zapline.supervisors.units.webhook_authentication import Refusal

_MAX_LABELS = 64
"""Values of one label; further ones are summed under ``other``."""


def _names(union: object) -> tuple[str, ...]:
    return tuple(kind.__name__ for kind in get_args(union))


def _failures(kind: type[EvolutionFailure] = EvolutionFailure) -> Iterator[str]:
    yield kind.code
    for narrower in kind.__subclasses__():
        yield from _failures(narrower)


def _check(name: str) -> Callable[[HealthReport], float]:
    return lambda report: next((check.value for check in report.checks if check.name == name), nan)


def _rate(name: str) -> Callable[[HealthReport], float]:
    return lambda report: next((rate.value for rate in report.rates if rate.name == name), nan)


def _servers(read: Callable[[ServerReport], float]) -> Callable[[HealthReport], Mapping[str, float]]:
    return lambda report: {server.name: read(server) for server in report.servers}


_DEAD_LETTER_REASONS = (
    *("invalid_json", "too_deep", "not_an_object", "unknown_event", "no_data", "no_chat", "no_message_id"),
    *("no_target_id", "id_too_long", "bad_message_id", "no_qr_code", "unknown_state", "too_large"),
    *("crashed_actor", "killed_process", "refused_by_database", "damaged_on_disk"),
    *("foreign_author", "unproven_author"),
)
_EVENTS = (
    *("messages.upsert", "messages.update", "messages.edited", "messages.delete", "messages.set", "send.message"),
    *("send.message.update", "connection.update", "qrcode.updated", "status.instance", "contacts.upsert"),
    *("contacts.update", "chats.set", "groups.upsert", "groups.update", "group-participants.update", "unknown"),
)
_RETAINED = (
    *("messages", "outbox", "attempts", "reactions", "reports", "sightings", "recipients", "uploads", "letters"),
    "secrets",
    *("conversations", "identities", "contacts"),
)
_ENCRYPTED = (
    *(f"{use.value}_unread" for use in SecretUse),
    *(f"{use.value}_opened" for use in (SecretUse.MESSAGE_EDIT, SecretUse.POLL_VOTE, SecretUse.EVENT_RESPONSE)),
    *("foreign_edit", "unproven_edit", "foreign_vote", "unproven_vote", "surplus", "expired"),
)
_CALLS = tuple(
    action.value
    for action in (
        *(LineAction.REGISTER, LineAction.CONNECT, LineAction.OBSERVE, LineAction.CHECK),
        *(LineAction.RENEW_PAIRING, LineAction.RECREATE, LineAction.LOGOUT),
    )
)
_FACTS = tuple(name for name in _names(MessageFact) if name != MessageArrived.__name__)

COUNTERS = (
    Counter("webhooks", "Webhooks received, whoever sent them."),
    Counter("webhooks_accepted", "Webhooks of known units.", "event", _EVENTS),
    Counter(
        "refused_webhooks", "Webhooks whose sender is not trusted; answered 200 all the same.", "reason", tuple(Refusal)
    ),
    Counter("unknown_instances", "Webhooks whose instance or secret is not ours."),
    Counter("security_events_unlogged", "Security events counted but not written out, source by source."),
    Counter(
        "webhook_errors", "Webhooks of known units that could not be used.", "reason", (*_DEAD_LETTER_REASONS, "lost")
    ),
    Counter("messages", "Messages stored or seen again.", "kind", tuple(MessageKind)),
    Counter("messages_created", "Messages that were new."),
    Counter("messages_seen", "Messages reported live, the base of the dedupe rate."),
    Counter("duplicates", "Messages reported live that were there already."),
    Counter("facts", "Statuses, edits, deletes, reactions, votes and names stored.", "fact", _FACTS),
    Counter("ignored", "Events that are understood and of no use here.", "reason", tuple(IGNORED_REASONS)),
    Counter("encrypted_reports", "Encrypted edits, votes and event answers.", "outcome", _ENCRYPTED),
    Counter(
        "strangers",
        "Messages and reports that used the id of a message of somebody else, and changed nothing.",
        "change",
        ("message", "edit", "delete", "status", "react", "reaction", "vote"),
    ),
    Counter(
        "waiting_facts",
        "Messages and reactions that wait until it is known whose they are.",
        "outcome",
        ("kept", "taken_up", "expired"),
    ),
    Counter("secrets_pruned", "Secrets of messages deleted after their time."),
    Counter("people_erased", "People erased because somebody asked for it."),
    Counter("messages_erased", "Messages that went with them."),
    Counter("retention_deleted", "Rows that were older than their unit keeps them.", "what", _RETAINED),
    Counter("dead_letters", "Events that could not be used and are kept.", "reason", _DEAD_LETTER_REASONS),
    Counter("unexpected_disconnects", "Open lines lost without anybody having asked."),
    Counter("registrations_changed", "Webhooks that somebody changed on Evolution and that are left so."),
    Counter("registrations_restored", "Webhooks that somebody changed on Evolution and that were set again."),
    Counter("server_absences", "Times that Evolution stopped answering."),
    Counter("connection_events", "Events stepped by the connection machines.", "event", _names(ConnectionEvent)),
    Counter(
        "unexpected_events",
        "Connection events that the table does not know in their phase.",
        "signal",
        tuple(signal.name.lower() for signal in LineSignal),
    ),
    Counter("connection_rows_written", "Rows of unit_whatsapp_connections written."),
    Counter("evolution_calls", "Calls made to Evolution for lines.", "call", _CALLS),
    Counter("evolution_failures", "Calls to Evolution that failed.", "code", (*dict.fromkeys(_failures()), "deadline")),
    Counter(
        "recorder_retries",
        "Transactions that PostgreSQL did not take at once.",
        "state",
        (LaneState.RETRYING, LaneState.STOPPED),
    ),
    Counter("journal_refused", "Webhooks that the journal's disk did not take."),
    Counter("journal_losses", "Times the journal was found to have lost something.", "kind", tuple(LOSS_TEXTS)),
    Counter("webhooks_unrouted", "Webhooks kept on disk because the units were not known yet."),
    Counter(
        "webhooks_put_off",
        "Webhooks answered 503, to be sent again.",
        "reason",
        ("no_room", "journal_refused", "no_actor", "standby", "no_copy", "units_unread"),
    ),
    Counter("alarm_notices", "Tries to tell somebody of an incident.", "outcome", ("told", "failed")),
    Counter("single_copy_webhooks", "Webhooks answered 200 with one copy, while PostgreSQL took no other."),
    Counter("left_to_owner", "Entries read back from Evolution's store that another node reads anew."),
    Counter("inbox_suspects", "Webhooks that a dead node had in hand, and that were tried in a process of their own."),
    Counter("units_taken", "Units that this node took because nobody owned them."),
    Counter("units_handed_over", "Units that this node gave to another one."),
    Counter("nodes_buried", "Nodes whose lease was over, and whose units were freed by this one."),
    Counter("units_set_back", "Times a unit's rows were found set back in the database."),
    Counter("calls_known", "Calls not made again, since the journal knew of them and a database set back did not."),
    Counter("calls_held", "Claims undone because the journal did not take the note of their call."),
    Counter("misdated", "Messages and webhooks to CRMs that a wrong clock had put off; they were made due."),
    Counter("calls_too_late", "Calls not made because the process had stood still since the claim."),
    Counter("journal_pruned", "Done entries removed from the journal."),
    Counter("journal_shed", "Unimportant entries dropped because the journal is over its budget."),
    Counter(
        "group_subjects",
        "Groups whose subject Evolution was asked for.",
        "answer",
        ("told", *dict.fromkeys(_failures())),
    ),
    Counter("parked_applied", "Parked reports that reached their message late."),
    Counter("parked_expired", "Parked reports whose message never came."),
    Counter(
        "answers_dropped", "Answers of Evolution that an overloaded unit could not take; they are asked for again."
    ),
    Counter("orphaned_entries", "Webhooks given up because their unit no longer exists."),
    Counter("lost_webhooks", "Webhooks answered 200 and stored nowhere.", source="lost"),
    Counter("actor_crashes", "Crashes of units' actors."),
    Counter("calls_started", "Calls made to send a message.", "lane", tuple(Lane)),
    Counter("calls_ended", "Calls that ended, by what went wrong; sent where nothing did.", "outcome", ("sent",)),
    Counter(
        "settled", "Messages found to be with Evolution, by what told so.", "by", ("reply", "echo", "store", "status")
    ),
    Counter(
        "messages_refused", "Messages that WhatsApp refused after Evolution had taken them, by why.", "code", (REFUSED,)
    ),
    Counter(
        "campaign_holds",
        "Times a unit's campaigns were held because WhatsApp refused too much or confirmed nothing.",
        "code",
        (REFUSED, NO_RECEIPTS),
    ),
    Counter("calls_overtaken", "Calls that hung while other chats of their line went on."),
    Counter("echoes_replaced", "Echoes that were stored as somebody else's, and turned out to be our own messages."),
    Counter("sent_twice", "Messages that were delivered a second time."),
    Counter("stalled", "Messages that Evolution took and nobody confirmed in time."),
    Counter(
        "line_pauses",
        "Times a line was paused because Evolution or WhatsApp would not take anything.",
        "code",
        tuple(kind.code for kind in ALL_FAILURES if kind.verdict is SendVerdict.LINE),
    ),
    Counter("messages_ended_unsent", "Messages that ended in the queue.", "state", ("expired", "cancelled")),
    Counter("leases_rescued", "Messages whose call nobody ended, found after a crash."),
    Counter("claims_failed", "Times the database did not serve a sender."),
    Counter("answers_refused", "Answers of calls that neither disk nor database took at once."),
    Counter("media_served", "Files handed out.", "source", ("cache", "fetched", "kept")),
    Counter("media_failed", "Files that Evolution did not give.", "code", ("media_gone",)),
    *FILE_COUNTERS,
    Counter("sender_crashes", "Crashes of units' senders."),
    Counter("opted_out", "Contacts that asked for no more campaigns."),
    Counter("backfilled", "Messages read back from Evolution's store that were not here."),
    Counter("repairs", "Of these, those older than Evolution's own retries.", "gap", ("known_gap", "unexplained")),
    Counter(
        "looks",
        "Uncertain messages and changes looked for in Evolution's store.",
        "end",
        ("settled", "again", "waits", "resent", "later"),
    ),
    Counter(
        "hook_deliveries",
        "Webhooks to CRMs that were tried, by what became of it.",
        "outcome",
        (
            *("delivered", "gone", "status_1xx", "status_3xx", "status_4xx", "status_5xx"),
            *("timeout", "address_refused", "tls_failed", "unreachable", "broken_connection"),
        ),
    ),
    Counter(
        "hook_headers_unreadable", "Webhooks to CRMs that went without their headers: encrypted under another key."
    ),
    Counter("stream_events_gone", "Events that a stream passed over because nothing is left of what they tell."),
    Counter("reconciliations", "Comparisons of a line with Evolution's store.", "end", ("done", "failed")),
)


def _up(server: ServerReport) -> float:
    return float(server.away_since is None)


_VERDICTS = {Verdict.PASS: 0.0, Verdict.WARN: 1.0, Verdict.FAIL: 2.0}

GAUGES = (
    Gauge("build_info", "The running version.", lambda _: {__version__: 1.0}, "version"),
    Gauge("health", "The verdict of /health: 0 pass, 1 warn, 2 fail.", lambda report: _VERDICTS[report.verdict]),
    Gauge("webhook_error_rate", "Errors of all webhooks, last five minutes.", _rate("webhookErrorRate")),
    Gauge("unknown_instances_recent", "Unknown instances, last five minutes.", _rate("unknownInstances")),
    Gauge("dedupe_rate", "Duplicates of all live messages, last five minutes.", _rate("dedupeRate")),
    Gauge("unexpected_disconnects_recent", "Lines lost unasked, last five minutes.", _rate("unexpectedDisconnects")),
    Gauge("journal_depth", "Journal entries not stored in PostgreSQL yet.", lambda report: report.journal.depth),
    Gauge("journal_age_seconds", "Age of the oldest of them.", lambda report: report.journal_age),
    Gauge("journal_bytes", "Bytes of the journal's bodies.", lambda report: report.journal.stored_bytes),
    Gauge(
        "journal_commit_seconds",
        "Duration of the last group commit.",
        lambda report: report.journal.last_commit_seconds,
    ),
    Gauge("journal_closed", "1 while the journal takes no webhook.", _check("journalClosed")),
    Gauge("journal_lost_entries", "Entries that the journal has lost since the start.", _check("journalLosses")),
    Gauge("unrouted_webhooks", "Webhooks on disk whose unit is not known yet.", _check("unroutedWebhooks")),
    Gauge("units_catching_up", "Units whose rows are stored again.", _check("unitsCatchingUp")),
    Gauge("units", "Active units by phase.", lambda report: report.phases, "phase"),
    Gauge("lines_down", "Lines that are out, or take over two minutes to come back.", _check("linesDown")),
    Gauge("alarms_undelivered", "Alarms that do not reach whom they are for.", _check("alarmsUndelivered")),
    Gauge("lines_without_server", "Lines whose Evolution server does not serve.", _check("linesWithoutServer")),
    Gauge("evolution_up", "1 while the Evolution server answers.", _servers(_up), "server"),
    Gauge("evolution_units", "Units that live on the Evolution server.", _servers(attrgetter("units")), "server"),
    Gauge("evolution_connected", "Of these, units whose line is open.", _servers(attrgetter("connected")), "server"),
    Gauge("quarantined_units", "Units whose actor crashed too often.", lambda report: len(report.quarantined)),
    Gauge("lagging_units", "Units with entries held back on disk.", lambda report: report.lagging_units),
    Gauge("recorder_waiting", "Units' writes not committed yet.", lambda report: report.recorder.waiting),
    Gauge("recorder_commit_seconds", "Of the last transaction.", lambda report: report.recorder.last_commit_seconds),
    Gauge(
        "recorder_lanes",
        "Lanes of the recorder by state.",
        lambda report: {state.value: report.recorder.states.count(state) for state in LaneState},
        "state",
    ),
    Gauge("leading", "1 while this process may write.", lambda report: report.leadership is LeadershipStatus.LEADING),
    Gauge("database_up", "1 while PostgreSQL answers.", lambda report: report.database_latency is not None),
    Gauge(
        "database_latency_seconds",
        "Last round trip to PostgreSQL; NaN while it is away.",
        lambda report: nan if report.database_latency is None else report.database_latency,
    ),
    Gauge(
        "outbox_messages",
        "Messages by work state; dead: of the last day.",
        lambda report: _outbox(report),
        "state",
    ),
    Gauge(
        "reply_waits_seconds",
        "How long the oldest due reply has waited.",
        lambda report: report.outbound.totals.oldest_reply if report.outbound.totals else nan,
    ),
    Gauge("sends_held", "1 while nothing is sent because the journal refuses.", _check("sendsHeld")),
    Gauge("throttled_units", "Units that were asked to slow down.", lambda report: report.outbound.throttled_units),
    Gauge("held_units", "Units whose campaigns wait for a person.", lambda report: report.outbound.held_units),
    Gauge("paused_units", "Units whose sender waits for its line.", lambda report: report.outbound.paused_units),
    Gauge(
        "hook_deliveries_waiting",
        "Webhooks to CRMs that wait to be taken.",
        lambda report: _hook_totals(report).waiting,
    ),
    Gauge("hook_waits_seconds", "How long the oldest has waited.", lambda report: report.notifications.longest_wait),
    Gauge("hook_deliveries_dead", "Webhooks to CRMs given up within a day.", lambda report: _hook_totals(report).dead),
    Gauge("hooks_disabled", "Hooks that failed and are served no more.", lambda report: _hook_totals(report).disabled),
    *FILE_GAUGES,
    Gauge("streams", "Clients that watch live events.", lambda report: report.notifications.streams),
    Gauge("loop_lag_seconds", "How late the event loop woke last.", lambda report: report.loop_lag),
)


def _outbox(report: HealthReport) -> dict[str, float]:
    totals = report.outbound.totals
    states = ("queued", "leased", "uncertain", "waits_for_person", "dead", "stalled")
    return {state: totals.count(state) if totals is not None else nan for state in states}


def _hook_totals(report: HealthReport) -> HookTotals:
    return report.notifications.totals or HookTotals()


def exported_names() -> frozenset[str]:
    """Every name of our own that /metrics can show."""
    return frozenset(metric.exported_name for metric in (*COUNTERS, *GAUGES))


class _ZaplineCollector(Collector):
    def __init__(self, counters: Counters, report: Callable[[], HealthReport]) -> None:
        self._counters = counters
        self._report = report

    def describe(self) -> Iterable[Metric]:
        return ()  # listed above; nothing is collected when the registry is created

    def collect(self) -> Iterable[Metric]:
        totals: dict[str, dict[str, int]] = {}
        for (name, label), amount in self._counters.totals.items():
            totals.setdefault(name, {})[label] = amount
        for counter in COUNTERS:
            yield _counter(counter, totals.get(counter.source or counter.name, {}))
        report = self._report()
        for gauge in GAUGES:
            yield _gauge(gauge, gauge.read(report))


def _counter(counter: Counter, amounts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        PREFIX + counter.name, counter.help, labels=[counter.label] if counter.label is not None else []
    )
    if counter.label is None:
        family.add_metric([], sum(amounts.values()))
        return family
    values = dict.fromkeys(counter.known_labels, 0)
    other = 0
    for label, amount in amounts.items():
        if label in values or len(values) < _MAX_LABELS:
            values[label] = amount
        else:
            other += amount
    if other:
        values["other"] = values.get("other", 0) + other
    for label, amount in values.items():
        family.add_metric([label], amount)
    return family


def _gauge(gauge: Gauge, value: float | Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(gauge.exported_name, gauge.help, labels=[gauge.label] if gauge.label is not None else [])
    if isinstance(value, Mapping):
        for label, amount in value.items():
            family.add_metric([label], amount)
    else:
        family.add_metric([], value)
    return family


class Metrics:
    """The process's registry: our metrics, and prometheus_client's for process, platform and garbage collector."""

    def __init__(self, counters: Counters, report: Callable[[], HealthReport]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_ZaplineCollector(counters, report))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
