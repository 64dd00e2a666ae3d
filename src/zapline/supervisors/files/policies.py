"""Shows and changes which files of messages a unit keeps."""

from collections.abc import Callable
from dataclasses import dataclass

from zapline.domain.errors import InvalidField
from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.text import Sentence
from zapline.sql.files import file_policies
from zapline.sql.files.file_policies import FilePolicy, FileUsage
from zapline.sql.postgres.pool import Pool

KINDS = (
    *(MessageKind.IMAGE, MessageKind.VIDEO, MessageKind.AUDIO, MessageKind.VOICE),
    *(MessageKind.DOCUMENT, MessageKind.STICKER),
)
"""Kinds of messages that have a file."""
MAX_FILE = 2 * 1024**3
"""Bytes: WhatsApp's limit for documents."""
MOST_DAYS = 36_500


class InvalidPolicy(InvalidField):
    """A unit cannot keep files as asked for; the text says why."""


@dataclass(frozen=True, slots=True)
class ShownPolicy:
    """What a unit keeps; ``policy`` None: it has said nothing, and keeps no files. ``quota_ceiling`` in bytes."""

    policy: FilePolicy | None
    usage: FileUsage
    quota_ceiling: int


@dataclass(eq=False, repr=False)
class FilePolicies:
    """``quota_ceiling``: bytes that a unit may keep at most, set by who operates the whole."""

    _pool: Pool
    quota_ceiling: int
    _on_change: Callable[[UnitId], None] = lambda unit: None

    async def show(self, unit: UnitId) -> ShownPolicy:
        """What the unit keeps. Raises DatabaseUnavailable."""
        async with self._pool.connection() as conn:
            policy = await file_policies.load_policy(conn, unit)
            return ShownPolicy(policy, await file_policies.load_usage(conn, unit), self.quota_ceiling)

    async def change(self, unit: UnitId, policy: FilePolicy) -> ShownPolicy:
        """Replace the policy; it holds for what arrives from now on. Raises InvalidPolicy, DatabaseUnavailable."""
        if policy.quota_bytes > self.quota_ceiling:
            raise InvalidPolicy(Sentence("the quota is at most {limit} bytes", limit=self.quota_ceiling), "quotaBytes")
        if policy.max_bytes > policy.quota_bytes:
            raise InvalidPolicy(Sentence("a file has at most as many bytes as the quota"), "maxBytes")
        async with self._pool.connection() as conn:
            await file_policies.store_policy(conn, unit, policy)
        self._on_change(unit)
        return await self.show(unit)
