"""Planted bugs on the way of an outgoing message."""

from dataclasses import replace
from typing import Any

import pytest

from zapline.domain.text import Sentence
from zapline.evolution.client import failure_classifier, rest_client
from zapline.evolution.client.failures import NoAnswer, Unreachable
from zapline.sql.inbound import send_results
from zapline.sql.outbound import send_claims

from .statements import without


def silence_taken_for_refusal(patch: pytest.MonkeyPatch) -> None:
    """A call without an answer counts as one that never left."""

    def hopeful(exc: Any) -> Any:
        known = failure_classifier.classify_exception(exc)
        return Unreachable(Sentence("nothing came")) if isinstance(known, NoAnswer) else known

    patch.setattr(rest_client, "classify_exception", hopeful)


def claim_without_its_fence(patch: pytest.MonkeyPatch) -> None:
    """What a killed daemon had claimed is sent again, whatever became of its call."""
    listed = send_claims.list_unended_calls

    async def careless(*arguments: Any) -> Any:
        return [replace(call, repeatable=True) for call in await listed(*arguments)]

    patch.setattr(send_claims, "list_unended_calls", careless)


def settlement_applied_twice(patch: pytest.MonkeyPatch) -> None:
    """What the echo has settled is decided once more by the answer, which comes later or a second time."""
    without(patch, send_results, "end_attempts", " and a.outcome = 'calling'")
    without(patch, send_results, "move_messages", " and o.state = 'leased' and o.fence = r.fence")
