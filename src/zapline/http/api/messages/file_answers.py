"""Answers requests for files: streamed, always as a download, whole or a range of bytes (RFC 9110, section 14)."""

import re
from types import TracebackType
from typing import Self
from urllib.parse import quote

from quart import Response, request
from quart.wrappers.response import ResponseBody

from zapline.http.api.framework.problems import Problem
from zapline.sql.conversations.conversations import Message
from zapline.supervisors.inbound.media_cache import OpenFile

_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "audio/ogg": ".ogg",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/aac": ".aac",
    "audio/amr": ".amr",
    "audio/wav": ".wav",
    "video/mp4": ".mp4",
    "video/3gpp": ".3gp",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "text/csv": ".csv",
    "text/plain": ".txt",
}
"""Types that browsers do not run, with their file name extension. All other types are served as plain bytes."""
_DEFAULT_TYPE = "application/octet-stream"
_UNSAFE_CHARACTERS = re.compile(r'[\x00-\x1f\x7f"\\/;:<>|?*%]')
_MAX_NAME = 150
_MAX_EXTENSION = 10
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
HEADERS = {
    "Content-Disposition": "The file's name.",
    "Content-Length": "Its size in bytes, or that of the range.",
    "Accept-Ranges": "`bytes`.",
    "ETag": "Of a file that Zapline keeps.",
}


async def file_response(file: OpenFile, message: Message) -> Response:
    """The answer with the file of a message, which closes it. Raises Problem 416 for bytes that it does not have."""
    try:
        mimetype = (file.mimetype or "").partition(";")[0].strip().lower()
        tag = f'"{file.digest}"' if file.digest is not None else None
        chosen = _chosen(file.size, tag)
        if chosen is not None:
            await file.choose(*chosen)
        first, length = chosen if chosen is not None else (0, file.size)
        kind = mimetype if mimetype in _EXTENSIONS else _DEFAULT_TYPE
        response = Response(_FileBody(file), 206 if chosen is not None else 200, content_type=kind)
        response.headers["Content-Length"] = str(length)
        response.headers["Accept-Ranges"] = "bytes"
        if chosen is not None:
            response.headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{file.size}"
        if tag is not None:
            response.headers["ETag"] = tag
        told = (message.media or {}).get("fileName") or file.file_name
        name = told if isinstance(told, str) else f"{message.kind}{_EXTENSIONS.get(mimetype, '')}"
        response.headers["Content-Disposition"] = attachment_header(name)
        response.timeout = None  # the server closes connections whose client does not read
        return response
    except BaseException:
        file.close()
        raise


def _chosen(size: int, tag: str | None) -> tuple[int, int] | None:
    """First byte and length of the range that the request names; None: all. Raises Problem 416.

    Several ranges, and those of another version of the file, are answered with the whole.
    """
    wanted = request.headers.get("If-Range")
    if request.method != "GET" or (wanted is not None and wanted != tag):
        return None
    chosen = byte_range(request.headers.get("Range", ""), size)
    if chosen is not None and not chosen[1]:
        span = {"Content-Range": f"bytes */{size}"}
        raise Problem(416, "range_not_satisfiable", f"the file has {size} bytes", headers=span)
    return chosen


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and length of the one range in a ``Range`` header; None where it is to be passed over.

    A length of 0: the file has no such bytes.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        return size - length, length
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return None
    return (first, last - first + 1) if first <= last else (0, 0)


def attachment_header(name: str) -> str:
    """A Content-Disposition header (RFC 6266) that forces a download; ``name`` is untrusted."""
    safe = _UNSAFE_CHARACTERS.sub(
        "_", "".join(character if character.isprintable() else "_" for character in name)
    ).strip(" .")
    stem, _, extension = safe.rpartition(".")
    suffix_length = len(extension) + 1 if stem and len(extension) <= _MAX_EXTENSION else 0
    file_name = (
        safe if len(safe) <= _MAX_NAME else safe[: _MAX_NAME - suffix_length] + safe[len(safe) - suffix_length :]
    )
    file_name = file_name or "file"
    ascii_name = file_name.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(file_name, safe='')}"


class _FileBody(ResponseBody):
    """A response body that streams a file; the file is closed whatever happens to the response."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._file.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk
