"""An operator at the console without a browser: signs in, reads pages, sends their forms as a browser would."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import httpx2

_HANDLER = re.compile(r"on[a-z]+")
BROWSER = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}
"""What Chromium sends with a form of a page that tells nobody its address."""


class Page(HTMLParser):
    """A page as read: its forms, its links, and what a strict page has not."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = text
        self.forms: dict[str, dict[str, str]] = {}
        """Hidden fields and values of each form, by its action."""
        self.links: list[str] = []
        self.inline: list[str] = []
        """Scripts and styles that stand in the page itself."""
        self.words: list[str] = []
        self._form: dict[str, str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.inline += [f"{tag} {name}" for name in given if name == "style" or _HANDLER.fullmatch(name)]
        self.inline += [f"{tag} {value}" for value in given.values() if value.strip().lower().startswith("javascript:")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        if tag == "a":
            self.links.append(given.get("href", ""))
        if tag == "form":
            self._form = self.forms.setdefault(given.get("action", ""), {})
        if tag == "input" and self._form is not None and given.get("type") == "hidden":
            self._form[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def plain(self) -> str:
        """What is to be read on it."""
        return " ".join(" ".join(self.words).split())


class Operator:
    """Somebody with cookies of his own. Every page that he sees is strict, or the test fails."""

    def __init__(self, url: str, language: str = "en") -> None:
        self.client = httpx2.AsyncClient(
            base_url=url, timeout=10, trust_env=False, headers={"Accept-Language": language}
        )
        self.page = Page("")
        self.answer: httpx2.Response | None = None

    async def sign_in(self, email: str, password: str) -> None:
        await self.get("/console/sign-in")
        await self.send("/console/sign-in", {"email": email, "password": password}, expect=303)

    async def get(self, path: str, expect: int = 200, **headers: str) -> Page:
        """Look at a page."""
        return self._seen(await self.client.get(path, headers=headers), expect)

    async def send(
        self, action: str, fields: Mapping[str, Any] | None = None, expect: int = 303, files: Any = None
    ) -> Page:
        """Send a form of the page that is open."""
        hidden = self.page.forms[action]
        answer = await self.client.post(action, data={**hidden, **(fields or {})}, files=files, headers=BROWSER)
        return self._seen(answer, expect)

    async def follow(self, expect: int = 200) -> Page:
        """Go where the answer leads."""
        assert self.answer is not None
        return await self.get(self.answer.headers["location"], expect)

    def _seen(self, answer: httpx2.Response, expect: int) -> Page:
        assert answer.status_code == expect, f"{answer.request.url}: {answer.status_code} {answer.text[:2000]}"
        self.answer = answer
        page = Page(answer.text if answer.headers.get("content-type", "").startswith("text/html") else "")
        assert not page.inline, (answer.request.url, page.inline)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy, policy
        assert "script-src 'self'" in policy, policy
        if page.forms or not page.text:
            self.page = page
        return page

    async def close(self) -> None:
        await self.client.aclose()
