"""Schemathesis against the running API: no request it thinks of is answered by a 500, or by what is not documented."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from support.crm_receiver import crm_receiver

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("response_headers_conformance", "unsupported_method", "allow_header_conformance", "ignored_auth"),
)
LEFT_OUT = (
    *("watch_unit", "watch_organization", "logout"),  # one never ends, the other takes the token away
    *(
        "archive_unit",
        "delete_hook",
        "delete_organization_hook",
        "remove_organization_unit",
    ),  # the unit and its hook are needed by others
    *("create_hook", "create_organization_hook"),  # whatever address it thinks of would be called
    *("add_server", "change_server", "move_unit", "add_alarm_destination"),  # the same
)
DEEP = int(os.environ.get("ZAPLINE_CONFORMANCE_SECONDS", "0"))
"""Seconds of a deep run, which finds more than the short one that is part of every run of the tests."""
SHORT = ("--phases", "examples,fuzzing", "--max-examples", "3", "--seed", "1")
WITHIN = 120.0


async def make_things(api: Any, crm_url: str) -> dict[str, object]:
    """A unit with a bit of everything, and what the paths' parameters are to be for that."""
    unit = await api.add_unit()
    line = f"/units/{unit.id}"
    key = {"id": "A", "remoteJid": "5511999990007@s.whatsapp.net", "fromMe": False}
    text = {"message": {"conversation": "oi"}, "messageType": "conversation", "pushName": "Ana"}
    await api.send(unit, "messages.upsert", {"key": key, "messageTimestamp": 1_750_000_000, **text})
    await api.send(unit, "messages.upsert", "no object")
    (conversation,) = (await api.get(f"{line}/conversations"))["items"]
    (dead_letter,) = (await api.get(f"{line}/dead-letters"))["items"]
    sent = await api.post(f"{line}/messages", {"clientMessageId": "a", "to": "+5511999990007", "text": "oi"}, 202)
    rows = [{"to": "+5511999990007", "nome": "Ana"}]
    campaign = await api.post(f"{line}/campaigns", {"name": "a", "text": "oi {{nome}}", "recipients": rows}, 201)
    hook = await api.post(f"{line}/hooks", {"url": f"{crm_url}/hook", "events": ["campaign.state"]}, 201)
    tested = await api.post(f"{line}/hooks/{hook['id']}/test", {}, 202)
    erasure = await api.post(f"{line}/privacy/erasures", {"phone": "+5511999990008"}, 202)
    organization = await api.post("/organizations", {"name": "Rede"}, 201)
    assert (await api.client.put(f"/organizations/{organization['id']}/units/{unit.id}")).status_code == 204
    return {
        "organization": organization["id"],
        "unit": str(unit.id),
        "conversation": conversation["id"],
        "message": sent["id"],
        "campaign": campaign["id"],
        "letter": dead_letter["id"],
        "hook": hook["id"],
        "delivery": tested["id"],
        "erasure": erasure["id"],
    }


@pytest.mark.long
async def test_no_request_is_answered_by_a_500_or_by_what_is_not_documented(api: Any, tmp_path: Path) -> None:
    async with crm_receiver() as at:
        known = await make_things(api, at.url)
        settings = [f'"path.{name}" = {msgspec.json.encode(value).decode()}' for name, value in known.items()]
        (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *settings]))
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json", "--no-color"),
            *("--header", f"Authorization: Bearer {api.token}", "--checks", ",".join(CHECKS)),
            *("--suppress-health-check", "all", "--generation-database", "none", "--no-shrink"),
            *("--request-timeout", "10", "--continue-on-failure"),
            *(part for name in LEFT_OUT for part in ("--exclude-operation-id", name)),
            *(("--max-time", str(DEEP), "--phases", "examples,coverage,fuzzing,stateful") if DEEP else SHORT),
        ]
        with trio.fail_after(WITHIN + 2 * DEEP):
            ran = await trio.run_process(command, cwd=tmp_path, capture_stdout=True, capture_stderr=True, check=False)
    output = ran.stdout.decode()
    assert ran.returncode == 0, output + ran.stderr.decode()
    payload = re.search(r"Tested: (\d+)\s", output)
    assert payload is not None, output
    assert int(payload[1]) > 60, output
