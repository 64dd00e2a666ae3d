"""Fetches files of messages piece by piece: their base64 is decoded as it arrives, and no file is in memory whole."""

import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import trio

from zapline.domain.errors import LocalError
from zapline.domain.ids import ExternalId
from zapline.domain.text import Sentence
from zapline.evolution.client.failure_classifier import classify_response, is_file_gone
from zapline.evolution.client.failures import BadAnswer, EvolutionFailure, InvalidRequest, MediaGone
from zapline.evolution.client.response_parser import decode_json
from zapline.evolution.client.rest_client import EvolutionClient, instance_path
from zapline.evolution.client.stored_messages import file_inside, is_record_of
from zapline.evolution.webhooks.json_fields import short_text

PIECE = 768 * 1024
"""Bytes of an answer that are decoded and written at once, in a thread."""
_MOST_AROUND = 1024 * 1024
"""Bytes of an answer beside the file: its name, its caption, a thumbnail."""
_OUTSIDE_STRINGS = re.compile(rb'[{}\[\]":,]')
_INSIDE_STRINGS = re.compile(rb'["\\]')
_FILE_KEY = b"base64"
_BAD = Sentence("{name} is not what it should be in Evolution's answer", name="media.base64")
_TOO_LONG = Sentence("longer than any answer")
T = TypeVar("T")


class LargerThanWanted(LocalError):
    """The file is larger than whoever fetches it wants; it is not read further."""


@dataclass(frozen=True, slots=True)
class StreamedFile:
    """What was told of a file besides its content. ``size`` in bytes, as it was read."""

    mimetype: str | None
    file_name: str | None
    size: int


