"""Reads and validates the fields and files of the console's forms."""

from dataclasses import dataclass
from typing import IO
from uuid import UUID

from quart import request
from werkzeug.datastructures import MultiDict

from zapline.domain.text import Sentence
from zapline.http.api.framework.problems import invalid


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
