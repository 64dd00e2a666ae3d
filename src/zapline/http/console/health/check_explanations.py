"""Explains the checks of the health report in the operator's language: what each means and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zapline.domain.ids import UnitId
from zapline.domain.privacy.masking import sanitize_error
from zapline.http.console.framework.counts import RateHistory
from zapline.http.console.framework.formatting import clock_time, number, percent
from zapline.http.console.framework.sparkline import Band, Chart
from zapline.http.console.framework.translation import N_, _
from zapline.supervisors.health.check_result import HealthCheck, Verdict
from zapline.supervisors.health.health_report import HealthReport
from zapline.supervisors.leadership import LeadershipStatus
from zapline.supervisors.units.roster import Roster

_NAMED = 5
"""Units that are named beside a check."""
VERDICT_SENTENCES: Mapping[Verdict, str] = {
    Verdict.PASS: N_("All is well"),
    Verdict.WARN: N_("Something needs a look"),
    Verdict.FAIL: N_("Something is broken"),
}
VERDICT_LABELS: Mapping[Verdict, str] = {
    Verdict.PASS: N_("fine"),
    Verdict.WARN: N_("look at it"),
    Verdict.FAIL: N_("broken"),
}


@dataclass(frozen=True, slots=True)
class CheckExplanation:
    """What a check means. ``form`` says how its value is formatted."""

    title: str
    meaning: str
    advice: str
    form: str = "count"


CHECK_EXPLANATIONS: Mapping[str, CheckExplanation] = {
    "webhookErrorRate": CheckExplanation(
        N_("Webhooks that failed"),
        N_("Of all webhooks of known units, those that could not be used and became dead letters."),
        N_("Look at the dead letters: their reason says what was wrong; replay them once it is mended."),
        "percent",
    ),
    "unknownInstances": CheckExplanation(
        N_("Unknown senders"),
        N_("Webhooks whose instance or secret is not ours: an old backend, a forgotten line, or somebody probing."),
        N_("See the log for the instance's name; remove its webhook on the Evolution server."),
    ),
    "dedupeRate": CheckExplanation(
        N_("Repeated messages"),
        N_("Of all messages, those that Evolution sent again. 1-2% is normal; they are stored once in any case."),
        N_("If it stays high, see whether two Evolution servers deliver for one line, or answers come too late."),
        "percent",
    ),
    "unexpectedDisconnects": CheckExplanation(
        N_("Lines lost"),
        N_("Open lines that were lost without anybody having asked for it."),
        N_("Look at the units in the overview: each says why it was lost and what to do."),
    ),
    "database": CheckExplanation(
        N_("Database"),
        N_("PostgreSQL can be reached, and no other Zapline works on it."),
        N_("See that PostgreSQL is up. Webhooks are kept on disk meanwhile, and everything goes on by itself."),
        "standing",
    ),
    "recorderLanesStopped": CheckExplanation(
        N_("Recorder lanes stopped"),
        N_("Storing has stopped: the database refuses, because of its schema, its rights or its disk."),
        N_("Run zapline doctor; often a migration is missing or the disk is full."),
    ),
    "recorderLanesRetrying": CheckExplanation(
        N_("Recorder lanes retrying"),
        N_("Storing is tried again after a failure that will pass."),
        N_("If it lasts, look at the database's load and at the log."),
    ),
    "serversAway": CheckExplanation(
        N_("Evolution servers away"),
        N_("Evolution servers that do not answer, or whose key cannot be read. The lines of the others go on."),
        N_("Start the server, or store its key again. Its lines come back by themselves."),
    ),
    "journalClosed": CheckExplanation(
        N_("Journal closed"),
        N_("The disk does not take webhooks. They go to the database directly, and are lost if that is away, too."),
        N_("Free the disk of the state directory, or mend its rights; the journal then opens by itself."),
    ),
    "sendsHeld": CheckExplanation(
        N_("Sending held"),
        N_("The journal cannot note what is sent, so nothing is sent: after a failover it might be sent twice."),
        N_("Free the disk of the state directory, or mend its rights; what waits then leaves by itself."),
    ),
    "journalLosses": CheckExplanation(
        N_("Lost by the journal"),
        N_("The journal's file was damaged or older than what had been answered. What it lost is at least this many."),
        N_("Lines are compared with Evolution's store by themselves. See the log; then restart Zapline to clear this."),
    ),
    "unroutedWebhooks": CheckExplanation(
        N_("Webhooks without a unit"),
        N_("Webhooks that wait on disk, because the units could not be read since the start."),
        N_("Start the database. They are handed to their units as soon as it answers."),
    ),
    "singleCopyWebhooks": CheckExplanation(
        N_("Webhooks with one copy"),
        N_("Only this machine's disk holds them, because the database did not take them within a second."),
        N_("Start the database, or look at its load. Keep this disk: the second copies are made by themselves."),
    ),
    "inboxAgeSeconds": CheckExplanation(
        N_("Oldest webhook in the inbox"),
        N_("How long the oldest webhook has been waiting for the daemon that owns its line."),
        N_("Look at the nodes: zapline nodes list. It falls by itself once each line has a node that works."),
        "seconds",
    ),
    "unitsCatchingUp": CheckExplanation(
        N_("Units that catch up"),
        N_("The database was set back, by a restore or a failover. The journal stores again what it lost."),
        N_("Wait: these units send again when it is done. If it lasts, see whether storing is held up."),
    ),
    "journalAgeSeconds": CheckExplanation(
        N_("Oldest webhook not stored"),
        N_("How long the oldest accepted webhook has been waiting on disk to be stored."),
        N_("It grows while the database is away or a unit is quarantined, and falls by itself afterwards."),
        "seconds",
    ),
    "lostWebhooks": CheckExplanation(
        N_("Webhooks lost"),
        N_("Answered with 200 and stored nowhere, because disk and database refused at the same moment."),
        N_("Mend the disk; the lines are compared with Evolution's store by themselves."),
    ),
    "quarantinedUnits": CheckExplanation(
        N_("Units in quarantine"),
        N_("Units that crashed too often and are stopped for a while; others are not touched."),
        N_("Open the unit; the log says what crashed it."),
    ),
    "pausedUnits": CheckExplanation(
        N_("Paused units"),
        N_("Units whose sending somebody has paused."),
        N_("Nothing, if it is meant so."),
    ),
    "stuckUnits": CheckExplanation(
        N_("Units stuck"),
        N_("Units whose work does not come to an end; the service restarts by itself if that lasts."),
        N_("Keep the log and report it."),
    ),
    "loopLagSeconds": CheckExplanation(
        N_("Delay of the process"),
        N_("How late the process gets to its own timers: high means too little CPU."),
        N_("Look at the load of the machine."),
        "seconds",
    ),
    "clockSkewSeconds": CheckExplanation(
        N_("Difference of the clocks"),
        N_(
            "The clocks of this machine and of the database differ. Nothing is deleted or expires by its age, "
            "what is scheduled waits."
        ),
        N_("Set both clocks right, by NTP; the rest happens by itself."),
        "seconds",
    ),
    "linesDown": CheckExplanation(
        N_("Lines down"),
        N_("Lines that only a person brings back, and lines that take more than two minutes to come back."),
        N_("Open the overview: each line that is out says why. Choose them and connect them; scan where asked."),
    ),
    "linesWithoutServer": CheckExplanation(
        N_("Lines without their server"),
        N_("Their Evolution server does not answer, has no licence, or refuses the key."),
        N_("See that Evolution runs and is licensed; everything goes on by itself once it answers."),
    ),
    "changedWebhooks": CheckExplanation(
        N_("Webhooks changed by somebody"),
        N_("The webhook of these lines was changed on the Evolution server, so nothing or too much arrives."),
        N_("Find who changes it: an old backend, or a person in Evolution's manager. It is set again by itself."),
    ),
    "uncertainMessages": CheckExplanation(
        N_("Uncertain messages"),
        N_("They may have been delivered, or not: nobody can tell, and they are never repeated blindly."),
        N_("Look at the phone, then decide for each: send again, or give up."),
    ),
    "stalledMessages": CheckExplanation(
        N_("Messages without confirmation"),
        N_("Taken by Evolution and confirmed by nobody."),
        N_("Look at the phone, then restart the instance."),
    ),
    "sentTwice": CheckExplanation(
        N_("Sent twice"),
        N_("Messages that were delivered a second time."),
        N_("Keep the log and report it."),
    ),
    "replyWaitsSeconds": CheckExplanation(
        N_("Oldest waiting reply"),
        N_("How long the oldest due reply has waited to be sent, of lines that are connected."),
        N_("The page of its unit says under Sending what holds it: pace, a slowdown, or an answer that is awaited."),
        "seconds",
    ),
    "throttledUnits": CheckExplanation(
        N_("Throttled units"),
        N_("WhatsApp or Evolution asked these lines to slow down; their campaigns pause by themselves."),
        N_("Write to fewer new contacts; lower the pace."),
    ),
    "refusedMessages": CheckExplanation(
        N_("Refused by WhatsApp"),
        N_("Evolution took them, then WhatsApp refused them, most often because too many strangers were written to."),
        N_("Write to fewer new people; those who have written to you can still be answered."),
    ),
    "campaignsHeld": CheckExplanation(
        N_("Campaigns held"),
        N_("WhatsApp refused too much or confirmed nothing: campaigns wait for a person; replies go on."),
        N_("Open the unit: it says why. Release its campaigns there once you know."),
    ),
    "unexplainedRepairs": CheckExplanation(
        N_("Messages found later"),
        N_("Found in Evolution's store outside any known gap: its webhooks get lost on the way."),
        N_("Look at the network and the proxies between Evolution and Zapline."),
    ),
    "unitsWithoutStore": CheckExplanation(
        N_("Units without a store"),
        N_("Evolution keeps no messages for these, so nothing lost can be read back."),
        N_("Set DATABASE_SAVE_DATA_NEW_MESSAGE=true on the Evolution server."),
    ),
    "hookWaitsSeconds": CheckExplanation(
        N_("Oldest waiting webhook to a CRM"),
        N_("How long a CRM has not taken what it is to be told."),
        N_("Look at the CRM's log; what waits is delivered once it answers again."),
        "seconds",
    ),
    "deadHookDeliveries": CheckExplanation(
        N_("Webhooks given up"),
        N_("Webhooks to a CRM that were tried for a day and given up, within the last day."),
        N_("Mend the CRM, then replay them."),
    ),
    "alarmsUndelivered": CheckExplanation(
        N_("Alarms not delivered"),
        N_("Alarms that did not reach whom they are for, for minutes, or were given up within the last day."),
        N_("Open Alarms: each destination says what is wrong. Mend it, then send a test."),
    ),
    "filesDiskFull": CheckExplanation(
        N_("Disk full for files"),
        N_("Files of messages are not fetched, because the disk has no room for them."),
        N_("Free the disk. WhatsApp keeps files for about a month, and they are fetched by themselves."),
    ),
    "filesWithoutRoom": CheckExplanation(
        N_("Units without room for files"),
        N_("Units whose quota for files of messages is used up: further ones wait."),
        N_("Raise the quota in the unit's settings, or keep files for fewer days."),
    ),
    "fileWaitsSeconds": CheckExplanation(
        N_("Oldest file that waits"),
        N_("How long the oldest file has waited to be fetched from WhatsApp."),
        N_("Look at the log and at the Evolution server."),
        "seconds",
    ),
    "fileRemovalWaitsSeconds": CheckExplanation(
        N_("Oldest file to be removed"),
        N_("How long the oldest file of a deleted message has waited to be removed."),
        N_("Look at the disk's rights."),
        "seconds",
    ),
    "hooksDisabled": CheckExplanation(
        N_("Hooks disabled"),
        N_("CRMs that are not told any more, because they failed for days or asked for it."),
        N_("Mend the CRM, then enable its hook and replay."),
    ),
}
_DATABASE_STATES: Mapping[str, str] = {
    LeadershipStatus.LEADING.value: N_("reachable"),
    LeadershipStatus.UNREACHABLE.value: N_("away"),
}


@dataclass(frozen=True, slots=True)
class CheckView:
    """A check as a page shows it."""

    name: str
    verdict: str
    label: str
    title: str
    meaning: str
    advice: str
    value: str
    threshold: str
    detail: str
    units: tuple[tuple[UnitId, str], ...]
    """The first units that cause it, with their names."""
    more_units: int


def describe_check(check: HealthCheck, roster: Roster) -> CheckView:
    """A check in the operator's language; one without an explanation is shown by its name."""
    causes = [unit for id in check.units if (unit := roster.get(id)) is not None]
    explanation = CHECK_EXPLANATIONS.get(check.name, CheckExplanation(check.name, check.explanation or check.name, ""))
    known = check.name in CHECK_EXPLANATIONS
    return CheckView(
        name=check.name,
        verdict=check.verdict.value,
        label=_(VERDICT_LABELS[check.verdict]),
        title=_(explanation.title),
        meaning=_(explanation.meaning) if known else explanation.meaning,
        advice=_(explanation.advice) if explanation.advice else "",
        value=_value(check, explanation.form),
        threshold=_(check.threshold),
        detail=sanitize_error(check.detail) if check.detail and explanation.form != "standing" else "",
        units=tuple((unit.id, unit.record.name) for unit in causes[:_NAMED]),
        more_units=len(causes[_NAMED:]),
    )


