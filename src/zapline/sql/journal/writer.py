"""Commits what the journal is asked: one thread, one transaction and one fsync for all that wait."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq
from zapline.sql.journal.schema import Entry
from zapline.sql.journal.sqlite_file import JournalFile

BATCH_ENTRIES = 1024
BATCH_BYTES = 8 * 1024 * 1024
"""Limits of one group commit, so that a burst of large bodies does not hold up the small ones behind it."""
GATHER_SECONDS = 0.004
"""Under load a commit waits this long for more to join: it costs its third of a millisecond, however few they are."""
LINGER_SECONDS = 0.03
"""What nobody waits for may wait this long for company."""
RETRY_SECONDS = 1.0
"""After a refusal, done marks are tried again this often."""

Work = Callable[[JournalFile], object]
"""Something to do inside the transaction; its answer goes to whoever asked."""


class Request:
    """Entries to add, or work to do; ``task`` waits for it, if anybody does.

    Mutable and without validation, because one is made for each webhook.
    """

    __slots__ = ("answer", "entries", "refused", "size", "task", "unattended", "work")

    def __init__(self, entries: Sequence[Entry], size: int, work: Work | None = None, unattended: bool = False) -> None:
        self.entries = entries
        self.size = size
        """Bytes of the bodies."""
        self.work = work
        self.unattended = unattended
        """Nobody waits, so a refused commit tries it again."""
        self.task: trio.lowlevel.Task | None = None
        self.answer: object = None
        self.refused: str | None = None


class JournalWriter:
    """The writer's thread and the queues into it.

    The trio thread puts and rings, the writer takes. Both use the queues without a lock, since a deque's
    append and popleft are atomic. ``tell`` runs on the trio thread once per commit, with its entries
    and why it was refused, or None, before those who wait for it run on. ``run`` is the thread; it ends
    after ``stop``.
    """

    def __init__(self, file: JournalFile, tell: Callable[[list[Entry], str | None], None]) -> None:
        self.commits = 0
        self.last_commit_seconds = 0.0
        self.closing = False
        self._file = file
        self._tell = tell
        self._token = trio.lowlevel.current_trio_token()
        self._requests: deque[Request] = deque()
        self._done: deque[Sequence[Seq]] = deque()
        # Held while the writer sleeps with nothing to do; only the trio thread lets go of it, so it counts
        # to one however often it is rung.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._urgent = self._lingering = False
        # What a refused commit still owes, though nobody waits for it.
        self._owed_done: set[Seq] = set()
        self._owed: list[Request] = []
        self._taken: list[Request] = []
        # Whether the last commit had company, and when it ended: the sign of load.
        self._crowded, self._ended = False, 0.0

    # -- the trio thread -----------------------------------------------------------------------------------

    async def submit(self, request: Request) -> object:
        """Queue the request and sleep until its commit has been told.

        Raises ``JournalRefused``. Cancellation: the writer may do it all the same.
        """
        if self.closing:
            raise JournalRefused("the journal is closed")
        request.task = trio.lowlevel.current_task()
        self._requests.append(request)
        self._ring()

        def abandon(_: object) -> trio.lowlevel.Abort:
            request.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abandon)
        if request.refused is not None:
            raise JournalRefused(request.refused)
        return request.answer

    def submit_done(self, seqs: Sequence[Seq]) -> None:
        self._done.append(seqs)
        self._ring_softly()

    def submit_unattended(self, work: Work) -> None:
        self._requests.append(Request((), 0, work, unattended=True))
        self._ring_softly()

    def stop(self) -> None:
        """Let the writer finish what is queued, and end."""
        self.closing = True
        self._ring()

    def _ring(self) -> None:
        if not self._urgent:
            self._urgent = True
            if self._bell.locked():
                self._bell.release()

    def _ring_softly(self) -> None:
        if not (self._urgent or self._lingering):
            self._lingering = True
            if self._bell.locked():
                self._bell.release()

    # -- the writer's thread -------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            while True:
                self._await_work()
                self._urgent = self._lingering = False
                closing = self.closing
                entries, done = self._take()
                if self._taken or done:
                    self._commit(entries, done)
                if closing and not (self._requests or self._done):
                    return
        finally:
            # Nothing is left but after a bug, and then nobody may wait for a writer that is gone.
            self.closing = True
            left = [*self._taken, *self._requests]
            entries = [entry for request in left for entry in request.entries]
            self._token.run_sync_soon(self._settle, left, entries, "the writer of the journal is gone")
            self._file.close()

    def _await_work(self) -> None:
        if not self._requests:
            self._bell.acquire(timeout=RETRY_SECONDS if self._owed or self._owed_done else -1)
            if self._lingering and not self._urgent:
                self._bell.acquire(timeout=LINGER_SECONDS)
        if self._crowded and not self.closing and time.perf_counter() - self._ended < GATHER_SECONDS:
            time.sleep(GATHER_SECONDS)

    def _take(self) -> tuple[list[Entry], set[Seq]]:
        """Move what fits into one commit from the queues to ``_taken``."""
        done, self._owed_done = self._owed_done, set()
        while self._done:
            done.update(self._done.popleft())
        self._taken, self._owed = self._owed, []
        entries: list[Entry] = []
        size = 0
        while self._requests and len(entries) < BATCH_ENTRIES and size < BATCH_BYTES:
            request = self._requests.popleft()
            self._taken.append(request)
            entries += request.entries
            size += request.size
        return entries, done

    def _commit(self, entries: list[Entry], done: set[Seq]) -> None:
        file, requests = self._file, self._taken
        began = time.perf_counter()
        why = None
        try:
            with file.transaction():
                if entries:
                    file.insert(entries)
                if done:
                    file.finish(done)
                for request in requests:
                    if request.work is not None:
                        request.answer = request.work(file)
        except JournalRefused as refused:
            why = str(refused)
            self._owed_done = done
            self._owed = [request for request in requests if request.unattended]
        else:
            self.commits += 1
            self.last_commit_seconds = time.perf_counter() - began
        self._taken = []
        self._crowded, self._ended = len(entries) > 1, time.perf_counter()
        self._token.run_sync_soon(self._settle, requests, entries, why)

    def _settle(self, requests: list[Request], entries: list[Entry], why: str | None) -> None:
        """On the trio thread: tell of the commit, then wake who waits for it."""
        self._tell(entries, why)
        for request in requests:
            request.refused = why
            if request.task is not None:
                trio.lowlevel.reschedule(request.task)
