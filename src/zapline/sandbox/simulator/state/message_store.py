"""Keeps an instance's messages as its database does: found by id, by time and by chat; the oldest go first."""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

STORED_LIMIT = 100_000
"""Messages kept, each instance."""
MEDIA_LIMIT = 64 * 1024 * 1024
"""Characters of base64 kept, each instance: the files of older messages go first."""


@dataclass(slots=True)
class Stored:
    """A message in the instance's database: the row, and the statuses reported for it in order."""

    row_id: str
    message: dict[str, Any]
    statuses: list[str] = field(default_factory=list)
    media: str | None = None
    """The file as base64, where it is known."""

    @property
    def at(self) -> int:
        """Seconds since the epoch."""
        return int(self.message["messageTimestamp"])

    @property
    def chat(self) -> str:
        return str(self.message["key"]["remoteJid"])


@dataclass(frozen=True, slots=True)
class Page:
    """``total`` counts what fits in all pages."""

    total: int
    found: list[Stored]


class History:
    """The messages of one instance. A known id keeps its row."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, tuple[int, int, Stored]] = OrderedDict()
        self._by_time: list[tuple[int, int, Stored]] = []
        """Time, and the number of arrival turned round: no two are equal, so rows are never compared. Within a second
        the earlier comes first when the newest are asked for, as in the recordings."""
        self._last: dict[str, tuple[int, int, Stored]] = {}
        self._files: OrderedDict[str, int] = OrderedDict()
        self._file_size = 0
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, external_id: object) -> bool:
        return external_id in self._by_id

    def __iter__(self) -> Iterator[Stored]:
        """In the order of arrival."""
        return (place[2] for place in self._by_id.values())

    def get(self, external_id: str) -> Stored | None:
        place = self._by_id.get(external_id)
        return place[2] if place is not None else None

    def add(self, stored: Stored) -> Stored:
        """Keep the message; where its id is known, the row that is there is answered."""
        key = stored.message["key"]["id"]
        known = self._by_id.get(key)
        if known is not None:
            return known[2]
        self._arrived += 1
        place = (stored.at, -self._arrived, stored)
        self._by_id[key] = place
        insort(self._by_time, place)
        self._last[stored.chat] = max(self._last.get(stored.chat, place), place)
        if stored.media is not None:
            self._keep_file(key, len(stored.media))
        if len(self._by_id) > STORED_LIMIT:
            self._forget_oldest()
        return stored

    def chats(self) -> list[Stored]:
        """The last message of each chat, newest first."""
        return [place[2] for place in sorted(self._last.values(), reverse=True)]

    def chat_count(self) -> int:
        return len(self._last)

    def page(
        self,
        number: int,
        size: int,
        low: int | None = None,
        high: int | None = None,
        fits: Callable[[Stored], bool] | None = None,
    ) -> Page:
        """Newest first, ``size`` rows a page, pages from 1; ``low`` and ``high`` are both included."""
        start = bisect_left(self._by_time, (low,)) if low is not None else 0
        end = bisect_right(self._by_time, (high + 1,)) if high is not None else len(self._by_time)
        skipped = (number - 1) * size
        if fits is None:
            newest = end - skipped
            rows = self._by_time[max(start, newest - size) : max(start, newest)]
            return Page(max(0, end - start), [place[2] for place in reversed(rows)])
        found = [place[2] for place in reversed(self._by_time[start:end]) if fits(place[2])]
        return Page(len(found), found[skipped : skipped + size])

    def _keep_file(self, key: str, size: int) -> None:
        self._files[key] = size
        self._file_size += size
        while self._file_size > MEDIA_LIMIT and len(self._files) > 1:
            oldest, freed = self._files.popitem(last=False)
            self._file_size -= freed
            self._by_id[oldest][2].media = None

    def _forget_oldest(self) -> None:
        key, place = self._by_id.popitem(last=False)
        del self._by_time[bisect_left(self._by_time, place)]
        self._file_size -= self._files.pop(key, 0)
        if self._last.get(place[2].chat) is place:
            del self._last[place[2].chat]
