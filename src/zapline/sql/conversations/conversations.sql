-- Conversations and messages for the API. Row level security limits the rows to the unit of the transaction; the
-- statements name the unit nevertheless, for the indexes.

-- fragment: message_columns
-- The columns of a message; its conversation follows. What others wrote has no delivery status, whatever was reported.
m.id, m.external_id, m.client_message_id, m.seq, m.from_me, m.kind, m.body, m.media, m.detail, m.sender,
       m.sender_name, coalesce(quoting.primary_id, m.quoted_id) as quoted_id, m.quoted, m.forwarded, m.view_once,
       m.expires_after, m.origin, m.backfilled, case when m.from_me then m.delivery::text end as delivery,
       m.edited_body, m.edited_at_ms, m.edit_unread_ms,
       m.deleted_at is null and zapline.edit_is_unread(m.edit_unread_ms, m.edit_read_ms, m.edited_at_ms)
           as edit_text_unknown, m.deleted_at, m.sent_at,
       m.received_at, reacted.reports, o.state as work_state,
       case when m.from_me then coalesce(o.failure, case when m.delivery = 'failed'
                                                        then coalesce(m.refusal, 'whatsapp_refused') end) end as why,
       o.failure_detail as why_detail,
       (select f.state from zapline.kept_files f where f.message_id = m.id) as file_state,

-- fragment: work_columns
-- The columns of the work on an outgoing message.
o.lane, o.tries, o.resends, o.due_at, o.expires_at, o.settled_at, o.ended_at,
       o.stalled_at is not null and m.delivery in ('queued', 'sent') as stalled, o.twice,
       o.look_at, o.campaign_id, o.seq as work_seq,

-- fragment: reactions
-- The reactions and votes of a message, as one jsonb list; and the message that it quotes by a second id.
left join zapline.message_aliases quoting on quoting.unit_id = m.unit_id and quoting.provider = m.provider
                                         and quoting.external_id = m.quoted_id
  left join lateral (
       select jsonb_agg(jsonb_build_array(x.kind, x.actor, x.value) order by x.at_ms, x.actor) as reports
         from zapline.message_reactions x
        where x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id) reacted on true

-- fragment: conversations_in_list
-- The conversations of `latest`, each with its last message and how many are unread.
select r.id, k.kind, k.canonical, k.phone, coalesce(k.lid, p.lid) as lid,
       case when k.name is null or p.name_at > k.name_at then coalesce(p.name, k.name) else k.name end as name,
       coalesce(k.username, p.username) as username, l.last_message_at, r.created_at,
       newest.id as message, newest.from_me, newest.kind as message_kind, newest.text, newest.sent_at, unread.messages as unread
  from latest l
  join zapline.conversations r on r.id = l.id
  join zapline.contacts k on k.id = r.contact_id
  left join lateral (
       select max(pk.lid) as lid,
              (array_agg(pk.name order by pk.name_at desc nulls last) filter (where pk.name is not null))[1] as name,
              max(pk.name_at) filter (where pk.name is not null) as name_at,
              (array_agg(pk.username order by pk.username_at desc) filter (where pk.username is not null))[1]
                  as username
         from zapline.conversations m
         join zapline.contacts pk on pk.id = m.contact_id
        where m.merged_into = l.id) p on true
  left join lateral (
       select m.id, m.from_me, m.kind, m.sent_at, m.seq,
              left(case when m.deleted_at is not null then null
                        when m.edited_at_ms is not null then m.edited_body else m.body end, %(longest)s) as text
         from zapline.conversations o
        cross join lateral (
              select * from zapline.messages n
               where n.conversation_id = o.id and n.kind <> 'reaction'
               order by n.sent_at desc, n.seq desc limit 1) m
        where o.unit_id = %(unit_id)s and (o.id = l.id or o.merged_into = l.id)
        order by m.sent_at desc, m.seq desc limit 1) newest on true
  left join lateral (
       select count(*) as messages
         from (select n.from_me, n.seq, bool_or(n.from_me) over (order by n.sent_at desc, n.seq desc) as answered
                 from zapline.conversations o
                cross join lateral (
                      select * from zapline.messages x
                       where x.conversation_id = o.id and x.kind <> 'reaction'
                       order by x.sent_at desc, x.seq desc limit %(most_unread)s) n
                where not newest.from_me and o.unit_id = %(unit_id)s and (o.id = l.id or o.merged_into = l.id)) recent
        where not recent.answered and recent.seq > r.read_up_to) unread on true
 order by l.last_message_at desc, l.id desc

