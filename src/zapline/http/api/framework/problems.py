"""Turns every error into RFC 9457 problem+json with its status and code."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, TypeVar

import msgspec
import structlog
from msgspec import UNSET, Meta, UnsetType
from quart import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from zapline.domain.errors import (
    DatabaseUnavailable,
    InvalidField,
    JournalRefused,
    LocalError,
    RemoteError,
    ZaplineError,
)
from zapline.domain.network_addresses import InvalidMediaUrl
from zapline.domain.text import Sentence
from zapline.evolution.client.failures import EvolutionFailure, FailureVerdict
from zapline.sql.conversations.message_search import SearchNotReady
from zapline.sql.conversations.search_places import SearchesHeld
from zapline.sql.postgres.database_errors import CommitUnknown, StatementFailed, Verdict, lost_race
from zapline.sql.units.units import InstanceTaken
from zapline.supervisors.inbound.media_cache import MediaBusy
from zapline.supervisors.outbound.media_url_check import MediaUrlRefused, MediaUrlUnresolvable
from zapline.supervisors.outbound.message_composition import InvalidMessage, UnknownConversation
from zapline.supervisors.outbound.submission import (
    ClientIdTaken,
    NotCancellable,
    NotUncertain,
    UnknownMessage,
    UploadsFull,
)
from zapline.supervisors.units.unit_commands import (
    InvalidUnit,
    NotReplayable,
    UnitNotReady,
    UnknownDeadLetter,
    UnknownUnit,
)

_LOG = structlog.get_logger(scope="Api")
T = TypeVar("T")


@dataclass(eq=False)  # not frozen: Python writes the traceback into it
class Problem(Exception):
    """An error response. ``errors``: (field, message) for 422. ``retry_after`` in seconds."""

    status: int
    code: str
    detail: str
    retryable: bool = False
    errors: Sequence[tuple[str, str]] = ()
    retry_after: int | None = None
    headers: Mapping[str, str] | None = None


def invalid(field: str, message: str) -> Problem:
    """A 422 problem for one field."""
    return Problem(
        422, "invalid_request", Sentence("{field}: {what}", field=field, what=message), errors=[(field, message)]
    )


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


def encode_problem(problem: Problem) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a problem's response."""
    body = ProblemBody(
        type="about:blank",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        code=problem.code,
        detail=str(problem.detail),
        retryable=problem.retryable,
        errors=tuple(FieldError(field, str(message)) for field, message in problem.errors) or UNSET,
    )
    headers = {"Content-Type": "application/problem+json", **(problem.headers or {})}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    return msgspec.json.encode(body), headers


def problem_response(problem: Problem) -> Response:
    """The problem as a response."""
    body, headers = encode_problem(problem)
    return Response(body, problem.status, headers=headers)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """Status and code of an error whose own text is written for callers and is sent as ``detail``."""

    status: int
    code: str
    retryable: bool = False
    """Whether the same request may succeed later; the response then has ``Retry-After``."""
    field: str = ""
    """Of 422: the invalid field, where the error itself does not name it."""


ProblemTypes = Mapping[type[ZaplineError], ProblemType]

COMMON_PROBLEMS: ProblemTypes = {
    UnknownUnit: ProblemType(404, "unit_not_found"),
    UnknownDeadLetter: ProblemType(404, "dead_letter_not_found"),
    UnknownMessage: ProblemType(404, "message_not_found"),
    UnknownConversation: ProblemType(404, "conversation_not_found"),
    NotReplayable: ProblemType(409, "not_replayable"),
    InstanceTaken: ProblemType(409, "instance_taken"),
    ClientIdTaken: ProblemType(409, "client_message_id_taken"),
    NotCancellable: ProblemType(409, "not_cancellable"),
    NotUncertain: ProblemType(409, "not_uncertain"),
    UploadsFull: ProblemType(409, "upload_quota"),
    InvalidUnit: ProblemType(422, "invalid_unit"),
    InvalidMediaUrl: ProblemType(422, "invalid_media_url", field="url"),
    MediaUrlRefused: ProblemType(422, "media_url_refused", field="url"),
    MediaUrlUnresolvable: ProblemType(422, "media_url_unresolvable", retryable=True, field="url"),
    UnitNotReady: ProblemType(503, "unit_not_ready", retryable=True),
    SearchesHeld: ProblemType(429, "searches_held", retryable=True),
    SearchNotReady: ProblemType(503, "search_not_ready", retryable=True),
    MediaBusy: ProblemType(503, "media_busy", retryable=True),
}
"""Problem types of errors that several resources raise; subclasses are included. A resource's own errors are passed to
``install_error_handlers``."""

