"""A running Zapline: its process, its addresses, its phones, and the faults that can be had by name."""

from __future__ import annotations

import json
import os
import selectors
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from typing import Any

from pytest_zapline.http_calls import SandboxError, call
from pytest_zapline.phones import Line, Phone

READY_SECONDS = 90.0
_STOP_SECONDS = 30.0
_ON_WEBHOOKS: Mapping[str, str] = {"late": "reorder", "doubled": "duplicate", "lost": "webhooks_off"}
_NO_LIMITS = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.001}
FAULTS = ("late", "doubled", "lost", "uncertain", "banned", "passkey")


@dataclass(slots=True)
class _Shared:
    """What the units of a sandbox have in common: the simulated phones are those of one server."""

    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    silent: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    made: list[Sandbox] = field(default_factory=list)
    """Units that tests have made."""


class Sandbox:
    """Addresses and credentials of a Zapline, for tests; its methods do what people and phones do.

    ``url``, ``token`` and ``unit`` are for the program under test. ``info`` is all that the process told.
    """

    def __init__(self, info: Mapping[str, Any], shared: _Shared | None = None) -> None:
        self.info = info
        self.url, self.token, self.unit = str(info["url"]), str(info["token"]), str(info["unit"])
        self.instance, self.control_url = str(info["instance"]), str(info["controlUrl"])
        self.line = Line(self)
        self._shared = shared if shared is not None else _Shared()
        self._kinds: set[str] = set()
        """Of the simulated Evolution's faults that may be there."""
        self.phone = self.new_phone()

    # -- phones ------------------------------------------------------------------------------------------------

    def new_phone(self, name: str = "Maria Silva") -> Phone:
        """A customer's phone with a number that nobody has used."""
        return Phone(self, f"+55119{os.getpid() % 10_000:04}{next(self._shared.numbers) % 10_000:04}", name)

    @property
    def silent(self) -> frozenset[str]:
        """Which phones are off, whichever unit they write to."""
        return self._shared.silent

    @property
    def missing(self) -> frozenset[str]:
        """Which numbers have no WhatsApp."""
        return self._shared.missing

    def set_silent(self, digits: frozenset[str]) -> None:
        """Have these phones be off, and no others."""
        self._shared.silent = frozenset(digits)
        self._server("POST", "phones", silent=sorted(digits))

    def set_missing(self, digits: frozenset[str]) -> None:
        """Have these numbers be without WhatsApp, and no others."""
        self._shared.missing = frozenset(digits)
        self._server("POST", "phones", missing=sorted(digits))

    def new_unit(self, name: str = "Another unit") -> Sandbox:
        """Another unit with an open line, a token and faults of its own; phones are shared."""
        unit = self.api("POST", "/units", {"name": name}, admin=True)
        path = f"/units/{unit['id']}"
        self.api("PUT", f"{path}/pace", _NO_LIMITS, admin=True)
        access = {"label": "sandbox", "scopes": ["read", "send", "control"]}
        token = self.api("POST", f"{path}/tokens", access, admin=True)["token"]
        own = {"unit": unit["id"], "instance": unit["instance"], "token": token}
        made = Sandbox({**self.info, **own}, self._shared)
        self._shared.made.append(made)
        made.line.scans()
        return made

    # -- faults ------------------------------------------------------------------------------------------------

    @contextmanager
    def fault(self, name: str, **properties: Any) -> Iterator[None]:
        """Something that goes wrong while the block runs; the line is open again behind it. Names, and what a CRM sees:

        ``late`` (``seconds``, 2): what happens is told up to that much later, and in any order.
        ``doubled``: Evolution tells everything twice; Zapline tells it once.
        ``lost``: Evolution tells nothing, then its line reconnects; Zapline reads back what it missed (``backfilled``).
        ``uncertain`` (``count``, 1): the next sends have no answer though they arrive: ``workState`` ``uncertain``.
        ``banned``: WhatsApp refuses the number; the line is lost with the reason ``banned``.
        ``passkey``: the phone asks for a passkey, so a scan has no effect: the reason is ``passkey_asked``.
        """
        if name not in FAULTS:
            raise ValueError(f"no such fault: {name}; there are {', '.join(FAULTS)}")
        try:
            self._begin(name, properties)
            yield
        finally:
            self._end_faults()
            self.line.scans()
            if name == "lost":
                self.control("close", code=428, reopen_after=0.1)
                self.line.waits_for("connected")

    def _begin(self, name: str, properties: Mapping[str, Any]) -> None:
        if name == "banned":
            self.control("close", code=403)
            self.line.waits_for("banned")
        elif name == "passkey":
            self.line.logs_out()
            self.line.asks_to_connect()
            self.control("scan", outcome="passkey")
            self.line.waits_for("passkey_asked")
        elif name == "uncertain":
            fault = {"count": 1, **properties}
            self._inject("never_echo", path="/message", **fault)
        else:
            seconds = {"seconds": 2.0} if name == "late" else {}
            self._inject(_ON_WEBHOOKS[name], **{**seconds, **properties})

    def _inject(self, kind: str, **properties: Any) -> None:
        self._kinds.add(kind)
        self.control("faults", kind=kind, **properties)

    def _end_faults(self) -> None:
        """End this unit's, and no other's."""
        for kind in sorted(self._kinds):
            self._server("DELETE", "faults", kind=kind, instance=self.instance)
        self._kinds.clear()

    def calm(self) -> None:
        """End this unit's faults, switch all phones on, and open the line where it is not."""
        self._end_faults()
        if self.silent:
            self.set_silent(frozenset())
        if self.missing:
            self.set_missing(frozenset())
        self.line.scans()

    def renew(self) -> None:
        """For the next test: all is calm, also in units that tests have made, and ``phone`` is a new one."""
        self.calm()
        for unit in [*self._shared.made]:
            try:
                unit.calm()
            except SandboxError as error:
                if error.status not in (401, 404):
                    raise
                self._shared.made.remove(unit)  # it is archived
        self.phone = self.new_phone()

    # -- calls -------------------------------------------------------------------------------------------------

    def api(self, method: str, path: str, body: object = None, *, admin: bool = False) -> Any:
        """Call Zapline's API with the unit's token, or as administrator. Raises SandboxError."""
        token = self.info["admin"]["token"] if admin else self.token
        return call(method, self.url + path, body, token)

    def control(self, command: str, **arguments: Any) -> Any:
        """Tell the simulated Evolution what happens to this unit's line. Raises SandboxError."""
        return self._server("POST", command, instance=self.instance, **arguments)

    def delivered(self) -> list[list[Any]]:
        """All that has reached phones: id, instance, number, text, time, whether it was echoed."""
        rows: list[list[Any]] = self._server("GET", "deliveries")["rows"]
        return rows

    def _server(self, method: str, command: str, **arguments: Any) -> Any:
        return call(method, f"{self.control_url}/{command}", arguments)


