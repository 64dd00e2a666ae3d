"""``zapline reconcile``: has the daemon read back from Evolution what webhooks missed, and shows the progress."""

import sys
import time
from typing import Annotated, Any

import typer

from zapline.daemon.commands.date_times import iso, parse_time
from zapline.daemon.commands.terminal import AsJson, ask_daemon, echo, echo_json, echo_progress, parse_unit_id
from zapline.domain.errors import LocalError

_FIRST_POLL, _POLL_SECONDS = 0.1, 1.0
"""Seconds between two questions for the progress, at first and later."""
_REPLY_SECONDS = 30.0
"""A busy daemon may answer late; after this it is gone."""


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
    if (unit is None) is not every:
        raise typer.BadParameter("name one unit with --unit, or all of them with --all")
    start = parse_time(since, time.time())
    selection: dict[str, Any] = {"unit": parse_unit_id(unit)} if unit else {}
    started = ask_daemon("reconcile", {"since": start, **selection})
    if not started["units"]:
        raise LocalError("there is no unit that could be read; add one: zapline units add NAME")
    echo_progress(f"Reading what Evolution has stored since {iso(start)} ...")
    result = _show_progress(selection)
    if as_json:
        echo_json(result)
    else:
        echo(
            f"{result['records']} messages read in {result['pages']} pages, {result['statuses']} of them with a "
            f"status; {result['repaired']} were missing and are stored now."
        )
    if result["failures"]:
        raise LocalError(_failure_text(result, since))


def _show_progress(selection: dict[str, Any]) -> dict[str, Any]:
    """Show a progress bar until the run is done. The number of windows grows when a full one is split."""
    pause = _FIRST_POLL
    with typer.progressbar(length=1, label="Reconciling", file=sys.stderr, show_pos=True) as bar:
        while True:
            progress = ask_daemon("reconcile-progress", selection, _REPLY_SECONDS)
            if not progress["units"]:
                raise LocalError(
                    "the daemon was restarted meanwhile and has forgotten this run; give the command again"
                )
            bar.length = max(progress["windows"], 1)
            bar.update(progress["windowsDone"] - bar.pos)
            if not progress["running"]:
                return progress
            time.sleep(pause)
            pause = min(pause * 1.5, _POLL_SECONDS)


def _failure_text(result: dict[str, Any], since: str) -> str:
    reasons = "; ".join(f"unit {each['unit']}: {each['error']}" for each in result["failed"])
    more = result["failures"] - len(result["failed"])
    reached = iso(result["reached"]) if result["reached"] is not None else since
    return (
        f"{result['failures']} of {result['units']} units could not be read to the end ({reasons}"
        f"{f'; and {more} more' if more > 0 else ''}). What was read is kept. Check Evolution with `zapline doctor`, "
        f"then go on with --since {reached}"
    )
