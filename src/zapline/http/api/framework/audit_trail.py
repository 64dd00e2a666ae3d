"""Has every change that is asked of the API written into the audit log; handlers may add what they know of it."""

from collections.abc import Mapping
from uuid import UUID

from quart import Response, g, request
from quart_trio import QuartTrio

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal
from zapline.http.api.framework.problems import Problem, of_error
from zapline.http.api.framework.routes import Route
from zapline.supervisors.accounts.audit_log import Audited, AuditLog, Line, Told

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


async def begin_line(log: AuditLog, route: Route, principal: Principal, source: str) -> None:
    """Write down what is about to be tried, if it is a change. Raises DatabaseUnavailable: then it is not tried."""
    if route.audited and request.method not in _READING:
        unit, target = _subject(request.view_args or {})
        g.audit_line = await log.begin(principal.at(source), route.name, unit, target)


def note(**fields: Told) -> None:
    """Add to the line of the present request what its reader will want to know; nothing where it has none."""
    line: Line | None = g.get("audit_line")
    if line is not None:
        line.note(**fields)


def attach_auditing(app: QuartTrio, log: AuditLog) -> None:
    """Complete the line of every request with the status of its answer."""

    async def complete(response: Response) -> Response:
        line: Line | None = g.pop("audit_line", None)
        if line is not None:
            await log.complete(line, response.status_code)
        return response

    app.after_request(complete)


def audited(
    log: AuditLog,
    principal: Principal,
    source: str,
    action: str,
    unit: UnitId | None = None,
    target: str | None = None,
) -> Audited:
    """The same around a change that no route of the API makes: ``async with audited(...) as line``."""
    return log.audited(principal.at(source), action, unit, target, _status_of)


def _status_of(error: Exception) -> int:
    match error:
        case Problem():
            return error.status
        case ZaplineError():
            return of_error(error).status
    return 500


def _subject(parameters: Mapping[str, object]) -> tuple[UnitId | None, str | None]:
    """The unit of a path, and what of it is meant."""
    unit = parameters.get("unit")
    rest = [str(value) for name, value in parameters.items() if name != "unit"]
    return UnitId(unit) if isinstance(unit, UUID) else None, " ".join(rest) or None
