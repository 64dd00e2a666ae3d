"""Uploads over HTTP: taken whole and bounded, then sent by their id."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import trio

from zapline.http.api.messages.uploads import MAX_UPLOAD, UploadRoutes
from zapline.sql.outbound.uploads import load_upload_bytes


async def test_an_uploaded_file_is_kept_and_can_be_sent_by_its_own_unit(api: Any) -> None:
    unit, other = await api.add_unit(), await api.add_unit("other")
    data = bytes(range(256)) * 20_000  # more than the API takes elsewhere
    path = f"/units/{unit.id}/uploads"
    answer = await api.client.post(
        path,
        content=data,
        params={"fileName": "tabela de preços.pdf"},
        headers={"Content-Type": "Application/PDF; a=b"},
    )
    created = answer.json()
    assert answer.status_code == 201
    assert {name: value for name, value in created.items() if name != "id"} == {
        "size": len(data),
        "sha256": sha256(data).hexdigest(),
        "mimetype": "application/pdf",
        "fileName": "tabela de preços.pdf",
    }
    assert await load_upload_bytes(api.engine_pool, UUID(created["id"])) == data
    assert await load_upload_bytes(api.engine_pool, uuid4()) is None
    body = {"clientMessageId": "c1", "to": "5511999990001", "document": {"upload": created["id"], "caption": "veja"}}
    message = await api.post(f"/units/{unit.id}/messages", body, 202)
    assert message["media"]["fileName"] == "tabela de preços.pdf"
    assert (message["media"]["mimetype"], message["media"]["size"]) == ("application/pdf", len(data))
    (row,) = await api.sql("select content from zapline.outbox")
    assert row.content["content"]["upload"] == created["id"]
    assert row.content["content"]["fileName"] == "tabela de preços.pdf"
    stranger = await api.post(f"/units/{other.id}/messages", body, 422)
    assert (stranger["code"], stranger["errors"][0]["field"]) == ("upload_not_found", "document.upload")


async def test_what_is_no_upload_is_refused(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/uploads"
    assert (await api.client.post(path, content=b"")).json()["errors"][0]["field"] == "body"
    for name in ("../../etc/passwd", "a\\b", "..", "a\nb", "x" * 256):
        answer = await api.client.post(path, content=b"x", params={"fileName": name})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "fileName"), name
    answer = await api.client.post(path, content=b"x", headers={"Content-Type": "no type"})
    assert answer.json()["errors"][0]["field"] == "Content-Type"
    answer = await api.client.post(path, content=b"x")
    assert (answer.status_code, answer.json()["mimetype"]) == (201, "application/octet-stream")
    for declared in (True, False):

        async def chunks() -> Any:
            for _ in range(MAX_UPLOAD // 2**20 + 1):
                yield b" " * 2**20

        content = b" " * (MAX_UPLOAD + 1) if declared else chunks()
        answer = await api.client.post(path, content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    # The other addresses keep their own bound.
    answer = await api.client.post(f"/units/{unit.id}/messages", content=b" " * (2**20 + 1))
    assert answer.status_code == 413
    assert (await api.client.post(f"/units/{uuid4()}/uploads", content=b"x")).status_code == 404
    del api.client.headers["authorization"]
    assert (await api.client.post(path, content=b"x")).status_code == 401


async def test_a_third_upload_of_a_unit_and_a_fifth_of_all_at_a_time_must_come_again(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"/units/{(await api.add_unit(name)).id}/uploads" for name in ("one", "two", "three")]
    go_on, statuses, inside = trio.Event(), [], []
    take_slot = UploadRoutes._slot

    @contextmanager
    def noting(routes: UploadRoutes, unit: Any) -> Iterator[None]:
        with take_slot(routes, unit):
            inside.append(unit)
            yield

    monkeypatch.setattr(UploadRoutes, "_slot", noting)

    async def slowly(path: str) -> None:
        async def chunks() -> Any:
            yield b"x"
            await go_on.wait()
            yield b"y"

        statuses.append((await api.client.post(path, content=chunks())).status_code)

    async def upload(path: str) -> tuple[int, bool]:
        answer = await api.client.post(path, content=b"x")
        return answer.status_code, answer.json().get("retryable", False)

    async with trio.open_nursery() as nursery:
        for path, reached in ((paths[0], 2), (paths[1], 5)):
            for _ in range(2):
                nursery.start_soon(slowly, path)
            with trio.fail_after(30):
                while len(inside) < reached:  # noqa: ASYNC110 - the routes tell nobody
                    await trio.sleep(0.01)
            assert await upload(path) == (503, True)
            if path == paths[0]:
                assert await upload(paths[1]) == (201, False)
        assert await upload(paths[2]) == (503, True)
        go_on.set()
    assert statuses == [201] * 4
    assert (await api.client.post(paths[0], content=msgspec.json.encode({}))).status_code == 201
