"""What the checks of order and of delivery statuses find, and what they leave alone."""

from typing import Any

from sim.invariants import Deliveries, Owners, Placed, disorder
from sim.promises import Answer, Promises, Replaced

A, B = ("unit0", "A"), ("unit0", "B")


def found(first: Answer, second: Answer, *, shaken: bool = False, others: bool = False) -> list[str]:
    """A has the lower number: ``first`` is its answer, ``second`` that of B."""
    later = ("unit1", "B") if others else B
    promises = Promises()
    for key, answer in ((A, first), (later, second)):
        promises.begun[key] = answer.begun
        promises.answers[key].append(answer)
    promises.databases += [Replaced(0.0, 9.0, ())] if shaken else []
    return disorder([Placed(later, 2), Placed(A, 1)], promises)


def test_whoever_was_answered_before_another_began_has_the_lower_number() -> None:
    early, late = Answer(1.0, 2.0, False), Answer(3.0, 4.0, False)
    assert found(early, late) == []
    assert found(late, Answer(2.5, 3.5, False)) == [], "both were under way"
    assert len(found(late, early)) == 1
    assert found(late, Answer(1.0, 2.0, True)) == [], "it may have gone past the journal"
    assert found(late, early, shaken=True) == found(late, early, others=True) == []


class Rows:
    """A connection that answers with these rows."""

    def __init__(self, *rows: tuple[str, str, int]) -> None:
        self.rows = rows

    def execute(self, statement: str) -> Any:
        return self

    def fetchall(self) -> list[tuple[str, str, int]]:
        return list(self.rows)


def test_a_delivery_that_goes_back_is_seen_unless_the_database_was_set_back() -> None:
    deliveries = Deliveries()
    for rows in (Rows(("m", "sent", 2)), Rows(("m", "read", 5)), Rows(("m", "read", 5))):
        deliveries.look(rows)
    assert not deliveries.fallen
    deliveries.look(Rows(("m", "delivered", 4)))
    assert deliveries.fallen == ["I9: delivery went from read back to delivered"]
    deliveries.forget()
    deliveries.look(Rows(("m", "queued", 1)))
    assert len(deliveries.fallen) == 1


class Units(Rows):
    """The same, for who owns which unit; no call was claimed."""

    def execute(self, statement: str) -> Any:
        return self if "owner" in statement else Rows()


def test_an_epoch_that_falls_or_has_two_owners_is_seen_unless_the_database_was_set_back() -> None:
    owners = Owners()
    for rows in (Units(("u", "one", 1)), Units(("u", None, 1)), Units(("u", "two", 2))):  # type: ignore[arg-type]
        owners.look(rows)
    assert owners.wrong == []
    owners.look(Units(("u", "three", 2)))
    owners.look(Units(("u", "one", 1)))
    told = ["J3: two nodes have owned u in epoch 2", "J3: the epoch of u went from 2 back to 1"]
    assert owners.wrong == told
    owners.forget()
    owners.look(Units(("u", "four", 1)))
    assert owners.wrong == told
