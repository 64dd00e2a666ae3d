"""The inbox's lists of conversations, merged ones as one, and the search for messages by their words."""

from datetime import timedelta
from unicodedata import normalize
from uuid import uuid4

from zapline.domain.ids import UnitId
from zapline.sql.conversations import conversations, inbox
from zapline.sql.conversations.message_search import Found, search_messages, search_units
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


SAID = (
    "AÇÃO e reação: informações às 15h",
    "Coração de mãe, São João",  # accents as letters and marks of their own
    "pedido order-4711/B do cliente nº 12.5",
    "Привет, Ёжик! ΚΑΛΗΜΕΡΑ Łódź Straße ＦＵＬＬ",
    "ok👍obrigada!!! https://exemplo.com.br/promoção?id=77",
    "x" * 3000 + " fim",
    "%_\\ '; drop table 'quoted':* & | ! <->",
    "שָׁלוֹם עולם",
)
FOUND = (
    ("acao", [0]), ("AÇÃO", [0]), ("reac", [0]), ("informacoes 15H", [0]), ("eação", []), ("e reação acao", [0]),
    ("coracao", [1]), ("corac\u0327a\u0303o", [1]), ("sao joão", [1]), ("mae", [1]),
    ("4711", [2]), ("order-4711", [2]), ("4711/b", [2]), ("12.5", [2]), ("471", [2]), ("711", []),
    ("привет", [3]), ("ЁЖИК", [3]), ("καλημέρα", [3]), ("LODZ", [3]), ("stras", [3]), ("full", [3]),
    ("ok", [4]), ("obrigad", [4]), ("promocao", [4]), ("👍", None), ("exemplo.com.br", [4]), ("id=77", [4]),
    ("x" * 60, [5]), ("fim", [5]), ("drop quoted", [6]), ("'quoted':*", [6]), ("%", None), ("& | !", None), ("", None),
    ("שלום", [7]), ("עולם", [7]), ("acao coracao", []), ("a b c d e f g h i j k l", []),
)  # fmt: skip
"""What is looked for, and the places of what is found; None: nothing to look for."""


async def test_messages_are_found_by_their_words_without_accents_in_their_own_unit_alone(database: str) -> None:
    async with await connect(database) as conn:
        units = [UnitId(uuid4()) for _ in range(2)]
        for unit in units:
            phone, lid = uuid4(), uuid4()
            await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="UTC")
            for statement in ROWS[:2]:
                canonical = {"unit": unit, "phone": phone, "lid": lid}
                await conn.execute(statement, canonical)
            for place, text in enumerate(SAID):
                said = normalize("NFD", text) if place == 1 else text
                await conn.execute(
                    "insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind,"
                    " kind_rank, body, origin, sent_at, received_at) values (gen_random_uuid(), %s, %s, 'evolution',"
                    " %s, false, 'text', 2, %s, 'live', now(), now())",
                    (unit, phone, str(place), said),
                )
        one, other = units
        async with Pool.open(database, size=1, role="zapline_api") as pool:

            async def found(text: str, unit: UnitId = one) -> list[int] | None:
                messages = await search_messages(pool, unit, text, None, 50)
                return None if messages is None else sorted(int(each.external_id or "") for each in messages.items)

            for text, places in FOUND:
                assert await found(text) == places, text
            every = await search_messages(pool, one, "e", None, 50)
            assert every is not None
            assert [each.external_id for each in every.items] == ["4", "0"], "the latest first"
            second = await search_messages(pool, one, "e", every.items[0].seq, 1)
            assert second is not None
            assert [each.id for each in second.items] == [every.items[1].id]
            listed = await search_units(pool, units, "acao", None, 50)
            assert listed is not None
            assert [each.unit_id for each in listed.items] == [other, one]
            assert {each.name for each in listed.items} == {None}
            assert await search_units(pool, [], "acao", None, 50) == Found([])
            assert await search_units(pool, units, "!", None, 50) is None
            # A search without patience says how far it has come, and goes on from there.
            await conn.execute("select setval(pg_get_serial_sequence('zapline.messages', 'seq'), 100000)")
            await conn.execute(
                "insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind,"
                " kind_rank, body, origin, sent_at, received_at) select gen_random_uuid(), unit_id, conversation_id,"
                " provider, 'far', false, 'text', 2, 'far', 'live', now(), now() from zapline.messages limit 1"
            )
            short = await search_units(pool, units, "acao", None, 50, patience=0.0)
            assert short is not None
            assert short.stop is not None
            assert (short.items, short.stop.at is not None) == ([], True)
            rest = await search_units(pool, units, "acao", short.stop.seq, 50)
            assert rest == Found(listed.items)
            await conn.execute("delete from zapline.messages where external_id = 'far'")
            changed = "where external_id = '0' and unit_id = %s"
            await conn.execute(
                f"update zapline.messages set edited_body = 'Correção', edited_at_ms = 1 {changed}", (one,)
            )
            assert [await found("acao"), await found("correcao")] == [[], [0]]
            await conn.execute(f"update zapline.messages set deleted_at = now() {changed}", (one,))
            assert await found("correcao") == []
            assert await found("acao", other) == [0]
            await conn.execute('update zapline.messages set media = \'{"fileName": "Orçamento.pdf"}\'')
            assert await found("orcamento pdf") == [1, 2, 3, 4, 5, 6, 7]
            await conn.execute("delete from zapline.messages where unit_id = %s", (one,))
            assert await found("mae") == []
            # By hand, with the other unit's id: the engine finds it, and the scope does not show it.
            ids = [row.id for row in await conn.fetch("select id from zapline.messages where unit_id = %s", (other,))]
            assert len(ids) == len(SAID)
            assert await conversations.list_messages(pool, one, ids) == []
