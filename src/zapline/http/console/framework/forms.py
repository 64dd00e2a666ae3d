"""Reads what a form of the console has sent; nothing in it is believed before it is looked at."""

from dataclasses import dataclass
from typing import IO
from uuid import UUID

from quart import request
from werkzeug.datastructures import MultiDict

from zapline.http.api.framework.problems import invalid


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that came with a form. A large one lies on disk; it is gone with the request."""

    name: str
    mimetype: str
    stream: IO[bytes]

    @property
    def content(self) -> bytes:
        """All of it."""
        self.stream.seek(0)
        return self.stream.read()


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form. Texts come without space around them; a field that is not there is empty."""

    fields: MultiDict[str, str]
    files: dict[str, UploadedFile]

    def text(self, name: str, most: int = 1000) -> str:
        """Raises Problem 422 for a text that is too long or holds NUL."""
        value = self.fields.get(name, "").replace("\r\n", "\n").strip()
        if len(value) > most:
            raise invalid(name, f"has at most {most} characters")
        if "\0" in value:
            raise invalid(name, "holds characters that cannot be stored")
        return value

    def secret(self, name: str, most: int = 1024) -> str:
        """A password, exactly as typed; empty where it is too long."""
        value = self.fields.get(name, "")
        return value if len(value) <= most else ""

    def texts(self, name: str) -> list[str]:
        """All values of a field that may be there more than once."""
        return [value.strip() for value in self.fields.getlist(name)]

    def checked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return name in self.fields

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number, or None for an empty field. Raises Problem 422."""
        text = self.text(name, 40).replace(",", ".")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise invalid(name, f"is a number from {least:g} to {most:g}")
        return value

    def whole(self, name: str, least: int, most: int) -> int | None:
        """The same for whole numbers."""
        value = self.number(name, least, most)
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
    """The form that was sent, urlencoded or multipart; its size is bounded by the application's limits.

    Raises what reading a body raises.
    """
    fields = await request.form
    files = {
        name: UploadedFile((given.filename or "")[:255], given.mimetype, given.stream)
        for name, given in (await request.files).items()
        if given.filename
    }
    return Form(fields, files)