@contextmanager
def running_sandbox(command: str | None = None) -> Iterator[Sandbox]:
    """Run ``zapline sandbox --ephemeral`` until the block ends; or use the one that ``$ZAPLINE_SANDBOX`` holds.

    Raises SandboxError with the last lines of what it said where it does not become ready.
    """
    told = os.environ.get("ZAPLINE_SANDBOX")
    if told:
        yield Sandbox(json.loads(told))
        return
    words = [*_command(command), "sandbox", "--ephemeral"]
    # Its standard input is the leash: however this process ends, the sandbox ends with it.
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        try:
            yield Sandbox(_ready(process, words))
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _command(given: str | None) -> list[str]:
    """How Zapline is called: as told, else the command on the path, else the package of this environment."""
    told = given or os.environ.get("ZAPLINE_COMMAND")
    if told:
        return shlex.split(told)
    if find_spec("zapline") is not None:
        return [sys.executable, "-m", "zapline"]
    found = shutil.which("zapline")
    if found is None:
        raise SandboxError("there is no zapline here: pip install 'zapline[embedded]', or set ZAPLINE_COMMAND")
    return [found]


def _ready(process: subprocess.Popen[bytes], words: list[str]) -> Mapping[str, Any]:
    """The line by which it says that it is ready."""
    assert process.stdout is not None
    line, deadline = b"", time.monotonic() + READY_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise SandboxError(f"{shlex.join(words)} was not ready within {READY_SECONDS:g} s")
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                raise SandboxError(f"{shlex.join(words)} ended with code {process.wait()}; it says why above")
            line += chunk
    told: Mapping[str, Any] = json.loads(line)
    return told
