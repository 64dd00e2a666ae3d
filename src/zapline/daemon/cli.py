"""The command line: ``zapline run``, ``migrate``, ``check``, ``doctor`` and the rest; each imports what it needs."""

import os
from pathlib import Path
from typing import Annotated

import typer

import zapline
from zapline.daemon.commands import alarms, backup, database, dead_letters, nodes, privacy, reconcile, servers, units
from zapline.daemon.commands.accounts import admins, ceilings, organizations, tokens
from zapline.daemon.commands.terminal import FAILED, AsJson, command_group, echo, echo_json, echo_table

app = command_group(
    "A reliable WhatsApp line for every unit: the daemon between the Evolution API and PostgreSQL.", completion=True
)


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(f"zapline {zapline.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A reliable WhatsApp line for every unit: the daemon between the Evolution API and PostgreSQL."""


app.add_typer(units.app, name="units")
app.add_typer(nodes.app, name="nodes")
app.add_typer(ceilings.app, name="ceilings")
app.add_typer(organizations.app, name="organizations")
app.add_typer(servers.app, name="servers")
app.add_typer(alarms.app, name="alarms")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(admins.app, name="admin")
app.add_typer(tokens.app, name="tokens")
app.add_typer(privacy.app, name="privacy")
app.add_typer(database.check, name="check")
app.command()(database.migrate)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(dead_letters.replay)
app.command()(reconcile.reconcile)


@app.command()
def run() -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    \b
    Example: zapline run
    """
    import trio

    from zapline.daemon.logs.plain_structlog import load_structlog

    load_structlog()
    from zapline.daemon.composition.app import run_daemon
    from zapline.daemon.logs import configuration
    from zapline.daemon.settings import Settings, load

    settings = load(Settings)
    _require_directory(settings.state_dir)
    configuration.configure(settings.log_format, settings.log_level)
    trio.run(run_daemon, settings)


def _require_directory(state_dir: Path) -> None:
    """Raises ConfigurationError where the daemon could not keep anything in its state directory."""
    from zapline.domain.errors import ConfigurationError

    step = "Make it for the daemon's user (install -d -m 0700), or set ZAPLINE_STATE_DIR to another."
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"the state directory {state_dir} cannot be made: {error.strerror}. {step}") from error
    if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(f"the state directory {state_dir} belongs to another user. {step}")


@app.command()
def sandbox(
    ephemeral: Annotated[
        bool,
        typer.Option(
            "--ephemeral", help="For tests: print one line of JSON when ready, end with the caller, keep nothing."
        ),
    ] = False,
    units: Annotated[
        int | None, typer.Option(min=1, max=20, help="With --ephemeral: how many units there are.")
    ] = None,
    servers: Annotated[int, typer.Option(min=1, max=5, help="How many Evolution servers are simulated.")] = 1,
) -> None:
    """Run everything on this machine: PostgreSQL, a simulated Evolution server, and the daemon with two units.

    \b
    Example: zapline sandbox
    """
    if ephemeral and servers > 1:
        raise typer.BadParameter("a sandbox for tests has one server", param_hint="--servers")
    if ephemeral:
        from zapline.sandbox.ephemeral import main_ephemeral

        raise typer.Exit(main_ephemeral(units or 1))
    if units is not None:
        raise typer.BadParameter("goes with --ephemeral: a sandbox to look at has two units", param_hint="--units")
    from zapline.sandbox.sandbox import main_sandbox

    raise typer.Exit(main_sandbox(servers))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look for what newcomers get wrong, and name the next step. Changes nothing.

    \b
    Example: zapline doctor
    """
    import trio

    from zapline.daemon.doctor.doctor import examine
    from zapline.daemon.doctor.finding import Finding, Verdict

    def report(finding: Finding) -> None:
        if not as_json:
            echo(f"{finding.verdict.value:4}  {finding.what}: {finding.observation}")
            if finding.next_step:
                echo(f"      -> {finding.next_step}")

    findings = trio.run(examine, report)
    if as_json:
        echo_json([finding.as_json() for finding in findings])
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    if not as_json:
        echo(f"\n{counts[Verdict.OK]} ok, {counts[Verdict.WARN]} warnings, {counts[Verdict.FAIL]} failures")
    if counts[Verdict.FAIL]:
        raise typer.Exit(FAILED)


@app.command("settings")
def list_settings(
    env: Annotated[bool, typer.Option("--env", help="Print them as an env file.")] = False,
) -> None:
    """Print every setting with its default and what it means.

    \b
    Example: zapline settings --env > zapline.env
    """
    from zapline.daemon.settings import Settings

    documented = Settings.documented()
    if env:
        for name, default, sentence in documented:
            echo(f"# {sentence}\n{'' if not default else '#'}{name}={default}")
        return
    echo_table(("NAME", "DEFAULT", "MEANING"), documented, "There are no settings.")


def main() -> None:
    """Entry of the console script."""
    app()


if __name__ == "__main__":
    main()
