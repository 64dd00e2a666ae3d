"""Reads and validates the fields and files of the console's forms, and says why one was refused."""

import re
from dataclasses import dataclass
from typing import IO
from uuid import UUID

from quart import request
from werkzeug.datastructures import MultiDict

from zapline.domain.errors import InvalidField, LocalError
from zapline.domain.text import Sentence
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.translation import N_, _


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a form. A large one is on disk; it is deleted with the request."""

    name: str
    mimetype: str
    stream: IO[bytes]

    @property
    def content(self) -> bytes:
        """The whole file."""
        self.stream.seek(0)
        return self.stream.read()


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form. Texts are stripped; a missing field is empty."""

    fields: MultiDict[str, str]
    files: dict[str, UploadedFile]

    def text(self, name: str, max_length: int = 1000) -> str:
        """Raises Problem 422 for a text that is too long or holds NUL."""
        value = self.fields.get(name, "").replace("\r\n", "\n").strip()
        if len(value) > max_length:
            raise invalid(name, Sentence("has at most {limit} characters", limit=max_length))
        if "\0" in value:
            raise invalid(name, "holds characters that cannot be stored")
        return value

    def secret(self, name: str, max_length: int = 1024) -> str:
        """A password exactly as typed; empty if it is too long."""
        value = self.fields.get(name, "")
        return value if len(value) <= max_length else ""

    def checked(self, name: str) -> bool:
        """Whether a checkbox is checked."""
        return name in self.fields

    def typed(self, *checkboxes: str) -> dict[str, str | bool]:
        """All of it, for a page that shows it again: of each checkbox whether it is checked."""
        return {**dict(self.fields.items()), **{name: self.checked(name) for name in checkboxes}}

    def number(self, name: str, minimum: float, maximum: float) -> float | None:
        """A number, or None for an empty field. Raises Problem 422."""
        text = self.text(name, 40).replace(",", ".")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not minimum <= value <= maximum:
            limits = {"least": f"{minimum:g}", "most": f"{maximum:g}"}
            raise invalid(name, Sentence("is a number from {least} to {most}", **limits))
        return value

    def integer(self, name: str, minimum: int, maximum: int) -> int | None:
        """A whole number, or None for an empty field. Raises Problem 422."""
        value = self.number(name, minimum, maximum)
        if value is not None and value != int(value):
            raise invalid(name, "is a whole number")
        return int(value) if value is not None else None

    def uuid(self, name: str) -> UUID:
        """Raises Problem 422."""
        try:
            return UUID(self.text(name, 64))
        except ValueError:
            raise invalid(name, "is not an id") from None


async def read_form() -> Form:
    """Read the form of the request, urlencoded or multipart; the application's limits bound its size.

    Raises what reading a body raises.
    """
    fields = await request.form
    files = {
        name: UploadedFile((file.filename or "")[:255], file.mimetype, file.stream)
        for name, file in (await request.files).items()
        if file.filename
    }
    return Form(fields, files)


def field_of(refused: LocalError | Problem) -> str:
    """The page's name of the field that was refused; empty where it is none."""
    named = refused.errors[0][0] if isinstance(refused, Problem) and refused.errors else ""
    if isinstance(refused, InvalidField):
        named = refused.field
    return re.sub("([A-Z])", r"_\1", named).lower()


def refusal_text(refused: LocalError | Problem) -> str:
    """Why a form was refused, in the operator's language. Raises ``refused`` itself if it is another problem."""
    if isinstance(refused, Problem):
        if refused.status != 422:
            raise refused
        return "; ".join(
            f"{_(FIELD_LABELS[field])}: {_(message)}" if field in FIELD_LABELS else _(message)
            for field, message in refused.errors
        )
    return error_text(refused)


FIELD_LABELS = {
    "retention_days": N_("Days that messages are kept"),
    "per_minute": N_("Messages a minute"),
    "burst": N_("At once after a pause"),
    "gap_seconds": N_("Seconds between two to one contact"),
    "campaign_seconds": N_("Seconds between two of a campaign"),
    "daily_cap": N_("Messages a day at most"),
    "warm_up_first": N_("Campaign messages on the first day"),
    "typing_speed": N_("Characters a second that are typed"),
    "typing_longest": N_("Seconds of typing at most"),
    "quietFrom": N_("Quiet from"),
    "quietUntil": N_("Quiet until"),
    "name": N_("Name"),
    "label": N_("Label"),
    "days": N_("Days until it ends"),
    "hooks": N_("Hooks of a unit or organization"),
    "tokens": N_("Valid tokens of a unit or organization"),
    "requests_per_minute": N_("Requests a minute at most"),
    "scopes": N_("It may"),
    "unitIds": N_("It opens"),
    "callText": N_("Text to whoever calls"),
    "call_text": N_("Text to whoever calls"),
    "mark_read": N_("Senders see that they were read"),
    "protocol": N_("Kind"),
    "host": N_("Host"),
    "port": N_("Port"),
    "username": N_("User"),
    "password": N_("Password"),
    "url": N_("Address"),
    "weight": N_("Weight"),
    "max_bytes": N_("Largest file, in MiB"),
    "quota_bytes": N_("Room for all, in MiB"),
    "kept_days": N_("Days"),
}
"""The labels of fields on the pages; a refusal of any other is shown without its name."""
