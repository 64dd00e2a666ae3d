"""Who makes the present request."""

from typing import cast

from quart import g

from zapline.domain.principals import Principal


def principal() -> Principal:
    """Who asks; only behind the gate, which has let him in and has set it."""
    return cast(Principal, g.principal)
