"""Decides which connections give way where all places are taken: those of whoever holds the most, the oldest first."""

import heapq
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T", bound=Hashable)

HOLDER = "zapline.holder"
"""The extension of an ASGI scope that says who holds the connection of a request; called with a name."""


@dataclass(frozen=True, slots=True)
class Place:
    """An open connection. ``holder``: an address, or whoever the request in hand has proven to come from.

    ``waits_since``: since when (seconds) its client owes a request or the rest of one; None: it is being served, and
    never gives way.
    """

    holder: str
    waits_since: float | None


def give_way(places: Mapping[T, Place], number: int) -> list[T]:
    """Up to ``number`` of the places, to be freed in this order.

    Each comes from the holder that then has the most. So who holds few keeps them, however many strangers come; behind
    a proxy, where all strangers have one address, a request that has proven whose it is counts apart from theirs.
    """
    held = Counter(place.holder for place in places.values())
    waiting: dict[str, list[tuple[float, int, T]]] = {}
    for order, (key, place) in enumerate(places.items()):
        if place.waits_since is not None:
            waiting.setdefault(place.holder, []).append((place.waits_since, order, key))
    for theirs in waiting.values():
        heapq.heapify(theirs)
    most = [(-held[holder], theirs[0][0], holder) for holder, theirs in waiting.items()]
    heapq.heapify(most)
    freed: list[T] = []
    while most and len(freed) < number:
        count, _, holder = most[0]
        theirs = waiting[holder]
        freed.append(heapq.heappop(theirs)[2])
        if theirs:
            heapq.heapreplace(most, (count + 1, theirs[0][0], holder))
        else:
            heapq.heappop(most)
    return freed


def hold_for(scope: Mapping[str, Any], holder: Iterable[object]) -> None:
    """Note who the request of this ASGI scope comes from, once it is proven; until the request ends."""
    hold = scope.get("extensions", {}).get(HOLDER)
    if hold is not None:
        hold(" ".join(map(str, holder)))
