"""Group commit: one thread performs all waiting requests in one transaction with one fsync."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.schema import Entry, JournalDamaged
from zapline.sql.journal.sqlite_file import JournalFile

BATCH_ENTRIES = 1024
BATCH_BYTES = 8 * 1024 * 1024
"""Limits of one group commit, so that a burst of large bodies does not delay small ones behind it."""
GATHER_SECONDS = 0.004
"""Under load a commit waits this long for more requests, since it takes a third of a millisecond for any number."""
LINGER_SECONDS = 0.03
"""Requests that nobody waits for may be delayed this long to share a commit."""
RETRY_SECONDS = 1.0
"""After a refusal, done marks are tried again this often."""

Work = Callable[[JournalFile], object]
"""Work inside the transaction; its result goes to the caller of ``submit``."""


class Request:
    """Entries to add, or work to do; ``task`` waits for it, or is None.

    Mutable and without validation, because one is created for each webhook.
    """

    __slots__ = ("deadline", "entries", "late", "refused", "result", "size", "task", "unattended", "work")

    def __init__(self, entries: Sequence[Entry], size: int, work: Work | None = None, unattended: bool = False) -> None:
        self.entries = entries
        self.size = size
        """Bytes of the bodies."""
        self.work = work
        self.unattended = unattended
        """No task waits, so it is tried again after a refused commit."""
        self.task: trio.lowlevel.Task | None = None
        self.deadline = float("inf")
        """Time of trio's clock at which the task waits no longer."""
        self.late = False
        self.result: object = None
        self.refused: str | None = None


