"""What /metrics exports: one catalogue of all metrics, and the collector that fills it in.

Nothing is exported per unit. A counter that has not moved yet is exported as 0 with each of its known labels,
so that an alert sees its first move.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import nan
from typing import get_args

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zapline import __version__
from zapline.domain.line.transitions import Action, Signal
from zapline.domain.messages.events import ConnectionEvent, Fact, Kind, MessageArrived
from zapline.domain.outbox.work_states import Lane
from zapline.domain.privacy.erasure import ERASED
from zapline.evolution.client.failures import VOCABULARY, EvolutionFailure
from zapline.evolution.client.failures import Verdict as SendVerdict
from zapline.sql.notifications.crm_webhooks import HookTotals
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check import Verdict
from zapline.supervisors.health.health_report import Report
from zapline.supervisors.inbound.recorder import LaneState
from zapline.supervisors.leadership import Standing
from zapline.supervisors.units.roster import Refusal

PREFIX = "zapline_"
_LABELS = 64
"""Values of one label at most; what comes beyond is summed under ``other``."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A total: exported as ``zapline_<name>_total``, counted as ``source``. ``known``: labels that start at 0."""

    name: str
    help: str
    label: str | None = None
    known: tuple[str, ...] = ()
    source: str = ""

    @property
    def exported(self) -> str:
        return f"{PREFIX}{self.name}_total"


@dataclass(frozen=True, slots=True)
class Measured:
    """A gauge, exported as ``zapline_<name>``; with a label ``read`` gives a value for each."""

    name: str
    help: str
    read: Callable[[Report], float | Mapping[str, float]]
    label: str | None = None

    @property
    def exported(self) -> str:
        return PREFIX + self.name


def _names(union: object) -> tuple[str, ...]:
    return tuple(kind.__name__ for kind in get_args(union))


def _failures(kind: type[EvolutionFailure] = EvolutionFailure) -> Iterator[str]:
    yield kind.code
    for narrower in kind.__subclasses__():
        yield from _failures(narrower)


def _rate(name: str) -> Callable[[Report], float]:
    return lambda report: next((rate.value for rate in report.rates if rate.name == name), nan)


_DEAD = (
    *("invalid_json", "too_deep", "not_an_object", "unknown_event", "no_data", "no_chat", "no_message_id"),
    *("no_target_id", "id_too_long", "bad_message_id", "no_qr_code", "unknown_state", "too_large"),
    *("crashed_actor", "killed_process", "refused_by_database"),
)
_EVENTS = (
    *("messages.upsert", "messages.update", "messages.edited", "messages.delete", "messages.set", "send.message"),
    *("send.message.update", "connection.update", "qrcode.updated", "status.instance", "contacts.upsert"),
    *("contacts.update", "group-participants.update", "unknown"),
)
_IGNORED = (
    "presence",
    "chats",
    "groups",
    "labels",
    "call",
    "status_broadcast",
    "newsletter",
    "broadcast",
    "protocol",
    ERASED,
)
_KEPT = (
    *("messages", "outbox", "attempts", "reactions", "reports", "sightings", "recipients", "uploads", "letters"),
    *("conversations", "identities", "contacts"),
)
_CALLS = tuple(action.value for action in (Action.REGISTER, Action.CONNECT, Action.OBSERVE, Action.LOGOUT))
_FACTS = tuple(name for name in _names(Fact) if name != MessageArrived.__name__)

