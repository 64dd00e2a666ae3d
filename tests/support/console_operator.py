"""An operator at the console without a browser: signs in, reads pages and sends their forms as a browser would."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import httpx2

_HANDLER = re.compile(r"on[a-z]+")
BROWSER = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}
"""The headers that Chromium sends with a form of a page without a referrer."""


class Page(HTMLParser):
    """A parsed page: its forms, its links, its text, and inline code, which a strict page does not have."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = text
        self.forms: dict[str, dict[str, str]] = {}
        """The hidden fields of each form, by its action."""
        self.links: list[str] = []
        self.inline_code: list[str] = []
        """Scripts and styles within the page."""
        self._texts: list[str] = []
        self._in_field = False
        self._form: dict[str, str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.inline_code += [f"{tag} {name}" for name in attributes if name == "style" or _HANDLER.fullmatch(name)]
        self.inline_code += [
            f"{tag} {value}" for value in attributes.values() if value.strip().lower().startswith("javascript:")
        ]
        if tag == "style" or (tag == "script" and "src" not in attributes):
            self.inline_code.append(tag)
        if tag == "a":
            self.links.append(attributes.get("href", ""))
        if tag == "textarea":
            self._in_field = True
        if tag == "form":
            self._form = self.forms.setdefault(attributes.get("action", ""), {})
        if tag == "input" and self._form is not None and attributes.get("type") == "hidden":
            self._form[attributes["name"]] = attributes.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._in_field = False
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        if not self._in_field:
            self._texts.append(data)

    @property
    def visible_text(self) -> str:
        """The text of the page, without what stands in fields; white space is one space."""
        return " ".join(" ".join(self._texts).split())


class Operator:
    """A client with its own cookies. The test fails at a page that is not strict."""

    def __init__(self, url: str, language: str = "en") -> None:
        self.client = httpx2.AsyncClient(
            base_url=url, timeout=60, trust_env=False, headers={"Accept-Language": language}
        )
        self.page = Page("")
        self.answer: httpx2.Response | None = None

    async def sign_in(self, email: str, password: str) -> None:
        await self.get("/console/sign-in")
        await self.send("/console/sign-in", {"email": email, "password": password}, expect=303)

    async def get(self, path: str, expect: int = 200, **headers: str) -> Page:
        """Open a page."""
        return self._opened(await self.client.get(path, headers=headers), expect)

    async def send(
        self, action: str, fields: Mapping[str, Any] | None = None, expect: int = 303, files: Any = None
    ) -> Page:
        """Send a form of the open page."""
        hidden = self.page.forms[action]
        answer = await self.client.post(action, data={**hidden, **(fields or {})}, files=files, headers=BROWSER)
        return self._opened(answer, expect)

    async def follow(self, expect: int = 200) -> Page:
        """Follow the redirect."""
        assert self.answer is not None
        return await self.get(self.answer.headers["location"], expect)

    async def post(
        self, action: str, fields: Mapping[str, Any], expect: int = 303, files: Any = None, **headers: str
    ) -> Page:
        """Send exactly these fields, as a repeated or a forged form does. The open page stays."""
        answer = await self.client.post(action, data=fields, files=files, headers={**BROWSER, **headers})
        return self._checked(answer, expect)

    def _opened(self, answer: httpx2.Response, expect: int) -> Page:
        page = self._checked(answer, expect)
        if page.forms or not page.text:
            self.page = page
        return page

    def _checked(self, answer: httpx2.Response, expect: int) -> Page:
        assert answer.status_code == expect, f"{answer.request.url}: {answer.status_code} {answer.text[:2000]}"
        self.answer = answer
        page = Page(answer.text if answer.headers.get("content-type", "").startswith("text/html") else "")
        assert not page.inline_code, (answer.request.url, page.inline_code)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy, policy
        assert "script-src 'self'" in policy, policy
        return page

    async def close(self) -> None:
        await self.client.aclose()
