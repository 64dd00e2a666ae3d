"""The README's first steps, as they are written there: from one command to a message that is seen in the console."""

import re
import subprocess
from collections.abc import Iterator

import pytest
from support.looking import ROOT
from support.sandboxes import Sandbox, new_place, sandbox
from support.whole_house import wait_until

STEPS = re.compile(r"```sh\n(.+?)```", re.DOTALL)
MOST_LINES = 15
SAID = "Seu pedido saiu para entrega."


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with new_place() as place, sandbox(place) as opened:
        yield opened


def test_the_readmes_lines_send_a_message(box: Sandbox) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    install, use = STEPS.findall(readme)[:2]
    lines = [line for line in (install + use).splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES
    assert "make run" in install
    done = subprocess.run(["bash", "-euc", use], cwd=box.place, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert SAID in done.stdout
    unit = box.told["units"][0]["id"]

    def sent() -> bool:
        found = [one for one in box.get(f"/units/{unit}/messages?afterSeq=0&limit=200")["items"] if one["text"] == SAID]
        return bool(found) and found[0]["deliveryStatus"] in ("sent", "delivered")

    wait_until(sent, 15, "the message's delivery")
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme):
        assert 0 < (ROOT / picture).stat().st_size < 150_000
