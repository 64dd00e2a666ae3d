"""What a live feed keeps, for whom, and what it costs if nobody watches."""

from uuid import uuid4

import msgspec
import trio
import trio.testing

from zapline.domain.ids import UnitId
from zapline.supervisors.notifications.live_feed import (
    LINGER,
    MAX_BYTES,
    MAX_EVENTS,
    TRAFFIC_EVERY,
    EventKind,
    LiveEvent,
    LiveFeed,
    Watcher,
)

ONE, OTHER = UnitId(uuid4()), UnitId(uuid4())


def _texts(events: list[LiveEvent]) -> list[object]:
    return [msgspec.json.decode(event.data) for event in events]


async def _next(watcher: Watcher, seconds: float = 5.0) -> list[LiveEvent]:
    await watcher.wait(seconds)
    return watcher.take()


async def test_a_watcher_sees_what_happens_to_his_unit_and_resumes_behind_any_event() -> None:
    feed = LiveFeed()
    with feed.watch(ONE) as watcher:
        start = watcher.last_id
        for number in range(3):
            feed.publish(ONE, EventKind.STATUS, lambda number=number: number)  # type: ignore[misc]
        feed.publish(OTHER, EventKind.STATUS, lambda: "not his")
        first = await _next(watcher)
        assert _texts(first) == [0, 1, 2]
        assert watcher.take() == []
    feed.publish(ONE, EventKind.STATUS, lambda: "while away")
    for id, expected in [(start, [0, 1, 2, "while away"]), (first[1].id, [2, "while away"])]:
        with feed.watch(ONE, id) as again:
            assert _texts(again.take()) == expected


async def test_where_nobody_watches_nothing_is_built() -> None:
    feed = LiveFeed()

    def build() -> object:
        raise AssertionError("built for nobody")

    feed.publish(ONE, EventKind.MESSAGE, build)
    feed.count_message(ONE, from_me=False)
    with feed.watch(OTHER):
        feed.publish(ONE, EventKind.MESSAGE, build)
        assert not feed.is_watched(ONE)
    assert feed.statistics().published == 0


async def test_an_id_that_cannot_be_resumed_is_a_reset_and_then_goes_on() -> None:
    feed, elsewhere = LiveFeed(), LiveFeed()
    with elsewhere.watch(ONE) as of_another_process:
        foreign = of_another_process.last_id
    for id in (foreign, "", "x", "-", f"{foreign}9", "0-1", "9" * 60):
        with feed.watch(ONE, id or "nothing") as watcher:
            (event,) = watcher.take()
            assert (event.kind, _texts([event])) == (EventKind.RESET, [{"reason": "unknown"}])
            feed.publish(ONE, EventKind.QR, lambda: 1)
            (after,) = watcher.take()
            assert after.kind is EventKind.QR
    with feed.watch(ONE) as ahead:
        ring, _, number = ahead.last_id.rpartition("-")
    with feed.watch(ONE, f"{ring}-{int(number) + 1}") as watcher:  # an event that never was
        assert watcher.take()[0].kind is EventKind.RESET


async def test_a_ring_is_bounded_by_count_and_by_bytes_and_who_falls_behind_is_reset() -> None:
    feed = LiveFeed()
    with feed.watch(ONE) as slow, feed.watch(ONE) as quick:
        for number in range(MAX_EVENTS + 1):
            feed.publish(ONE, EventKind.MESSAGE, lambda number=number: number)  # type: ignore[misc]
            assert _texts(quick.take()) == [number]
        (event,) = slow.take()
        assert _texts([event]) == [{"reason": "behind"}]
        for _ in range(20):
            feed.publish(ONE, EventKind.MESSAGE, lambda: "x" * (MAX_BYTES // 10))
        assert slow.take()[0].kind is EventKind.RESET
        last = slow.last_id
        for _ in range(9):
            feed.publish(ONE, EventKind.MESSAGE, lambda: "x" * (MAX_BYTES // 10))
        with feed.watch(ONE, last) as again:
            assert len(again.take()) == 9
        feed.publish(ONE, EventKind.MESSAGE, lambda: "x" * MAX_BYTES)  # larger than the whole ring
        assert quick.take()[0].kind is EventKind.RESET


async def test_a_ring_outlives_its_last_watcher_for_a_while_only() -> None:
    now = 0.0
    feed = LiveFeed(lambda: now)
    with feed.watch(ONE) as watcher, feed.watch(None):
        id = watcher.last_id
    now = LINGER / 2
    assert feed.is_watched(ONE)
    feed.publish(ONE, EventKind.STATUS, lambda: "kept")
    with feed.watch(ONE, id) as again:
        assert _texts(again.take()) == ["kept"]
    now += LINGER + 1
    assert not feed.is_watched(ONE)
    feed.publish(ONE, EventKind.STATUS, lambda: "for nobody")
    with feed.watch(ONE, id) as late:
        assert feed.statistics().rings == 1
        assert late.take()[0].kind is EventKind.RESET


async def test_all_units_together_show_statuses_and_how_many_messages_each_had(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = LiveFeed()
    with feed.watch(None) as watcher:
        feed.publish(ONE, EventKind.STATUS, lambda: "status")
        feed.publish(ONE, EventKind.MESSAGE, lambda: "not here")
        assert _texts(await _next(watcher)) == ["status"]
        for _ in range(3):
            feed.count_message(ONE, from_me=False)
        feed.count_message(OTHER, from_me=True)
        started = trio.current_time()
        (event,) = await _next(watcher)
        assert trio.current_time() - started == TRAFFIC_EVERY
        assert _texts([event]) == [
            {
                "units": [
                    {"unitId": str(ONE), "received": 3, "sent": 0},
                    {"unitId": str(OTHER), "received": 0, "sent": 1},
                ]
            }
        ]


async def test_waiting_ends_with_an_event_at_its_deadline_and_with_the_feed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = LiveFeed()
    with feed.watch(ONE) as watcher:
        assert await _next(watcher, 15) == []
        assert trio.current_time() == 15
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.wait, 1000)
            await trio.testing.wait_all_tasks_blocked()
            feed.publish(ONE, EventKind.STATUS, lambda: 1)
        assert _texts(watcher.take()) == [1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.wait, 1000)
            await trio.testing.wait_all_tasks_blocked()
            feed.close()
        assert trio.current_time() == 15
        assert feed.closed
