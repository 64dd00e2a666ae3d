import re
from uuid import uuid4

from zapline.domain.outbox.message_ids import choose_message_id


def test_an_id_has_the_form_of_whatsapp_web_and_is_that_of_its_call() -> None:
    attempts = [uuid4() for _ in range(1000)]
    chosen = [choose_message_id(attempt) for attempt in attempts]
    assert all(re.fullmatch(r"3EB0[0-9A-F]{18}", id) for id in chosen)
    assert len(set(chosen)) == 1000
    assert [choose_message_id(attempt) for attempt in attempts] == chosen
