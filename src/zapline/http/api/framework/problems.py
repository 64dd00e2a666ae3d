"""Turns every error into RFC 9457 problem+json; the only place that says which error has which status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

import msgspec
import structlog
from msgspec import UNSET, Meta, UnsetType
from quart import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from zapline.domain.errors import DatabaseUnavailable, JournalRefused, LocalError, RemoteError, Unfit, ZaplineError
from zapline.domain.network_addresses import InvalidMediaUrl
from zapline.evolution.client.failures import EvolutionFailure, Verdict
from zapline.sql.postgres.error_classes import CommitUnknown, StatementFailed, Trouble
from zapline.sql.units.units import InstanceTaken
from zapline.supervisors.inbound.media_cache import MediaBusy
from zapline.supervisors.outbound.media_url_check import MediaUrlRefused, MediaUrlUnresolvable
from zapline.supervisors.outbound.message_composition import InvalidMessage
from zapline.supervisors.outbound.submission import (
    ClientIdTaken,
    NotCancellable,
    NotUncertain,
    UnknownConversation,
    UnknownMessage,
)
from zapline.supervisors.units.unit_commands import (
    InvalidUnit,
    NotReplayable,
    UnitNotReady,
    UnknownDeadLetter,
    UnknownUnit,
)

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


class FieldError(msgspec.Struct, frozen=True):
    """A field that does not validate, as ``contact.phone``, and what is wrong with it."""

    field: str
    message: str


class ProblemBody(msgspec.Struct, frozen=True):
    """Every error (RFC 9457). ``code`` is for programs and stays as it is; ``title`` and ``detail`` are for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: Annotated[bool, Meta(description="Whether the same request may succeed later, as it is.")]
    errors: Annotated[tuple[FieldError, ...] | UnsetType, Meta(description="Of 422: the fields at fault.")] = UNSET


def answer(problem: Problem) -> Response:
    """The problem as a response."""
    body = ProblemBody(
        type="about:blank",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        code=problem.code,
        detail=problem.detail,
        retryable=problem.retryable,
        errors=tuple(FieldError(field, message) for field, message in problem.errors) or UNSET,
    )
    response = Response(msgspec.json.encode(body), problem.status, content_type="application/problem+json")
    response.headers.update(problem.headers or {})
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


@dataclass(frozen=True, slots=True)
class Known:
    """How an error is answered whose own text was written for callers."""

    status: int
    code: str
    retryable: bool = False
    """Whether the same request may do later; then the caller is told when to ask again."""
    field: str = ""
    """Of 422: what is at fault, where the error itself does not say it."""


Register = Mapping[type[ZaplineError], Known]

KNOWN: Register = {
    UnknownUnit: Known(404, "unit_not_found"),
    UnknownDeadLetter: Known(404, "dead_letter_not_found"),
    UnknownMessage: Known(404, "message_not_found"),
    UnknownConversation: Known(404, "conversation_not_found"),
    NotReplayable: Known(409, "not_replayable"),
    InstanceTaken: Known(409, "instance_taken"),
    ClientIdTaken: Known(409, "client_message_id_taken"),
    NotCancellable: Known(409, "not_cancellable"),
    NotUncertain: Known(409, "not_uncertain"),
    InvalidUnit: Known(422, "invalid_unit"),
    InvalidMediaUrl: Known(422, "invalid_media_url", field="url"),
    MediaUrlRefused: Known(422, "media_url_refused", field="url"),
    MediaUrlUnresolvable: Known(422, "media_url_unresolvable", retryable=True, field="url"),
    UnitNotReady: Known(503, "unit_not_ready", retryable=True),
    MediaBusy: Known(503, "media_busy", retryable=True),
}
"""What each of our errors is to a caller; a class stands for those derived from it too. Other rooms' errors are
handed to ``install``."""

_TRY_AGAIN = 5
"""Seconds after which a caller may ask again while the database or a unit comes back."""


def of_error(error: ZaplineError, register: Register = KNOWN) -> Problem:
    """The problem that one of our own errors is; its text is shown only where it was written for callers."""
    for kind in type(error).__mro__:
        known = register.get(kind)
        if known is not None:
            wait = _TRY_AGAIN if known.retryable else None
            field = error.field if isinstance(error, Unfit) else known.field
            fields = [(field, str(error))] if field else []
            return Problem(known.status, known.code, str(error), known.retryable, fields, wait)
    match error:
        case InvalidMessage():
            return Problem(422, error.code, str(error), errors=[(error.field, error.message)])
        case EvolutionFailure():
            # What is asked of Evolution for a caller may be asked again, unless it refuses the very request.
            said = f"Evolution did not do it ({error.code}): {error.detail}"
            return Problem(502, "evolution_failed", said, error.verdict is not Verdict.REJECTED)
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
            said = "a text holds characters that cannot be stored"
            return Problem(422, "invalid_text", said, errors=[("body", said)])
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


def install(app: QuartTrio, more: Register | None = None) -> None:
    """Have every error of the application answered as a problem; ``more``: those of other rooms."""
    register = {**KNOWN, **(more or {})}

    async def problem(error: Problem) -> Response:
        return answer(error)

    async def ours(error: ZaplineError) -> Response:
        found = of_error(error, register)
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
