import json
import time
from base64 import b64decode
from uuid import UUID, uuid4

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from zapline.domain.crm_webhook_signature import format_secret, sign_webhook, webhook_id


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks' own documentation."""
    key = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert format_secret(key) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    signed = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert sign_webhook([key], *signed) == expected
    signatures = sign_webhook([b"newer", key], *signed).split(" ")
    assert (len(signatures), signatures[1]) == (2, expected)


def test_a_webhook_id_is_derived_from_its_delivery() -> None:
    assert webhook_id(UUID(int=7)) == "msg_00000000-0000-0000-0000-000000000007"


def test_a_receiver_with_the_reference_library_takes_what_we_sign_and_nothing_else() -> None:
    old, new = b"0" * 32, b"1" * 32
    body = json.dumps({"type": "message.received", "data": {"text": "Olá, \u2028 çãé"}}).encode()
    id, now = webhook_id(uuid4()), int(time.time())
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign_webhook([new, old], id, now, body),
    }
    for key in (old, new):
        assert Webhook(format_secret(key)).verify(body, headers) == json.loads(body)
    for key, content in ((b"2" * 32, body), (new, body + b" ")):
        with pytest.raises(WebhookVerificationError):
            Webhook(format_secret(key)).verify(content, headers)
