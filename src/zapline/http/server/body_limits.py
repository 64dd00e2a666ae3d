"""Lets a few routes take larger bodies, and for longer, than all others."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quart_trio.wrappers import TrioRequest


@dataclass(frozen=True, slots=True)
class Larger:
    """Of a POST whose path is ``path``: the largest body in bytes, and the seconds it may take."""

    path: re.Pattern[str]
    most: int
    within: float


def request_class(larger: Sequence[Larger]) -> type[TrioRequest]:
    """Requests that know these exceptions."""

    class Request(TrioRequest):
        def __init__(self, method: str, scheme: str, path: str, *rest: Any, **options: Any) -> None:
            for one in larger:
                if method == "POST" and one.path.fullmatch(path):
                    options |= {"max_content_length": one.most, "body_timeout": one.within}
            super().__init__(method, scheme, path, *rest, **options)

    return Request
