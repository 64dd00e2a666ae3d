"""Shows the version, and answers the script's probe for an open session."""

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
        """204 for the script while Zapline is up and the session is open."""
        return Response(b"", 204)
