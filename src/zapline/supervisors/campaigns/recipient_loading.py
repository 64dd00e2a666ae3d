"""Performs the reading of a list of recipients: in pieces, in a thread, so that the loop goes on serving others."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import trio

from zapline.domain.campaigns.recipients_csv import (
    MOST_RECIPIENTS,
    CsvReader,
    Given,
    InvalidRecipients,
    Judged,
    Tally,
    judge,
    read_listed,
)
from zapline.domain.campaigns.text_templates import Letter
from zapline.domain.errors import LocalError

PART = 2000
"""Recipients that are stored by one statement: it takes some 50 ms, so that others get their turn."""
_PIECE = 64 * 1024
"""Bytes of a CSV that a thread takes at a time: some 2,000 lines, a few milliseconds."""
_AT_ONCE = 4
_WAITING = 4
"""CSVs that are read at a time, each at the speed of its client, and that may wait for their turn."""
_THREADS = 2

Listed = Sequence[Mapping[str, str | int | float | None]]


class TooManyLists(LocalError):
    """Too many lists are being read just now; later there is room."""


@dataclass(frozen=True, slots=True)
class Csv:
    """A CSV as it comes in, in bytes. ``charset``: one of ``zapline.domain.campaigns.recipients_csv.CHARSETS``."""

    chunks: AsyncIterator[bytes]
    charset: str = "utf-8"


Unfit = Callable[[Sequence[Judged]], Awaitable[Mapping[int, str]]]
"""From recipients to the reasons, by number, for which the database refuses some of them."""
Store = Callable[[Sequence[Judged]], Awaitable[None]]


class Lists:
    """Reads lists for all units, a few at a time."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._turns = trio.CapacityLimiter(_AT_ONCE)
        self._threads = trio.CapacityLimiter(_THREADS)

    async def read(
        self, source: Csv | Listed, letter: Letter, first: int, *, unfit: Unfit, store: Store | None, tally: Tally
    ) -> None:
        """Read a list to its end; ``tally`` tells how far it is.

        ``first``: the number of its first recipient. Each part is shown to ``unfit`` and then to ``store``, where
        there is one. Raises InvalidRecipients, TooManyLists, and what these raise.
        """
        if not isinstance(source, Csv):
            await self._read(source, letter, first, unfit, store, tally)
            return
        if self._turns.statistics().tasks_waiting >= _WAITING:
            raise TooManyLists("too many lists are being read just now; send this one again in a minute")
        async with self._turns:
            await self._read(source, letter, first, unfit, store, tally)

    async def judge(self, listed: Listed, letter: Letter) -> list[Judged]:
        """What can be told of a list without asking the database. Raises InvalidRecipients."""
        return await self._in_thread(_Sorting(letter, 1, self._region).listed, listed)

    async def _read(
        self, source: Csv | Listed, letter: Letter, first: int, unfit: Unfit, store: Store | None, tally: Tally
    ) -> None:
        async with aclosing(self._parts(source, _Sorting(letter, first, self._region))) as parts:
            async for part in parts:
                judged = refused(part, await unfit(part))
                if store is not None:
                    await store(judged)
                tally.add(judged, letter)

    async def _parts(self, source: Csv | Listed, sorting: "_Sorting") -> AsyncGenerator[Sequence[Judged], None]:
        if not isinstance(source, Csv):
            for at in range(0, len(source), PART):
                yield await self._in_thread(sorting.listed, source[at : at + PART])
            return
        reader = CsvReader(source.charset)
        async for chunk in source.chunks:
            for at in range(0, len(chunk), _PIECE):
                for part in parted(await self._in_thread(sorting.piece, reader, chunk[at : at + _PIECE])):
                    yield part
        for part in parted(await self._in_thread(sorting.rest, reader)):
            yield part

    async def _in_thread(self, work: Callable[..., list[Judged]], *given: object) -> list[Judged]:
        return await trio.to_thread.run_sync(work, *given, limiter=self._threads)


class _Sorting:
    """Judges a list's recipients, and numbers them."""

    def __init__(self, letter: Letter, first: int, region: str) -> None:
        self._letter = letter
        self._next = first
        self._region = region
        self._seen: set[str] = set()

    def piece(self, reader: CsvReader, data: bytes) -> list[Judged]:
        return self._sorted(reader.feed(data))

    def rest(self, reader: CsvReader) -> list[Judged]:
        return self._sorted(reader.end())

    def listed(self, listed: Listed) -> list[Judged]:
        return self._sorted(read_listed(listed, self._next))

    def _sorted(self, given: list[Given]) -> list[Judged]:
        if self._next + len(given) > MOST_RECIPIENTS + 1:
            raise InvalidRecipients(f"a campaign has at most {MOST_RECIPIENTS:,} recipients")
        judged = judge(given, self._next, self._letter, self._seen, self._region)
        self._next += len(judged)
        return judged


def refused(part: Sequence[Judged], reasons: Mapping[int, str]) -> list[Judged]:
    """The recipients with what the database has to say against some of them, by number."""
    return [replace(one, reason=reasons[one.number]) if one.number in reasons else one for one in part]


def parted(judged: Sequence[Judged]) -> Iterator[Sequence[Judged]]:
    """Cut into what one statement stores."""
    for at in range(0, len(judged), PART):
        yield judged[at : at + PART]
