"""``zapline reconcile``: has the daemon read back from Evolution what webhooks have missed, and shows how it goes."""

import sys
import time
from typing import Annotated, Any

import typer

from zapline.daemon.commands.terminal import AsJson, ask, progress, say, show_json, uuid_of
from zapline.domain.errors import LocalError

_FIRST_QUESTION, _ASK_EVERY = 0.1, 1.0
"""Seconds until it is asked how far it has come, the first time and after a while."""
_QUIET_SECONDS = 30.0
"""A daemon that is busy may answer late; past this it is gone."""


def reconcile(
    since: Annotated[str, typer.Option(help="A time (2026-11-22T10:00:00Z) or a span until now (30m, 2h, 1d).")],
    unit: Annotated[str | None, typer.Option(help="The unit whose messages are to be read.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Read those of every unit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read back from Evolution what its webhooks have missed. Nothing is stored twice; a second run finds nothing.

    \b
    Example: zapline reconcile --unit 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 --since 2h
    """
    from zapline.daemon.commands.date_times import iso, moment

    if (unit is None) is not every:
        raise typer.BadParameter("name one unit with --unit, or all of them with --all")
    start = moment(since, time.time())
    whose: dict[str, Any] = {"unit": uuid_of(unit)} if unit else {}
    begun = ask("reconcile", {"since": start, **whose})
    if not begun["units"]:
        raise LocalError("there is no unit that could be read; add one: zapline units add NAME")
    progress(f"Reading what Evolution has stored since {iso(start)} ...")
    result = _follow(whose)
    if as_json:
        show_json(result)
    else:
        say(
            f"{result['records']} messages read in {result['pages']} pages, {result['statuses']} of them with a "
            f"status; {result['repaired']} were missing and are stored now."
        )
    if result["failures"]:
        raise LocalError(_what_next(result, since))


def _follow(whose: dict[str, Any]) -> dict[str, Any]:
    """Show a bar until it is done. The number of windows grows where one holds too much at once."""
    pause = _FIRST_QUESTION
    with typer.progressbar(length=1, label="Reconciling", file=sys.stderr, show_pos=True) as bar:
        while True:
            found = ask("reconcile-progress", whose, _QUIET_SECONDS)
            if not found["units"]:
                raise LocalError(
                    "the daemon was restarted meanwhile and has forgotten this run; give the command again"
                )
            bar.length = max(found["windows"], 1)
            bar.update(found["windowsDone"] - bar.pos)
            if not found["running"]:
                return found
            time.sleep(pause)
            pause = min(pause * 1.5, _ASK_EVERY)


def _what_next(result: dict[str, Any], since: str) -> str:
    from zapline.daemon.commands.date_times import iso

    reasons = "; ".join(f"unit {each['unit']}: {each['error']}" for each in result["failed"])
    more = result["failures"] - len(result["failed"])
    reached = iso(result["reached"]) if result["reached"] is not None else since
    return (
        f"{result['failures']} of {result['units']} units could not be read to the end ({reasons}"
        f"{f'; and {more} more' if more > 0 else ''}). What was read is kept. Check Evolution with `zapline doctor`, "
        f"then go on with --since {reached}"
    )
