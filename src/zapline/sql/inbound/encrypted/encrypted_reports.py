"""Keeps secrets of messages and the reports encrypted under them, and opens each report once both are there.

A report waits in its table until it is opened; nothing depends on memory. What it opens to is a merge like any other
report, so neither order nor repetition changes the end.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from zapline.domain.contacts.addresses import resolve_address
from zapline.domain.ids import PROVIDER, ExternalId, UnitId, contact_id
from zapline.domain.messages.facts import MessageKind
from zapline.domain.messages.message_secrets import (
    Ciphertext,
    SecretSealer,
    SecretUse,
    decrypt,
    read_edit,
    read_event_response,
    read_vote,
)
from zapline.domain.privacy.erasure import number_spellings
from zapline.sql.inbound.recorder_types import MessageKey, ReportKey, Row
from zapline.sql.inbound.status_merge import MessageReport
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)
_ME = "me"
_MAX_JIDS = 16
"""Addresses of one person that are tried."""
_OF_MESSAGE, _OF_PERSON = 4, 64
"""Reports of one person that wait, about one message and altogether. An honest one waits for a minute or not at all."""


@dataclass(slots=True)
class OpenedReports:
    """What reports have opened to, or mean unopened; to be merged like the batch's own."""

    reports: list[tuple[ReportKey, MessageReport]] = field(default_factory=list)
    reactions: list[Row] = field(default_factory=list)
    counts: dict[UnitId, Counter[str]] = field(default_factory=dict)
    """Outcomes by unit; each report counts once as unread, and once as opened."""
    waiting: set[MessageKey] = field(default_factory=set)
    """The messages whose reports still wait."""
    _done: list[Row] = field(default_factory=list)
    _tried: list[Row] = field(default_factory=list)

    def count(self, unit: UnitId, outcome: str, number: int = 1) -> None:
        self.counts.setdefault(unit, Counter())[outcome] += number


@dataclass(frozen=True, slots=True)
class _Person:
    names: frozenset[str]
    jids: tuple[str, ...]


_People = Mapping[tuple[UnitId, str], _Person]
"""By canonical name; ``me``: ourselves."""


async def store_secrets(conn: Connection, rows: Sequence[Row], sealer: SecretSealer) -> None:
    """Keep the secrets of messages, sealed."""
    sealed = []
    for row in rows:
        secret: Any = row["secret"]
        unit, message = UnitId(row["unit_id"]), ExternalId(str(row["external_id"]))  # type: ignore[arg-type]
        sealed.append(row | {"secret": None, "sealed": b64encode(sealer.seal(unit, message, secret)).decode()})
    await _SQL.run_batch(conn, "store_secrets", sealed)


async def park_encrypted_reports(conn: Connection, rows: Sequence[Row]) -> Counter[MessageKey]:
    """Keep encrypted reports until they are opened; one that comes twice in a batch is kept once.

    Of too many that one person has sent the latest are kept. Returns how many of which messages were not.
    """
    rounds: list[dict[object, Row]] = []
    for row in rows:
        key = (row["unit_id"], row["external_id"], row["report_id"])
        for one in rounds:
            if key not in one:
                one[key] = row
                break
        else:
            rounds.append({key: row})
    for one in rounds:
        await _SQL.run_batch(conn, "park_encrypted_reports", list(one.values()))
    if not rows:
        return Counter()
    people = as_json(
        [{"unit_id": unit, "actor": actor} for unit, actor in {(row["unit_id"], row["actor"]) for row in rows}]
    )
    surplus = await _SQL.rows(conn, "drop_surplus", rows=people, of_message=_OF_MESSAGE, of_person=_OF_PERSON)
    return Counter((UnitId(row.unit_id), ExternalId(row.external_id)) for row in surplus)


async def list_waiting(conn: Connection) -> set[MessageKey]:
    """The messages that encrypted reports wait for; there are few."""
    return {(UnitId(row.unit_id), ExternalId(row.external_id)) for row in await _SQL.rows(conn, "list_waiting")}