-- name: list_conversations
-- A page of root conversations, latest message first, read by the index of recency; messages of merged conversations
-- count as their own. Of conversations that are merged, the one with the latest message stands for all. (Below a policy
-- PostgreSQL takes no coalesce to an index, but a case. It expects half of the rows to fulfil a "not", and one in 200 an
-- "is null": that few would let it sort all conversations rather than stop after a page.)
with latest as (
    select coalesce(c.merged_into, c.id) as id, c.last_message_at
      from zapline.conversations c
     where c.unit_id = %(unit_id)s and c.last_message_at is not null
       and c.last_message_at <= coalesce(%(before_at)s::timestamptz, 'infinity')
       and c.last_message_at >= coalesce(date_trunc('milliseconds', %(since)s::timestamptz) + interval '1 millisecond',
                                         '-infinity')
       and (%(before_at)s::timestamptz is null
            or (c.last_message_at, coalesce(c.merged_into, c.id)) < (%(before_at)s, %(before_id)s::uuid))
       and not coalesce((select true
              from ((select o.id, o.last_message_at from zapline.conversations o where o.id = c.merged_into)
                    union all
                    (select o.id, o.last_message_at from zapline.conversations o
                      where o.merged_into = case when c.merged_into is null then c.id else c.merged_into end and o.id <> c.id)) o
             where o.last_message_at > c.last_message_at or (o.last_message_at = c.last_message_at and o.id < c.id)
             limit 1), false)
     order by c.last_message_at desc, coalesce(c.merged_into, c.id) desc
     limit %(limit)s)
-- include: conversations_in_list;

-- name: find_conversation_of_phone
-- The conversation with a phone, which is never merged into another one.
with latest as (
    select c.id, (select max(o.last_message_at) from zapline.conversations o
                   where o.unit_id = %(unit_id)s and (o.id = c.id or o.merged_into = c.id)) as last_message_at
      from zapline.contacts k
      join zapline.conversations c on c.contact_id = k.id
     where k.unit_id = %(unit_id)s and k.kind = 'person' and k.canonical = %(phone)s)
-- include: conversations_in_list;

-- name: find_root
-- The root of a conversation: itself, or the one it was merged into.
select coalesce(merged_into, id) as id from zapline.conversations
 where unit_id = %(unit_id)s and id = %(conversation_id)s;

-- name: list_thread
-- The messages of a conversation and of all merged into it, newest first; each conversation is read by its index. Our
-- own reactions are no messages of the thread: they belong to the message they are about.
select
       -- include: message_columns
       %(root_id)s::uuid as conversation_id
  from (select c.id from zapline.conversations c
         where c.unit_id = %(unit_id)s and (c.id = %(root_id)s or c.merged_into = %(root_id)s)) part
 cross join lateral (
       select * from zapline.messages n
        where n.conversation_id = part.id and n.kind <> 'reaction'
          and (n.sent_at, n.seq) < (coalesce(%(before_at)s::timestamptz, 'infinity'),
                                    coalesce(%(before_seq)s::bigint, 9223372036854775807))
        order by n.sent_at desc, n.seq desc limit %(limit)s) m
  -- include: reactions
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
 order by m.sent_at desc, m.seq desc limit %(limit)s;

-- name: find_page_end
-- Where a page of a unit's messages and changes in the order of arrival ends; null where the page is empty. `more`:
-- whether there are further ones.
select max(n.seq) filter (where n.place <= %(limit)s) as seq, count(*) > %(limit)s as more
  from (select f.seq, row_number() over (order by f.seq) as place
          from ((select m.seq from zapline.messages m
                  where m.unit_id = %(unit_id)s and m.seq > %(after_seq)s and m.kind <> 'reaction'
                  order by m.seq limit %(limit)s + 1)
                union all
                (select m.changed_seq from zapline.messages m
                  where m.unit_id = %(unit_id)s and m.changed_seq > %(after_seq)s
                  order by m.changed_seq limit %(limit)s + 1)
                union all
                (select x.seq from zapline.message_reactions x
                  where x.unit_id = %(unit_id)s and x.seq > %(after_seq)s
                  order by x.seq limit %(limit)s + 1)) f) n;

