"""Files of messages that a unit keeps: fetched on arrival until they are there or gone, and removed with them."""

import base64
import time
from pathlib import Path
from shutil import disk_usage
from typing import Any
from uuid import UUID, uuid4

import httpx2
import trio

from zapline.domain.ids import ExternalId, UnitId
from zapline.sandbox.simulator.state.message_store import StoredMessage
from zapline.sql.files.kept_files import FetchedFile, WantedFile
from zapline.supervisors.files.disk import FileDisk
from zapline.supervisors.files.policies import MAX_FILE

JID = "5511999990001@s.whatsapp.net"
CONTENT = bytes(range(256)) * 40
DAY = 86_400.0
ROUTE = "/chat/getBase64FromMediaMessage"


def picture(external_id: str, **media: object) -> dict[str, Any]:
    """Data of a messages.upsert."""
    return {
        "key": {"remoteJid": JID, "fromMe": False, "id": external_id},
        "message": {"imageMessage": {"mimetype": "image/png", **media}},
        "messageType": "imageMessage",
        "messageTimestamp": int(time.time()),
    }


def better_copy(external_id: str, of: str) -> dict[str, Any]:
    """Data of a messages.upsert: the same picture as in another message, in HD."""
    key = {"remoteJid": JID, "fromMe": False, "id": of}
    about = {"messageAssociation": {"associationType": "HD_IMAGE_DUAL_UPLOAD", "parentMessageKey": key}}
    inner = picture(external_id)["message"] | {"messageContextInfo": about}
    child = {"associatedChildMessage": {"message": inner}, "messageContextInfo": about}
    return picture(external_id) | {"message": child, "messageType": "associatedChildMessage"}


async def keeping(api: Any, **policy: object) -> Any:
    """A unit that keeps pictures, with an instance on the server."""
    unit = await api.add_unit()
    await api.post(f"/units/{unit.id}/whatsapp/connect", {}, 202)
    await api.until(f"/units/{unit.id}/whatsapp/status", lambda status: status["qrCode"])
    shown = await api.put(f"/units/{unit.id}/files", {"kinds": ["image"], **policy})
    assert shown["kinds"] == ["image"]
    return unit


async def arrive(api: Any, unit: Any, external_id: str, content: bytes | None = CONTENT, **media: object) -> str:
    """A picture arrives, which WhatsApp has if there is content; the message's path."""
    if content is not None:
        add_file(api, unit, external_id, content)
    await api.send(unit, "messages.upsert", picture(external_id, **media))
    message = (await api.get(f"/units/{unit.id}/messages"))["items"][-1]
    assert message["externalId"] == external_id
    api.feed.on_event(unit.id)
    return f"/units/{unit.id}/messages/{message['id']}"


def add_file(api: Any, unit: Any, external_id: str, content: bytes) -> None:
    store = api.evolution.state.instances[unit.record.instance].messages
    store.add(StoredMessage(external_id, picture(external_id), media=base64.b64encode(content).decode()))


async def until_state(api: Any, unit: Any, path: str, state: str) -> None:
    """Wait for the file's state, and let ten minutes pass with each look."""
    with trio.fail_after(120):
        while (await api.get(path))["fileState"] != state:
            api.files.pass_time(unit.id, 600)
            await trio.sleep(0.05)


async def until_empty(api: Any) -> None:
    with trio.fail_after(120):
        while api.files.on_disk():
            api.files.removal.wake()
            await trio.sleep(0.05)


