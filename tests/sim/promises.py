"""What is not promised, message by message: which of those that got a 200 may be missing in the end, and why.

A message that got a 200 is held by the journal's directory from then on, or, where the disk refused it, by the
database; later by both. It may be missing only where Evolution keeps no messages (else it is read back) and all that
held it is gone:

- *An older state directory* takes along what was journaled after it was copied, but nothing that the database had
  stored by then.
- *A database that is set back* takes along what was committed after it was copied, but nothing that the journal holds,
  which stores it again. What the disk had refused was in the database alone.
- *Both, one after the other*: what the database had stored before the directory was replaced, and loses afterwards.
- *Neither took it*: the disk refused it while the database was away. That is counted as lost, one by one.

Whether the disk has refused a message is told by the disk, not by the daemon: it refused something while the webhook
was under way, or in the two seconds before, in which a journal may be closed.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from .world import WrongClock

Key = tuple[str, str]
"""Instance and id of a message."""
ANSWER_SECONDS = 10.0
"""So long after its delivery a call's answer or echo may be under way."""
CLOSED_SECONDS = 2.0
"""So long after its disk has refused something the journal tries again at the latest."""
TOLD_AGAIN_SECONDS = 45.0
"""So long after it was set back a database may lack what the journal holds: as long as any webhook waits."""
CALL_SECONDS = (50.0, 40.0)
"""So long before its delivery a call may have begun, and after it end: a late one reaches its phone when nobody waits
for it any more. Both are dated, by a clock that was compared up to ten seconds before."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A webhook under way from ``begun`` until its 200 came at ``at``; ``refused``: perhaps by the disk."""

    begun: float
    at: float
    refused: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """Something took at ``at`` the state that it had at ``copied``; ``kept``: what the database holds from then on."""

    copied: float
    at: float
    kept: Collection[Key]

    def takes(self, answer: Answer) -> bool:
        """Whether what was made durable with this answer was made so after the copy."""
        return self.copied <= answer.at and answer.begun <= self.at


@dataclass
class Promises:
    """Filled while the world runs."""

    answers: dict[Key, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    begun: dict[Key, float] = field(default_factory=dict)
    """When the first webhook of each message was on its way to a daemon."""
    directories: list[Replaced] = field(default_factory=list)
    databases: list[Replaced] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    """When the disk has refused something."""
    wrong_clocks: Sequence[WrongClock] = ()

    def holds(self, key: Key) -> bool:
        """Whether a message has to be in the database in the end, or to be counted as lost."""
        return any(self._is_held(key, answer) for answer in self.answers[key])

    def may_be_counted(self, key: Key) -> bool:
        """Whether it may have been refused by both, and be one of those that are counted as lost."""
        return any(answer.refused for answer in self.answers[key])

    def may_forget_end(self, at: float) -> bool:
        """Whether the answer and the echo of a call that reached its phone then may be lost: an older state directory
        took the journal's place, or the disk refused them, so that the database alone knew, and was set back. The call
        itself is known, so the message is uncertain."""
        if any(older.copied <= at + ANSWER_SECONDS and at <= older.at for older in self.directories):
            return True
        refused = any(at - CLOSED_SECONDS <= refusal <= at + ANSWER_SECONDS for refusal in self.refusals)
        return refused and any(back.copied <= at + ANSWER_SECONDS and at <= back.at for back in self.databases)

    def may_forget_call(self, at: float) -> bool:
        """Whether nobody may know of a call that reached its phone then: the database lost it, and before the journal
        had told it again an older state directory took the journal's place."""
        before, after = CALL_SECONDS
        lost = [back for back in self.databases if back.copied <= at + after and at - before <= back.at]
        return any(
            directory.copied <= at and back.at <= directory.at <= back.at + TOLD_AGAIN_SECONDS
            for back in lost
            for directory in self.directories
        )

    def may_misdate(self, at: float) -> bool:
        """Whether a clock was wrong during a call that reached its phone then: its echo is not matched by its time."""
        before, after = CALL_SECONDS
        return any(clock.since <= at + after and at - before <= clock.until for clock in self.wrong_clocks)

    @property
    def ahead(self) -> float:
        """Seconds by which what was dated may be later than it was."""
        return max([0.0, *(clock.by for clock in self.wrong_clocks)])

    @property
    def behind(self) -> float:
        """Seconds by which what was dated may be earlier than it was."""
        return max([0.0, *(-clock.by for clock in self.wrong_clocks)])

    def is_shaken(self, answer: Answer) -> bool:
        """Whether something that was replaced may have lost what was made durable with this answer."""
        return any(each.takes(answer) for each in (*self.directories, *self.databases))

    def _is_held(self, key: Key, answer: Answer) -> bool:
        if not self._journal_holds(key, answer):
            return False
        return not answer.refused or not any(back.takes(answer) and key not in back.kept for back in self.databases)

    def _journal_holds(self, key: Key, answer: Answer) -> bool:
        """Whether the journal holds it, if it took it, or the database what it had stored of the journal."""
        for directory in self.directories:
            if directory.takes(answer) and not self._database_keeps(key, directory):
                return False
        return True

    def _database_keeps(self, key: Key, directory: Replaced) -> bool:
        later = [back for back in self.databases if back.at >= directory.at]
        return key in directory.kept and all(key in back.kept for back in later)
