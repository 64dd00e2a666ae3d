"""The API as one ASGI application: which resources it has, what stands before and behind every request."""

import time
from collections.abc import Callable, Mapping

from quart import Response
from quart_trio import QuartTrio

from zapline.domain.ids import UnitId
from zapline.http import problems
from zapline.http.auth import Auth, AuthPolicy
from zapline.http.campaigns import LIST_PATH, MAX_LIST, PROBLEMS, CampaignPages
from zapline.http.conversations import Conversations
from zapline.http.dead_letters import DeadLetters
from zapline.http.large_bodies import Larger, request_class
from zapline.http.media import MediaFiles
from zapline.http.messages import Messages
from zapline.http.ops import OPEN, Ops
from zapline.http.pace import Paces
from zapline.http.serve import App, finish_shielded
from zapline.http.suppressions import Suppressions
from zapline.http.units import Units
from zapline.http.uploads import MAX_UPLOAD, UPLOAD_PATH, Uploads
from zapline.sql.pool import Pool
from zapline.supervisors.campaigns import Campaigns
from zapline.supervisors.counters import Counters
from zapline.supervisors.health import Health
from zapline.supervisors.media import Media
from zapline.supervisors.outgoing import Outgoing
from zapline.supervisors.receipts import Receipts
from zapline.supervisors.roster import Roster
from zapline.supervisors.submit import Submit

MAX_BODY = 1024 * 1024
"""Bytes of a request to the API; webhooks have a limit of their own."""
_BODY_WITHIN = 15.0
"""Seconds for a body to arrive; below the server's own limit, so that the answer is a problem of ours."""
_LARGE_WITHIN = 28.0
"""The same for files and long lists; what is still below the server's limit."""
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
"""Answers hold people's messages: no cache keeps them, no browser guesses what they are or tells where it was."""


def create_app(
    *,
    submit: Submit,
    roster: Roster,
    health: Health,
    counters: Counters,
    pool: Pool,
    auth: AuthPolicy | None = None,
    outgoing: Outgoing | None = None,
    campaigns: Campaigns | None = None,
    media: Media | None = None,
    receipts: Receipts | None = None,
    max_upload: int = MAX_UPLOAD,
    sending: Callable[[UnitId], Mapping[str, object]] = lambda unit: {},
) -> App:
    """The API. ``pool`` lends connections of the role ``zapline_api``, which only reads.

    A part that is None has no routes. ``sending`` tells how a unit's sending stands, as part of its status.
    """
    app = QuartTrio("zapline.http", static_folder=None)
    app.request_class = request_class(
        [Larger(UPLOAD_PATH, max_upload, _LARGE_WITHIN), Larger(LIST_PATH, MAX_LIST, _LARGE_WITHIN)]
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["BODY_TIMEOUT"] = _BODY_WITHIN
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a redirect would be answered by nothing of ours
    problems.install(app, PROBLEMS)
    Auth(submit, pool, auth or AuthPolicy()).attach(app, OPEN)
    Units(submit, roster, time.time, sending).attach(app)
    Conversations(submit, pool, receipts).attach(app)
    if outgoing is not None:
        Messages(submit, outgoing, pool).attach(app)
        Uploads(submit, outgoing).attach(app)
        Paces(submit, outgoing, pool).attach(app)
    if campaigns is not None:
        CampaignPages(submit, campaigns, pool).attach(app)
        Suppressions(submit, campaigns, pool).attach(app)
    if media is not None:
        MediaFiles(submit, media, pool).attach(app)
    DeadLetters(submit, pool).attach(app)
    Ops(health, counters, time.time).attach(app)

    async def harden(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.after_request(harden)
    return finish_shielded(app)  # type: ignore[arg-type]  # quart types the scope more narrowly