-- name: list_open_writers
-- Transactions that may have taken a sequence number and are not committed: they hold this lock from before they take
-- the number until they end.
select distinct virtualtransaction as name from pg_locks
 where relation in ('zapline.messages'::regclass, 'zapline.message_reactions'::regclass) and mode = 'RowExclusiveLock' and granted
   and database = (select oid from pg_database where datname = current_database());

-- name: list_messages_after
-- A unit's messages in arrival order, after one sequence number and up to another.
select
       -- include: message_columns
       coalesce(c.merged_into, c.id) as conversation_id
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  -- include: reactions
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
 where m.unit_id = %(unit_id)s and m.seq > %(after_seq)s and m.seq <= %(last_seq)s and m.kind <> 'reaction'
 order by m.seq;

-- name: list_changed_after
-- Messages that came before, and of which something was changed between two sequence numbers: reactions, votes, text, or
-- that they are there. Those that change last come last.
select
       -- include: message_columns
       coalesce(c.merged_into, c.id) as conversation_id
  from (select t.id, max(t.seq) as changed
          from (select n.id, n.changed_seq as seq from zapline.messages n
                 where n.unit_id = %(unit_id)s and n.changed_seq > %(after_seq)s and n.changed_seq <= %(last_seq)s
                union all
                select n.id, x.seq
                  from zapline.message_reactions x
                  join zapline.messages n
                    on n.unit_id = x.unit_id and n.provider = x.provider and n.external_id = x.external_id
                 where x.unit_id = %(unit_id)s and x.seq > %(after_seq)s and x.seq <= %(last_seq)s) t
         group by t.id) f
  join zapline.messages m on m.id = f.id
  join zapline.conversations c on c.id = m.conversation_id
  -- include: reactions
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
 where m.unit_id = %(unit_id)s and m.seq <= %(after_seq)s and m.kind <> 'reaction'
 order by f.changed;

-- name: list_messages
-- These messages of the unit, the latest arrival first.
select
       -- include: message_columns
       coalesce(c.merged_into, c.id) as conversation_id
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  -- include: reactions
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
 where m.unit_id = %(unit_id)s and m.id = any(%(ids)s)
 order by m.seq desc;

-- name: get_message
-- One message, and for an outgoing one its work with all calls.
select
       -- include: message_columns
       -- include: work_columns
       coalesce(c.merged_into, c.id) as conversation_id, called.calls
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
  -- include: reactions
  left join lateral (
       select jsonb_agg(jsonb_build_array(extract(epoch from a.started_at), extract(epoch from a.ended_at), a.outcome,
                                          a.failure, a.matched_by, a.external_id) order by a.started_at, a.fence)
              as calls
         from zapline.attempts a where a.message_id = o.message_id) called on true
 where m.unit_id = %(unit_id)s and m.id = %(id)s;

-- name: list_outbox
-- Outgoing messages in some work states, latest request first.
select
       -- include: message_columns
       -- include: work_columns
       coalesce(c.merged_into, c.id) as conversation_id, null::jsonb as calls
  from (select * from zapline.outbox w
         where w.unit_id = %(unit_id)s and w.state = any(%(states)s)
           and w.seq < coalesce(%(before)s::bigint, 9223372036854775807)
         order by w.seq desc limit %(limit)s) o
  join zapline.messages m on m.id = o.message_id
  join zapline.conversations c on c.id = m.conversation_id
  -- include: reactions
 order by o.seq desc;

-- name: list_stalled
-- Messages that Evolution accepted and that were not confirmed, latest request first.
select
       -- include: message_columns
       -- include: work_columns
       coalesce(c.merged_into, c.id) as conversation_id, null::jsonb as calls
  from zapline.messages m
  join zapline.outbox o on o.message_id = m.id
  join zapline.conversations c on c.id = m.conversation_id
  -- include: reactions
 where m.unit_id = %(unit_id)s and m.client_message_id is not null and m.delivery in ('queued', 'sent')
   and o.state = 'settled' and o.stalled_at is not null
   and o.seq < coalesce(%(before)s::bigint, 9223372036854775807)
 order by o.seq desc limit %(limit)s;
