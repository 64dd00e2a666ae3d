"""Renders every error as a page that says what happened and where to go on."""

import structlog
from quart import Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from zapline.domain.errors import DatabaseUnavailable, ZaplineError
from zapline.http.api.framework.problems import Problem, ProblemTypes, problem_of
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.session_guard import LIVE_HEADER
from zapline.http.console.framework.translation import N_, _

_LOG = structlog.get_logger(scope="Console")
_TITLES = {
    400: N_("This cannot be understood"),
    403: N_("This is not allowed"),
    404: N_("There is nothing here"),
    405: N_("This is not allowed"),
    408: N_("It took too long"),
    409: N_("This cannot be done just now"),
    413: N_("This is too large"),
    422: N_("Something in the form does not fit"),
    429: N_("Too often"),
    502: N_("Evolution did not do it"),
    503: N_("Something that is needed is away"),
}
_DATABASE_AWAY = N_("The database is away")
_INTERNAL_ERROR = N_("An error of Zapline itself")
_SENTENCES = {
    400: N_("Go back and try again."),
    404: N_("The address is wrong, or what was here is gone."),
    405: N_("This address does not take this kind of request."),
    408: N_("What you sent did not arrive in time. Go back and try again."),
    413: N_("What you sent is over the limit."),
    500: N_("It is written in the log. Try again; if it stays, tell whoever runs Zapline."),
}
_DATABASE_AWAY_SENTENCE = N_(
    "Webhooks are still taken in and kept on disk. Messages and lists can be read again once the database is back; "
    "this page tries again by itself."
)

_FORM_UNCERTAIN_SENTENCE = N_(
    "What you sent may not have been stored. Send it again once the database is back; webhooks are still taken in."
)


class ErrorPages:
    """The error handlers of the console's application."""

    def __init__(self, layout: Layout, register: ProblemTypes) -> None:
        self._layout = layout
        self._register = register

    def attach(self, app: QuartTrio) -> None:
        app.register_error_handler(Problem, self._problem)
        app.register_error_handler(ZaplineError, self._zapline_error)
        app.register_error_handler(HTTPException, self._http)
        app.register_error_handler(Exception, self._unexpected)

    async def _problem(self, problem: Problem) -> Response:
        text = "; ".join(f"{field}: {_(message)}" for field, message in problem.errors) or _(problem.detail)
        answer = self._page(problem.status, _(_TITLES.get(problem.status, _INTERNAL_ERROR)), text)
        if problem.retry_after is not None:
            answer.headers["Retry-After"] = str(problem.retry_after)
        return answer

    async def _zapline_error(self, error: ZaplineError) -> Response:
        if type(error) is DatabaseUnavailable:
            reading = request.method == "GET"
            answer = self._page(
                503,
                _(_DATABASE_AWAY),
                _(_DATABASE_AWAY_SENTENCE if reading else _FORM_UNCERTAIN_SENTENCE),
                retry=reading,
            )
            answer.headers["Retry-After"] = "5"
            return answer
        problem = problem_of(error, self._register)
        if problem.status >= 500:
            _LOG.warning("A page failed", code=problem.code, error=str(error))
        return await self._problem(problem)

    async def _http(self, error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400:  # a redirect of the router
            return Response(b"", status, headers=dict(error.get_headers()))
        return self._page(status, _(_TITLES.get(status, _INTERNAL_ERROR)), _(_SENTENCES.get(status, _SENTENCES[400])))

    async def _unexpected(self, error: Exception) -> Response:
        _LOG.error("A page crashed", exc_info=error)
        return self._page(500, _(_INTERNAL_ERROR), _(_SENTENCES[500]))

    def _page(self, status: int, title: str, text: str, *, retry: bool = False) -> Response:
        if LIVE_HEADER in request.headers:
            return Response(text, status, content_type="text/plain; charset=utf-8")
        g.setdefault("session", None)
        return self._layout.render("error.html", status, title=title, text=text, code=status, retry=retry)
