"""A file of a hundred MiB comes over a real socket, is decoded and written to disk, and is never in memory whole."""

import base64
import hashlib
import tracemalloc
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from zapline.domain.ids import ExternalId, UnitId
from zapline.evolution.client.media_stream import LargerThanWanted, stream_media
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.supervisors.files.disk import FileDisk

BLOCK = bytes(range(256)) * 3072
BLOCKS = 134
SIZE = len(BLOCK) * BLOCKS
MIB = 1024 * 1024
MOST_MEMORY = 24 * MIB


async def serve(stream: trio.SocketStream) -> None:
    """Answer one request as Evolution does, block by block."""
    before, after = b'{"mediaType":"documentMessage","mimetype":"application/pdf","base64":"', b'","buffer":null}'
    encoded = base64.b64encode(BLOCK)
    async with stream:
        received = b""
        while b"\r\n\r\n" not in received:
            received += await stream.receive_some()
        length = len(before) + len(encoded) * BLOCKS + len(after)
        try:
            await stream.send_all(b"HTTP/1.1 201 Created\r\ncontent-length: %d\r\n\r\n%s" % (length, before))
            for _ in range(BLOCKS):
                await stream.send_all(encoded)
            await stream.send_all(after)
        except trio.BrokenResourceError:
            pass  # the client has had enough


@pytest.mark.long
async def test_a_hundred_mib_pass_in_bounded_memory(tmp_path: Path) -> None:
    disk, unit, name = FileDisk(tmp_path / "files", reserve=0), UnitId(uuid4()), uuid4()
    async with trio.open_nursery() as nursery, open_http_client() as http:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        evolution = EvolutionClient(http, f"http://127.0.0.1:{listener.socket.getsockname()[1]}", "k")
        draft = disk.draft(unit, name)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        with trio.fail_after(600):
            told = await stream_media(evolution, "loja", ExternalId("F1"), draft.write, SIZE)
            digest = draft.commit()
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        small = disk.draft(unit, uuid4())
        with trio.fail_after(600), pytest.raises(LargerThanWanted):
            await stream_media(evolution, "loja", ExternalId("F1"), small.write, 5 * MIB)
        small.discard()
        nursery.cancel_scope.cancel()
    print(f"{SIZE / MIB:.1f} MiB in {peak / MIB:.1f} MiB of memory at most")
    assert peak < MOST_MEMORY
    assert (told.size, told.mimetype) == (SIZE, "application/pdf")
    expected = hashlib.sha256()
    for _ in range(BLOCKS):
        expected.update(BLOCK)
    assert digest == expected.digest()
    assert [path.stat().st_size for path in disk.root.rglob("*") if path.is_file()] == [SIZE]
