"""Reads lists of recipients from CSV or JSON in chunks, in threads, so that the event loop is not blocked."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace

import trio

from zapline.domain.campaigns.recipient_checks import (
    MAX_RECIPIENTS,
    CheckedRecipient,
    RecipientCounts,
    check_recipients,
)
from zapline.domain.campaigns.recipients_csv import CsvReader, InvalidRecipients, RecipientInput, parse_json_recipients
from zapline.domain.campaigns.text_templates import MessageTemplate
from zapline.domain.errors import LocalError
from zapline.domain.text import Sentence

BATCH_SIZE = 2000
"""Recipients stored by one statement, which takes about 50 ms."""
_CHUNK_SIZE = 64 * 1024
"""Bytes of a CSV that a thread parses at a time: about 2,000 lines, a few milliseconds."""
_MAX_READING = 4
_MAX_WAITING = 4
"""CSVs that are read at a time, each at the speed of its client, and that may wait for that."""
_THREADS = 2

RecipientRows = Sequence[Mapping[str, str | int | float | None]]


class TooManyLists(LocalError):
    """Too many lists are being read; a later request may succeed."""


@dataclass(frozen=True, slots=True)
class RecipientCsv:
    """A CSV in chunks of bytes. ``charset``: one of ``zapline.domain.campaigns.recipients_csv.CHARSETS``."""

    chunks: AsyncIterator[bytes]
    charset: str = "utf-8"


RecipientSource = RecipientCsv | RecipientRows
Batch = Sequence[CheckedRecipient]
FindRefusals = Callable[[Batch], Awaitable[Mapping[int, str]]]
"""Returns the reasons, by number, for which the database refuses some of the recipients."""
StoreBatch = Callable[[Batch], Awaitable[None]]


class RecipientLoader:
    """Reads the lists of all units, a few at a time."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._readers = trio.CapacityLimiter(_MAX_READING)
        self._threads = trio.CapacityLimiter(_THREADS)

    async def read(
        self,
        source: RecipientSource,
        template: MessageTemplate,
        first: int,
        find_refusals: FindRefusals,
        counts: RecipientCounts,
        store: StoreBatch | None = None,
    ) -> None:
        """Read a list to its end, and add to ``counts`` on the way.

        ``first``: the number of its first recipient. Each batch is passed to ``find_refusals`` and then to ``store``,
        if there is one. Raises InvalidRecipients, TooManyLists, and what these raise.
        """
        limiter = self._readers if isinstance(source, RecipientCsv) else None
        if limiter is not None and limiter.statistics().tasks_waiting >= _MAX_WAITING:
            raise TooManyLists("too many lists are being read just now; send this one again in a minute")
        checker = _RecipientChecker(template, first, self._region)
        async with limiter or nullcontext(), aclosing(self._batches(source, checker)) as checked_batches:
            async for checked in checked_batches:
                batch = with_refusals(checked, await find_refusals(checked))
                if store is not None:
                    await store(batch)
                counts.add(batch, template)

    async def check(self, rows: RecipientRows, template: MessageTemplate) -> list[CheckedRecipient]:
        """Check a list as far as that needs no database. Raises InvalidRecipients."""
        return await self._in_thread(_RecipientChecker(template, 1, self._region).check_rows, rows)

    async def _batches(self, source: RecipientSource, checker: "_RecipientChecker") -> AsyncGenerator[Batch, None]:
        if not isinstance(source, RecipientCsv):
            for at in range(0, len(source), BATCH_SIZE):
                yield await self._in_thread(checker.check_rows, source[at : at + BATCH_SIZE])
            return
        reader = CsvReader(source.charset)
        async for chunk in source.chunks:
            for at in range(0, len(chunk), _CHUNK_SIZE):
                for batch in batches(await self._in_thread(checker.check_chunk, reader, chunk[at : at + _CHUNK_SIZE])):
                    yield batch
        for batch in batches(await self._in_thread(checker.check_rest, reader)):
            yield batch

    async def _in_thread(self, check: Callable[..., list[CheckedRecipient]], *args: object) -> list[CheckedRecipient]:
        return await trio.to_thread.run_sync(check, *args, limiter=self._threads)


class _RecipientChecker:
    """Checks and numbers the recipients of one list."""

    def __init__(self, template: MessageTemplate, first: int, region: str) -> None:
        self._template = template
        self._next = first
        self._region = region
        self._seen: set[str] = set()

    def check_chunk(self, reader: CsvReader, data: bytes) -> list[CheckedRecipient]:
        return self._check(reader.feed(data))

    def check_rest(self, reader: CsvReader) -> list[CheckedRecipient]:
        return self._check(reader.end())

    def check_rows(self, rows: RecipientRows) -> list[CheckedRecipient]:
        return self._check(parse_json_recipients(rows, self._next))

    def _check(self, inputs: list[RecipientInput]) -> list[CheckedRecipient]:
        if self._next + len(inputs) > MAX_RECIPIENTS + 1:
            raise InvalidRecipients(Sentence("a campaign has at most {limit} recipients", limit=MAX_RECIPIENTS))
        checked = check_recipients(inputs, self._next, self._template, self._seen, self._region)
        self._next += len(checked)
        return checked


def with_refusals(batch: Batch, reasons: Mapping[int, str]) -> list[CheckedRecipient]:
    """Set the reasons, by number, for which the database refuses some of the recipients."""
    return [replace(each, reason=reasons[each.number]) if each.number in reasons else each for each in batch]


def batches(checked: Batch) -> Iterator[Batch]:
    """Split into batches that one statement stores."""
    for at in range(0, len(checked), BATCH_SIZE):
        yield checked[at : at + BATCH_SIZE]
