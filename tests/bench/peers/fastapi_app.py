"""Stores each webhook before its 200, as one would write it without Zapline: FastAPI, uvicorn and asyncpg.

It runs in an environment of its own (``requirements.lock``): ``python fastapi_app.py DATABASE_URL PORT``.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvicorn
from fastapi import FastAPI

TABLE = "create table if not exists peer_messages (instance text, id text, body jsonb, primary key (instance, id))"
INSERT = "insert into peer_messages values ($1, $2, $3) on conflict do nothing"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(sys.argv[1], min_size=8, max_size=8) as pool:
        await pool.execute(TABLE)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/{rest:path}")
async def store(rest: str, body: dict[str, Any]) -> dict[str, Any]:
    await app.state.pool.execute(INSERT, body["instance"], body["data"]["key"]["id"], json.dumps(body))
    return {}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=False, log_level="warning")