class JournalWriter:
    """The writer's thread and the queues into it.

    The trio thread appends and wakes the writer, which takes. Both use the queues without a lock, since a
    deque's append and popleft are atomic. ``on_commit`` runs on the trio thread once per commit, with its
    entries and the error or None, before the waiting tasks continue. ``run`` is the thread; it ends after
    ``stop``.
    """

    def __init__(self, file: JournalFile, on_commit: Callable[[list[Entry], str | None], None]) -> None:
        self.commits = 0
        self.last_commit_seconds = 0.0
        self.closing = False
        self._file = file
        self._on_commit = on_commit
        self._token = trio.lowlevel.current_trio_token()
        self._requests: deque[Request] = deque()
        self._done: deque[Sequence[Seq]] = deque()
        self._stored: deque[tuple[UnitId, int]] = deque()
        # Held while the writer has nothing to do. Only the trio thread releases it, so it works as a binary
        # semaphore however often the writer is woken.
        self._wakeup = threading.Lock()
        self._wakeup.acquire()
        self._urgent = self._lingering = False
        # Done marks and unattended requests of a refused commit, which are tried again.
        self._retried_done: set[Seq] = set()
        self._retried: list[Request] = []
        self._batch: list[Request] = []
        # Requests whose tasks wait until a deadline, and the scope in which that is slept for.
        self._in_time: dict[Request, None] = {}
        self._next_look, self._look = float("inf"), trio.CancelScope()
        # Whether the last commit had several entries, and when it ended.
        self._under_load, self._ended = False, 0.0

    # -- the trio thread -----------------------------------------------------------------------------------

    async def submit(self, request: Request, deadline: float = float("inf")) -> object:
        """Queue the request and wait until its commit has been reported.

        Raises ``JournalRefused``, also at ``deadline`` (trio's clock). After that and a cancellation the request may be
        performed nevertheless.
        """
        if self.closing:
            raise JournalRefused("the journal is closed")
        request.task = trio.lowlevel.current_task()
        if deadline != float("inf"):
            request.deadline, self._in_time[request] = deadline, None
            if deadline < self._next_look:
                self._next_look = self._look.deadline = deadline
        self._requests.append(request)
        self._wake()

        def abandon(_: object) -> trio.lowlevel.Abort:
            request.task = None
            self._in_time.pop(request, None)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abandon)
        if request.late:
            raise JournalRefused("no answer from the disk")
        if request.refused is not None:
            raise JournalRefused(request.refused)
        return request.result

    async def give_up_late(self, scope: trio.CancelScope) -> None:
        """End the wait of requests at their deadlines, until ``scope`` is cancelled.

        One task for all: a cancel scope for each request costs more than its place in the queue.
        """
        with scope:
            while True:
                self._next_look = min((request.deadline for request in self._in_time), default=float("inf"))
                with trio.CancelScope(deadline=self._next_look) as self._look:
                    await trio.sleep_forever()
                now = trio.current_time()
                for request in [request for request in self._in_time if request.deadline <= now]:
                    del self._in_time[request]
                    request.late, task, request.task = True, request.task, None
                    if task is not None:
                        trio.lowlevel.reschedule(task)

    def submit_done(self, seqs: Sequence[Seq], stored: tuple[UnitId, int] | None = None) -> None:
        """Mark entries as done. ``stored``: up to where the database has stored the unit's entries."""
        if stored is not None:
            self._stored.append(stored)
        self._done.append(seqs)
        self._wake_later()

    def submit_unattended(self, work: Work) -> None:
        self._requests.append(Request((), 0, work, unattended=True))
        self._wake_later()

    def stop(self) -> None:
        """Let the writer finish the queued requests and end."""
        self.closing = True
        self._wake()

    def _wake(self) -> None:
        if not self._urgent:
            self._urgent = True
            if self._wakeup.locked():
                self._wakeup.release()

    def _wake_later(self) -> None:
        if not (self._urgent or self._lingering):
            self._lingering = True
            if self._wakeup.locked():
                self._wakeup.release()

    # -- the writer's thread -------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            while True:
                self._await_work()
                self._urgent = self._lingering = False
                closing = self.closing
                entries, done = self._take()
                if self._batch or done:
                    self._commit(entries, done)
                if closing and not (self._requests or self._done):
                    return
        finally:
            # Requests are left only after a bug, and then no task may wait for a writer that has ended.
            self.closing = True
            left = [*self._batch, *self._requests]
            entries = [entry for request in left for entry in request.entries]
            for request in left:
                request.refused = "the writer of the journal is gone"
            self._token.run_sync_soon(self._deliver, left, entries, "the writer of the journal is gone")
            self._file.close()

    def _await_work(self) -> None:
        if not self._requests:
            self._wakeup.acquire(timeout=RETRY_SECONDS if self._retried or self._retried_done else -1)
            if self._lingering and not self._urgent:
                self._wakeup.acquire(timeout=LINGER_SECONDS)
        if self._under_load and not self.closing and time.perf_counter() - self._ended < GATHER_SECONDS:
            time.sleep(GATHER_SECONDS)

    def _take(self) -> tuple[list[Entry], set[Seq]]:
        """Move the requests that fit into one commit from the queues to ``_batch``."""
        done, self._retried_done = self._retried_done, set()
        while self._done:
            done.update(self._done.popleft())
        self._batch, self._retried = self._retried, []
        entries: list[Entry] = []
        size = 0
        while self._requests and len(entries) < BATCH_ENTRIES and size < BATCH_BYTES:
            request = self._requests.popleft()
            self._batch.append(request)
            entries += request.entries
            size += request.size
        return entries, done

    def _commit(self, entries: list[Entry], done: set[Seq]) -> None:
        requests = self._batch
        began = time.perf_counter()
        works = [request for request in requests if request.work is not None]
        error = works_error = self._write(entries, done, works)
        if error is not None and entries and works:
            # What was refused may be the work alone, as a snapshot that needs more room than the disk has.
            error = self._write(entries, done, [])
        if error is not None:
            self._retried_done = done
        else:
            self.last_commit_seconds = time.perf_counter() - began
        if works_error is not None:
            self._retried = [request for request in works if request.unattended]
        for request in requests:
            request.refused = error if request.work is None else works_error
        self._batch = []
        self._under_load, self._ended = len(entries) > 1, time.perf_counter()
        self._token.run_sync_soon(self._deliver, requests, entries, error)

    def _write(self, entries: list[Entry], done: set[Seq], works: list[Request]) -> str | None:
        """One transaction; returns why it was refused, or None. Repeated when a new file took a damaged one's place."""
        try:
            return self._write_once(entries, done, works)
        except JournalDamaged:
            pass
        try:
            return self._write_once(entries, done, works)
        except JournalDamaged as again:
            return str(again)

    def _write_once(self, entries: list[Entry], done: set[Seq], works: list[Request]) -> str | None:
        """Raises JournalDamaged after the file was replaced."""
        file, stored = self._file, list(self._stored)
        try:
            with file.transaction():
                if entries:
                    file.insert(entries)
                if done:
                    file.finish(done)
                if stored:
                    file.note_stored(stored)
                for request in works:
                    if request.work is not None:
                        request.result = request.work(file)
        except JournalDamaged:
            raise
        except JournalRefused as refused:
            return str(refused)
        for _ in stored:
            self._stored.popleft()
        self.commits += 1
        return None

    def _deliver(self, requests: list[Request], entries: list[Entry], error: str | None) -> None:
        """On the trio thread: report the commit, then wake the waiting tasks."""
        self._on_commit(entries, error)
        for request in requests:
            self._in_time.pop(request, None)
            if request.task is not None:
                trio.lowlevel.reschedule(request.task)
