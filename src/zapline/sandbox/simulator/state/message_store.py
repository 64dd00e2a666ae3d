"""Stores an instance's messages as its database does, indexed by id, time and chat; drops the oldest first."""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

STORED_LIMIT = 100_000
"""Messages stored for each instance."""
MEDIA_LIMIT = 64 * 1024 * 1024
"""Characters of base64 stored for each instance; the files of the oldest messages are dropped first."""


@dataclass(slots=True)
class StoredMessage:
    """A message in the instance's database: the row, and its statuses in the order of their reports."""

    row_id: str
    message: dict[str, Any]
    statuses: list[str] = field(default_factory=list)
    media: str | None = None
    """The file as base64, if it is known."""

    @property
    def at(self) -> int:
        """Seconds since the epoch."""
        return int(self.message["messageTimestamp"])

    @property
    def chat(self) -> str:
        return str(self.message["key"]["remoteJid"])


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a query. ``total`` counts the matches on all pages."""

    total: int
    messages: list[StoredMessage]


class MessageStore:
    """The messages of one instance. A message id keeps its first row."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, tuple[int, int, StoredMessage]] = OrderedDict()
        self._by_time: list[tuple[int, int, StoredMessage]] = []
        """Timestamp and negative arrival number: no two are equal, so rows are never compared. Newest first, messages
        of one second come in the order of arrival, as in the recordings."""
        self._last: dict[str, tuple[int, int, StoredMessage]] = {}
        self._files: OrderedDict[str, int] = OrderedDict()
        self._file_size = 0
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, external_id: object) -> bool:
        return external_id in self._by_id

    def __iter__(self) -> Iterator[StoredMessage]:
        """Iterate in the order of arrival."""
        return (entry[2] for entry in self._by_id.values())

    def get(self, external_id: str) -> StoredMessage | None:
        entry = self._by_id.get(external_id)
        return entry[2] if entry is not None else None

    def add(self, stored: StoredMessage) -> StoredMessage:
        """Store the message and return its row; an id that is stored already keeps its row."""
        key = stored.message["key"]["id"]
        existing = self._by_id.get(key)
        if existing is not None:
            return existing[2]
        self._arrived += 1
        entry = (stored.at, -self._arrived, stored)
        self._by_id[key] = entry
        insort(self._by_time, entry)
        self._last[stored.chat] = max(self._last.get(stored.chat, entry), entry)
        if stored.media is not None:
            self._store_file(key, len(stored.media))
        if len(self._by_id) > STORED_LIMIT:
            self._drop_oldest()
        return stored

    def change(self, external_id: str, message: dict[str, Any] | None, at: int) -> StoredMessage | None:
        """Put the content of an edit (None: of a deletion) into the row, with its time; None for an unknown id."""
        entry = self._by_id.get(external_id)
        if entry is None:
            return None
        stored = entry[2]
        del self._by_time[bisect_left(self._by_time, entry)]
        stored.message = {**stored.message, "message": message, "messageTimestamp": at}
        moved = (at, entry[1], stored)
        self._by_id[external_id] = moved
        insort(self._by_time, moved)
        if self._last.get(stored.chat) is entry:
            self._last[stored.chat] = moved
        return stored

    def chats(self) -> list[StoredMessage]:
        """The last message of each chat, newest first."""
        return [entry[2] for entry in sorted(self._last.values(), reverse=True)]

    def chat_count(self) -> int:
        return len(self._last)

    def page(
        self,
        number: int,
        size: int,
        low: int | None = None,
        high: int | None = None,
        matches: Callable[[StoredMessage], bool] | None = None,
    ) -> Page:
        """Return page ``number`` (from 1) of ``size`` rows, newest first; ``low`` and ``high`` are inclusive."""
        start = bisect_left(self._by_time, (low,)) if low is not None else 0
        end = bisect_right(self._by_time, (high + 1,)) if high is not None else len(self._by_time)
        skipped = (number - 1) * size
        if matches is None:
            newest = end - skipped
            rows = self._by_time[max(start, newest - size) : max(start, newest)]
            return Page(max(0, end - start), [entry[2] for entry in reversed(rows)])
        matching = [entry[2] for entry in reversed(self._by_time[start:end]) if matches(entry[2])]
        return Page(len(matching), matching[skipped : skipped + size])

    def _store_file(self, key: str, size: int) -> None:
        self._files[key] = size
        self._file_size += size
        while self._file_size > MEDIA_LIMIT and len(self._files) > 1:
            oldest, freed = self._files.popitem(last=False)
            self._file_size -= freed
            self._by_id[oldest][2].media = None

    def _drop_oldest(self) -> None:
        key, entry = self._by_id.popitem(last=False)
        del self._by_time[bisect_left(self._by_time, entry)]
        self._file_size -= self._files.pop(key, 0)
        if self._last.get(entry[2].chat) is entry:
            del self._last[entry[2].chat]
