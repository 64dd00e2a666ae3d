-- What the API shows of conversations and messages. Row level security sees to it that only the rows of the
-- unit set for the transaction come back; the statements name the unit all the same, for the indexes.

-- name: list_conversations
-- The conversations that are no part of another, latest message first; what was merged into one counts as its own.
with parts as (
    select c.merged_into as id, max(c.last_message_at) as last_message_at, max(k.lid) as lid,
           (array_agg(k.name order by k.name_at desc nulls last) filter (where k.name is not null))[1] as name
      from zapline.conversations c
      join zapline.contacts k on k.id = c.contact_id
     where c.unit_id = %(unit_id)s and c.merged_into is not null
     group by c.merged_into),
whole as (
    select c.id, k.kind, k.canonical, k.phone, coalesce(k.lid, p.lid) as lid, coalesce(k.name, p.name) as name,
           greatest(c.last_message_at, p.last_message_at) as last_message_at, c.created_at
      from zapline.conversations c
      join zapline.contacts k on k.id = c.contact_id
      left join parts p on p.id = c.id
     where c.unit_id = %(unit_id)s and c.merged_into is null)
select * from whole
 where last_message_at is not null
   and (%(since)s::timestamptz is null or date_trunc('milliseconds', last_message_at) > %(since)s)
   and (%(before_at)s::timestamptz is null or (last_message_at, id) < (%(before_at)s, %(before_id)s::uuid))
 order by last_message_at desc, id desc limit %(limit)s;

-- name: find_root
-- The conversation that a conversation belongs to: itself, or the one it was merged into.
select coalesce(merged_into, id) as id from zapline.conversations
 where unit_id = %(unit_id)s and id = %(conversation_id)s;

-- name: list_thread
-- A conversation's messages with those of all merged into it, newest first; each part is read by its index. A
-- reaction of ours is no message of the thread: it shows with the one that it is about.
select m.id, m.external_id, m.client_message_id, m.seq, %(root_id)s::uuid as conversation_id, m.from_me, m.kind,
       m.body, m.media, m.detail, m.sender, m.sender_name, m.quoted_id, m.forwarded, m.view_once, m.expires_after,
       m.origin, m.backfilled, m.delivery::text, m.edited_body, m.edited_at_ms, m.deleted_at, m.sent_at,
       m.received_at, told.reports, o.state as work_state
  from (select c.id from zapline.conversations c
         where c.unit_id = %(unit_id)s and (c.id = %(root_id)s or c.merged_into = %(root_id)s)) part
 cross join lateral (
       select * from zapline.messages n
        where n.conversation_id = part.id and n.kind <> 'reaction'
          and (n.sent_at, n.seq) < (coalesce(%(before_at)s::timestamptz, 'infinity'),
                                    coalesce(%(before_seq)s::bigint, 9223372036854775807))
        order by n.sent_at desc, n.seq desc limit %(limit)s) m
  left join lateral (
       select jsonb_agg(jsonb_build_array(x.kind, x.actor, x.value) order by x.at_ms, x.actor) as reports
         from zapline.message_reactions x
        where x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id) told on true
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
 order by m.sent_at desc, m.seq desc limit %(limit)s;

-- name: find_page_end
-- Where a page of a unit's messages in the order of their arrival would end; null where it would be empty.
select max(n.seq) as seq
  from (select m.seq from zapline.messages m
         where m.unit_id = %(unit_id)s and m.seq > %(after_seq)s and m.kind <> 'reaction'
         order by m.seq limit %(limit)s) n;

-- name: list_open_writers
-- The transactions that may have taken a sequence number and are not committed: they hold this lock from before they
-- take the number until after they are over.
select distinct virtualtransaction as name from pg_locks
 where relation = 'zapline.messages'::regclass and mode = 'RowExclusiveLock' and granted
   and database = (select oid from pg_database where datname = current_database());

-- name: list_messages_after
-- A unit's messages in the order of their arrival, after a sequence number and up to another one.
select m.id, m.external_id, m.client_message_id, m.seq, coalesce(c.merged_into, c.id) as conversation_id, m.from_me,
       m.kind, m.body, m.media, m.detail, m.sender, m.sender_name, m.quoted_id, m.forwarded, m.view_once,
       m.expires_after, m.origin, m.backfilled, m.delivery::text, m.edited_body, m.edited_at_ms, m.deleted_at,
       m.sent_at, m.received_at, told.reports, o.state as work_state
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  left join lateral (
       select jsonb_agg(jsonb_build_array(x.kind, x.actor, x.value) order by x.at_ms, x.actor) as reports
         from zapline.message_reactions x
        where x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id) told on true
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
 where m.unit_id = %(unit_id)s and m.seq > %(after_seq)s and m.seq <= %(last_seq)s and m.kind <> 'reaction'
 order by m.seq;

