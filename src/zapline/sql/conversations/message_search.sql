-- Messages found by their words.

-- name: plain_words
-- The words of a text, as messages are found by them; and whether the index of words can be used by now.
select array_remove(string_to_array(zapline.plain_words(%(text)s), ' '), '') as words,
       exists (select from pg_index i
                where i.indexrelid = to_regclass('zapline.messages_by_words') and i.indisvalid) as ready;

-- name: find_span
-- The first and the last place in the order of arrival that a message of these units has; null where there is none.
select min(n.seq) as oldest, max(n.seq) as newest
  from unnest(%(units)s::uuid[]) as u(id)
 cross join lateral ((select m.seq from zapline.messages m where m.unit_id = u.id order by m.seq desc limit 1)
                     union all
                     (select m.seq from zapline.messages m where m.unit_id = u.id order by m.seq limit 1)) n;

-- name: find_ids
-- The ids of messages that hold all words, the latest arrival first. There is a query for each unit and part of the order of
-- arrival; each is one look-up in the index of words, which PostgreSQL must not leave aside for the sake of the order.
select f.id, f.seq
  from unnest(%(units)s::uuid[], %(queries)s::text[]) as asked(unit_id, query)
 cross join lateral (
       select x.id, x.seq
         from (select m.id, m.seq, m.unit_id
                 from zapline.messages m
                where zapline.message_words(m.unit_id, m.seq, m.kind, m.body, m.edited_body, m.edited_at_ms, m.deleted_at,
                                            m.media) @@ asked.query::tsquery
                  and m.unit_id = any(%(units)s::uuid[])
               offset 0) x
        where x.unit_id = asked.unit_id and x.seq < %(before_seq)s::bigint
        order by x.seq desc
        limit %(limit)s) f
 order by f.seq desc
 limit %(limit)s;

-- name: find_time
-- When the first message of these units arrived that has this place in the order of arrival, or a later one.
select n.received_at
  from unnest(%(units)s::uuid[]) as u(id)
 cross join lateral (select m.seq, m.received_at from zapline.messages m
                      where m.unit_id = u.id and m.seq >= %(after_seq)s::bigint order by m.seq limit 1) n
 order by n.seq
 limit 1;

-- name: list_shown
-- Messages of several units, the latest arrival first, with the columns of a list: whose conversation it is, and the text.
select m.id, m.unit_id, m.seq, m.sent_at, m.from_me, m.kind, m.sender_name,
       left(case when m.edited_at_ms is not null then m.edited_body else m.body end, %(longest)s) as text,
       coalesce(c.merged_into, c.id) as conversation_id, k.kind as chat_kind, k.canonical, k.phone, k.name, k.username
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  join zapline.conversations r on r.id = case when c.merged_into is null then c.id else c.merged_into end
  join zapline.contacts k on k.id = r.contact_id
 where m.id = any(%(ids)s) and m.unit_id = any(%(units)s) and m.deleted_at is null
 order by m.seq desc;
