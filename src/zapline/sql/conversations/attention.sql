-- What waits for a person: uncertain, failed and unconfirmed messages, and dead letters; of one unit, or of all for
-- an administrator.

-- name: uncertain
-- Messages that may have been delivered, the ones asked for last first, with every call that was made for them.
select o.message_id, o.unit_id, coalesce(c.merged_into, c.id) as conversation, k.name, o.recipient, m.kind,
       left(m.body, %(longest)s) as text, o.failure, o.failure_detail, o.campaign_id, o.created_at, o.ended_at,
       o.look_at, o.looks, called.calls
  from zapline.outbox o
  join zapline.messages m on m.id = o.message_id
  join zapline.conversations c on c.id = o.conversation_id
  join zapline.contacts k on k.id = c.contact_id
  left join lateral (
       select jsonb_agg(jsonb_build_array(extract(epoch from a.started_at), extract(epoch from a.ended_at), a.outcome,
                                          a.failure, a.matched_by, a.external_id) order by a.started_at, a.fence)
              as calls
         from zapline.attempts a where a.message_id = o.message_id) called on true
 where o.state = 'uncertain' and (%(unit_id)s::uuid is null or o.unit_id = %(unit_id)s)
 order by o.seq desc limit %(limit)s;

-- name: failed
-- Messages of the last days that were given up before they were sent, the latest first. One that a person left alone,
-- that was sent anew or belongs to a campaign, which has a page of its own, waits for nobody.
select o.message_id, o.unit_id, coalesce(c.merged_into, c.id) as conversation, k.name, o.recipient, m.kind,
       left(m.body, %(longest)s) as text, o.failure, o.failure_detail, o.campaign_id, o.created_at, o.ended_at,
       o.look_at, o.looks, null::jsonb as calls
  from zapline.outbox o
  join zapline.messages m on m.id = o.message_id
  join zapline.conversations c on c.id = o.conversation_id
  join zapline.contacts k on k.id = c.contact_id
 where o.state = 'dead' and (%(unit_id)s::uuid is null or o.unit_id = %(unit_id)s)
   and o.ended_at > now() - make_interval(days => %(days)s)
   and o.campaign_id is null and o.failure is distinct from 'given_up'
   and not exists (select from zapline.messages a
                    where a.unit_id = o.unit_id and a.client_message_id = %(again)s || o.message_id::text)
 order by o.ended_at desc limit %(limit)s;

-- name: stalled
-- Messages that Evolution took and nobody has confirmed, the ones asked for last first.
select o.message_id, o.unit_id, coalesce(c.merged_into, c.id) as conversation, k.name, o.recipient, m.kind,
       left(m.body, %(longest)s) as text, o.failure, o.failure_detail, o.campaign_id, o.created_at, o.settled_at,
       o.look_at, o.looks, null::jsonb as calls
  from zapline.outbox o
  join zapline.messages m on m.id = o.message_id
  join zapline.conversations c on c.id = o.conversation_id
  join zapline.contacts k on k.id = c.contact_id
 where o.stalled_at is not null and o.state = 'settled' and m.delivery in ('queued', 'sent')
   and (%(unit_id)s::uuid is null or o.unit_id = %(unit_id)s)
 order by o.seq desc limit %(limit)s;

-- name: letters
-- Dead letters, the newest first, before an id: those that nobody has dealt with, or all.
select id, unit_id, reason, detail, event, size, raw is not null as has_raw, received_at, created_at, revived_at,
       given_up_at
  from zapline.dead_letters
 where (%(unit_id)s::uuid is null or unit_id = %(unit_id)s)
   and (%(every)s or (revived_at is null and given_up_at is null))
   and (%(before)s::bigint is null or id < %(before)s)
 order by id desc limit %(limit)s;

-- name: content_of
-- What a message that failed was to say, and to whom.
select o.content, o.conversation_id
  from zapline.outbox o
 where o.unit_id = %(unit_id)s and o.message_id = %(id)s and o.state = 'dead';
