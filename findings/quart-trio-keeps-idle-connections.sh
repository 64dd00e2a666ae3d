#!/usr/bin/env bash
# hypercorn closes a connection on which no request has come for keep_alive_timeout seconds.
# Expected: it does so for every ASGI application.
# Happens: behind quart-trio the connection stays open. At the end of a response hypercorn sends http.disconnect, upon which quart-trio cancels
# the nursery in which hypercorn's own clean-up of that request is still running, so the timer for the idle connection is never started.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check trio==0.35.0 hypercorn==0.18.0 quart==0.22.0 quart-trio==0.12.0
cat > "$dir/run.py" <<'PY'
import sys
from functools import partial
from importlib.metadata import version

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio

IDLE = 0.5
app = QuartTrio("app")


@app.get("/")
async def hello():
    return "hello"


async def bare(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def closed_when_idle(application):
    """Whether the server has closed a kept connection ten idle times after its answer."""
    config = Config()
    config.bind, config.keep_alive_timeout, config.graceful_timeout = ["127.0.0.1:0"], IDLE, 0.1
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve, application, config, shutdown_trigger=trio.sleep_forever))
        host, _, port = url.removeprefix("http://").partition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        got, closed = b"", False
        with trio.move_on_after(IDLE * 10):
            while not closed:
                part = await stream.receive_some()
                got, closed = got + part, not part
        assert got.startswith(b"HTTP/1.1 200"), got
        await stream.aclose()
        nursery.cancel_scope.cancel()
    return closed


seen = {name: trio.run(closed_when_idle, each) for name, each in (("bare ASGI", bare), ("quart-trio", app))}
print(f"hypercorn {version('hypercorn')}, quart-trio {version('quart-trio')}: closed when idle: {seen}")
sys.exit(seen != {"bare ASGI": True, "quart-trio": False})
PY
"$dir/venv/bin/python" "$dir/run.py"
