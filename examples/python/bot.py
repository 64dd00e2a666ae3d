"""A bot that answers each text once, whatever ends and comes again: this program, Zapline, the network.

    ZAPLINE_URL=... ZAPLINE_TOKEN=... ZAPLINE_UNIT=... python bot.py

The place up to which it has answered stands in the file ``bot.seq``; without it the bot begins with what comes now.
What Zapline cannot do now is asked for again; the bot goes on only past what will never be done.
"""

import os
from functools import partial

import anyio

from zapline_client import AsyncZapline, Unanswered, ZaplineProblem, models

PLACE = anyio.Path(os.environ.get("BOT_PLACE", "bot.seq"))
PAUSE = 5.0
"""Seconds until what could not be done is asked for again."""
HOURS = "We are open from 9 to 18. Write 'human' to talk to a person."


def answer_to(text: str) -> str | None:
    """What is answered; None where a person has to."""
    return None if "human" in text.lower() else HOURS


async def newest(client: AsyncZapline, unit: str) -> int:
    """The place of the last message there is."""
    seq = 0
    async for message in client.messages_since(unit):
        seq = message["seq"]
    return seq


async def answer(client: AsyncZapline, unit: str, message: models.Message) -> None:
    """Answer one message. Its own id is in the name of the answer, so that it is sent once even if this runs twice."""
    if message["fromMe"] or message["kind"] != "text":
        return
    told = answer_to(message["text"] or "")
    if told is None:
        return
    try:
        await client.send_message(
            unit,
            {
                "clientMessageId": f"answer-to-{message['id']}",
                "conversationId": message["conversationId"],
                "text": told,
                "replyTo": message["id"],
            },
        )
    except ZaplineProblem as problem:
        if may_pass(problem) or problem.status in (401, 403):
            raise
        print(f"no answer to {message['id']}: {problem}", flush=True)


def may_pass(problem: ZaplineProblem) -> bool:
    """Whether the same may succeed later: it cannot be done now, or nobody knows what became of it."""
    return problem.retryable or problem.code == "outcome_unknown"


async def keep(seq: int) -> None:
    """Write the place down, so that the file holds the old one or the new one, whenever this program ends."""
    written = PLACE.with_name(PLACE.name + ".new")
    await written.write_text(str(seq))
    await written.replace(PLACE)


async def catch_up(client: AsyncZapline, unit: str, seq: int) -> int:
    """Answer all that has arrived behind this place; the new place. What cannot be done now is asked again."""
    while True:
        try:
            async for message in client.messages_since(unit, seq):
                await answer(client, unit, message)
                seq = message["seq"]
                await keep(seq)
            return seq
        except (ZaplineProblem, Unanswered) as error:
            if isinstance(error, ZaplineProblem) and not may_pass(error):
                raise
            print(f"asking again: {error}", flush=True)
            wait = error.retry_after if isinstance(error, ZaplineProblem) else None
            await anyio.sleep(max(PAUSE, wait or 0.0))


async def run(url: str, token: str, unit: str) -> None:
    """Look on live; each event only says that it is worth asking for what has arrived, so none can be missed."""
    async with AsyncZapline(url, token) as client:
        seq = int(await PLACE.read_text()) if await PLACE.exists() else await newest(client, unit)
        await keep(seq)
        async with client.events(unit) as events:
            async for event in events:
                if event.kind == "hello":
                    print("looking on", flush=True)
                if event.kind in ("hello", "message", "reset"):
                    seq = await catch_up(client, unit, seq)


if __name__ == "__main__":
    settings = (os.environ[name] for name in ("ZAPLINE_URL", "ZAPLINE_TOKEN", "ZAPLINE_UNIT"))
    anyio.run(partial(run, *settings), backend=os.environ.get("BOT_BACKEND", "asyncio"))
