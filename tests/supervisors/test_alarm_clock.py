"""One task rings for many, in virtual time."""

import trio
import trio.testing

from zapline.sql.journal.schema import Seq
from zapline.supervisors.alarm_clock import AlarmClock
from zapline.supervisors.inbound.mailbox import Mailbox


async def test_alarms_ring_in_order_also_those_that_are_set_while_it_sleeps(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, rung, began = AlarmClock(), list[tuple[float, float]](), trio.current_time()

    def ring(at: float) -> None:
        rung.append((at - began, trio.current_time() - began))

    clock.set(began + 30.0, ring)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.run)
        await trio.sleep(5.0)
        for after in (20.0, 10.0, 10.0, 1.0):  # the last is in the past
            clock.set(began + after, ring)
        await trio.sleep(60.0)
        nursery.cancel_scope.cancel()
    assert rung == [(1.0, 5.0), (10.0, 10.0), (10.0, 10.0), (20.0, 20.0), (30.0, 30.0)]


async def test_a_mailbox_wakes_at_the_earliest_time_and_is_set_for_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, mailbox, began = AlarmClock(), Mailbox(), trio.current_time()
    woken: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.run)
        for after in (40.0, 10.0, 50.0):
            mailbox.wake_at(began + after, clock)
            await mailbox.wait()
            woken.append(trio.current_time() - began)
        mailbox.wake_at(float("inf"), clock)
        assert len(clock._alarms) == 0
        nursery.cancel_scope.cancel()
    # An alarm of before may ring in between: whoever waits looks whether it is time.
    assert woken == [40.0, 40.0, 50.0]
    assert mailbox.take_entries(1, lambda entry: entry.seq < Seq(0)) == []
