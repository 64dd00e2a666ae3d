"""Files of messages over HTTP: fetched once, kept on disk within a bound, never shown by a browser."""

import base64
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from zapline.evolution.client.failures import EvolutionFailure, MediaGone, NoAnswer
from zapline.evolution.client.response_parser import MediaContent
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.http.api.messages.file_answers import attachment_header
from zapline.sandbox.simulator.state.message_store import StoredMessage
from zapline.supervisors.inbound.media_cache import MediaFetcher

JID = "5511999990001@s.whatsapp.net"


def picture(external_id: str, **media: object) -> dict[str, object]:
    """Data of a messages.upsert."""
    return {
        "key": {"remoteJid": JID, "fromMe": False, "id": external_id},
        "message": {"imageMessage": {"mimetype": "image/png", "caption": "veja", **media}},
        "messageType": "imageMessage",
        "messageTimestamp": int(time.time()),
    }


async def path_of(api: Any, unit: Any, data: dict[str, object]) -> str:
    """Where the file of this message, which has just come, is to be had."""
    await api.send(unit, "messages.upsert", data)
    message = (await api.get(f"/units/{unit.id}/messages"))["items"][-1]
    return f"/units/{unit.id}/messages/{message['id']}/media"


class Fetches:
    """Replaces the client's fetch: its answer, how often it was called, and how often at once.

    A fetch ends when ``expected`` requests have reached the fetcher, and ``together`` fetches have run at once.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.answer: MediaContent | EvolutionFailure = MediaContent("image/png", "a.png", b"x" * 600)
        self.at_once = self.most_at_once = 0
        self.requested = self.expected = 0
        self.together = 1
        fetches, open_file = self, MediaFetcher.open

        async def counted_open(fetcher: MediaFetcher, *args: Any) -> Any:
            fetches.requested += 1
            return await open_file(fetcher, *args)

        monkeypatch.setattr(MediaFetcher, "open", counted_open)

        async def fetch_media(client: EvolutionClient, name: str, external_id: str) -> MediaContent:
            fetches.made.append(external_id)
            fetches.at_once += 1
            fetches.most_at_once = max(fetches.at_once, fetches.most_at_once)
            while fetches.requested < fetches.expected or fetches.most_at_once < fetches.together:  # noqa: ASYNC110 - get_all has the deadline
                await trio.sleep(0.005)
            await wait_all_tasks_blocked(0.01)  # one too many would show
            fetches.at_once -= 1
            if isinstance(fetches.answer, EvolutionFailure):
                raise fetches.answer
            return fetches.answer

        monkeypatch.setattr(EvolutionClient, "fetch_media", fetch_media)


async def get_all(api: Any, paths: list[str]) -> list[Any]:
    answers: list[Any] = []

    async def get(path: str) -> None:
        answers.append(await api.client.get(path))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for path in paths:
                nursery.start_soon(get, path)
    return answers


async def test_a_file_comes_from_evolution_and_then_from_disk(api: Any) -> None:
    unit = await api.add_unit()
    await api.post(f"/units/{unit.id}/whatsapp/connect", {}, 202)
    await api.until(f"/units/{unit.id}/whatsapp/status", lambda status: status["qrCode"])
    path = await path_of(api, unit, picture("P1"))
    missing = await api.get(path, 404)
    assert missing["code"] == "media_gone"
    instance = api.evolution.state.instances[unit.record.instance]
    stored = instance.messages.add(
        StoredMessage("r1", picture("P1"), media=base64.b64encode(b"a picture's bytes").decode())
    )
    answer = await api.client.get(path)
    assert (answer.status_code, answer.content) == (200, b"a picture's bytes")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    stored.media = base64.b64encode(b"something else").decode()
    assert (await api.client.get(path)).content == b"a picture's bytes"
    assert (await api.client.head(path)).status_code == 200
    (file,) = api.media_cache.iterdir()
    assert api.media_cache.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    await api.sql("update zapline.messages set deleted_at = now() returning 1")
    assert (await api.get(path, 404))["code"] == "media_gone"


async def test_the_better_copy_is_fetched_from_inside_its_wrapper(api: Any) -> None:
    """2.3.x does not look into it: it is shown what is inside, as its own store describes it."""
    unit = await api.add_unit()
    await api.post(f"/units/{unit.id}/whatsapp/connect", {}, 202)
    await api.until(f"/units/{unit.id}/whatsapp/status", lambda status: status["qrCode"])
    parent = {"associationType": 10, "parentMessageKey": {"remoteJid": JID, "id": "P1"}}
    inside = picture("P2", width=4000)["message"] | {"messageContextInfo": {"messageAssociation": parent}}  # type: ignore[operator]
    better = picture("P2") | {"message": {"associatedChildMessage": {"message": inside}}}
    await api.send(unit, "messages.upsert", better | {"messageType": "associatedChildMessage"})
    path = await path_of(api, unit, picture("P1"))
    store = api.evolution.state.instances[unit.record.instance].messages
    store.add(StoredMessage("r1", picture("P1"), media=base64.b64encode(b"the small one").decode()))
    answer = await api.client.get(path)
    assert (answer.status_code, answer.content) == (200, b"the small one")
    better |= {"pushName": "Rita", "instanceId": "i", "source": "ios"}
    store.add(StoredMessage("r2", better, media=base64.b64encode(b"the better one").decode()))
    answer = await api.client.get(path)
    assert (answer.status_code, answer.content) == (200, b"the better one")


async def test_of_many_who_ask_at_once_one_fetches_and_four_files_at_most(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = await api.add_unit()
    fetches = Fetches(monkeypatch)
    paths = [await path_of(api, unit, picture(f"P{number}")) for number in range(6)]
    fetches.expected = 20
    answers = await get_all(api, paths[:1] * 20)
    assert {(answer.status_code, len(answer.content)) for answer in answers} == {(200, 600)}
    assert fetches.made == ["P0"]
    fetches.most_at_once, fetches.expected, fetches.together = 0, 25, 4
    assert {answer.status_code for answer in await get_all(api, paths[1:])} == {200}
    assert fetches.most_at_once == 4
    # 2048 bytes hold three files of a little more than 600.
    remaining = sum(file.stat().st_size for file in api.media_cache.iterdir())
    assert remaining <= 2048
    assert len(list(api.media_cache.iterdir())) == 3
    last = fetches.made[-1]
    await get_all(api, [paths[int(last[1:])]])
    assert len(fetches.made) == 6


async def test_a_failure_is_told_to_all_who_waited_and_the_next_one_tries_again(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = await api.add_unit()
    fetches = Fetches(monkeypatch)
    fetches.answer = NoAnswer("no answer within 30 s")
    path = await path_of(api, unit, picture("P1"))
    fetches.expected = 5
    answers = await get_all(api, [path] * 5)
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(502, "evolution_failed")}
    assert answers[0].json()["retryable"] is True
    assert "no_answer" in answers[0].json()["detail"]
    assert len(fetches.made) == 1
    fetches.answer = MediaGone("Message not found")
    assert (await api.get(path, 404))["code"] == "media_gone"
    fetches.answer = MediaContent("text/html", "x.html", b"<script>")
    answer = await api.client.get(path)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "x.html" in answer.headers["content-disposition"]
    assert len(fetches.made) == 3


async def test_a_damaged_file_is_fetched_again_and_a_full_disk_keeps_nobody_waiting(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = await api.add_unit()
    fetches = Fetches(monkeypatch)
    path = await path_of(api, unit, picture("P1"))
    await api.client.get(path)
    for damage in (b"", b"\xff" * 700, None):
        (file,) = api.media_cache.iterdir()
        file.write_bytes(damage) if damage is not None else file.write_bytes(file.read_bytes()[:-1])
        assert len((await api.client.get(path)).content) == 600
    assert len(fetches.made) == 4
    fetches.answer = MediaContent("image/png", None, b"y" * 4096)  # above the whole budget
    large = await path_of(api, unit, picture("P2"))
    assert len((await api.client.get(large)).content) == 4096
    assert list(api.media_cache.iterdir()) == []

    def refuse(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    assert len((await api.client.get(large)).content) == 4096
    assert list(api.media_cache.iterdir()) == []


async def test_what_has_no_file_is_not_there(api: Any) -> None:
    unit, other = await api.add_unit(), await api.add_unit("other")
    data = picture("T1") | {"message": {"conversation": "oi"}, "messageType": "conversation"}
    text = await path_of(api, unit, data)
    assert (await api.get(text, 404))["code"] == "no_media"
    assert (await api.get(f"/units/{unit.id}/messages/{uuid4()}/media", 404))["code"] == "message_not_found"
    path = await path_of(api, unit, picture("P1"))
    assert (await api.get(path.replace(str(unit.id), str(other.id)), 404))["code"] == "message_not_found"
    body = {"clientMessageId": "c1", "to": "5511999990001", "image": {"url": "https://93.184.216.34/x.jpg"}}
    message = await api.post(f"/units/{unit.id}/messages", body, 202)
    assert (await api.get(f"/units/{unit.id}/messages/{message['id']}/media", 404))["code"] == "media_not_sent"


def test_no_name_leaves_its_header_or_its_directory() -> None:
    for name, plain in [
        ("offer.pdf", "offer.pdf"),
        ('a"; x="b.pdf', "a__ x=_b.pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\r\nSet-Cookie: x=y.txt", "a__Set-Cookie_ x=y.txt"),
        ("preços.pdf", "pre_os.pdf"),
        ("", "file"),
        ("...", "file"),
        ("x" * 300 + ".pdf", "x" * 146 + ".pdf"),
    ]:
        header = attachment_header(name)
        assert header.startswith(f"attachment; filename=\"{plain}\"; filename*=UTF-8''"), name
        assert header.isascii()
        assert header.isprintable()
    assert attachment_header("preços.pdf").endswith("pre%C3%A7os.pdf")