class MediaDecoder:
    """Takes the answer of ``getBase64FromMediaMessage`` in pieces of any length, and hands on the file's bytes.

    ``write`` gets them in order; whatever it raises, ``feed`` raises. Files of more than ``most`` bytes are given up.
    """

    def __init__(self, write: Callable[[bytes], object], most: int) -> None:
        self.size = 0
        self._write = write
        self._most = most
        self._around = bytearray()
        """The answer without the file, whose place an empty text takes."""
        self._read_to = 0
        self._depth = 0
        self._text_from: int | None = None
        """Where the text begins that is being read; None outside of texts."""
        self._last_text = b""
        self._is_value = False
        """Whether a value of the outermost object comes next, and not a key."""
        self._in_file = False
        self._had_file = False
        self._carried = b""
        self._padded = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece. Raises BadAnswer, LargerThanWanted."""
        while piece:
            piece = self._feed_file(piece) if self._in_file else self._feed_around(piece)

    def finish(self) -> dict[str, Any]:
        """The answer without the file, once it has come whole. Raises BadAnswer."""
        answer = decode_json(bytes(self._around), 200)
        if not isinstance(answer, dict):
            raise BadAnswer(_BAD)
        if answer.get("error") is True:
            raise classify_response(200, bytes(self._around), {})
        return answer

    @property
    def whole(self) -> bool:
        """Whether there was a file, and it came to its end."""
        return self._had_file and not self._in_file and self.size > 0

    def _feed_around(self, piece: bytes) -> bytes:
        """Read what stands around the file; returns what follows where the file begins, else nothing."""
        if len(self._around) + len(piece) > _MOST_AROUND + PIECE:
            raise BadAnswer(_TOO_LONG)
        start = len(self._around)
        self._around += piece
        while (at := self._next_mark()) is not None:
            if self._begins_file(at):
                rest = piece[at + 1 - start :]
                del self._around[at + 1 :]
                self._around += b'"'
                self._read_to = len(self._around)
                self._in_file = self._had_file = True
                self._is_value = False
                return rest
        if len(self._around) > _MOST_AROUND:
            raise BadAnswer(_TOO_LONG)
        return b""

    def _next_mark(self) -> int | None:
        """Go on to the next character that says something, and return its place; None where more has to come."""
        inside = self._text_from is not None
        found = (_INSIDE_STRINGS if inside else _OUTSIDE_STRINGS).search(self._around, self._read_to)
        if found is None:
            self._read_to = len(self._around)
            return None
        at = found.start()
        if self._around[at] == 0x5C:  # a backslash, and what it stands before
            if at + 1 >= len(self._around):
                self._read_to = at
                return None
            self._read_to = at + 2
        else:
            self._read_to = at + 1
        return at

    def _begins_file(self, at: int) -> bool:
        """Note what the character says; returns whether the text of the file begins here."""
        mark = bytes(self._around[at : at + 1])
        if self._text_from is not None:
            if mark == b'"':
                self._last_text, self._text_from = bytes(self._around[self._text_from : at]), None
        elif mark == b'"':
            if self._depth == 1 and self._is_value and self._last_text == _FILE_KEY and not self._had_file:
                return True
            self._text_from = at + 1
        elif mark in (b"{", b"["):
            self._depth += 1
        elif mark in (b"}", b"]"):
            self._depth -= 1
        elif self._depth == 1:
            self._is_value = mark == b":"
        return False

    def _feed_file(self, piece: bytes) -> bytes:
        """Decode what belongs to the file; returns what follows it."""
        end = piece.find(b'"')
        text, rest = (piece, b"") if end < 0 else (piece[:end], piece[end + 1 :])
        self._in_file = end < 0
        text = (self._carried + text).replace(b"\\/", b"/")
        usable = len(text) if end >= 0 else (len(text.rstrip(b"\\")) // 4) * 4
        self._carried = text[usable:]
        if usable:
            self._decode(text[:usable])
        return rest

    def _decode(self, text: bytes) -> None:
        if self._padded:
            raise BadAnswer(_BAD)
        try:
            content = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            raise BadAnswer(_BAD) from None
        self._padded = text.endswith(b"=")
        self.size += len(content)
        if self.size > self._most:
            raise LargerThanWanted(Sentence("the file has more than {most} bytes", most=self._most))
        self._write(content)


async def stream_media(
    evolution: EvolutionClient,
    instance: str,
    external_id: ExternalId,
    write: Callable[[bytes], object],
    most: int,
    content: Mapping[str, Any] | None = None,
) -> StreamedFile:
    """Fetch from WhatsApp the file of a message, once, and hand its bytes to ``write``, which is called in a thread.

    ``content``: of a message that Evolution is shown, instead of looking for it. Raises what ``fetch_media`` raises,
    LargerThanWanted above ``most`` bytes, and what ``write`` raises; part of the file may have been written then.
    """
    decoder, waiting = MediaDecoder(write, most), bytearray()

    async def take(piece: bytes) -> None:
        nonlocal waiting
        waiting += piece
        if len(waiting) >= PIECE:
            full, waiting = bytes(waiting), bytearray()
            await trio.to_thread.run_sync(decoder.feed, full)

    message: dict[str, Any] = {"key": {"id": external_id}} | ({"message": content} if content else {})
    body = {"message": message, "convertToMp4": False}
    path = instance_path("chat/getBase64FromMediaMessage", instance)
    try:
        await evolution.call_streamed(path, body, take)
    except EvolutionFailure as failure:
        if is_file_gone(failure):
            raise MediaGone(failure.why, status=failure.status) from failure
        raise
    await trio.to_thread.run_sync(decoder.feed, bytes(waiting))
    answer = decoder.finish()
    if not decoder.whole:
        raise BadAnswer(Sentence("{name} is missing in Evolution's answer", name="media.base64"))
    return StreamedFile(short_text(answer.get("mimetype"), 200), short_text(answer.get("fileName"), 500), decoder.size)


async def fetch_wherever(
    evolution: EvolutionClient,
    instance: str,
    external_id: ExternalId,
    fetch: Callable[[Mapping[str, Any] | None], Awaitable[T]],
) -> T:
    """What ``fetch`` fetches; where the server does not find the file inside the message's wrappers, it is shown the
    place: ``fetch`` gets the content then. Raises what ``fetch`` raises, and EvolutionFailure."""
    try:
        return await fetch(None)
    except InvalidRequest:
        page = await evolution.find_message(instance, external_id)
        found = (file_inside(record) for record in page.records if is_record_of(record, external_id))
        if (inside := next(filter(None, found), None)) is None:
            raise
        return await fetch(inside)
