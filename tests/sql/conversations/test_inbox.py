"""The inbox's lists of conversations: merged ones count as one, with the last message and the unread count."""

from datetime import timedelta
from uuid import uuid4

from zapline.domain.ids import UnitId
from zapline.sql.conversations import conversations, inbox
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import insert_unit

ROWS = (
    "insert into zapline.contacts (id, unit_id, kind, canonical, phone, name) values"
    " (%(phone)s, %(unit)s, 'person', '+551130000001', '+551130000001', null),"
    " (%(lid)s, %(unit)s, 'person', 'lid:1', null, 'Zé da Silva')",
    "insert into zapline.conversations (id, unit_id, contact_id, last_message_at, merged_into) values"
    " (%(phone)s, %(unit)s, %(phone)s, now() - interval '1 hour', null),"
    " (%(lid)s, %(unit)s, %(lid)s, now(), %(phone)s)",
    "insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind, kind_rank, body,"
    " origin, sent_at, received_at) select gen_random_uuid(), %(unit)s, c.id, 'evolution', c.id || '-' || n, false,"
    " 'text', 2, 'text ' || n, 'live', c.last_message_at, now() from zapline.conversations c, generate_series(1, 2) n",
)


async def test_lists_and_searches_show_merged_conversations_as_one(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, phone, lid = UnitId(uuid4()), uuid4(), uuid4()
        await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="UTC")
        for statement in ROWS:
            await conn.execute(statement, {"unit": unit, "phone": phone, "lid": lid})
    async with Pool.open(database, size=1, role="zapline_api") as pool:
        chats = await inbox.list_chats(pool, unit, None, 10)
        assert [(chat.member, chat.id, chat.superseded) for chat in chats] == [
            (lid, phone, False),
            (phone, phone, True),
        ]
        assert (await inbox.list_chats(pool, unit, (chats[0].last_message_at, lid), 10)) == chats[1:]
        assert await inbox.search_chats(pool, unit, "silva", 10) == chats[:1]
        assert [chat.member for chat in await inbox.search_chats(pool, unit, "(11) 3000-0001", 10)] == [phone]
        assert await inbox.search_chats(pool, unit, "souza", 10) == []
        assert await inbox.search_chats(pool, unit, "silva", 1) == chats[:1]  # found among the newest
        whole = await conversations.list_conversations(pool, unit, None, 10)
        assert [(each.id, each.last_message_at, each.name) for each in whole] == [
            (phone, chats[0].last_message_at, "Zé da Silva")
        ]
        at = chats[0].last_message_at
        assert await conversations.list_conversations(pool, unit, (at, phone), 10) == []
        assert await conversations.list_conversations(pool, unit, (at + timedelta(seconds=1), phone), 10) == whole
        ms = at.replace(microsecond=at.microsecond // 1000 * 1000)
        assert await conversations.list_conversations(pool, unit, None, 10, ms) == []
        assert await conversations.list_conversations(pool, unit, None, 10, ms - timedelta(milliseconds=1)) == whole
        latest = chats[0]
        assert (latest.name, latest.text, latest.message_kind, latest.unread) == ("Zé da Silva", "text 2", "text", 4)