async def open_reports(
    conn: Connection,
    keys: Collection[MessageKey],
    sealer: SecretSealer | None,
    aliases: Mapping[MessageKey, ExternalId],
) -> OpenedReports:
    """Open the reports about these messages as far as message and secret are known, inside a transaction.

    What is opened leaves the table. A changed text that cannot be opened is reported as unread, and waits. Other tasks
    have their turn after each report.
    """
    opened = OpenedReports()
    wanted = [
        {"unit_id": unit, "provider": PROVIDER, "external_id": message, "primary_id": primary}
        for unit, message in sorted(keys)
        for primary in [aliases.get((unit, message), message)]
    ]
    rows = await _SQL.run_batch(conn, "load_reports", wanted)
    known = [row for row in rows if row.message is not None]
    people = await _load_people(conn, known) if known else {}
    for row in known:
        _settle(row, people, sealer, opened)
        await trio.lowlevel.checkpoint()
    await _SQL.run_batch(conn, "delete_encrypted_reports", opened._done)
    await _SQL.run_batch(conn, "mark_tried", opened._tried)
    done = {(row["unit_id"], row["external_id"], row["report_id"]) for row in opened._done}
    opened.waiting = {
        (UnitId(row.unit_id), ExternalId(row.external_id))
        for row in rows
        if (row.unit_id, row.external_id, row.report_id) not in done
    }
    return opened


async def _load_people(conn: Connection, rows: Sequence[Any]) -> _People:
    units = sorted({row.unit_id for row in rows})
    owners = {}
    for row in await _SQL.rows(conn, "load_owners", units=units):
        owner = resolve_address(row.owner_jid)
        if owner is not None:
            owners[UnitId(row.unit_id)] = owner.canonical
    named = {(UnitId(row.unit_id), name) for row in rows for name in (row.actor, row.sender, row.message_chat) if name}
    named |= set(owners.items())
    asked = [{"unit_id": unit, "canonical": name, "contact_id": contact_id(unit, name)} for unit, name in sorted(named)]
    found = {
        (UnitId(row.unit_id), row.canonical): _person({row.canonical, *row.names, *row.lids}, row.jids)
        for row in await _SQL.rows(conn, "load_identities", rows=as_json(asked))
    }
    people = {key: found.get(key) or _person({key[1]}, ()) for key in named}
    return people | {(unit, _ME): people[unit, canonical] for unit, canonical in owners.items()}


def _person(names: Iterable[str], jids: Iterable[str]) -> _Person:
    """With every spelling of the phones: WhatsApp itself may know a number without its ninth digit."""
    spelled: dict[str, None] = {}
    for name in sorted(names, reverse=True):  # LIDs first: today's keys name them
        if name.startswith(("lid:", "+")):
            server = "lid" if name.startswith("lid:") else "s.whatsapp.net"
            spelled |= {f"{digits}@{server}": None for digits in number_spellings(name)}
    return _Person(frozenset(names), tuple(spelled | dict.fromkeys(jids)))


def _settle(row: Any, people: _People, sealer: SecretSealer | None, opened: OpenedReports) -> None:
    """Decide one report whose message is known."""
    use = SecretUse(row.use)
    unit, target = UnitId(row.unit_id), ExternalId(row.external_id)
    this: Row = {"unit_id": unit, "provider": PROVIDER, "external_id": target, "report_id": row.report_id}
    allowed, what = (_may_change(row, people), "edit") if use.changes_message else (_is_there(row), "vote")
    if allowed is None:
        if not row.tried:
            opened.count(unit, f"unproven_{what}")
        opened._tried.append(this)
        return
    if not allowed:
        opened.count(unit, f"foreign_{what}")
        opened._done.append(this)
        return
    final, outcome = _open(row, use, people, sealer, opened)
    if outcome is None:
        if use.changes_message:
            report = MessageReport(edit_unread_ms=row.at_ms, parked_at=row.received_at)
            opened.reports.append(((unit, ExternalId(row.primary_id), ""), report))
        if not row.tried:
            opened.count(unit, f"{use.value}_unread")
    else:
        opened.count(unit, outcome)
    (opened._done if final else opened._tried).append(this)


def _is_there(row: Any) -> bool | None:
    """Whether it was said in the message's own chat; None: two names may turn out to be one person.

    That it can be opened proves nothing: whoever uses the id of another message brings a secret of his own along.
    """
    if row.root == row.message_root:
        return True
    people = all(chat.startswith(("+", "lid:")) for chat in (row.chat, row.message_chat))
    unsure = people and (row.chat.startswith("lid:") or row.message_chat.startswith("lid:"))
    return None if unsure else False


