"""Tells which Zapline this is, and whether the session of who asks is still open."""

from quart import Response

from zapline.http.console.framework.layout import Layout


class AboutPage:
    """``/console/about`` and ``/console/session``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def attach(self) -> None:
        self._layout.get("/console/about", "about", self.show)
        self._layout.get("/console/session", "session", self.session)

    async def show(self) -> Response:
        return self._layout.render("about.html")

    async def session(self) -> Response:
        """For the script: that Zapline is there, and lets its page's reader in."""
        return Response(b"", 204)
