"""What docs/webhooks.md promises is what the code does, and its Python verifies what is signed."""

import re
import time
from pathlib import Path
from typing import Any

from zapline.domain.crm_webhook_signature import format_secret, sign_webhook
from zapline.domain.crm_webhooks import TEST_EVENT, CrmWebhookEvent, retry_delay

TEXT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


def test_every_event_has_its_row() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \|", TEXT, re.MULTILINE)
    assert rows == [*CrmWebhookEvent, TEST_EVENT]


def test_the_waits_are_those_of_the_policy() -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    output = re.search(r"tried again after (.*?);", TEXT, re.DOTALL)
    assert output is not None
    waits = [float(number) * units[unit] for number, unit in re.findall(r"(\d+)\s(s|min|h)", output[1])]
    waits += [waits[-1]] * 2  # "three times 6 h"
    created = [retry_delay(tries, 0.0) for tries in range(1, len(waits) + 2)]
    assert created == [*waits, None]


def test_the_python_of_the_page_verifies_a_signature_and_refuses_others() -> None:
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    key, now, body = b"k" * 32, int(time.time()), b'{"type": "hook.test"}'

    def headers(at: int, *keys: bytes) -> dict[str, str]:
        signed = sign_webhook(keys, "msg_1", at, body)
        return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signed}

    verify = names["verify"]
    assert verify(format_secret(key), headers(now, key), body)
    assert verify(format_secret(key), headers(now, b"newer", key), body)
    assert not verify(format_secret(key), headers(now, b"other"), body)
    assert not verify(format_secret(key), headers(now, key), body + b" ")
    assert not verify(format_secret(key), headers(now - 3600, key), body)
