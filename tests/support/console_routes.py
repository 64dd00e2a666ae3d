"""The console's routes as they are attached, so that no test names pages by hand."""

from dataclasses import fields
from unittest.mock import MagicMock

import pytest
from quart_trio import QuartTrio

from zapline.http.console import app as console_app
from zapline.http.dependencies import Dependencies

_PLAIN = {"region", "base_url", "max_upload"}


def console_paths() -> list[str]:
    """The rule of every path that a browser may open, as ``/console/units/<uuid:unit>``. Nothing behind them runs."""
    made: list[QuartTrio] = []

    class Seen(QuartTrio):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[arg-type]
            made.append(self)

    parts = {field.name: MagicMock() for field in fields(Dependencies) if field.name not in _PLAIN}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console_app, "QuartTrio", Seen)
        console_app.create_console(Dependencies(**parts), MagicMock())
    (app,) = made
    return sorted(rule.rule for rule in app.url_map.iter_rules() if rule.methods and "GET" in rule.methods)
