-- Messages that need a person: uncertain, failed and unconfirmed ones; of one unit, or of all for an administrator.

-- fragment: message_columns
-- The columns of a message that needs a person; its end, its lookups and its calls follow.
o.message_id, o.unit_id, coalesce(c.merged_into, c.id) as conversation, k.name, o.recipient, m.kind,
       left(m.body, %(longest)s) as text,
       coalesce(o.failure, case when m.delivery = 'failed' then coalesce(m.refusal, 'whatsapp_refused') end) as failure,
       o.failure_detail, o.campaign_id, o.created_at,

-- fragment: message_sources
-- The message, the conversation and the contact of each outbox row.
from zapline.outbox o
  join zapline.messages m on m.id = o.message_id
  join zapline.conversations c on c.id = o.conversation_id
  join zapline.contacts k on k.id = c.contact_id

-- name: list_uncertain
-- Messages that may have been delivered, latest request first, with all their calls.
select
       -- include: message_columns
       o.ended_at,
       o.look_at, o.looks, called.calls
  -- include: message_sources
  left join lateral (
       select jsonb_agg(jsonb_build_array(extract(epoch from a.started_at), extract(epoch from a.ended_at), a.outcome,
                                          a.failure, a.matched_by, a.external_id) order by a.started_at, a.fence)
              as calls
         from zapline.attempts a where a.message_id = o.message_id) called on true
 where o.state = 'uncertain' and (%(unit_id)s::uuid is null or o.unit_id = %(unit_id)s)
 order by o.seq desc limit %(limit)s;

-- name: list_failed
-- Messages that failed in the last days, or that WhatsApp refused after Evolution had taken them; latest first. Without
-- those that a person gave up, dismissed or sent again, and without campaigns, which have their own page. Counted the same
-- way in zapline.sql.units.unit_totals.
select
       -- include: message_columns
       o.ended_at,
       o.look_at, o.looks, null::jsonb as calls
  -- include: message_sources
 cross join lateral (select %(again)s || o.message_id::text as id offset 0) again
 where (%(unit_id)s::uuid is null or o.unit_id = %(unit_id)s)
   and o.message_id in (
       select d.message_id from zapline.outbox d
        where d.state = 'dead' and d.ended_at > now() - make_interval(days => %(days)s)
          and (%(unit_id)s::uuid is null or d.unit_id = %(unit_id)s)
        union all
       select r.id from zapline.messages r
        where r.refused_at > now() - make_interval(days => %(days)s) and r.delivery = 'failed'
          and r.client_message_id is not null and (%(unit_id)s::uuid is null or r.unit_id = %(unit_id)s))
   and o.campaign_id is null and o.failure is distinct from 'given_up' and o.dismissed_at is null
   and not exists (select from zapline.messages a
                    where a.unit_id = o.unit_id and a.client_message_id = again.id)
 order by o.ended_at desc limit %(limit)s;

-- name: list_stalled
-- Messages that Evolution accepted and that were not confirmed, latest request first.
select
       -- include: message_columns
       o.settled_at,
       o.look_at, o.looks, null::jsonb as calls
  -- include: message_sources
 where o.stalled_at is not null and o.state = 'settled' and m.delivery in ('queued', 'sent')
   and (%(unit_id)s::uuid is null or o.unit_id = %(unit_id)s)
 order by o.seq desc limit %(limit)s;

-- name: find_failed_content
-- The content and the conversation of a failed message.
select o.content, o.conversation_id
  from zapline.outbox o
  join zapline.messages m on m.id = o.message_id
 where o.unit_id = %(unit_id)s and o.message_id = %(id)s
   and (o.state = 'dead' or (o.state = 'settled' and m.delivery = 'failed'));
