"""Routes of which files of messages a unit keeps, and of how much that is."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.api.framework.audit_trail import add_audit_detail
from zapline.http.api.framework.json_bodies import RequestBody, ResponseBody, json_response, one_of, read_body
from zapline.http.api.framework.problems import ProblemType, ProblemTypes, invalid
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.files.file_policies import FilePolicy
from zapline.supervisors.files.policies import KINDS, MAX_FILE, MOST_DAYS, FilePolicies, InvalidPolicy, ShownPolicy
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {InvalidPolicy: ProblemType(422, "invalid_request")}
DEFAULT_MAX = 100 * 1024 * 1024
DEFAULT_QUOTA = 1024**3
_Kind = Annotated[str, one_of(KINDS, "Kinds of messages with a file.")]
_KINDS = Meta(description="Of which messages the files are kept; empty: of none.")
_MAX = Meta(ge=1, le=MAX_FILE, description="Bytes of one file; larger ones are left out.")
_QUOTA = Meta(ge=1, le=2**50, description="Bytes of all together; what goes beyond waits for room.")
_DAYS = Meta(ge=1, le=MOST_DAYS, description="For how long files are kept; null: as long as their messages.")


class NewFilePolicy(RequestBody, frozen=True):
    """Which files shall be kept, of messages that arrive from now on."""

    kinds: Annotated[Sequence[_Kind], _KINDS]
    max_bytes: Annotated[int, _MAX] = DEFAULT_MAX
    quota_bytes: Annotated[int, _QUOTA] = DEFAULT_QUOTA
    days: Annotated[int, _DAYS] | None = None


class FileUsageBody(ResponseBody, frozen=True):
    """What a unit keeps, and what else became of the files that it wanted."""

    files: int
    bytes: int
    waiting: Annotated[int, Meta(description="To be fetched yet; they are tried until they are there or gone.")]
    without_room: Annotated[int, Meta(description="Of these, those that go beyond the quota.")]
    gone: Annotated[int, Meta(description="WhatsApp and Evolution had them no more.")]
    left_out: Annotated[int, Meta(description="Too large, or older than `days`.")]


class FilePolicyBody(ResponseBody, frozen=True):
    """Which files of its messages a unit keeps."""

    kinds: Annotated[Sequence[_Kind], _KINDS]
    max_bytes: Annotated[int, _MAX]
    quota_bytes: Annotated[int, _QUOTA]
    quota_ceiling: Annotated[int, Meta(description="What the quota may be at most; the operator sets it.")]
    days: Annotated[int, _DAYS] | None
    usage: FileUsageBody


_DETAIL = """\
Files are fetched as their messages arrive, and read at `.../media` from then on, also when WhatsApp has them no more.
What may be looked at once is never kept. A file goes with its message: by the unit's retention, by a person's erasure,
and when its sender deletes the message for everyone."""
_GET = RouteDoc("Which files a unit keeps", {200: FilePolicyBody}, detail=_DETAIL)
_PUT = RouteDoc(
    "Replace which files a unit keeps",
    {200: FilePolicyBody},
    body=NewFilePolicy,
    example={"kinds": ["image", "voice", "document"], "maxBytes": 20_000_000, "days": 365},
    detail=_DETAIL,
)


class KeptFileRoutes:
    """``/units/{id}/files``."""

    def __init__(self, commands: UnitCommands, policies: FilePolicies) -> None:
        self._commands = commands
        self._policies = policies

    def attach(self, routes: RouteTable) -> None:
        path = "/units/<uuid:unit>/files"
        routes.add("GET", path, "get_file_policy", self.get, Access.INSPECT, _GET)
        routes.add("PUT", path, "put_file_policy", self.put, Access.CONTROL, _PUT)

    async def get(self, unit: UUID) -> Response:
        return json_response(_body(await self._policies.show(self._commands.find(UnitId(unit)).id)))

    async def put(self, unit: UUID) -> Response:
        policy = policy_of(await read_body(NewFilePolicy))
        found = self._commands.find(UnitId(unit)).id
        add_audit_detail(kinds=",".join(policy.kinds), days=policy.days, quotaBytes=policy.quota_bytes)
        return json_response(_body(await self._policies.change(found, policy)))


def policy_of(body: NewFilePolicy) -> FilePolicy:
    """The policy of a request. Raises Problem 422 for a kind that has no file."""
    if unknown := sorted(set(body.kinds) - set(KINDS)):
        raise invalid("kinds", f"{unknown[0][:40]} is no kind of message with a file")
    return FilePolicy(sorted(set(body.kinds)), body.max_bytes, body.quota_bytes, body.days)


def _body(shown: ShownPolicy) -> FilePolicyBody:
    policy, usage = shown.policy, shown.usage
    if policy is None:
        policy = FilePolicy((), min(DEFAULT_MAX, shown.quota_ceiling), min(DEFAULT_QUOTA, shown.quota_ceiling), None)
    counts = (usage.files, usage.bytes, usage.waiting, usage.without_room, usage.gone, usage.left_out)
    return FilePolicyBody(
        kinds=policy.kinds,
        max_bytes=policy.max_bytes,
        quota_bytes=policy.quota_bytes,
        quota_ceiling=shown.quota_ceiling,
        days=policy.days,
        usage=FileUsageBody(*counts),
    )