_RETRY_AFTER = 5
"""Seconds a caller should wait while the database or a unit comes back."""


def problem_of(error: ZaplineError, problem_types: ProblemTypes = COMMON_PROBLEMS) -> Problem:
    """The problem for one of our own errors; its text is included only where it was written for callers."""
    for kind in type(error).__mro__:
        problem_type = problem_types.get(kind)
        if problem_type is not None:
            wait = _RETRY_AFTER if problem_type.retryable else None
            field = error.field if isinstance(error, InvalidField) else problem_type.field
            what = error.sentence
            fields = [(field, what)] if field else []
            return Problem(problem_type.status, problem_type.code, what, problem_type.retryable, fields, wait)
    match error:
        case InvalidMessage():
            return Problem(422, error.code, error.sentence, errors=[(error.field, error.message)])
        case EvolutionFailure():
            # A caller may repeat what Evolution failed to do, unless Evolution rejects the request itself.
            return Problem(502, "evolution_failed", error.sentence, error.verdict is not FailureVerdict.REJECTED)
        case CommitUnknown():
            detail = "the database did not confirm the change; look whether it was made before asking again"
            return Problem(503, "outcome_unknown", detail)
        case DatabaseUnavailable():
            detail = "the database cannot be reached just now"
            return Problem(503, "database_unavailable", detail, retryable=True, retry_after=_RETRY_AFTER)
        case JournalRefused():
            detail = "the journal's disk takes nothing just now"
            return Problem(503, "journal_refused", detail, retryable=True, retry_after=_RETRY_AFTER)
        case StatementFailed() as failed if failed.verdict is Verdict.RETRY or lost_race(failed.sqlstate):
            return Problem(503, "database_busy", "the database is busy", retryable=True, retry_after=_RETRY_AFTER)
        case StatementFailed(verdict=Verdict.POISON):
            detail = "a text holds characters that cannot be stored"
            return Problem(422, "invalid_text", detail, errors=[("body", detail)])
        case StatementFailed():
            return Problem(503, "database_refused", "the database refuses; see /health and the log")
        case RemoteError():
            return Problem(503, "unavailable", "something that is needed is away", True, retry_after=_RETRY_AFTER)
        case LocalError():
            return Problem(409, "refused", "the request cannot be done in the present state")
    return _INTERNAL


_INTERNAL = Problem(500, "internal_error", "an error of Zapline itself; it is in the log")

_HTTP_PROBLEMS: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "the request cannot be understood"),
    404: ("not_found", "there is nothing at this address"),
    405: ("method_not_allowed", "this address does not know this method"),
    408: ("request_timeout", "the body did not arrive in time"),
    413: ("body_too_large", "the body is over the limit"),
}


async def _http_error_response(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect of the router
        return Response(b"", status, headers=dict(error.get_headers()))
    fallback = (HTTPStatus(status).phrase.lower().replace(" ", "_"), HTTPStatus(status).phrase)
    code, detail = _HTTP_PROBLEMS.get(status, fallback)
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    return problem_response(Problem(status, code, detail, retryable=status == 408, headers=headers))


def told_problem(error: Exception, problem_types: ProblemTypes = COMMON_PROBLEMS) -> Problem:
    """The problem by which a caller is told of any error; what is not his own mistake is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ZaplineError):
        problem = problem_of(error, problem_types)
        if problem.status >= 500:
            _LOG.warning("A request failed", code=problem.code, error=str(error))
        return problem
    # Only our own bugs come here; the log masks their text, and the caller does not see it.
    _LOG.error("A request crashed", exc_info=error)
    return _INTERNAL


async def result_or_problem(work: Awaitable[T]) -> T | Problem:
    """What ``work`` returns, or the problem that tells its caller of any error, as by the framework's handlers."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - an endpoint that stands outside the framework has no other handler
        return told_problem(error)


def install_error_handlers(app: QuartTrio, more: ProblemTypes | None = None) -> None:
    """Answer every error of the application with a problem; ``more``: problem types of the resources."""
    problem_types = {**COMMON_PROBLEMS, **(more or {})}

    async def respond(error: Exception) -> Response:
        return problem_response(told_problem(error, problem_types))

    app.register_error_handler(Problem, respond)
    app.register_error_handler(ZaplineError, respond)
    app.register_error_handler(HTTPException, _http_error_response)
    app.register_error_handler(Exception, respond)
