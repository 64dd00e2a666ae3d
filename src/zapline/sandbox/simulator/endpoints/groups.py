"""Serves the group endpoints: the metadata of a group that the line is in."""

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
    subject = server.numbers.subjects.get(jid)
    try:
        check_socket(instance)
    except (ApiError, TimeoutError):
        raise ApiError(404, ["Error fetching group", "Error: Connection Closed"]) from None
    if subject is None:
        raise ApiError(404, ["Error fetching group", "Error: item-not-found"])
    members = server.numbers.groups.get(jid, ())
    return json_response(
        {
            "id": jid,
            "subject": subject,
            "subjectOwner": instance.owner_jid,
            "subjectTime": 1700000000,
            "pictureUrl": None,
            "size": len(members),
            "creation": 1700000000,
            "owner": instance.owner_jid,
            "restrict": False,
            "announce": False,
            "participants": [{"id": member, "admin": None} for member in members],
            "isCommunity": False,
            "isCommunityAnnounce": False,
        }
    )
