"""Writes every change requested through the API to the audit log; handlers may add details."""

from uuid import UUID

from quart import Response, g, request
from quart_trio import QuartTrio

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal
from zapline.http.api.framework.problems import Problem, problem_of
from zapline.http.api.framework.route_table import Route
from zapline.supervisors.accounts.audit_log import AuditedChange, AuditEntry, AuditLog, AuditValue

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


async def begin_audit_entry(log: AuditLog, route: Route, principal: Principal, source: str) -> None:
    """Begin the audit line of a changing request. Raises DatabaseUnavailable: then the change is not attempted."""
    if route.audited and request.method not in _SAFE_METHODS:
        parameters = request.view_args or {}
        unit = parameters.get("unit")
        target = " ".join(str(value) for name, value in parameters.items() if name != "unit") or None
        id = UnitId(unit) if isinstance(unit, UUID) else None
        g.audit_entry = await log.begin(principal.audit_actor(source), route.name, id, target)


def add_audit_detail(**fields: AuditValue) -> None:
    """Add fields to the audit line of the present request; does nothing where it has none."""
    entry: AuditEntry | None = g.get("audit_entry")
    if entry is not None:
        entry.note(**fields)


def install_audit_trail(app: QuartTrio, log: AuditLog) -> None:
    """Complete each request's audit line with the response's status."""

    async def complete(response: Response) -> Response:
        entry: AuditEntry | None = g.pop("audit_entry", None)
        if entry is not None:
            await log.complete(entry, response.status_code)
        return response

    app.after_request(complete)


def audited_change(
    log: AuditLog,
    principal: Principal,
    source: str,
    action: str,
    unit: UnitId | None = None,
    target: str | None = None,
) -> AuditedChange:
    """The same around a change outside the API's routes: ``async with audited_change(...) as line``."""
    return log.audited(principal.audit_actor(source), action, unit, target, _status_of)


def _status_of(error: Exception) -> int:
    match error:
        case Problem():
            return error.status
        case ZaplineError():
            return problem_of(error).status
    return 500
