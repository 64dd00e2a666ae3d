"""Which messages may be missing in the end, each for itself."""

import pytest
from sim.promises import Answer, Promises, Replaced
from sim.reference import MessageRow, Reference
from sim.world import WrongClock

KEY = ("unit0", "A")
OLDER, BACK = 2.0, 6.0


def held(*answers: Answer, directory: Replaced | None = None, database: Replaced | None = None) -> bool:
    promises = Promises()
    promises.answers[KEY].extend(answers)
    promises.directories += [directory] if directory else []
    promises.databases += [database] if database else []
    return promises.holds(KEY)


def test_a_call_is_forgotten_only_where_the_journal_goes_before_it_has_told_the_database_again() -> None:
    promises = Promises(databases=[Replaced(100.0, 102.0, ())])
    assert not promises.may_forget_call(101.0)
    for copied, at, forgotten in (
        (90.0, 110.0, True),
        (90.0, 101.0, False),
        (90.0, 200.0, False),
        (101.5, 110.0, False),
    ):
        promises.directories = [Replaced(copied, at, ())]
        assert promises.may_forget_call(101.0) is forgotten, (copied, at)


def test_the_end_of_a_call_is_forgotten_where_an_older_directory_took_it_along() -> None:
    promises = Promises(directories=[Replaced(100.0, 110.0, ())])
    told = {at: promises.may_forget_end(at) for at in (80.0, 95.0, 105.0, 115.0)}
    assert told == {80.0: False, 95.0: True, 105.0: True, 115.0: False}


def test_what_has_another_time_than_its_webhook_was_read_back() -> None:
    reference = Reference()
    reference.promises.begun[KEY] = 5.0
    reference.promises.answers[KEY].append(Answer(5.0, 5.2, False))

    def read_back(at: float) -> bool:
        return reference._read_back(KEY, MessageRow(KEY[0], "u", KEY[1], None, False, "", 1, None, False, False, at))

    assert [read_back(at) for at in (4.9, 5.1, 5.3)] == [True, False, True]
    reference.promises.wrong_clocks = [WrongClock("machine", 20.0, 0.0), WrongClock("machine", -50.0, 3.0)]
    assert read_back(5.1), "nobody can tell"


@pytest.mark.parametrize("refused", [False, True])
def test_what_nothing_was_replaced_of_is_held(refused: bool) -> None:
    assert held(Answer(1.0, 1.1, refused))


def test_an_older_directory_lacks_what_was_journaled_after_the_copy_and_not_stored_by_then() -> None:
    between, before, after = Answer(3.0, 3.1, False), Answer(1.0, 1.1, False), Answer(7.0, 7.1, False)
    lacking, stored = Replaced(OLDER, BACK, ()), Replaced(OLDER, BACK, {KEY})
    assert not held(between, directory=lacking)
    assert held(between, directory=stored)
    assert held(before, directory=lacking)
    assert held(between, after, directory=lacking), "Evolution has sent it again"


def test_a_database_that_is_set_back_lacks_only_what_the_disk_had_refused() -> None:
    back = Replaced(OLDER, BACK, ())
    assert held(Answer(3.0, 3.1, False), database=back)
    assert not held(Answer(3.0, 3.1, True), database=back)
    assert held(Answer(3.0, 3.1, True), database=Replaced(OLDER, BACK, {KEY}))
    assert held(Answer(1.0, 1.1, True), database=back)


def test_what_the_database_alone_has_kept_from_an_older_directory_is_lost_when_it_is_set_back_later() -> None:
    answer, directory = Answer(3.0, 3.1, False), Replaced(OLDER, BACK, {KEY})
    assert not held(answer, directory=directory, database=Replaced(2.5, 8.0, ()))
    assert held(answer, directory=directory, database=Replaced(7.0, 8.0, {KEY}))
    assert held(answer, directory=directory, database=Replaced(2.5, 5.0, ())), "stored again before it was replaced"


def test_an_echo_is_not_matched_by_its_time_only_while_a_clock_was_wrong_during_the_call() -> None:
    promises = Promises(
        wrong_clocks=[WrongClock("database", 3600.0, 100.0, 160.0), WrongClock("machine", -20.0, 400.0)]
    )
    told = {at: promises.may_misdate(at) for at in (50.0, 70.0, 130.0, 200.0, 250.0, 500.0)}
    assert told == {50.0: False, 70.0: True, 130.0: True, 200.0: True, 250.0: False, 500.0: True}
    assert promises.ahead == 3600.0
    assert not Promises().may_misdate(1.0)
    assert Promises().ahead == 0.0
