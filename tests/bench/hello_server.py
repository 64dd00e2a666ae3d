"""Serves the baseline: a bare ASGI application on hypercorn that reads a body and returns hello. Prints its port."""

import sys
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def main() -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(serve, hello, config)
        sys.stdout.write(f"{bound[0].rpartition(':')[2]}\n")
        sys.stdout.flush()


trio.run(main)
