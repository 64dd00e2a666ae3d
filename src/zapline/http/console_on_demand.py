"""Puts the console beside the API under one address, and loads it with the first request for it."""

from importlib import import_module

import trio

from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.dependencies import Dependencies
from zapline.http.server.asgi import App, Message, Receive, Scope, Send

_CONSOLE = "zapline.http.console.app"


class ConsoleOnDemand:
    """An ASGI application: the console, whose pages, templates and formats take 10 MB that many processes never need.

    Its modules are read in a thread, so that webhooks are answered meanwhile; those who come at once wait for it.
    """

    def __init__(self, dependencies: Dependencies, sessions: PasswordSignIn) -> None:
        self._parts = (dependencies, sessions)
        self._app: App | None = None
        self._loading = trio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            async with self._loading:
                if self._app is None:
                    module = await trio.to_thread.run_sync(import_module, _CONSOLE)
                    self._app = module.create_console(*self._parts)
        assert self._app is not None
        await self._app(scope, receive, send)


def combine_apps(api: App, console: App) -> App:
    """Both under one address: the console below ``/console``, to which the root redirects."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == "/" or path == "/console" or path.startswith("/console/")):
            await api(scope, receive, send)
        elif path.startswith("/console/"):
            await console(scope, receive, send)
        else:
            await send(_REDIRECT_TO_CONSOLE)
            await send({"type": "http.response.body", "body": b""})

    return dispatch


_REDIRECT_TO_CONSOLE: Message = {
    "type": "http.response.start",
    "status": 302,
    "headers": [(b"location", b"/console/"), (b"cache-control", b"no-store"), (b"content-length", b"0")],
}
