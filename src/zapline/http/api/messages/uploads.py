"""Route of uploads: files to be sent later, read into memory and bounded."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.http.api.framework.json_bodies import ResponseBody, json_response
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.http.api.messages.message_requests import file_name, media_type
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.units.unit_commands import UnitCommands

MAX_UPLOAD = 16 * 1024 * 1024
"""Bytes: WhatsApp's limit for pictures, audio and video."""
_MAX_IN_FLIGHT = 4
"""Uploads at once, each held in memory a few times over; further ones are answered with 503."""
_MAX_IN_FLIGHT_OF_UNIT = 2
"""Of them one unit's, so that its slow ones do not keep others from theirs."""
_MAX_NAME = 255
UPLOAD_PATH = re.compile(r"/units/[^/]+/uploads/?")


class UploadBody(ResponseBody, frozen=True):
    """A file that can be sent: name its `id` as `upload` in a message or campaign."""

    id: UUID
    size: Annotated[int, Meta(description="Bytes.")]
    sha256: str
    mimetype: str
    file_name: str | None


_UPLOAD = RouteDoc(
    "Upload a file that is to be sent",
    {201: UploadBody},
    other_media=("*/*",),
    query=(
        QueryParameter("fileName", Annotated[str, Meta(min_length=1, max_length=_MAX_NAME)], "Its name, without path."),
    ),
    errors={"busy": 503, "upload_quota": 409},
    detail="The body is the file itself, at most 16 MiB; its type is the request's `Content-Type`. "
    "A unit keeps 2 GiB and 10,000 files; those that nothing needs go first, after a day.",
)


class UploadRoutes:
    """``/units/{id}/uploads``."""

    def __init__(self, commands: UnitCommands, outgoing: Submissions) -> None:
        self._commands = commands
        self._outgoing = outgoing
        self._in_flight: Counter[UnitId] = Counter()

    def attach(self, routes: RouteTable) -> None:
        routes.add("POST", "/units/<uuid:unit>/uploads", "upload", self.upload, Access.SEND, _UPLOAD, audited=False)

    async def upload(self, unit: UUID) -> Response:
        """The raw body is the file; its type is the Content-Type, its name ``?fileName=``."""
        id = self._commands.find(UnitId(unit)).id
        query_name = request.args.get("fileName")
        if query_name is not None and not 0 < len(query_name) <= _MAX_NAME:
            raise invalid("fileName", f"has 1 to {_MAX_NAME} characters")
        name = file_name("fileName", query_name) if query_name is not None else None
        mimetype = media_type("Content-Type", request.headers.get("Content-Type", "application/octet-stream"))
        with self._slot(id):
            data = await request.get_data(cache=False, as_text=False, parse_form_data=False)
            if not data:
                raise invalid("body", "is empty")
            stored, upload = await self._outgoing.store_upload(id, mimetype, name, data)
        body = UploadBody(stored, upload.size, upload.sha256.hex(), upload.mimetype, upload.file_name)
        return json_response(body, 201)

    @contextmanager
    def _slot(self, unit: UnitId) -> Iterator[None]:
        if self._in_flight.total() >= _MAX_IN_FLIGHT or self._in_flight[unit] >= _MAX_IN_FLIGHT_OF_UNIT:
            raise Problem(503, "busy", "too many files are uploaded just now", retryable=True, retry_after=2)
        self._in_flight[unit] += 1
        try:
            yield
        finally:
            self._in_flight[unit] -= 1
            if not self._in_flight[unit]:
                del self._in_flight[unit]
