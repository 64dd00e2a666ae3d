-- Conversations for the console's inbox. Row level security limits the rows to the unit of the transaction; the
-- statements name the unit nevertheless, for the indexes.

-- fragment: chat_columns
-- The columns of a chat in a list; whether it is superseded follows.
select l.part, l.root, l.last_message_at, k.kind, k.canonical, k.phone, coalesce(named.name, k.name) as name,
       coalesce(k.username, called.username) as username,
       newest.id as message, newest.from_me, newest.kind as message_kind, newest.text, newest.deleted, newest.sender_name,
       newest.delivery::text, newest.work_state, unread.messages as unread,

-- fragment: chat_sources
-- The contact of each chat in `latest`, its last message and the number of its unread messages.
from latest l
  join zapline.conversations r on r.id = l.root
  join zapline.contacts k on k.id = r.contact_id
  left join lateral (
       select pk.name from zapline.conversations p
         join zapline.contacts pk on pk.id = p.contact_id
        where p.merged_into = l.root and pk.name is not null
          and (k.name is null or pk.name_at > k.name_at)
        order by pk.name_at desc nulls last limit 1) named on true
  left join lateral (
       select pk.username from zapline.conversations p
         join zapline.contacts pk on pk.id = p.contact_id
        where p.merged_into = l.root and pk.username is not null
        order by pk.username_at desc limit 1) called on k.username is null
  left join lateral (
       select m.id, m.from_me, m.kind, left(case when m.deleted_at is not null then null
                                                 when m.edited_at_ms is not null then m.edited_body
                                                 else m.body end, %(longest)s) as text,
              m.deleted_at is not null as deleted, m.sender_name,
              case when m.from_me then m.delivery end as delivery, o.state as work_state
         from zapline.conversations p
        cross join lateral (
              select * from zapline.messages n
               where n.conversation_id = p.id and n.kind <> 'reaction'
               order by n.sent_at desc, n.seq desc limit 1) m
         left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
        where p.unit_id = %(unit_id)s and (p.id = l.root or p.merged_into = l.root)
        order by m.sent_at desc, m.seq desc limit 1) newest on true
  left join lateral (
       select count(*) as messages
         from (select n.from_me, n.seq, bool_or(n.from_me) over (order by n.sent_at desc, n.seq desc) as answered
                 from zapline.conversations p
                cross join lateral (
                      select * from zapline.messages x
                       where x.conversation_id = p.id and x.kind <> 'reaction'
                       order by x.sent_at desc, x.seq desc limit %(most_unread)s) n
                where not newest.from_me and p.unit_id = %(unit_id)s and (p.id = l.root or p.merged_into = l.root)) recent
        where not recent.answered and recent.seq > r.read_up_to) unread on true
 order by l.last_message_at desc, l.part;

-- name: list_chats
-- A page of conversations, latest message first, read by the index of recency. Of conversations that are merged, the
-- one with the latest message represents them; the others are marked as superseded.
with latest as (
    select c.id as part, coalesce(c.merged_into, c.id) as root, c.last_message_at
      from zapline.conversations c
     where c.unit_id = %(unit_id)s and c.last_message_at is not null
       and c.last_message_at <= coalesce(%(before_at)s::timestamptz, 'infinity')
       and (%(before_at)s::timestamptz is null
            or c.last_message_at < %(before_at)s or c.id > %(before_id)s::uuid)
     order by c.last_message_at desc, c.id
     limit %(limit)s)
-- include: chat_columns
       exists (select from zapline.conversations o
                where (o.id = l.root or o.merged_into = l.root) and o.id <> l.part
                  and (o.last_message_at > l.last_message_at
                       or (o.last_message_at = l.last_message_at and o.id < l.part))) as superseded
  -- include: chat_sources;

-- name: search_newest_chats
-- Like `search_chats`, among so many of the latest conversations alone. (The number is hidden in a query: the policies
-- make PostgreSQL believe that the unit has few, and it would sort all of them rather than read the first by the index.)
with newest_chats as materialized (
    select c.id, c.merged_into, c.contact_id, c.last_message_at
      from zapline.conversations c
     where c.unit_id = %(unit_id)s and c.last_message_at is not null
     order by c.last_message_at desc, c.id
     limit (select %(newest)s::bigint)),
latest as (
    select distinct on (coalesce(f.merged_into, f.id)) f.id as part, coalesce(f.merged_into, f.id) as root,
           f.last_message_at
      from (select c.id, c.merged_into, c.last_message_at
              from newest_chats c
             cross join lateral (
                   select k.id from zapline.contacts k
                    where k.id = c.contact_id and (k.plain_name like %(words)s or k.phone like %(digits)s
                                                   or lower(k.username) like %(called)s)
                   offset 0) known
             order by c.last_message_at desc, c.id
             limit %(limit)s) f
     order by coalesce(f.merged_into, f.id), f.last_message_at desc, f.id)
-- include: chat_columns
       false as superseded
  -- include: chat_sources;

-- name: search_chats
-- The latest conversations whose contact's name or username contains the words or whose phone contains the digits;
-- columns as in `list_chats`.
with known as materialized (
    select k.id from zapline.contacts k
     where k.unit_id = %(unit_id)s and (k.plain_name like %(words)s or k.phone like %(digits)s
                                          or lower(k.username) like %(called)s)),
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
-- include: chat_columns
       false as superseded
  -- include: chat_sources;

-- name: find_chat
-- The contact of a conversation, its name also from the conversations merged into it, and how far it has been read.
select r.id, k.kind, k.canonical, k.phone, coalesce(k.lid, p.lid) as lid,
       case when k.name is null or p.name_at > k.name_at then coalesce(p.name, k.name) else k.name end as name,
       coalesce(k.username, p.username) as username, r.read_up_to
  from zapline.conversations c
  join zapline.conversations r on r.id = case when c.merged_into is null then c.id else c.merged_into end
  join zapline.contacts k on k.id = r.contact_id
  left join lateral (
       select max(pk.lid) as lid,
              (array_agg(pk.name order by pk.name_at desc nulls last) filter (where pk.name is not null))[1] as name,
              max(pk.name_at) filter (where pk.name is not null) as name_at,
              (array_agg(pk.username order by pk.username_at desc) filter (where pk.username is not null))[1]
                  as username
         from zapline.conversations m
         join zapline.contacts pk on pk.id = m.contact_id
        where m.merged_into = r.id) p on true
 where c.unit_id = %(unit_id)s and c.id = %(conversation_id)s;

-- name: list_quoted_messages
-- Messages by WhatsApp's ids, with the columns that a quotation needs.
select asked.id as external_id, m.id, m.from_me, m.kind, m.sender_name,
       left(case when m.deleted_at is not null then null
                 when m.edited_at_ms is not null then m.edited_body else m.body end, %(longest)s) as text,
       m.deleted_at is not null as deleted
  from unnest(%(ids)s::text[]) as asked(id)
  left join zapline.message_aliases a on a.unit_id = %(unit_id)s and a.provider = %(provider)s
                                     and a.external_id = asked.id
  join zapline.messages m on m.unit_id = %(unit_id)s and m.provider = %(provider)s
                         and m.external_id = coalesce(a.primary_id, asked.id);

-- name: list_work_states
-- The work states of messages that are not settled: why they failed, and when they are due.
select o.message_id, o.state, o.failure, o.due_at, o.twice
  from zapline.outbox o
 where o.unit_id = %(unit_id)s and o.message_id = any(%(ids)s);
