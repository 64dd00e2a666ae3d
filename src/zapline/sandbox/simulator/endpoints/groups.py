"""Serves the group endpoints: the metadata of a group that the line is in, and the list of all of them."""

from typing import Any

from zapline.sandbox.simulator.endpoints.messages import check_socket
from zapline.sandbox.simulator.http.http_server import Request, Response
from zapline.sandbox.simulator.http.responses import ApiError, json_response
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.server_state import ServerState


async def find_group(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """The group as WhatsApp knows it; 404 where it is unknown, or the line is not connected."""
    group = dict(request.query).get("groupJid") or ""
    if not group:
        told = ["The group id needs to be informed in the query", 'ex: "groupJid=120362@g.us"']
        raise ApiError(400, told)
    jid = group if group.endswith("@g.us") else f"{group}@g.us"
    try:
        check_socket(instance)
    except (ApiError, TimeoutError):
        raise ApiError(404, ["Error fetching group", "Error: Connection Closed"]) from None
    server.ledger.questions.append((instance.name, "group", (jid,)))
    if jid not in server.numbers.subjects:
        raise ApiError(404, ["Error fetching group", "Error: item-not-found"])
    return json_response({**_metadata(server, instance, jid), "participants": _participants(server, jid)})


async def fetch_all_groups(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """All groups that the line is in; ``getParticipants`` is required, as a text."""
    wanted = dict(request.query).get("getParticipants")
    if wanted not in ("true", "false"):
        told = ["The getParticipants needs to be informed in the query", 'ex: "getParticipants=true|false"']
        raise ApiError(400, told)
    if instance.socket != "alive":
        raise ApiError(500, "Connection Closed")
    server.ledger.questions.append((instance.name, "groups", ()))
    rows = []
    for jid in sorted(server.numbers.subjects):
        row = _metadata(server, instance, jid)
        rows.append({**row, "participants": _participants(server, jid)} if wanted == "true" else row)
    return json_response(rows)


def _metadata(server: ServerState, instance: Instance, jid: str) -> dict[str, Any]:
    return {
        "id": jid,
        "subject": server.numbers.subjects[jid],
        "subjectOwner": instance.owner_jid,
        "subjectTime": 1700000000,
        "pictureUrl": server.numbers.pictures.get(jid),
        "size": len(server.numbers.groups.get(jid, ())),
        "creation": 1700000000,
        "owner": instance.owner_jid,
        "restrict": False,
        "announce": jid in server.numbers.admins_write,
        "isCommunity": False,
        "isCommunityAnnounce": False,
    }


def _participants(server: ServerState, jid: str) -> list[dict[str, Any]]:
    """Those of whom WhatsApp tells a LID come under it, with their phone beside it."""
    rows = []
    for member in server.numbers.groups.get(jid, ()):
        lid = server.numbers.lids.get(member)
        named = {"id": lid, "phoneNumber": member} if lid is not None else {"id": member}
        rows.append({**named, "admin": server.numbers.roles.get((jid, member))})
    return rows
