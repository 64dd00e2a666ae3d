"""Bugs that are planted by patch, to prove that the simulation can see: each takes away one guard of the daemon.

Many are the forms in which a fault was found in release 0.3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest

from ..plan import RESTORED, ROTTEN, Death, Plan, Window
from . import journal, recorder, sending

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Bug:
    """``plan``: the traffic and faults under which it shows in a few seeds; a seed draws the moments.

    ``shows``: whether it can show at all under the plan that a seed draws.
    """

    plant: Plant
    plan: Plan
    shows: Callable[[Plan], bool]


def _dies(*kinds: str) -> Callable[[Plan], bool]:
    return lambda plan: any(death.kind in kinds for death in plan.deaths)


def _lasts(*kinds: str) -> Callable[[Plan], bool]:
    return lambda plan: any(window.kind in kinds for window in plan.windows)


def _both(one: Callable[[Plan], bool], other: Callable[[Plan], bool]) -> Callable[[Plan], bool]:
    return lambda plan: one(plan) and other(plan)


def _sends(*kinds: str) -> Callable[[Plan], bool]:
    return lambda plan: plan.outbound > 0 and not plan.sends.keys().isdisjoint(kinds)


def _refused(plan: Plan) -> bool:
    return _lasts("disk full", "disk refuses")(plan) or plan.disk_write > 0 or plan.disk_sync > 0


_SILENT = ("act_then_hang", "act_then_reset", "drop_reply", "late", "slow")
_SMALL = Plan(units=1, seconds=6.0, inbound=30, outbound=0, store=False)
_DYING = replace(_SMALL, deaths=[Death(3.0, "power loss", 0.5)], windows=[Window(2.0, "database down", 2.0)])
_REFUSED = replace(_SMALL, windows=[Window(1.0, kind, 28.0) for kind in ("disk refuses", "database down")])
_ROTTEN = replace(_SMALL, inbound=60, deaths=[Death(3.0, ROTTEN, 0.5)], windows=[Window(0.5, "database down", 16.0)])
_FULL = replace(_SMALL, deaths=[Death(3.0, "kill", 0.5)], windows=[Window(1.0, "disk full", 6.0)])
_OLDER = replace(_SMALL, inbound=60, backup=1.0, deaths=[Death(4.0, RESTORED, 0.5)])
_SET_BACK = replace(_SMALL, outbound=6, set_back=(2.0, 4.0))
_OUTAGE = replace(
    _SMALL,
    inbound=200,
    deaths=[Death(at, "kill", 0.1) for at in (6.5, 8.0, 10.0)],
    windows=[Window(0.1, "database down", 12.0)],
)
_KILLS = [Death(at, "kill", 0.1) for at in (1.5, 3.5, 5.0)]
_SENDING = replace(_SMALL, inbound=0, outbound=12)
_REPEATING = replace(_SENDING, sends={"act_then_reset": 0.4, "error": 0.3}, cut_commit=0.3)
_TWICE = replace(
    _SENDING,
    store=True,
    seconds=12.0,
    decided=1.0,
    history=20.0,
    sends={"act_then_reset": 0.7},
    webhook_lost=0.6,
)
_SLOW = replace(_SMALL, inbound=10, history=2.0, contacts=220, kilobyte=0.5)
_NOISY = replace(_SMALL, units=4, seconds=12.0, noise=360)
_HANGING = replace(_SENDING, sends={"act_then_hang": 1.0}, webhook_lost=0.8, deaths=_KILLS)
PLANTED: Mapping[str, Bug] = {
    "missing_fsync": Bug(journal.missing_fsync, _DYING, _dies("power loss")),
    "answered_before_the_disk": Bug(journal.answered_before_the_disk, replace(_SMALL, disk_write=0.2), _refused),
    "silent_loss": Bug(journal.silent_loss, _REFUSED, _both(_refused, _lasts("database down"))),
    "older_journal_goes_on": Bug(journal.older_journal_goes_on, _OLDER, _dies(RESTORED)),
    "start_needs_the_disk": Bug(journal.start_needs_the_disk, _FULL, _both(_refused, lambda plan: bool(plan.deaths))),
    "all_that_waited_is_suspect": Bug(journal.all_that_waited_is_suspect, _OUTAGE, lambda plan: plan.outlives_starts),
    "rotten_page_is_tried_again": Bug(journal.rotten_page_is_tried_again, _ROTTEN, _dies(ROTTEN)),
    "lost_wake_up": Bug(recorder.lost_wake_up, _DYING, lambda plan: bool(plan.deaths)),
    "set_back_unnoticed": Bug(recorder.set_back_unnoticed, _SET_BACK, lambda plan: plan.set_back is not None),
    "lane_stops_at_an_alias": Bug(
        recorder.lane_stops_at_an_alias, _TWICE, lambda plan: plan.decided > 0 and (plan.history or 0) >= plan.seconds
    ),
    "too_long_is_put_back_whole": Bug(
        recorder.too_long_is_put_back_whole, _SLOW, lambda plan: plan.contacts > 0 and plan.kilobyte > 0.4
    ),
    "unfair_lane": Bug(
        recorder.unfair_lane, _NOISY, lambda plan: plan.noise > 0 and plan.units > 1 and not plan.delays_storing
    ),
    "silence_taken_for_refusal": Bug(
        sending.silence_taken_for_refusal, replace(_SENDING, sends={"act_then_reset": 0.5}), _sends(*_SILENT)
    ),
    "claim_without_its_fence": Bug(
        sending.claim_without_its_fence, _HANGING, _both(_sends(*_SILENT), lambda plan: bool(plan.deaths))
    ),
    "settlement_applied_twice": Bug(sending.settlement_applied_twice, _REPEATING, _sends(*_SILENT, "error")),
}
"""Each bug by its name."""
