"""Who has a conversation open: nobody stays behind, and only what changes is told."""

from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.supervisors.conversations.colleagues import TYPING_SECONDS, Colleague, Colleagues
from zapline.supervisors.notifications.live_feed import EventKind, LiveFeed

UNIT, HERE, THERE = UnitId(UUID(int=1)), UUID(int=2), UUID(int=3)


async def test_somebody_is_there_while_one_of_his_pages_is_open_and_types_for_a_while(
    autojump_clock: object,
) -> None:
    now = [100.0]
    feed = LiveFeed(lambda: now[0], lambda: now[0])
    colleagues = Colleagues(feed, lambda: now[0])
    with feed.watch(UNIT) as watcher:
        colleagues.type(UNIT, HERE, "ana", True)
        assert (colleagues.count, watcher.take()) == (0, []), "who has no page open types nowhere"
        with colleagues.reading(UNIT, HERE, "ana"), colleagues.reading(UNIT, THERE, "bia"):
            with colleagues.reading(UNIT, HERE, "ana"):
                assert colleagues.others(UNIT, HERE, "bia") == [Colleague("ana", False)]
            assert colleagues.others(UNIT, HERE, "ana") == []
            assert len(watcher.take()) == 2, "a second page of the same person is no news"
            for _ in range(3):
                colleagues.type(UNIT, HERE, "ana", True)
                now[0] += TYPING_SECONDS / 2
            assert colleagues.others(UNIT, HERE, "bia") == [Colleague("ana", True)]
            now[0] += TYPING_SECONDS
            assert colleagues.others(UNIT, HERE, "bia") == [Colleague("ana", False)]
            colleagues.type(UNIT, HERE, "ana", False)
            assert [event.kind for event in watcher.take()] == [EventKind.PRESENCE]
        assert colleagues.count == 0
        assert len(watcher.take()) == 2