async def rate_values(report: HealthReport, history: RateHistory, roster: Roster) -> dict[str, Any]:
    """What the templates show of the verdict and the four rates."""
    charts = await history.charts()
    return {
        "verdict": report.verdict.value,
        "verdict_text": _(VERDICT_SENTENCES[report.verdict]),
        "rates": [(describe_check(rate, roster), _describe_chart(rate, charts[rate.name])) for rate in report.rates],
    }


@dataclass(frozen=True, slots=True)
class ChartView:
    """A chart as a page shows it. ``scale``: what its upper end stands for; bands are (x, width, text)."""

    chart: Chart
    scale: str
    bands: Sequence[tuple[float, float, str]]
    incidents: Sequence[tuple[float, float, str]]


def _describe_chart(rate: HealthCheck, chart: Chart) -> ChartView:
    explanation = CHECK_EXPLANATIONS.get(rate.name)
    form = explanation.form if explanation is not None else "count"

    def words(value: float) -> str:
        return percent(value, 2) if form == "percent" else number(value)

    def times(band: Band) -> str:
        return f"{clock_time(band.start)}–{clock_time(band.end)} UTC"

    return ChartView(
        chart,
        words(chart.top),
        [(band.x, band.width, f"{times(band)}: {words(band.value)}") for band in chart.bands],
        [(band.x, band.width, _("Alarm: {what}", what=times(band))) for band in chart.incidents],
    )


def _value(check: HealthCheck, form: str) -> str:
    match form:
        case "percent":
            return percent(check.value, 2)
        case "seconds":
            return number(check.value, 1 if check.value < 10 else 0) + " s"
        case "standing":
            return _(_DATABASE_STATES.get(check.detail, check.detail))
    return number(check.value)


THRESHOLDS = (
    N_("< 0.1%"),
    N_("1-2% is normal"),
    N_("1-2% is normal; too few messages to judge"),
    N_("reachable, ours alone"),
    N_("< 60"),
    N_("as asked"),
    N_("< 0.5"),
    N_("< 120"),
    N_("0"),
)
"""The thresholds as the report words them."""
