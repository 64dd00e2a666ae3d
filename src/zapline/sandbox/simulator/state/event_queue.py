"""Handles the WhatsApp events of one instance one after another, as Evolution's own event queue does.

While an event waits for its webhook (``messages.edited``, with all its repetitions), nothing newer of the instance is
stored or posted; when the server ends meanwhile, what waits is lost. Calls of the API do not pass through the queue.
"""

from collections import deque
from collections.abc import Callable, Iterator

import trio

Steps = Iterator[trio.Event]
"""What an event's handler waits for, one after the other."""
EventHandler = Callable[[], Steps | None]
"""Stores and posts one event; a handler that waits for webhooks is a generator."""


class EventQueue:
    """The queue of one instance; ``spawn`` starts a background task."""

    def __init__(self) -> None:
        self._waiting: deque[EventHandler] = deque()
        self._current: Steps | None = None

    @property
    def waiting(self) -> int:
        """Events that are neither stored nor posted yet, without the one that is being handled."""
        return len(self._waiting)

    @property
    def blocked(self) -> bool:
        return self._current is not None

    def submit(self, handler: EventHandler, spawn: Callable[[Callable[[], object]], object]) -> None:
        """Handle an event: at once, unless an earlier one waits for its webhook."""
        self._waiting.append(handler)
        if self._current is None:
            self._handle_next(spawn)

    def drop(self) -> None:
        """Forget all events, as when the server ends."""
        self._waiting.clear()
        self._current = None

    def _handle_next(self, spawn: Callable[[Callable[[], object]], object]) -> None:
        while self._waiting and self._current is None:
            steps = self._waiting.popleft()()
            if steps is not None:
                self._advance(steps, spawn)

    def _advance(self, steps: Steps, spawn: Callable[[Callable[[], object]], object]) -> None:
        for delivered in steps:
            if delivered.is_set():
                continue
            self._current = steps

            async def resume(delivered: trio.Event = delivered) -> None:
                await delivered.wait()
                if self._current is steps:
                    self._current = None
                    self._advance(steps, spawn)
                    self._handle_next(spawn)

            spawn(resume)
            return