async def test_a_file_that_arrives_while_evolution_is_away_is_there_afterwards(api: Any) -> None:
    unit = await keeping(api)
    api.evolution.inject_fault("refuse", path=ROUTE)
    path = await arrive(api, unit, "P1")
    with trio.fail_after(60):
        while not await api.sql("select 1 from zapline.kept_files where tries > 0"):  # noqa: ASYNC110 - it asks
            await trio.sleep(0.02)
    assert (await api.get(path))["fileState"] == "wanted"
    assert (await api.get(f"/units/{unit.id}/files"))["usage"]["waiting"] == 1
    api.evolution.clear_faults()
    await until_state(api, unit, path, "kept")
    usage = (await api.get(f"/units/{unit.id}/files"))["usage"]
    assert usage == {"files": 1, "bytes": len(CONTENT), "waiting": 0, "withoutRoom": 0, "gone": 0, "leftOut": 0}
    (file,) = api.files.on_disk()
    assert file.read_bytes() == CONTENT
    assert file.stat().st_mode & 0o777 == 0o600
    api.evolution.inject_fault("refuse", path=ROUTE)  # from here on it is read from disk alone
    whole = await api.client.get(f"{path}/media")
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, CONTENT, "image/png")
    tag = whole.headers["etag"]
    for asked, status, content in (
        ({"range": "bytes=5-9"}, 206, CONTENT[5:10]),
        ({"range": "bytes=10000-"}, 206, CONTENT[10000:]),
        ({"range": "bytes=-7"}, 206, CONTENT[-7:]),
        ({"range": "bytes=0-99999999", "if-range": tag}, 206, CONTENT),
        ({"range": "bytes=5-9", "if-range": '"another"'}, 200, CONTENT),
        *(({"range": text}, 200, CONTENT) for text in ("bytes=1-2,5-6", "bytes=9-5", "lines=1-2", "bytes=-")),
    ):
        part = await api.client.get(f"{path}/media", headers=asked)
        assert (part.status_code, part.content) == (status, content), asked
        assert part.headers["content-length"] == str(len(content))
    beyond = await api.client.get(f"{path}/media", headers={"range": f"bytes={len(CONTENT)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")
    assert beyond.json()["code"] == "range_not_satisfiable"
    await links_open_it_without_a_token(api, unit, path)
    await api.post(f"/units/{unit.id}/privacy/erasures", {"phone": "+5511999990001"}, 202)
    await api.until(f"/units/{unit.id}/privacy/erasures", lambda page: page["items"][0]["state"] == "done")
    assert api.files.on_disk() == [], "an erasure ends when its files are gone"


async def links_open_it_without_a_token(api: Any, unit: Any, path: str) -> None:
    link = await api.get(f"{path}/media/link", seconds=600)
    async with httpx2.AsyncClient(base_url=api.url, trust_env=False, timeout=60) as nobody:
        answer = await nobody.get(link["path"], headers={"range": "bytes=1-3"})
        assert (answer.status_code, answer.content) == (206, CONTENT[1:4])
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert "sandbox" in answer.headers["content-security-policy"]
        signed = link["path"].removeprefix("/files/")
        other = api.files.reader.link(UnitId(uuid4()), UUID(path.rpartition("/")[2]), 60)[0]
        for forged in (signed[:-1] + ("A" if signed[-1] != "A" else "B"), signed[1:], "x", "ä" * 9, other, signed * 2):
            refused = await nobody.get(f"/files/{forged}")
            assert (refused.status_code, refused.json()["code"]) == (404, "link_invalid"), forged
        api.files.passed += 601
        assert (await nobody.get(link["path"])).status_code == 404
    for seconds in ("0", "604801", "-1", "x"):
        await api.get(f"{path}/media/link", 422, seconds=seconds)


async def test_a_file_is_looked_for_until_it_is_gone_and_left_out_where_it_is_too_large(api: Any) -> None:
    unit = await keeping(api, maxBytes=5000, quotaBytes=15_000)
    lost = await arrive(api, unit, "P1", content=None)
    announced = await arrive(api, unit, "P2", fileLength="5001")
    await until_state(api, unit, announced, "left_out")
    await until_state(api, unit, lost, "gone")
    assert await api.sql("select denials from zapline.kept_files where state = 'gone'") == [(5,)]
    grown = await arrive(api, unit, "P3", content=bytes(5001))
    await until_state(api, unit, grown, "left_out")
    paths = [await arrive(api, unit, f"Q{number}", content=bytes(4000)) for number in range(4)]
    for path in paths[:3]:
        await until_state(api, unit, path, "kept")
    await api.until(f"/units/{unit.id}/files", lambda shown: shown["usage"]["withoutRoom"])
    await api.put(f"/units/{unit.id}/files", {"kinds": ["image"], "quotaBytes": 20_000, "maxBytes": 5000, "days": 3650})
    await until_state(api, unit, paths[3], "kept")
    assert len(api.files.on_disk()) == 4
    api.files.pass_time(unit.id, 3651 * DAY)
    await until_state(api, unit, paths[3], "left_out")
    await until_empty(api)
    await api.send(unit, "messages.upsert", better_copy("B1", "Q1"))
    assert await api.sql("select count(*) from zapline.kept_files where reason = 'expired'") == [(4,)]
    assert await api.sql("select distinct reason from zapline.kept_files where state = 'left_out' order by 1") == [
        ("expired",),
        ("too_large",),
    ]
    for wrong in (
        {"kinds": ["text"]},
        {"kinds": [], "quotaBytes": 2**40},
        {"kinds": [], "maxBytes": 9, "quotaBytes": 8},
    ):
        assert (await api.put(f"/units/{unit.id}/files", wrong, 422))["code"] == "invalid_request"


async def test_what_is_deleted_for_everyone_or_may_be_seen_once_is_not_kept(api: Any) -> None:
    unit = await keeping(api)
    once = picture("V1")
    await api.send(unit, "messages.upsert", once | {"message": {"viewOnceMessageV2": {"message": once["message"]}}})
    sent = await arrive(api, unit, "P1")
    await until_state(api, unit, sent, "kept")
    assert await api.sql("select count(*) from zapline.kept_files") == [(1,)]
    await a_better_copy_replaces_it_once_it_is_there(api, unit, sent)
    deletion = {"key": {"remoteJid": JID, "fromMe": False, "id": "P1"}, "remoteJid": JID, "id": "P1", "fromMe": False}
    await api.send(unit, "messages.delete", deletion)
    await until_empty(api)
    assert (await api.get(f"{sent}/media", 404))["code"] == "media_gone"


async def a_better_copy_replaces_it_once_it_is_there(api: Any, unit: Any, path: str) -> None:
    better = bytes(7000)
    api.evolution.inject_fault("refuse", path=ROUTE)
    await api.send(unit, "messages.upsert", better_copy("P2", "P1"))
    api.feed.on_event(unit.id)
    with trio.fail_after(120):
        waits = "select 1 from zapline.kept_files where better is not null and tries > 0"
        while not await api.sql(waits):  # noqa: ASYNC110 - it asks
            await trio.sleep(0.02)
    usage = (await api.get(f"/units/{unit.id}/files"))["usage"]
    assert (usage["files"], usage["bytes"], usage["waiting"]) == (1, len(CONTENT), 1)
    assert (await api.get(path))["fileState"] == "kept"
    assert (await api.client.get(f"{path}/media")).content == CONTENT, "the earlier one stays until then"
    add_file(api, unit, "P2", better)
    api.evolution.clear_faults()
    with trio.fail_after(120):
        while not await api.sql("select 1 from zapline.kept_files where better is null and size = 7000"):
            api.files.pass_time(unit.id, 600)
            await trio.sleep(0.05)
        while len(api.files.on_disk()) > 1:
            api.files.removal.wake()
            await trio.sleep(0.05)
    (file,) = api.files.on_disk()
    assert await trio.Path(file).read_bytes() == better
    assert (await api.client.get(f"{path}/media")).content == better


def begun_by_an_earlier_process(disk: FileDisk, unit: UnitId) -> Path:
    path = disk.path(unit, uuid4())
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(path.name + ".part")


async def test_what_a_crash_leaves_behind_is_swept_and_files_of_others_are_not(api: Any, tmp_path: Path) -> None:
    unit = await keeping(api)
    path = await arrive(api, unit, "P1")
    await until_state(api, unit, path, "kept")
    (kept,) = api.files.on_disk()
    disk: FileDisk = api.files.disk
    for owner in (unit.id, UnitId(uuid4())):
        draft = disk.draft(owner, uuid4())
        draft.write(b"nobody knows it")
        draft.commit()
    begun = disk.draft(unit.id, uuid4())
    begun.write(b"half")
    (stranger,) = [file for file in api.files.on_disk() if str(unit.id) not in str(file)]
    (earlier := begun_by_an_earlier_process(disk, unit.id)).touch()
    await api.files.removal.sweep()
    assert kept in api.files.on_disk()
    assert stranger in api.files.on_disk()
    assert not earlier.exists()
    assert len(api.files.on_disk()) == 3
    begun.discard()
    kept.unlink()
    answer = await api.client.get(f"{path}/media")
    assert (answer.status_code, answer.content) == (200, CONTENT), "it is fetched again as long as WhatsApp has it"
    await what_is_fetched_once_more_stays_kept(api, unit, path, kept)
    await a_file_that_is_too_large_for_the_disk_stops_no_other(api, unit)


async def what_is_fetched_once_more_stays_kept(api: Any, unit: Any, path: str, kept: Path) -> None:
    await trio.Path(kept).write_bytes(CONTENT)
    stale = WantedFile(
        UUID(path.rpartition("/")[2]), unit.id, UUID(kept.name), 0, 0, ExternalId("P1"), None, None, 2**20, 2**30, 0, 0
    )
    await api.files.keeper._note_fetched(stale, FetchedFile(len(CONTENT), bytes(32), None, None))
    assert await trio.Path(kept).read_bytes() == CONTENT


async def a_file_that_is_too_large_for_the_disk_stops_no_other(api: Any, unit: Any) -> None:
    await api.put(f"/units/{unit.id}/files", {"kinds": ["image"], "maxBytes": MAX_FILE, "quotaBytes": 2**32})
    api.files.disk._reserve = disk_usage(api.files.disk.root).free - MAX_FILE // 2
    await arrive(api, unit, "L1", fileLength=str(MAX_FILE))
    with trio.fail_after(120):
        while not await api.sql("select 1 from zapline.kept_files where reason = 'disk'"):  # noqa: ASYNC110 - it asks
            await trio.sleep(0.02)
    small = await arrive(api, unit, "L2")
    with trio.fail_after(120):
        while (await api.get(small))["fileState"] != "kept":  # noqa: ASYNC110 - it asks as a caller would
            await trio.sleep(0.05)
    assert not api.files.keeper.disk_full