def _may_change(row: Any, people: _People) -> bool | None:
    """Whether the message is the sender's own, in the same chat; None: two names may turn out to be one person."""
    there = _is_there(row)
    if not there:
        return there
    mine = row.actor == _ME
    if mine or row.from_me:
        return bool(mine and row.from_me)
    if row.message_chat.startswith(("+", "lid:")):
        return True
    if row.sender is None:
        return None
    speaker = people.get((UnitId(row.unit_id), row.actor))
    if row.actor == row.sender or (speaker is not None and row.sender in speaker.names):
        return True
    return None if row.actor.startswith("lid:") or row.sender.startswith("lid:") else False


def _open(
    row: Any, use: SecretUse, people: _People, sealer: SecretSealer | None, opened: OpenedReports
) -> tuple[bool, str | None]:
    """Whether the report is done, and the outcome to count if it was read; adds what it says to ``opened``."""
    if use.changes_message and use is not SecretUse.MESSAGE_EDIT:
        return True, None
    plaintext = _decrypt(row, use, people, sealer)
    if plaintext is None:
        return False, None
    unit, target = UnitId(row.unit_id), ExternalId(row.external_id)
    if use is SecretUse.MESSAGE_EDIT:
        edit = read_edit(plaintext, target)
        if edit is None:
            return True, None
        at_ms = edit.at_ms if edit.at_ms is not None else row.at_ms
        report = MessageReport(edit=(at_ms, edit.text), edit_read_ms=max(at_ms, row.at_ms), parked_at=row.received_at)
        opened.reports.append(((unit, ExternalId(row.primary_id), ""), report))
        return True, "message_edit_opened"
    value: object
    if use is SecretUse.POLL_VOTE:
        options = row.options if isinstance(row.options, list) else []
        if row.kind != MessageKind.POLL:
            return False, None
        chosen = read_vote(plaintext, [option for option in options if isinstance(option, str)])
        value = None if chosen is None else list(chosen)
    else:
        answer = read_event_response(plaintext)
        value = None if answer is None else [answer]
    if value is None:
        return False, None
    opened.reactions.append(
        {
            "unit_id": unit,
            "provider": PROVIDER,
            "external_id": target,
            "kind": "vote",
            "actor": row.actor,
            "value": value,
            "at_ms": row.at_ms,
            "received_at": row.received_at,
            "live": row.live,
            "claim": "",
        }
    )
    return True, f"{use.value}_opened"


def _decrypt(row: Any, use: SecretUse, people: _People, sealer: SecretSealer | None) -> bytes | None:
    if sealer is None or not row.sealed:
        return None
    unit, target = UnitId(row.unit_id), ExternalId(row.external_id)
    secrets = [secret for sealed in row.sealed if (secret := sealer.unseal(unit, target, bytes(sealed))) is not None]
    author = _ME if row.from_me else row.sender or row.message_chat
    pools = [
        list(dict.fromkeys([*(person.jids if (person := people.get((unit, who))) else ()), *row.jids]))[:_MAX_JIDS]
        for who in (author, row.actor)
    ]
    return decrypt(Ciphertext(use, target, bytes(row.payload), bytes(row.nonce)), secrets, *pools)


async def find_openable(conn: Connection, limit: int) -> set[MessageKey]:
    """Messages with reports to try again, since a name may have become known meanwhile."""
    rows = await _SQL.rows(conn, "find_openable", limit=limit)
    return {(UnitId(row.unit_id), ExternalId(row.external_id)) for row in rows}


async def delete_of_deleted(conn: Connection, keys: Iterable[MessageKey]) -> None:
    """Delete the secrets of messages that were deleted, and the reports that wait for them."""
    rows = [{"unit_id": unit, "provider": PROVIDER, "external_id": message} for unit, message in sorted(keys)]
    if rows:
        await _SQL.execute(conn, "delete_deleted", rows=as_json(rows))


async def prune_secrets(conn: Connection, before: float) -> int:
    """Delete secrets received before a time (UTC seconds), without those of existing polls and events."""
    return await _SQL.execute(conn, "prune_secrets", before=before)


async def expire_encrypted_reports(conn: Connection, before: float) -> int:
    """Delete reports received before a time (UTC seconds) that nobody could open."""
    return await _SQL.execute(conn, "expire_encrypted_reports", before=before)
