"""Every route of the API, asked by everybody: who gets in, whom it refuses, and whom it tells that nothing is there."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from quart_trio import QuartTrio
from support.people import add_person, token_of

from zapline.domain.ids import UnitId
from zapline.domain.principals import ActorKind, Principal, Role, Scope

OPEN = {"login", "livez", "readyz", "health", "metrics", "openapi", "docs", "docs_style", "get_file"}
SIGNED_IN = {"logout", "me"}
PERSON = {"list_units", "list_own_tokens", "revoke_own_token"}
READ = {
    *("get_unit", "status", "get_queue", "get_pace", "watch_unit", "list_suppressions"),
    *(
        "list_conversations",
        "list_quick_replies",
        "list_thread",
        "list_messages",
        *("search_messages", "list_message_changes"),
        "get_message",
        *("get_media", "link_media"),
        "list_outbox",
    ),
    *(
        "list_campaigns",
        "get_campaign",
        "list_recipients",
        "export_failures",
        "get_campaign_results",
        "export_campaign_results",
    ),
    *("list_contacts", "get_contact_picture", "list_groups", "get_group"),
    *("list_line_history", "get_uptime", "export_uptime", "get_journey", "find_journeys"),
    *("get_organization", "list_organization_units", "watch_organization"),
}
INSPECT = {
    "get_file_policy",
    *("list_unit_dead_letters", "get_line_settings", "list_hooks", "get_hook", "list_deliveries"),
    *("list_organization_hooks", "get_organization_hook", "list_organization_deliveries"),
}
"""As ``READ``, but no attendant."""
SEND = {
    *("edit_message", "delete_message", "put_quick_reply", "delete_quick_reply"),
    *("send_message", "cancel_message", "release_message", "upload", "mark_read", "suppress", "release_suppression"),
    *("check_numbers", "mark_unread"),
}
CAMPAIGN = {
    *("create_campaign", "try_campaign", "add_recipients", "start_campaign", "pause_campaign", "resume_campaign"),
    *("cancel_campaign", "retry_failed_campaign"),
}
"""As ``SEND``, but no attendant."""
CONTROL = {
    *("connect", "renew", "disconnect", "qr_svg", "pause_unit", "resume_unit", "put_pace"),
    "release_campaigns",
    *("put_line_settings", "put_file_policy"),
    *("get_dead_letter", "replay_unit_dead_letter", "give_up_dead_letter"),
    *("create_hook", "delete_hook", "rotate_hook_key", "enable_hook", "test_hook", "replay_delivery"),
    *("replay_dead_deliveries", "replay_events"),
    *("create_organization_hook", "delete_organization_hook", "rotate_organization_hook_key"),
    *("enable_organization_hook", "test_organization_hook", "replay_organization_delivery"),
    *("replay_dead_organization_deliveries", "replay_organization_events"),
}
ADMIN = {
    *("put_proxy", "delete_proxy"),
    *("create_unit", "change_unit", "archive_unit", "rotate_secret", "release_unit"),
    *("mint_token", "list_tokens", "revoke_token", "mint_own_token"),
    *("create_organization", "list_organizations", "rename_organization", "delete_organization"),
    "set_organization_campaign_rules",
    *("add_organization_unit", "remove_organization_unit"),
    *("mint_organization_token", "list_organization_tokens", "revoke_organization_token"),
    *("get_ceilings", "put_ceilings"),
    *("list_dead_letters", "replay_dead_letter", "list_audit"),
    *("erase_person", "list_erasures", "get_erasure", "export_person"),
    *("list_alarm_destinations", "add_alarm_destination", "remove_alarm_destination", "test_alarm_destination"),
    "list_alarm_incidents",
    *("list_servers", "get_server", "add_server", "change_server", "remove_server", "move_unit"),
}
"""Written by hand: who adds a route decides here, a second time, who may call it."""
WHO = [
    *((OPEN, "open"), (SIGNED_IN, "signed_in"), (PERSON, "person"), (READ, "read"), (INSPECT, "inspect")),
    *((SEND, "send"), (CAMPAIGN, "campaign"), (CONTROL, "control"), (ADMIN, "admin")),
]
OF_TOKENS = {"inspect": "read", "campaign": "send"}
"""What a program needs is a scope."""
OF_ROLES = {
    Role.ATTENDANT: {"read", "send"},
    Role.OPERATOR: {"read", "send", "inspect", "campaign", "control"},
}
LAST = ("remove_organization_unit", "delete_organization", "archive_unit", "logout")
"""What ends the unit, or the caller, is asked at the end."""
REFUSED = {401: ("unauthorized",), 403: ("forbidden",), 404: ("unit_not_found", "organization_not_found")}

Operation = tuple[str, str, str]


@pytest.mark.heavy
async def test_every_route_lets_in_whom_it_is_for_and_nobody_else(api: Any) -> None:
    operations = await described(api)
    assert {name for _, _, name in operations} == set().union(*(names for names, _ in WHO))
    described_names = {(method, name) for method, _, name in operations}
    assert described_names <= served(api)
    for method, name in served(api) - described_names:  # files of the reference page
        assert (method, name[:5]) == ("GET", "docs_"), "a route is served and not described"
    ours, theirs = await api.add_unit("Ours"), await api.add_unit("Theirs")
    place = Place(ours.id, await organization(api, ours))
    for caller, token in (await powerless(api, ours.id)).items():
        for operation in operations:
            expected = 0 if access_of(operation) == "open" else 401
            await ask(api, caller, token, operation, place, expected)
    for scope in Scope:
        foreign = (await api.identity.mint_unit_token(theirs.id, "t", frozenset({scope}), "test", None)).token
        token = (await api.identity.mint_unit_token(ours.id, "t", frozenset({scope}), "test", None)).token
        for operation in operations:
            access = access_of(operation)
            access = OF_TOKENS.get(access, access)
            allowed = 0 if access in ("open", "signed_in", scope.value) else 403
            inside = 404 if "{organization}" in operation[1] else allowed
            await ask(api, f"ours/{scope}", token, operation, place, inside)
            outside = 404 if "{unit}" in operation[1] else inside
            await ask(api, f"theirs/{scope}", foreign, operation, place, outside)
    for operation in operations:
        await ask(api, "admin", api.token, operation, place, 0)


@pytest.mark.heavy
async def test_an_organizations_token_gets_in_where_its_units_and_its_scope_allow_and_nowhere_else(api: Any) -> None:
    operations = await described(api)
    ours, sister, theirs = [await api.add_unit(name) for name in ("Ours", "Sister", "Theirs")]
    place, foreign = Place(ours.id, await organization(api, ours, sister)), await organization(api, theirs)
    mint, every = api.identity.mint_organization_token, frozenset(Scope)
    callers = [
        *((place.organization, scope, None) for scope in (frozenset({each}) for each in Scope)),
        (place.organization, every, frozenset({sister.id})),
        (foreign, every, None),
    ]
    for owner, scopes, chosen in callers:
        token = (await mint(owner, "t", scopes, chosen, "test", None)).token
        opens = owner == place.organization and (chosen is None or ours.id in chosen)
        for operation in operations:
            _, path, _ = operation
            hidden = ("{unit}" in path and not opens) or ("{organization}" in path and owner != place.organization)
            access = OF_TOKENS.get(access_of(operation), access_of(operation))
            allowed = access in ("open", "signed_in", *scopes)
            expected = 404 if hidden else 0 if allowed else 403
            await ask(api, f"{owner}/{scopes}/{chosen}", token, operation, place, expected)


async def test_people_do_what_their_role_in_a_unit_allows_and_nothing_exists_for_them_elsewhere(api: Any) -> None:
    operations = await described(api)
    ours, theirs = await api.add_unit("Ours"), await api.add_unit("Theirs")
    foreign = await organization(api, ours)
    callers: list[tuple[Role | None, dict[UnitId, Role]]] = [
        (None, {ours.id: Role.OPERATOR}),
        (Role.ATTENDANT, {theirs.id: Role.OPERATOR}),
        (None, {theirs.id: Role.OPERATOR}),
    ]
    for number, (everywhere, of_units) in enumerate(callers):
        token = await token_of(api, await add_person(api, f"p{number}@example.com", everywhere, of_units))
        roles = {role for role in (everywhere, of_units.get(ours.id)) if role is not None}
        allowed = {"open", "signed_in", "person"}.union(*(OF_ROLES[role] for role in roles))
        for operation in operations:
            _, path, _ = operation
            hidden = "{organization}" in path or ("{unit}" in path and not roles)
            expected = 404 if hidden else 0 if access_of(operation) in allowed else 403
            await ask(api, f"{everywhere}/{of_units}", token, operation, Place(ours.id, foreign), expected)


async def test_a_person_is_listed_the_units_that_exist_for_him_and_no_others(api: Any) -> None:
    units = [await api.add_unit(name) for name in ("A", "B", "C")]
    one = await add_person(api, "one@example.com", None, {units[1].id: Role.ATTENDANT, units[2].id: Role.OPERATOR})
    headers = {"Authorization": f"Bearer {await token_of(api, one)}"}
    listed = (await api.client.get("/units", headers=headers)).json()["items"]
    assert [unit["name"] for unit in listed] == ["B", "C"]
    me = (await api.client.get("/admin/me", headers=headers)).json()
    assert (me["kind"], me["scopes"]) == ("person", ["read", "send", "control"])
    assert me["roles"] == {
        "everywhere": None,
        "units": {str(units[1].id): "attendant", str(units[2].id): "operator"},
    }


async def test_the_unit_of_others_and_one_that_is_not_there_look_the_same(api: Any) -> None:
    ours, theirs = await api.add_unit("Ours"), await api.add_unit("Theirs")
    scopes = frozenset({Scope.READ})
    token = (await api.identity.mint_unit_token(ours.id, "t", scopes, "test", None)).token
    operations = [item for item in await described(api) if "{unit}" in item[1]]
    assert len(operations) > 40
    for method, path, _ in operations:
        answers = [
            await api.client.request(
                method, filled(path, Place(unit, unit)), headers={"Authorization": f"Bearer {token}"}
            )
            for unit in (theirs.id, uuid4())
        ]
        assert answers[0].status_code == answers[1].status_code == 404
        assert answers[0].content == answers[1].content
        assert answers[0].headers.keys() == answers[1].headers.keys()
    (unknown,) = [await api.client.get(f"/units/{uuid4()}")]
    assert unknown.content == answers[0].content


async def described(api: Any) -> list[Operation]:
    """(method, path, name) of the OpenAPI document, in an order in which all can be asked."""
    document = (await api.client.get("/openapi.json")).json()
    result = [
        (method.upper(), path, operation["operationId"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return sorted(result, key=lambda item: (LAST.index(item[2]) if item[2] in LAST else -1, item[2]))


def served(api: Any) -> set[tuple[str, str]]:
    """What the application answers at all, whoever has added it."""
    rules = application(api.front._rest).url_map.iter_rules()
    return {(method, rule.endpoint) for rule in rules for method in rule.methods - {"HEAD", "OPTIONS"}}


def application(result: Any) -> QuartTrio:
    """The API behind its wrappers, found by what their closures hold."""
    inside = [cell.cell_contents for cell in result.__closure__]
    for item in inside:
        if isinstance(item, QuartTrio) and item.import_name == "zapline.http":
            return item
    return next(application(item) for item in inside if callable(item) and getattr(item, "__closure__", None))


def access_of(operation: Operation) -> str:
    (access,) = [access for names, access in WHO if operation[2] in names]
    return access


async def powerless(api: Any, unit: UnitId) -> dict[str, str]:
    """Whoever has no valid bearer token, in every way."""
    scopes = frozenset(Scope)

    async def created() -> Any:
        return await api.identity.mint_unit_token(unit, "t", scopes, "test", None)

    revoked, expired, idle = await created(), await created(), await created()
    await api.identity.revoke_unit_token(unit, revoked.record.id)
    late, rests = "expires_at = now() - interval '1 s'", "idle_seconds = 60, created_at = now() - interval '61 s'"
    for token, change in ((expired, late), (idle, rests)):
        await api.sql(f"update zapline.access_tokens set {change} where id = '{token.record.id}' returning 1")
    (admin,) = await api.sql("select id, email from zapline.admins")
    session, _ = await api.identity.open_session(Principal(ActorKind.ADMIN, admin.id, admin.email))
    closed = await api.add_unit("Closed")
    archived = (await api.identity.mint_unit_token(closed.id, "t", scopes, "test", None)).token
    await api.commands.archive_unit(closed.id)
    return {
        "nobody": "",
        "a stranger": "zl_" + "A" * 43,
        "revoked": revoked.token,
        "expired": expired.token,
        "idle": idle.token,
        "a console session": session,
        "of an archived unit": archived,
    }


@dataclass(frozen=True)
class Place:
    """A unit that is there, and its organization."""

    unit: UUID
    organization: UUID


async def organization(api: Any, *units: Any) -> UUID:
    made = UUID((await api.post("/organizations", {"name": "Rede"}, 201))["id"])
    for unit in units:
        assert (await api.client.put(f"/organizations/{made}/units/{unit.id}")).status_code == 204
    return made


def filled(path: str, place: Place) -> str:
    """The path for this unit and organization, and for other things that are not there."""
    path = path.replace("{unit}", str(place.unit)).replace("{organization}", str(place.organization))
    path = path.replace("{letter}", "1").replace("{contact}", "lid:1")
    return re.sub(r"\{\w+\}", lambda _: str(uuid4()), path)


async def ask(api: Any, caller: str, token: str, operation: Operation, place: Place, refused: int) -> None:
    """``refused`` 0: the handler itself answers, whatever it says of what it was asked."""
    method, path, name = operation
    headers = {"Authorization": f"Bearer {token}"} if token else {"Authorization": ""}
    content = b"{}" if method != "GET" else b""
    async with api.client.stream(method, filled(path, place), headers=headers, content=content) as answer:
        status, kind = answer.status_code, answer.headers.get("content-type", "")
        body = b"" if kind.startswith("text/event-stream") else await answer.aread()
    code = re.search(rb'"code":"(\w+)"', body)
    payload = f"{caller} asks {method} {path} ({name}): {status} {body[:200]!r}"
    if refused:
        assert status == refused, payload
        assert code is not None, payload
        assert code[1].decode() in REFUSED[refused], payload
        assert refused != 401 or answer.headers["www-authenticate"].startswith("Bearer"), payload
    else:
        assert status not in (401, 403), payload
        assert code is None or code[1] not in (b"unit_not_found", b"organization_not_found", b"internal_error"), payload
