"""Uploads: files that are to be sent, taken in whole and bounded."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.http.api.framework.json_bodies import Answer, reply
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.framework.routes import Access, Doc, Query, Routes
from zapline.http.api.messages.send_requests import MIMETYPE, file_name
from zapline.supervisors.outbound.submission import Outgoing
from zapline.supervisors.units.unit_commands import Submit

MAX_UPLOAD = 16 * 1024 * 1024
"""Bytes: what WhatsApp takes as picture, sound and film."""
_AT_ONCE = 4
"""Uploads in flight, each held in memory a few times over; who comes then is asked to come again."""
_LONGEST_NAME = 255
UPLOAD_PATH = re.compile(r"/units/[^/]+/uploads/?")


class UploadBody(Answer, frozen=True):
    """A file that can be sent: name its `id` as `upload` in a message or campaign."""

    id: UUID
    size: Annotated[int, Meta(description="Bytes.")]
    sha256: str
    mimetype: str
    file_name: str | None


_UPLOAD = Doc(
    "Upload a file that is to be sent",
    {201: UploadBody},
    other_bodies=("*/*",),
    query=(Query("fileName", Annotated[str, Meta(min_length=1, max_length=_LONGEST_NAME)], "Its name, without path."),),
    errors={"busy": 503},
    detail="The body is the file itself, at most 16 MiB; its type is the request's `Content-Type`.",
)


class Uploads:
    """``/units/{id}/uploads``."""

    def __init__(self, submit: Submit, outgoing: Outgoing) -> None:
        self._submit = submit
        self._outgoing = outgoing
        self._in_flight = 0

    def attach(self, routes: Routes) -> None:
        routes.add("POST", "/units/<uuid:unit>/uploads", "upload", self.upload, Access.SEND, _UPLOAD, audited=False)

    async def upload(self, unit: UUID) -> Response:
        """The raw body is the file; its type is the request's Content-Type, its name ``?fileName=``."""
        id = self._submit.find(UnitId(unit)).id
        named = request.args.get("fileName")
        if named is not None and not 0 < len(named) <= _LONGEST_NAME:
            raise invalid("fileName", f"has 1 to {_LONGEST_NAME} characters")
        name = file_name("fileName", named) if named is not None else None
        mimetype = request.headers.get("Content-Type", "application/octet-stream").partition(";")[0].strip().lower()
        if MIMETYPE.fullmatch(mimetype) is None:
            raise invalid("Content-Type", "is a media type, as image/jpeg")
        with self._room():
            data = await request.get_data(cache=False, as_text=False, parse_form_data=False)
            if not data:
                raise invalid("body", "is empty")
            stored, upload = await self._outgoing.store_upload(id, mimetype, name, data)
        told = UploadBody(stored, upload.size, upload.sha256.hex(), upload.mimetype, upload.file_name)
        return reply(told, 201)

    @contextmanager
    def _room(self) -> Iterator[None]:
        if self._in_flight >= _AT_ONCE:
            raise Problem(503, "busy", "too many files are uploaded just now", retryable=True, retry_after=2)
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