-- name: get_message
-- One message, and for one of ours the work on it with every call that was made.
select m.id, m.external_id, m.client_message_id, m.seq, coalesce(c.merged_into, c.id) as conversation_id, m.from_me,
       m.kind, m.body, m.media, m.detail, m.sender, m.sender_name, m.quoted_id, m.forwarded, m.view_once,
       m.expires_after, m.origin, m.backfilled, m.delivery::text, m.edited_body, m.edited_at_ms, m.deleted_at,
       m.sent_at, m.received_at, told.reports, o.state as work_state, o.lane, o.tries, o.resends, o.due_at,
       o.expires_at, o.settled_at, o.ended_at, o.stalled_at is not null and m.delivery in ('queued', 'sent') as stalled,
       o.twice, o.failure, o.failure_detail, o.look_at, o.campaign_id, o.seq as work_seq, called.calls
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
  left join lateral (
       select jsonb_agg(jsonb_build_array(x.kind, x.actor, x.value) order by x.at_ms, x.actor) as reports
         from zapline.message_reactions x
        where x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id) told on true
  left join lateral (
       select jsonb_agg(jsonb_build_array(extract(epoch from a.started_at), extract(epoch from a.ended_at), a.outcome,
                                          a.failure, a.matched_by, a.external_id) order by a.started_at, a.fence)
              as calls
         from zapline.attempts a where a.message_id = o.message_id) called on true
 where m.unit_id = %(unit_id)s and m.id = %(id)s;

-- name: list_outbox
-- Messages of ours in some states of work, those asked for last first.
select m.id, m.external_id, m.client_message_id, m.seq, coalesce(c.merged_into, c.id) as conversation_id, m.from_me,
       m.kind, m.body, m.media, m.detail, m.sender, m.sender_name, m.quoted_id, m.forwarded, m.view_once,
       m.expires_after, m.origin, m.backfilled, m.delivery::text, m.edited_body, m.edited_at_ms, m.deleted_at,
       m.sent_at, m.received_at, told.reports, o.state as work_state, o.lane, o.tries, o.resends, o.due_at,
       o.expires_at, o.settled_at, o.ended_at, o.stalled_at is not null and m.delivery in ('queued', 'sent') as stalled,
       o.twice, o.failure, o.failure_detail, o.look_at, o.campaign_id, o.seq as work_seq, null::jsonb as calls
  from (select * from zapline.outbox w
         where w.unit_id = %(unit_id)s and w.state = any(%(states)s)
           and w.seq < coalesce(%(before)s::bigint, 9223372036854775807)
         order by w.seq desc limit %(limit)s) o
  join zapline.messages m on m.id = o.message_id
  join zapline.conversations c on c.id = m.conversation_id
  left join lateral (
       select jsonb_agg(jsonb_build_array(x.kind, x.actor, x.value) order by x.at_ms, x.actor) as reports
         from zapline.message_reactions x
        where x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id) told on true
 order by o.seq desc;

-- name: list_stalled
-- Messages that Evolution took and nobody has confirmed, those asked for last first.
select m.id, m.external_id, m.client_message_id, m.seq, coalesce(c.merged_into, c.id) as conversation_id, m.from_me,
       m.kind, m.body, m.media, m.detail, m.sender, m.sender_name, m.quoted_id, m.forwarded, m.view_once,
       m.expires_after, m.origin, m.backfilled, m.delivery::text, m.edited_body, m.edited_at_ms, m.deleted_at,
       m.sent_at, m.received_at, told.reports, o.state as work_state, o.lane, o.tries, o.resends, o.due_at,
       o.expires_at, o.settled_at, o.ended_at, o.stalled_at is not null and m.delivery in ('queued', 'sent') as stalled,
       o.twice, o.failure, o.failure_detail, o.look_at, o.campaign_id, o.seq as work_seq, null::jsonb as calls
  from zapline.messages m
  join zapline.outbox o on o.message_id = m.id
  join zapline.conversations c on c.id = m.conversation_id
  left join lateral (
       select jsonb_agg(jsonb_build_array(x.kind, x.actor, x.value) order by x.at_ms, x.actor) as reports
         from zapline.message_reactions x
        where x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id) told on true
 where m.unit_id = %(unit_id)s and m.client_message_id is not null and m.delivery in ('queued', 'sent')
   and o.state = 'settled' and o.stalled_at is not null
   and o.seq < coalesce(%(before)s::bigint, 9223372036854775807)
 order by o.seq desc limit %(limit)s;
