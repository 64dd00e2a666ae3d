"""The Evolution servers: how each is, how many lines live on it, and the forms that add, change and remove one."""

from typing import Any

from quart import Response

from zapline.domain.errors import LocalError
from zapline.domain.line.evolution_servers import DEFAULT_WEIGHT, ENVIRONMENT, MAX_WEIGHT
from zapline.domain.line.server_versions import version_notes
from zapline.http.api.framework.problems import Problem
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import read_form, refusal_text
from zapline.http.console.framework.layout import Change, Layout
from zapline.http.console.framework.live_updates import ALL_UNITS_EVENTS
from zapline.http.console.framework.translation import _
from zapline.supervisors.servers.server_commands import ServerCommands

_PATH = "/console/servers"


class ServersPage:
    """``/console/servers``."""

    def __init__(self, layout: Layout, servers: ServerCommands) -> None:
        self._layout = layout
        self._servers = servers

    def attach(self) -> None:
        one = f"{_PATH}/<server>"
        self._layout.get(_PATH, "servers", self.show)
        self._layout.get("/console/part/servers", "servers_part", self.part)
        self._layout.post(_PATH, "add_server", self.add)
        self._layout.post(f"{one}/change", "change_server", self.change)
        self._layout.post(f"{one}/pause", "pause_server", self.pause)
        self._layout.post(f"{one}/resume", "resume_server", self.resume)
        self._layout.post(f"{one}/remove", "remove_server", self.remove)

    async def show(self) -> Response:
        bounds = {"most": MAX_WEIGHT, "usual": DEFAULT_WEIGHT}
        return self._layout.render("servers.html", at="health", events=ALL_UNITS_EVENTS, **bounds, **self._values())

    async def part(self) -> Response:
        return self._layout.render("servers_part.html", **self._values())

    def _values(self) -> dict[str, Any]:
        return {"servers": self._servers.list(), "environment": ENVIRONMENT, "notes": version_notes}

    async def add(self) -> Response:
        """Add a server. Its key is stored encrypted, and shown nowhere again."""
        form = await read_form()
        try:
            name, url, key = form.text("name", 40), form.text("url", 300), form.secret("key")
            weight = form.integer("weight", 1, MAX_WEIGHT) or DEFAULT_WEIGHT
        except Problem as refused:
            return self._layout.redirect(_PATH, Tone.BAD, refusal_text(refused))

        async def change() -> None:
            await self._servers.add(name, url, key, weight)

        return await self._perform("add_server", name, change, _("{name} is added.", name=name))

    async def change(self, server: str) -> Response:
        form = await read_form()
        try:
            url, key, weight = form.text("url", 300), form.secret("key"), form.integer("weight", 1, MAX_WEIGHT)
        except Problem as refused:
            return self._layout.redirect(_PATH, Tone.BAD, refusal_text(refused))

        async def change() -> None:
            await self._servers.change(server, url or None, key or None, weight)

        return await self._perform("change_server", server, change, _("{name} is changed.", name=server))

    async def pause(self, server: str) -> Response:
        async def change() -> None:
            await self._servers.change(server, paused=True)

        return await self._perform("change_server", server, change, _("{name} gets no new units.", name=server))

    async def resume(self, server: str) -> Response:
        async def change() -> None:
            await self._servers.change(server, paused=False)

        return await self._perform("change_server", server, change, _("{name} gets new units.", name=server))

    async def remove(self, server: str) -> Response:
        async def change() -> None:
            await self._servers.remove(server)

        return await self._perform("remove_server", server, change, _("{name} is removed.", name=server))

    async def _perform(self, action: str, server: str, change: Change, done: str) -> Response:
        try:
            async with self._layout.audited(action, target=server[:40]):
                await change()
        except LocalError as refused:
            return self._layout.redirect(_PATH, Tone.BAD, error_text(refused))
        return self._layout.redirect(_PATH, Tone.GOOD, done)
