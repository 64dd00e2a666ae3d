"""The browser tests themselves: what happens without a browser, and which troubles of a page are recorded."""

from collections.abc import Callable

import pytest
from support.browser_visitor import NO_CHROMIUM, SECONDS, BrowserThread, Visitor, find_chromium
from support.running_system import wait_until

HOSTILE = """<img src="data:image/png;base64,AAAA">
<script>zaplineRan(1); alert(2); console.error("three"); fetch("http://192.0.2.1/4"); undefined.five</script>"""


def test_without_a_browser_tests_are_skipped_and_fail_in_continuous_integration() -> None:
    assert find_chromium({"ZAPLINE_CHROMIUM": "/opt/chrome"}, lambda name: None) == "/opt/chrome"
    assert find_chromium({}, lambda name: "/bin/it" if name == "google-chrome" else None) == "/bin/it"
    with pytest.raises(pytest.skip.Exception, match=NO_CHROMIUM):
        find_chromium({}, lambda name: None)
    with pytest.raises(pytest.fail.Exception, match=NO_CHROMIUM):
        find_chromium({"CI": "true"}, lambda name: None)


def test_the_watch_sees_scripts_reports_errors_and_strangers(
    new_visitor: Callable[..., Visitor], browser_thread: BrowserThread
) -> None:
    visitor = new_visitor()
    policy = {"content-security-policy": "img-src 'none'"}
    visitor.context.route(
        "**/hostile", lambda route: route.fulfill(body=HOSTILE, content_type="text/html", headers=policy)
    )
    visitor.go("/hostile")
    words = (
        *("script ran: 1", "alert says '2'", "error: three", "another host", "(reading 'five')", "CSP img-src"),
        "Failed to fetch",
    )

    def missing() -> list[str]:
        visitor.settle()
        return [word for word in words if word not in "\n".join(visitor.troubles)]

    wait_until(lambda: not missing(), SECONDS, "all troubles")
    visitor.troubles.clear()
