"""Loads structlog without rich and pygments, with which it could draw tracebacks: 10 MB that no line of ours uses."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Final

_LEFT_OUT: Final = ("rich", "greenlet")
"""structlog does without each of them where it is not installed."""


def load_structlog() -> None:
    """To be called before the first import of structlog; afterwards the others can be imported as always."""
    if "structlog" in sys.modules:
        return
    known = {name: sys.modules.get(name) for name in _LEFT_OUT}
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]  # None: it cannot be imported
    modules.update(dict.fromkeys(_LEFT_OUT))
    try:
        import_module("structlog")
    finally:
        for name, module in known.items():
            if module is None:
                del modules[name]
            else:
                modules[name] = module