COUNTED = (
    Counted("webhooks", "Webhooks received, whoever sent them."),
    Counted("webhooks_accepted", "Webhooks of known units.", "event", _EVENTS),
    Counted(
        "refused_webhooks",
        "Webhooks whose sender is not trusted; answered 200 all the same.",
        "reason",
        tuple(reason.value for reason in Refusal),
    ),
    Counted("unknown_instances", "Webhooks whose instance or secret is not ours."),
    Counted("security_events_unlogged", "Security events counted but not written out, source by source."),
    Counted("webhook_errors", "Webhooks of known units that could not be used.", "reason", (*_DEAD, "lost")),
    Counted("messages", "Messages stored or seen again.", "kind", tuple(kind.value for kind in Kind)),
    Counted("messages_created", "Messages that were new."),
    Counted("messages_seen", "Messages reported live, the base of the dedupe rate."),
    Counted("duplicates", "Messages reported live that were there already."),
    Counted("facts", "Statuses, edits, deletes, reactions, votes and names stored.", "fact", _FACTS),
    Counted("ignored", "Events that are understood and of no use here.", "reason", _IGNORED),
    Counted("people_erased", "People erased because somebody asked for it."),
    Counted("messages_erased", "Messages that went with them."),
    Counted("retention_deleted", "Rows that were older than their unit keeps them.", "what", _KEPT),
    Counted("dead_letters", "Events that could not be used and are kept.", "reason", _DEAD),
    Counted("unexpected_disconnects", "Open lines lost without anybody having asked."),
    Counted("connection_events", "Events stepped by the connection machines.", "event", _names(ConnectionEvent)),
    Counted(
        "unexpected_events",
        "Connection events that the table does not know in their phase.",
        "signal",
        tuple(signal.name.lower() for signal in Signal),
    ),
    Counted("connection_rows_written", "Rows of unit_whatsapp_connections written."),
    Counted("evolution_calls", "Calls made to Evolution for lines.", "call", _CALLS),
    Counted("evolution_failures", "Calls to Evolution that failed.", "code", (*dict.fromkeys(_failures()), "deadline")),
    Counted(
        "recorder_retries",
        "Transactions that PostgreSQL did not take at once.",
        "state",
        (LaneState.RETRYING.value, LaneState.STOPPED.value),
    ),
    Counted("journal_refused", "Webhooks that the journal's disk did not take."),
    Counted("journal_pruned", "Done entries removed from the journal."),
    Counted("journal_shed", "Unimportant entries dropped because the journal is over its budget."),
    Counted("parked_applied", "Parked reports that reached their message late."),
    Counted("parked_expired", "Parked reports whose message never came."),
    Counted(
        "answers_dropped", "Answers of Evolution that an overloaded unit could not take; they are asked for again."
    ),
    Counted("orphaned_entries", "Webhooks given up because their unit no longer exists."),
    Counted("lost_webhooks", "Webhooks answered 200 and stored nowhere.", source="lost"),
    Counted("actor_crashes", "Crashes of units' actors."),
    Counted("calls_started", "Calls made to send a message.", "lane", tuple(lane.value for lane in Lane)),
    Counted("calls_ended", "Calls that ended, by what went wrong; sent where nothing did.", "outcome", ("sent",)),
    Counted("settled", "Messages found to be with Evolution, by what told so.", "by", ("reply", "echo", "store")),
    Counted("sent_twice", "Messages that were delivered a second time."),
    Counted("stalled", "Messages that Evolution took and nobody confirmed in time."),
    Counted(
        "line_pauses",
        "Times a line was paused because Evolution or WhatsApp would not take anything.",
        "code",
        tuple(kind.code for kind in VOCABULARY if kind.verdict is SendVerdict.LINE),
    ),
    Counted("messages_ended_unsent", "Messages that ended in the queue.", "state", ("expired", "cancelled")),
    Counted("leases_rescued", "Messages whose call nobody ended, found after a crash."),
    Counted("claims_failed", "Times the database did not serve a sender."),
    Counted("answers_refused", "Answers of calls that neither disk nor database took at once."),
    Counted("media_served", "Files handed out.", "source", ("cache", "fetched")),
    Counted("media_failed", "Files that Evolution did not give.", "code", ("media_gone",)),
    Counted("sender_crashes", "Crashes of units' senders."),
    Counted("opted_out", "Contacts that asked for no more campaigns."),
    Counted("backfilled", "Messages read back from Evolution's store that were not here."),
    Counted("repairs", "Of these, those older than Evolution's own retries.", "gap", ("known_gap", "unexplained")),
    Counted(
        "looks",
        "Uncertain messages looked for in Evolution's store.",
        "end",
        ("settled", "again", "waits", "resent", "later"),
    ),
    Counted(
        "hook_deliveries",
        "Webhooks to CRMs that were tried, by what became of it.",
        "outcome",
        (
            *("delivered", "gone", "status_1xx", "status_3xx", "status_4xx", "status_5xx"),
            *("timeout", "address_refused", "tls_failed", "unreachable", "broken_connection"),
        ),
    ),
    Counted("reconciliations", "Comparisons of a line with Evolution's store.", "end", ("done", "failed")),
)

_VERDICTS = {Verdict.PASS: 0.0, Verdict.WARN: 1.0, Verdict.FAIL: 2.0}

