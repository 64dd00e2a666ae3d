"""Does what the command line asks of the running daemon: a request by NOTIFY, an answer by NOTIFY."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
import structlog

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.sql.pool import Pool
from zapline.supervisors.submit import Submit

REPLIES = "zapline_reply"
_LOG = structlog.get_logger(scope="Control")


class Request(msgspec.Struct, frozen=True):
    """``id`` returns in the answer; ``do`` is one of the names below; at most 8000 bytes as JSON."""

    id: str
    do: str
    arguments: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True):
    """``error`` None: it was done, and ``result`` says what came of it."""

    id: str
    result: dict[str, Any] = {}
    error: str | None = None


class Control:
    """The requests of the command line. ``heard`` is called with each payload of the control channel."""

    def __init__(self, submit: Submit, pool: Pool) -> None:
        self._submit = submit
        self._pool = pool
        self._known: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "reload": self._reload,
            "add-unit": self._add_unit,
            "archive-unit": self._archive_unit,
            "release-unit": self._release_unit,
            "rotate-secret": self._rotate_secret,
            "replay": self._replay,
            "replay-dead-letter": self._replay_dead_letter,
            "add-admin": self._add_admin,
        }

    async def heard(self, payload: str) -> None:
        """Do one request and answer it. Bad requests are answered, never raised."""
        try:
            request = msgspec.json.decode(payload, type=Request)
        except msgspec.DecodeError:
            _LOG.warning("A control request cannot be read")
            return
        perform = self._known.get(request.do)
        if perform is None:
            reply = Reply(request.id, error=f"unknown request {request.do}")
        else:
            try:
                reply = Reply(request.id, await perform(request.arguments))
            except (ZaplineError, KeyError, ValueError, TypeError) as error:
                reply = Reply(request.id, error=str(error))
        _LOG.info(f"Done by command: {request.do}", failed=reply.error is not None)
        async with self._pool.connection() as conn:
            text = msgspec.json.encode(reply).decode()
            await conn.execute("select pg_notify(%s, %s)", (REPLIES, text))

    async def _reload(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"units": await self._submit.reload()}

    async def _add_unit(self, told: dict[str, Any]) -> dict[str, Any]:
        unit = await self._submit.create_unit(told["name"], told.get("instance"))
        return {"id": str(unit.id), "name": unit.record.name, "instance": unit.record.instance}

    async def _archive_unit(self, told: dict[str, Any]) -> dict[str, Any]:
        await self._submit.archive_unit(_unit(told))
        return {}

    async def _release_unit(self, told: dict[str, Any]) -> dict[str, Any]:
        self._submit.release_unit(_unit(told))
        return {}

    async def _rotate_secret(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"previousValidUntil": await self._submit.rotate_secret(_unit(told))}

    async def _replay(self, told: dict[str, Any]) -> dict[str, Any]:
        unit = _unit(told) if told.get("unit") else None
        return {"entries": await self._submit.replay(float(told["since"]), unit)}

    async def _replay_dead_letter(self, told: dict[str, Any]) -> dict[str, Any]:
        await self._submit.replay_dead_letter(int(told["id"]))
        return {}

    async def _add_admin(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"id": str(await self._submit.add_admin(told["email"], told["passwordHash"]))}


def _unit(told: dict[str, Any]) -> UnitId:
    return UnitId(UUID(told["unit"]))
