"""Whom tokens let in while the database is away."""

from uuid import uuid4

import pytest
import trio
from trio.testing import MockClock

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.principals import ActorKind, Principal, TokenKind
from zapline.sql.accounts.access_tokens import TokenHolder
from zapline.supervisors.accounts.token_cache import FRESH, STALE, TokenCache

ANA = TokenHolder(uuid4(), TokenKind.ADMIN, Principal(ActorKind.ADMIN, uuid4(), "ana@example.com"), 0.0, None, None)


async def test_a_database_that_does_not_answer_is_waited_for_once_by_all(autojump_clock: MockClock) -> None:
    away, asked = False, 0

    async def find(digest: bytes, used_at: float | None) -> TokenHolder | None:
        nonlocal asked
        asked += 1
        if away:
            await trio.sleep(5.0)
            raise DatabaseUnavailable("it does not answer")
        return ANA

    cache = TokenCache(find, lambda: 0.0)
    assert await cache.find_holder("a") is ANA
    await trio.sleep(FRESH)
    away, began = True, trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(cache.find_holder, "a")
    assert trio.current_time() - began == 5.0
    assert await cache.find_holder("a") is ANA
    with pytest.raises(DatabaseUnavailable):
        await cache.find_holder("b")
    # Somebody may have been shut out: it is asked for, and where it answers that counts.
    away, asked = False, 0
    cache.invalidate()
    assert await cache.find_holder("a") is ANA
    assert asked == 1
    away = True
    await trio.sleep(STALE)
    with pytest.raises(DatabaseUnavailable):
        await cache.find_holder("a")
