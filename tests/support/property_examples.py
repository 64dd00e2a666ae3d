"""How many examples a property is tried with: few in ``make test-fast``, some in ``make test``, all in ``make long``.

The profiles ``brief`` and ``thorough`` (``--hypothesis-profile=thorough``) say so; without one it is a part.
"""

from hypothesis import settings

THOROUGH = 100
"""``max_examples`` of the profile that tries all."""
QUICK = 40
BRIEF = 20


def examples(most: int) -> int:
    """``max_examples`` of a property that ``most`` examples are tried of in the end."""
    return most * settings().max_examples // THOROUGH
