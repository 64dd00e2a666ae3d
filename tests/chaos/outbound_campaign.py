"""A campaign of 10,000 recipients that is paused, resumed, and whose daemon is killed three times."""

from collections.abc import Sequence


async def campaign10k(seed: int, words: Sequence[str]) -> bool:
    """To be written."""
    return False
