"""Asks Evolution what WhatsApp knows of numbers and groups. These calls change nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.contacts.jids import parse_jid
from zapline.domain.text import Sentence
from zapline.evolution.client.failures import BadAnswer
from zapline.evolution.client.response_parser import parse_group_subject
from zapline.evolution.client.rest_client import EvolutionClient, instance_path


@dataclass(frozen=True, slots=True)
class NumberAnswer:
    """What WhatsApp says of a number. ``jid`` is its own id of the number; None where it is not there."""

    on_whatsapp: bool
    jid: str | None = field(repr=False)


async def check_numbers(
    client: EvolutionClient, name: str, numbers: Sequence[str], seconds: float
) -> dict[str, NumberAnswer]:
    """Whether these numbers (digits with country) are on WhatsApp, by number; one try within ``seconds``.

    Not repeated, because WhatsApp counts questions. Raises ``EvolutionFailure``; ``NumberCheckTimedOut`` for whatever
    happens inside Evolution, whose answer is a bare ``{}`` then (contract, section 1).
    """
    body = {"numbers": list(numbers)}
    answer = await client.call("POST", instance_path("chat/whatsappNumbers", name), body, seconds=seconds)
    return parse_number_answers(answer)


async def group_subject(client: EvolutionClient, name: str, jid: str, seconds: float) -> str:
    """The subject of a group that the line is in, asked of WhatsApp; one try within ``seconds``.

    Raises ``EvolutionFailure``, also where the line is not in the group.
    """
    path = instance_path("group/findGroupInfos", name)
    return parse_group_subject(await client.call("GET", path, query={"groupJid": jid}, seconds=seconds))


def parse_number_answers(answer: Any) -> dict[str, NumberAnswer]:
    """Parse the rows of whatsappNumbers, whose order differs from the request's. Raises ``BadAnswer``."""
    if not isinstance(answer, list):
        raise BadAnswer(Sentence("{name} is not what it should be in Evolution's answer", name="whatsappNumbers"))
    answers: dict[str, NumberAnswer] = {}
    for row in answer:
        if not (isinstance(row, dict) and isinstance(row.get("number"), str) and isinstance(row.get("exists"), bool)):
            raise BadAnswer(Sentence("{name} is not what it should be in Evolution's answer", name="whatsappNumbers"))
        parsed = parse_jid(row.get("jid"))
        jid = "@".join(parsed) if parsed is not None and row["exists"] else None
        answers[row["number"]] = NumberAnswer(row["exists"], jid)
    return answers
