"""Allows larger bodies, and more time for them, on a few routes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quart_trio.wrappers import TrioRequest


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """For a POST to ``path``: the largest body in bytes, and the seconds it may take."""

    path: re.Pattern[str]
    max_bytes: int
    seconds: float


def limited_request_class(limits: Sequence[BodyLimit]) -> type[TrioRequest]:
    """A request class with these limits."""

    class Request(TrioRequest):
        def __init__(self, method: str, scheme: str, path: str, *rest: Any, **options: Any) -> None:
            for limit in limits:
                if method == "POST" and limit.path.fullmatch(path):
                    options |= {"max_content_length": limit.max_bytes, "body_timeout": limit.seconds}
            super().__init__(method, scheme, path, *rest, **options)

    return Request
