"""Gives handlers the authenticated caller of the present request."""

from typing import cast

from quart import g

from zapline.domain.principals import Principal


def current_principal() -> Principal:
    """The caller; only in handlers of routes and pages that are not open, where authentication has set it."""
    return cast(Principal, g.principal)
