"""Turns every error into RFC 9457 problem+json; the only place that says which error has which status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
import structlog
from quart import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from zapline.domain.errors import DatabaseUnavailable, JournalRefused, LocalError, RemoteError, ZaplineError
from zapline.sql.driver import CommitUnknown, StatementFailed, Trouble
from zapline.sql.units import InstanceTaken
from zapline.supervisors.submit import InvalidUnit, NotReplayable, UnitNotReady, UnknownDeadLetter, UnknownUnit

_LOG = structlog.get_logger(scope="Api")


@dataclass(eq=False)  # not frozen: Python writes the traceback into it
class Problem(Exception):
    """An answer that is an error. ``errors``: (field, message) for 422. ``retry_after`` in seconds."""

    status: int
    code: str
    detail: str
    retryable: bool = False
    errors: Sequence[tuple[str, str]] = ()
    retry_after: int | None = None
    headers: Mapping[str, str] | None = None


def invalid(field: str, message: str) -> Problem:
    """422 for one field."""
    return Problem(422, "invalid_request", f"{field}: {message}", errors=[(field, message)])


def answer(problem: Problem) -> Response:
    """The problem as a response."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "retryable": problem.retryable,
    }
    if problem.errors:
        body["errors"] = [{"field": field, "message": message} for field, message in problem.errors]
    response = Response(msgspec.json.encode(body), problem.status, content_type="application/problem+json")
    response.headers.update(problem.headers or {})
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


_OF_OURS: Mapping[type[ZaplineError], tuple[int, str]] = {
    UnknownUnit: (404, "unit_not_found"),
    UnknownDeadLetter: (404, "dead_letter_not_found"),
    NotReplayable: (409, "not_replayable"),
    InstanceTaken: (409, "instance_taken"),
    InvalidUnit: (422, "invalid_unit"),
}
"""Errors whose own text is for the caller, and which come again when the request does."""

_TRY_AGAIN = 5
"""Seconds after which a caller may ask again while the database or a unit comes back."""


def of_error(error: ZaplineError) -> Problem:
    """The problem that one of our own errors is; its text is shown only where it was written for callers."""
    known = _OF_OURS.get(type(error))
    if known is not None:
        status, code = known
        return Problem(status, code, str(error))
    match error:
        case UnitNotReady():
            return Problem(503, "unit_not_ready", str(error), retryable=True, retry_after=_TRY_AGAIN)
        case CommitUnknown():
            said = "the database did not confirm the change; look whether it was made before asking again"
            return Problem(503, "outcome_unknown", said)
        case DatabaseUnavailable():
            said = "the database cannot be reached just now"
            return Problem(503, "database_unavailable", said, retryable=True, retry_after=_TRY_AGAIN)
        case JournalRefused():
            said = "the journal's disk takes nothing just now"
            return Problem(503, "journal_refused", said, retryable=True, retry_after=_TRY_AGAIN)
        case StatementFailed(trouble=Trouble.POISON):
            return Problem(422, "invalid_text", "a text holds characters that cannot be stored")
        case StatementFailed(trouble=Trouble.RETRY):
            return Problem(503, "database_busy", "the database is busy", retryable=True, retry_after=_TRY_AGAIN)
        case StatementFailed():
            return Problem(503, "database_refused", "the database refuses; see /health and the log")
        case RemoteError():
            return Problem(503, "unavailable", "something that is needed is away", True, retry_after=_TRY_AGAIN)
        case LocalError():
            return Problem(409, "refused", "the request cannot be done in the present state")
    return _INTERNAL


_INTERNAL = Problem(500, "internal_error", "an error of Zapline itself; it is in the log")

_OF_HTTP: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "the request cannot be understood"),
    404: ("not_found", "there is nothing at this address"),
    405: ("method_not_allowed", "this address does not know this method"),
    408: ("request_timeout", "the body did not arrive in time"),
    413: ("body_too_large", "the body is over the limit"),
}


def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect of the router
        return Response(b"", status, headers=dict(error.get_headers()))
    fallback = (HTTPStatus(status).phrase.lower().replace(" ", "_"), HTTPStatus(status).phrase)
    code, detail = _OF_HTTP.get(status, fallback)
    kept = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    return answer(Problem(status, code, detail, retryable=status == 408, headers=kept))


def install(app: QuartTrio) -> None:
    """Have every error of the application answered as a problem."""

    async def problem(error: Problem) -> Response:
        return answer(error)

    async def ours(error: ZaplineError) -> Response:
        found = of_error(error)
        if found.status >= 500:
            _LOG.warning("A request failed", code=found.code, error=str(error))
        return answer(found)

    async def http(error: HTTPException) -> Response:
        return _of_http(error)

    async def unexpected(error: Exception) -> Response:
        # Only our own bugs come this far; the log masks what they say, the caller hears nothing of it.
        _LOG.error("A request crashed", exc_info=error)
        return answer(_INTERNAL)

    app.register_error_handler(Problem, problem)
    app.register_error_handler(ZaplineError, ours)
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(Exception, unexpected)
