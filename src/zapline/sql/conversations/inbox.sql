-- What the console shows of conversations. Row level security sees to it that only the rows of the unit set for the
-- transaction come back; the statements name the unit all the same, for the indexes.

-- name: list_chats
-- A page of conversations, the latest message first, read by the index of recency. Of all that are merged into one,
-- the part with the latest message stands for it; the others are marked as shadowed, and are no entries of their own.
with latest as (
    select c.id as part, coalesce(c.merged_into, c.id) as root, c.last_message_at
      from zapline.conversations c
     where c.unit_id = %(unit_id)s and c.last_message_at is not null
       and c.last_message_at <= coalesce(%(before_at)s::timestamptz, 'infinity')
       and (%(before_at)s::timestamptz is null
            or c.last_message_at < %(before_at)s or c.id > %(before_id)s::uuid)
     order by c.last_message_at desc, c.id
     limit %(limit)s)
select l.part, l.root, l.last_message_at, k.kind, k.canonical, k.phone, coalesce(k.name, named.name) as name,
       said.id as message, said.from_me, said.kind as said_kind, said.text, said.deleted, said.sender_name,
       said.delivery::text, said.work_state, unread.messages as unread,
       exists (select from zapline.conversations o
                where (o.id = l.root or o.merged_into = l.root) and o.id <> l.part
                  and (o.last_message_at > l.last_message_at
                       or (o.last_message_at = l.last_message_at and o.id < l.part))) as shadowed
  from latest l
  join zapline.conversations r on r.id = l.root
  join zapline.contacts k on k.id = r.contact_id
  left join lateral (
       select pk.name from zapline.conversations p
         join zapline.contacts pk on pk.id = p.contact_id
        where p.merged_into = l.root and pk.name is not null
        order by pk.name_at desc nulls last limit 1) named on k.name is null
  left join lateral (
       select m.id, m.from_me, m.kind, left(case when m.deleted_at is not null then null
                                                 when m.edited_at_ms is not null then m.edited_body
                                                 else m.body end, %(longest)s) as text,
              m.deleted_at is not null as deleted, m.sender_name, m.delivery, o.state as work_state
         from zapline.conversations p
        cross join lateral (
              select * from zapline.messages n
               where n.conversation_id = p.id and n.kind <> 'reaction'
               order by n.sent_at desc, n.seq desc limit 1) m
         left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
        where p.unit_id = %(unit_id)s and (p.id = l.root or p.merged_into = l.root)
        order by m.sent_at desc, m.seq desc limit 1) said on true
  left join lateral (
       select count(*) as messages
         from (select n.from_me, n.seq, bool_or(n.from_me) over (order by n.sent_at desc, n.seq desc) as answered
                 from zapline.conversations p
                cross join lateral (
                      select * from zapline.messages x
                       where x.conversation_id = p.id and x.kind <> 'reaction'
                       order by x.sent_at desc, x.seq desc limit %(most_unread)s) n
                where not said.from_me and p.unit_id = %(unit_id)s and (p.id = l.root or p.merged_into = l.root)) seen
        where not seen.answered and seen.seq > r.read_up_to) unread on true
 order by l.last_message_at desc, l.part;

-- name: search_chats
-- The latest conversations with somebody whose name holds these words or whose phone these digits; as ``list_chats``.
with known as materialized (
    select k.id from zapline.contacts k
     where k.unit_id = %(unit_id)s and (k.plain_name like %(words)s or k.phone like %(digits)s)),
latest as (
    select distinct on (coalesce(f.merged_into, f.id)) f.id as part, coalesce(f.merged_into, f.id) as root,
           f.last_message_at
      from (select c.id, c.merged_into, c.last_message_at
              from known
              join zapline.conversations c on c.contact_id = known.id and c.unit_id = %(unit_id)s
             where c.last_message_at is not null
             order by c.last_message_at desc, c.id
             limit %(limit)s) f
     order by coalesce(f.merged_into, f.id), f.last_message_at desc, f.id)
select l.part, l.root, l.last_message_at, k.kind, k.canonical, k.phone, coalesce(k.name, named.name) as name,
       said.id as message, said.from_me, said.kind as said_kind, said.text, said.deleted, said.sender_name,
       said.delivery::text, said.work_state, unread.messages as unread,
       false as shadowed
  from latest l
  join zapline.conversations r on r.id = l.root
  join zapline.contacts k on k.id = r.contact_id
  left join lateral (
       select pk.name from zapline.conversations p
         join zapline.contacts pk on pk.id = p.contact_id
        where p.merged_into = l.root and pk.name is not null
        order by pk.name_at desc nulls last limit 1) named on k.name is null
  left join lateral (
       select m.id, m.from_me, m.kind, left(case when m.deleted_at is not null then null
                                                 when m.edited_at_ms is not null then m.edited_body
                                                 else m.body end, %(longest)s) as text,
              m.deleted_at is not null as deleted, m.sender_name, m.delivery, o.state as work_state
         from zapline.conversations p
        cross join lateral (
              select * from zapline.messages n
               where n.conversation_id = p.id and n.kind <> 'reaction'
               order by n.sent_at desc, n.seq desc limit 1) m
         left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
        where p.unit_id = %(unit_id)s and (p.id = l.root or p.merged_into = l.root)
        order by m.sent_at desc, m.seq desc limit 1) said on true
  left join lateral (
       select count(*) as messages
         from (select n.from_me, n.seq, bool_or(n.from_me) over (order by n.sent_at desc, n.seq desc) as answered
                 from zapline.conversations p
                cross join lateral (
                      select * from zapline.messages x
                       where x.conversation_id = p.id and x.kind <> 'reaction'
                       order by x.sent_at desc, x.seq desc limit %(most_unread)s) n
                where not said.from_me and p.unit_id = %(unit_id)s and (p.id = l.root or p.merged_into = l.root)) seen
        where not seen.answered and seen.seq > r.read_up_to) unread on true
 order by l.last_message_at desc, l.part;

-- name: find_chat
-- Whom a conversation is with, its name also as one of those merged into it told it, and how far it was read.
select r.id, k.kind, k.canonical, k.phone, coalesce(k.lid, p.lid) as lid, coalesce(k.name, p.name) as name, r.read_up_to
  from zapline.conversations c
  join zapline.conversations r on r.id = coalesce(c.merged_into, c.id)
  join zapline.contacts k on k.id = r.contact_id
  left join lateral (
       select max(pk.lid) as lid,
              (array_agg(pk.name order by pk.name_at desc nulls last) filter (where pk.name is not null))[1] as name
         from zapline.conversations m
         join zapline.contacts pk on pk.id = m.contact_id
        where m.merged_into = r.id) p on true
 where c.unit_id = %(unit_id)s and c.id = %(conversation_id)s;

-- name: quoted
-- Messages by WhatsApp's ids, as far as a quotation shows them.
select m.external_id, m.id, m.from_me, m.kind, m.sender_name,
       left(case when m.deleted_at is not null then null
                 when m.edited_at_ms is not null then m.edited_body else m.body end, %(longest)s) as text,
       m.deleted_at is not null as deleted
  from zapline.messages m
 where m.unit_id = %(unit_id)s and m.provider = %(provider)s and m.external_id = any(%(ids)s);

-- name: works
-- The work on messages that are not settled: why they failed, when they are due.
select o.message_id, o.state, o.failure, o.due_at, o.twice
  from zapline.outbox o
 where o.unit_id = %(unit_id)s and o.message_id = any(%(ids)s);
