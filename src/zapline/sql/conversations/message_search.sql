-- Messages found by their words.

-- name: plain_words
-- The words of a text, as messages are found by them.
select array_remove(string_to_array(zapline.plain_words(%(text)s), ' '), '') as words;

-- name: find_span
-- The first and the last place in the order of arrival that a message of these units has; null where there is none.
select min(n.seq) as oldest, max(n.seq) as newest
  from unnest(%(units)s::uuid[]) as u(id)
 cross join lateral ((select m.seq from zapline.messages m where m.unit_id = u.id order by m.seq desc limit 1)
                     union all
                     (select m.seq from zapline.messages m where m.unit_id = u.id order by m.seq limit 1)) n;

-- name: find_ids
-- The ids of messages of these units that hold all words, the latest arrival first. There is a query for each part of the
-- order of arrival, the newest first; each is answered by the index of words, and no more of them than fill the page.
select f.id, f.seq
  from unnest(%(queries)s::text[]) as part(query)
 cross join lateral (
       select m.id, m.seq
         from zapline.messages m
        where zapline.message_words(m.unit_id, m.seq, m.kind, m.body, m.edited_body, m.edited_at_ms, m.deleted_at, m.media)
              @@ part.query::tsquery
          and m.unit_id = any(%(units)s::uuid[]) and m.seq < %(before_seq)s::bigint
        order by m.seq desc
        limit %(limit)s) f
 limit %(limit)s;

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
