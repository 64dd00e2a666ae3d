"""How many examples a property is tried with: some in ``make test``, all of them in ``make long``.

The profile ``thorough`` (``--hypothesis-profile=thorough``) tries all; without it a part, see ``tests/conftest.py``.
"""

from hypothesis import settings

THOROUGH = 100
"""``max_examples`` of the profile that tries all."""
QUICK = 40


def examples(most: int) -> int:
    """``max_examples`` of a property that ``most`` examples are tried of in the end."""
    return most * settings().max_examples // THOROUGH