MEASURED = (
    Measured("build_info", "The running version.", lambda _: {__version__: 1.0}, "version"),
    Measured("health", "The verdict of /health: 0 pass, 1 warn, 2 fail.", lambda report: _VERDICTS[report.verdict]),
    Measured("webhook_error_rate", "Errors of all webhooks, last five minutes.", _rate("webhookErrorRate")),
    Measured("unknown_instances_recent", "Unknown instances, last five minutes.", _rate("unknownInstances")),
    Measured("dedupe_rate", "Duplicates of all live messages, last five minutes.", _rate("dedupeRate")),
    Measured("unexpected_disconnects_recent", "Lines lost unasked, last five minutes.", _rate("unexpectedDisconnects")),
    Measured("journal_depth", "Journal entries not stored in PostgreSQL yet.", lambda report: report.journal.depth),
    Measured("journal_age_seconds", "Age of the oldest of them.", lambda report: report.journal_age),
    Measured("journal_bytes", "Bytes of the journal's bodies.", lambda report: report.journal.stored_bytes),
    Measured(
        "journal_commit_seconds",
        "Duration of the last group commit.",
        lambda report: report.journal.last_commit_seconds,
    ),
    Measured("units", "Active units by phase.", lambda report: report.phases, "phase"),
    Measured("quarantined_units", "Units whose actor crashed too often.", lambda report: len(report.quarantined)),
    Measured("lagging_units", "Units with entries held back on disk.", lambda report: report.lagging_units),
    Measured("recorder_waiting", "Units' writes not committed yet.", lambda report: report.recorder.waiting),
    Measured(
        "recorder_commit_seconds",
        "Duration of the last transaction.",
        lambda report: report.recorder.last_commit_seconds,
    ),
    Measured(
        "recorder_lanes",
        "Lanes of the recorder by state.",
        lambda report: {state.value: report.recorder.states.count(state) for state in LaneState},
        "state",
    ),
    Measured("leading", "1 while this process may write.", lambda report: report.standing is Standing.LEADING),
    Measured("database_up", "1 while PostgreSQL answers.", lambda report: report.database_latency is not None),
    Measured(
        "database_latency_seconds",
        "Last round trip to PostgreSQL; NaN while it is away.",
        lambda report: nan if report.database_latency is None else report.database_latency,
    ),
    Measured(
        "outbox_messages",
        "Messages by work state; dead: of the last day.",
        lambda report: _outbox(report),
        "state",
    ),
    Measured(
        "reply_waits_seconds",
        "How long the oldest due reply has waited.",
        lambda report: report.sending.totals.oldest_reply if report.sending.totals else nan,
    ),
    Measured("throttled_units", "Units that were asked to slow down.", lambda report: report.sending.throttled_units),
    Measured("paused_units", "Units whose sender waits for its line.", lambda report: report.sending.paused_units),
    Measured(
        "hook_deliveries_waiting", "Webhooks to CRMs that wait to be taken.", lambda report: _told(report).waiting
    ),
    Measured("hook_waits_seconds", "How long the oldest of them has waited.", lambda report: report.told.waits),
    Measured("hook_deliveries_dead", "Webhooks to CRMs given up within a day.", lambda report: _told(report).dead),
    Measured("hooks_disabled", "Hooks that failed and are served no more.", lambda report: _told(report).disabled),
    Measured("streams", "Clients that watch live events.", lambda report: report.told.streams),
    Measured("loop_lag_seconds", "How late the event loop woke last.", lambda report: report.loop_lag),
)


def _outbox(report: Report) -> dict[str, float]:
    totals = report.sending.totals
    states = ("queued", "leased", "uncertain", "waits_for_person", "dead", "stalled")
    return {state: totals.of(state) if totals is not None else nan for state in states}


def _told(report: Report) -> HookTotals:
    return report.told.totals or HookTotals()


def exported_names() -> frozenset[str]:
    """Every name that /metrics can show of ours."""
    return frozenset(metric.exported for metric in (*COUNTED, *MEASURED))


class _Ours(Collector):
    def __init__(self, counters: Counters, report: Callable[[], Report]) -> None:
        self._counters = counters
        self._report = report

    def describe(self) -> Iterable[Metric]:
        return ()  # named by the catalogue; nothing is collected when the registry is made

    def collect(self) -> Iterable[Metric]:
        totals: dict[str, dict[str, int]] = {}
        for (name, label), amount in self._counters.totals.items():
            totals.setdefault(name, {})[label] = amount
        for counted in COUNTED:
            yield _counter(counted, totals.get(counted.source or counted.name, {}))
        report = self._report()
        for measured in MEASURED:
            yield _gauge(measured, measured.read(report))


def _counter(counted: Counted, moved: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        PREFIX + counted.name, counted.help, labels=[counted.label] if counted.label is not None else []
    )
    if counted.label is None:
        family.add_metric([], sum(moved.values()))
        return family
    values = dict.fromkeys(counted.known, 0)
    other = 0
    for label, amount in moved.items():
        if label in values or len(values) < _LABELS:
            values[label] = amount
        else:
            other += amount
    if other:
        values["other"] = values.get("other", 0) + other
    for label, amount in values.items():
        family.add_metric([label], amount)
    return family


def _gauge(measured: Measured, value: float | Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(
        measured.exported, measured.help, labels=[measured.label] if measured.label is not None else []
    )
    if isinstance(value, Mapping):
        for label, amount in value.items():
            family.add_metric([label], amount)
    else:
        family.add_metric([], value)
    return family


class Metrics:
    """The registry of this process: ours, and what prometheus_client tells of process, platform and collector."""

    def __init__(self, counters: Counters, report: Callable[[], Report]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Ours(counters, report))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
