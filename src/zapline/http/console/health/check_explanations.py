"""Explains the health report's checks in the operator's language: what is looked at, why, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass

from zapline.domain.privacy.masking import sanitize_error
from zapline.http.console.framework.formatting import number
from zapline.http.console.framework.translation import _, mark
from zapline.supervisors.health.check import Check, Verdict
from zapline.supervisors.leadership import Standing

VERDICTS: Mapping[Verdict, str] = {
    Verdict.PASS: mark("All is well"),
    Verdict.WARN: mark("Something needs a look"),
    Verdict.FAIL: mark("Something is broken"),
}
WORDS: Mapping[Verdict, str] = {
    Verdict.PASS: mark("fine"),
    Verdict.WARN: mark("look at it"),
    Verdict.FAIL: mark("broken"),
}


@dataclass(frozen=True, slots=True)
class About:
    """What people are told of a check. ``form``: how its value is written."""

    title: str
    meaning: str
    advice: str
    form: str = "count"


ABOUT: Mapping[str, About] = {
    "webhookErrorRate": About(
        mark("Webhooks that failed"),
        mark("Of all webhooks of known units, those that could not be used and became dead letters."),
        mark("Look at the dead letters: their reason says what was wrong; replay them once it is mended."),
        "percent",
    ),
    "unknownInstances": About(
        mark("Unknown senders"),
        mark("Webhooks whose instance or secret is not ours: an old backend, a forgotten line, or somebody probing."),
        mark("See the log for the instance's name; remove its webhook on the Evolution server."),
    ),
    "dedupeRate": About(
        mark("Repeated messages"),
        mark("Of all messages, those that Evolution sent again. 1-2% is normal; they are stored once in any case."),
        mark("If it stays high, see whether two Evolution servers deliver for one line, or answers come too late."),
        "percent",
    ),
    "unexpectedDisconnects": About(
        mark("Lines lost"),
        mark("Open lines that were lost without anybody having asked for it."),
        mark("Look at the units in the overview: each says why it was lost and what to do."),
    ),
    "database": About(
        mark("Database"),
        mark("PostgreSQL can be reached, and no other Zapline works on it."),
        mark("See that PostgreSQL is up. Webhooks are kept on disk meanwhile, and everything goes on by itself."),
        "standing",
    ),
    "recorderLanesStopped": About(
        mark("Recorder lanes stopped"),
        mark("Storing has stopped: the database refuses, because of its schema, its rights or its disk."),
        mark("Run zapline doctor; often a migration is missing or the disk is full."),
    ),
    "recorderLanesRetrying": About(
        mark("Recorder lanes retrying"),
        mark("Storing is tried again after a failure that will pass."),
        mark("If it lasts, look at the database's load and at the log."),
    ),
    "journalAgeSeconds": About(
        mark("Oldest webhook not stored"),
        mark("How long the oldest accepted webhook has been waiting on disk to be stored."),
        mark("It grows while the database is away or a unit is quarantined, and falls by itself afterwards."),
        "seconds",
    ),
    "lostWebhooks": About(
        mark("Webhooks lost"),
        mark("Answered with 200 and stored nowhere, because disk and database refused at the same moment."),
        mark("Mend the disk; the lines are compared with Evolution's store by themselves."),
    ),
    "quarantinedUnits": About(
        mark("Units in quarantine"),
        mark("Units that crashed too often and are stopped for a while; others are not touched."),
        mark("Open the unit; the log says what crashed it."),
    ),
    "pausedUnits": About(
        mark("Paused units"),
        mark("Units whose sending somebody has paused."),
        mark("Nothing, if it is meant so."),
    ),
    "stuckUnits": About(
        mark("Units stuck"),
        mark("Units whose work does not come to an end; the service restarts by itself if that lasts."),
        mark("Keep the log and report it."),
    ),
    "loopLagSeconds": About(
        mark("Delay of the process"),
        mark("How late the process gets to its own timers: high means too little CPU."),
        mark("Look at the load of the machine."),
        "seconds",
    ),
    "uncertainMessages": About(
        mark("Uncertain messages"),
        mark("They may have been delivered, or not: nobody can tell, and they are never repeated blindly."),
        mark("Look at the phone, then decide for each: send again, or give up."),
    ),
    "stalledMessages": About(
        mark("Messages without confirmation"),
        mark("Taken by Evolution and confirmed by nobody."),
        mark("Look at the phone, then restart the instance."),
    ),
    "sentTwice": About(
        mark("Sent twice"),
        mark("Messages that were delivered a second time."),
        mark("Keep the log and report it."),
    ),
    "replyWaitsSeconds": About(
        mark("Oldest waiting reply"),
        mark("How long the oldest due reply has waited to be sent, of lines that are connected."),
        mark("See whether its line is throttled, or its pace too slow."),
        "seconds",
    ),
    "throttledUnits": About(
        mark("Throttled units"),
        mark("WhatsApp or Evolution asked these lines to slow down; their campaigns pause by themselves."),
        mark("Write to fewer new contacts; lower the pace."),
    ),
    "unexplainedRepairs": About(
        mark("Messages found later"),
        mark("Found in Evolution's store outside any known gap: its webhooks get lost on the way."),
        mark("Look at the network and the proxies between Evolution and Zapline."),
    ),
    "unitsWithoutStore": About(
        mark("Units without a store"),
        mark("Evolution keeps no messages for these, so nothing lost can be read back."),
        mark("Set DATABASE_SAVE_DATA_NEW_MESSAGE=true on the Evolution server."),
    ),
    "hookWaitsSeconds": About(
        mark("Oldest waiting webhook to a CRM"),
        mark("How long a CRM has not taken what it is to be told."),
        mark("Look at the CRM's log; what waits is delivered once it answers again."),
        "seconds",
    ),
    "deadHookDeliveries": About(
        mark("Webhooks given up"),
        mark("Webhooks to a CRM that were tried for a day and given up, within the last day."),
        mark("Mend the CRM, then replay them."),
    ),
    "hooksDisabled": About(
        mark("Hooks disabled"),
        mark("CRMs that are not told any more, because they failed for days or asked for it."),
        mark("Mend the CRM, then enable its hook and replay."),
    ),
}
_STANDINGS: Mapping[str, str] = {
    Standing.LEADING.value: mark("reachable"),
    Standing.UNREACHABLE.value: mark("away"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """A check as a page shows it."""

    name: str
    verdict: str
    word: str
    title: str
    meaning: str
    advice: str
    value: str
    threshold: str
    detail: str


def tell(check: Check) -> Told:
    """A check in the operator's language; one without an explanation here is shown by its name."""
    about = ABOUT.get(check.name, About(check.name, check.explanation or check.name, ""))
    known = check.name in ABOUT
    return Told(
        name=check.name,
        verdict=check.verdict.value,
        word=_(WORDS[check.verdict]),
        title=_(about.title),
        meaning=_(about.meaning) if known else about.meaning,
        advice=_(about.advice) if about.advice else "",
        value=_value(check, about.form),
        threshold=_(check.threshold),
        # What the recorder says is a server's error; the rest says the same as the meaning does.
        detail=sanitize_error(check.explanation) if check.name.startswith("recorder") and check.explanation else "",
    )


def _value(check: Check, form: str) -> str:
    match form:
        case "percent":
            return number(check.value * 100, 2) + "%"
        case "seconds":
            return number(check.value, 1 if check.value < 10 else 0) + " s"
        case "standing":
            return _(_STANDINGS.get(check.explanation, check.explanation))
    return number(check.value)


THRESHOLDS = (
    mark("< 0.1%"),
    mark("1-2% is normal"),
    mark("1-2% is normal; too few messages to judge"),
    mark("reachable, ours alone"),
    mark("< 60"),
    mark("as asked"),
    mark("< 0.5"),
    mark("< 120"),
    mark("0"),
)
"""What the report expects, in its own words."""
