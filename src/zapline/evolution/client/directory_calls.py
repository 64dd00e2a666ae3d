"""Asks Evolution what WhatsApp knows of numbers and groups. These calls change nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from zapline.domain.contacts.addresses import Address, AddressKind, resolve_address
from zapline.domain.contacts.jids import parse_jid
from zapline.domain.text import Sentence
from zapline.evolution.client.failures import BadAnswer
from zapline.evolution.client.response_parser import parse_group_subject
from zapline.evolution.client.rest_client import EvolutionClient, instance_path
from zapline.evolution.webhooks.json_fields import LONGEST_NAME, short_text

_LONGEST_URL = 4096


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
        raise _unexpected("whatsappNumbers")
    answers: dict[str, NumberAnswer] = {}
    for row in answer:
        if not (isinstance(row, dict) and isinstance(row.get("number"), str) and isinstance(row.get("exists"), bool)):
            raise _unexpected("whatsappNumbers")
        parsed = parse_jid(row.get("jid"))
        jid = "@".join(parsed) if parsed is not None and row["exists"] else None
        answers[row["number"]] = NumberAnswer(row["exists"], jid)
    return answers


class GroupRole(StrEnum):
    """What somebody may do in a group."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


_ROLES = {"superadmin": GroupRole.OWNER, "admin": GroupRole.ADMIN}


@dataclass(frozen=True, slots=True)
class GroupMember:
    address: Address = field(repr=False)
    role: GroupRole


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """``admins_only``: only admins write in it."""

    subject: str | None = field(repr=False)
    admins_only: bool
    members: tuple[GroupMember, ...]


async def fetch_group(client: EvolutionClient, name: str, jid: str, seconds: float) -> GroupInfo:
    """A group that the line is in, with its members; one try within ``seconds``. Raises ``EvolutionFailure``."""
    query = {"groupJid": jid}
    path = instance_path("group/findGroupInfos", name)
    return parse_group(await client.call("GET", path, query=query, seconds=seconds))


async def list_groups(client: EvolutionClient, name: str, seconds: float) -> dict[str, str | None]:
    """The subjects of all groups that the line is in, by JID. Evolution asks for the picture of each, so it takes long.

    One try within ``seconds``. Raises ``EvolutionFailure``.
    """
    query = {"getParticipants": "false"}
    path = instance_path("group/fetchAllGroups", name)
    answer = await client.call("GET", path, query=query, seconds=seconds)
    if not isinstance(answer, list):
        raise _unexpected("fetchAllGroups")
    rows = [row for row in answer if isinstance(row, dict)]
    found = ((parse_jid(row.get("id")), row) for row in rows)
    return {f"{jid[0]}@g.us": _subject(row) for jid, row in found if jid is not None and jid[1] == "g.us"}


async def fetch_picture_url(client: EvolutionClient, name: str, number: str, seconds: float) -> str | None:
    """Where WhatsApp has the picture of a phone (digits) or JID; None: it shows the line none.

    One try within ``seconds``. The URL is good for some days. Raises ``EvolutionFailure``.
    """
    path = instance_path("chat/fetchProfilePictureUrl", name)
    answer = await client.call("POST", path, {"number": number}, seconds=seconds)
    if not isinstance(answer, dict):
        raise _unexpected("fetchProfilePictureUrl")
    url = answer.get("profilePictureUrl")
    return url if isinstance(url, str) and url.startswith("https://") and len(url) <= _LONGEST_URL else None


def parse_group(answer: Any) -> GroupInfo:
    """Parse findGroupInfos: members come with LID and phone, or one of them, in several spellings."""
    if not isinstance(answer, dict) or not isinstance(answer.get("participants"), list):
        raise _unexpected("findGroupInfos")
    members: dict[str, GroupMember] = {}
    for row in answer["participants"]:
        if not isinstance(row, dict):
            continue
        names = [name if isinstance(name, str) else None for name in map(row.get, ("id", "phoneNumber", "jid", "lid"))]
        address = resolve_address(*names)
        if address is not None and address.kind is AddressKind.PERSON:
            role = _ROLES.get(str(row.get("admin")), GroupRole.MEMBER)
            members.setdefault(address.canonical, GroupMember(address, role))
    return GroupInfo(_subject(answer), answer.get("announce") is True, tuple(members.values()))


def _subject(row: dict[str, Any]) -> str | None:
    subject = short_text(row.get("subject"), LONGEST_NAME)
    return subject if subject is not None and subject.strip() else None


def _unexpected(name: str) -> BadAnswer:
    return BadAnswer(Sentence("{name} is not what it should be in Evolution's answer", name=name))
