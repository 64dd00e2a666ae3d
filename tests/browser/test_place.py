"""The place itself: what is said where there is no browser, and that the watch on every page sees what it should."""

from collections.abc import Callable

import pytest
from support.visiting import NONE_HERE, Stage, Visitor, find_chromium

HOSTILE = """<img src="data:image/png;base64,AAAA">
<script>zaplineRan(1); alert(2); console.error("three"); fetch("http://192.0.2.1/4"); undefined.five</script>"""


def test_without_a_browser_tests_are_skipped_and_fail_in_continuous_integration() -> None:
    assert find_chromium({"ZAPLINE_CHROMIUM": "/opt/chrome"}, lambda name: None) == "/opt/chrome"
    assert find_chromium({}, lambda name: "/bin/it" if name == "google-chrome" else None) == "/bin/it"
    with pytest.raises(pytest.skip.Exception, match=NONE_HERE):
        find_chromium({}, lambda name: None)
    with pytest.raises(pytest.fail.Exception, match=NONE_HERE):
        find_chromium({"CI": "true"}, lambda name: None)


def test_the_watch_sees_scripts_reports_errors_and_strangers(stranger: Callable[..., Visitor], stage: Stage) -> None:
    visitor = stranger()
    policy = {"content-security-policy": "img-src 'none'"}
    visitor.context.route(
        "**/hostile", lambda route: route.fulfill(body=HOSTILE, content_type="text/html", headers=policy)
    )
    visitor.go("/hostile")
    visitor.page.wait_for_timeout(100)
    told = "\n".join(visitor.troubles)
    visitor.troubles.clear()
    for word in ("script ran: 1", "alert says '2'", "error: three", "another host", "(reading 'five')", "CSP img-src"):
        assert word in told, told
