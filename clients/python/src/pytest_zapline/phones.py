"""The phones of a test: customers' phones, which write and read, and the unit's own, which scans and is lost."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_zapline.http_calls import SandboxError, until

if TYPE_CHECKING:
    from pytest_zapline.sandbox import Sandbox

SECONDS = 10.0
"""How long is waited by default for what takes a fraction of a second on a machine at rest."""


@dataclass(frozen=True, slots=True)
class PhoneMessage:
    """A message that has reached a phone; ``id`` is WhatsApp's."""

    id: str
    text: str
    at: float


class Phone:
    """A customer's phone. ``number`` with its plus, as the API shows it; ``name`` as WhatsApp tells it."""

    def __init__(self, sandbox: Sandbox, number: str, name: str = "Maria Silva") -> None:
        self._sandbox = sandbox
        self.number, self.name = number, name
        self._before = len(self._all())

    @property
    def _digits(self) -> str:
        return self.number.removeprefix("+")

    def writes(self, text: str, *, name: str | None = None) -> str:
        """Write to the unit; WhatsApp's id of the message."""
        return self._receive(text=text, push_name=name or self.name)

    def sends_image(self, content: bytes, *, caption: str = "", mimetype: str = "image/jpeg") -> str:
        """Send a picture to the unit; WhatsApp's id of the message."""
        image = {"mimetype": mimetype, "caption": caption, "fileLength": str(len(content)), "width": 1, "height": 1}
        media = base64.b64encode(content).decode()
        return self._receive(message={"imageMessage": image}, message_type="imageMessage", media=media)

    def reacts(self, external_id: str, emoji: str) -> str:
        """React to a message by WhatsApp's id; an empty emoji takes it back."""
        return str(self._sandbox.control("react", id=external_id, emoji=emoji, sender=self._digits)["id"])

    def edits(self, external_id: str, text: str) -> None:
        """Change what this phone wrote."""
        self._sandbox.control("edit", id=external_id, text=text, sender=self._digits)

    def deletes(self, external_id: str) -> None:
        """Delete for everybody what this phone wrote."""
        self._sandbox.control("revoke", id=external_id, sender=self._digits)

    def messages(self) -> list[PhoneMessage]:
        """What the unit has written to this phone, oldest first."""
        return self._all()[self._before :]

    def waits_for(self, text: str | None = None, seconds: float = SECONDS) -> PhoneMessage:
        """Wait for a message, or for one of this text. Raises SandboxError where none comes."""

        def found() -> PhoneMessage | None:
            return next((each for each in self.messages() if text is None or each.text == text), None)

        return until(found, f"a message to {self.number}" + (f" that says {text!r}" if text else ""), seconds)

    def reads(self) -> None:
        """Open the chat: all that has reached this phone becomes ``read``. A phone that is silent reads nothing."""
        if self._digits in self._sandbox.silent:
            raise SandboxError(f"{self.number} is silent: comes_back() first")
        for message in self.messages():
            self._sandbox.control("status", id=message.id, status="READ")

    def goes_silent(self) -> None:
        """Switch the phone off: what is written to it stays ``sent`` until it comes back."""
        self._sandbox.set_silent(self._sandbox.silent | {self._digits})

    def comes_back(self) -> None:
        """Switch it on again: what was written meanwhile is delivered now."""
        self._sandbox.set_silent(self._sandbox.silent - {self._digits})

    def leaves_whatsapp(self) -> None:
        """From now on this number has no WhatsApp: what is sent to it fails, and says so."""
        self._sandbox.set_missing(self._sandbox.missing | {self._digits})

    def _receive(self, **arguments: Any) -> str:
        return str(self._sandbox.control("receive", sender=self._digits, **arguments)["id"])

    def _all(self) -> list[PhoneMessage]:
        rows = self._sandbox.delivered()
        mine = (row for row in rows if row[1] == self._sandbox.instance and row[2] == self._digits)
        return [PhoneMessage(id=row[0], text=row[3], at=row[4]) for row in mine]


class Line:
    """The unit's own phone, and its link to Zapline."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def status(self) -> dict[str, Any]:
        """As the API tells it: ``status``, ``reason``, both in words."""
        told: dict[str, Any] = self._sandbox.api("GET", f"/units/{self._sandbox.unit}/whatsapp/status")
        return told

    def waits_for(self, wanted: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Wait until the status or its reason is this one; the status. Raises SandboxError."""

        def found() -> dict[str, Any] | None:
            told = self.status()
            return told if wanted in (told["status"], told["reason"]) else None

        return until(found, f"a line that is {wanted} (it is {self.status()['reason']})", seconds)

    def asks_to_connect(self) -> None:
        """Ask Zapline to connect, as a CRM's button does, and wait for the code."""
        self._sandbox.api("POST", f"/units/{self._sandbox.unit}/whatsapp/connect", {})
        self.waits_for("waiting_scan")

    def scans(self) -> None:
        """Scan the code that is shown; the line opens. Asks for a code first where none is shown."""
        if self.status()["status"] == "connected":
            return
        if self.status()["reason"] != "waiting_scan":
            self.asks_to_connect()
        self._sandbox.control("scan")
        self.waits_for("connected")

    def writes(self, phone: Phone, text: str) -> str:
        """Write to a customer on the unit's own phone, past Zapline; WhatsApp's id of the message."""
        sender = phone.number.removeprefix("+")
        return str(self._sandbox.control("receive", text=text, sender=sender, from_me=True)["id"])

    def logs_out(self) -> None:
        """Unlink the device on the phone: the line is lost until a new code is scanned."""
        self._sandbox.control("close", code=401)
        self.waits_for("logged_out")
