-- Uncertain sends: calls that timed out, so that the message may have been delivered.

-- fragment: same_store
-- The store that can be asked is the one of the server that was called: the unit was not moved since, nor did its server's
-- address change.
not exists (select from zapline.unit_whatsapp_connections c
              join zapline.attempts t on t.message_id = o.message_id and t.outcome in ('calling', 'uncertain')
                                     and t.started_at < c.evolution_server_since
             where c.unit_id = o.unit_id)

-- name: list_due
-- Uncertain messages that are due to be looked up in Evolution's store, of some units, with the time in which they may
-- have been sent.
with due as (
    select o.message_id, o.unit_id, o.fence, o.looks, o.look_at
      from zapline.outbox o
     where o.state = 'uncertain' and o.look_at <= to_timestamp(%(now)s) and o.unit_id <> all(%(busy)s)
     order by o.look_at limit %(messages)s
), units as (
    select unit_id from due group by unit_id order by min(look_at) limit %(units)s
)
select d.message_id, d.unit_id, d.fence, d.looks, extract(epoch from min(a.started_at))::float8 as started_at,
       extract(epoch from max(a.ended_at))::float8 as ended_at
  from due d
  join units on units.unit_id = d.unit_id
  left join zapline.attempts a on a.message_id = d.message_id and a.external_id is null
                              and a.outcome in ('calling', 'uncertain')
 group by d.message_id, d.unit_id, d.fence, d.looks;

-- name: postpone_lookup
-- The lookup was not possible: it is repeated later and does not count.
update zapline.outbox o
   set look_at = to_timestamp(%(at)s)
  from jsonb_to_recordset(%(rows)s) as r(message_id uuid, fence int, looks smallint)
 where o.message_id = r.message_id and o.state = 'uncertain' and o.fence = r.fence and o.looks = r.looks
   and o.look_at is not null and zapline.owns(%(owner)s, %(since)s, o.unit_id);

-- name: schedule_next_lookup
-- The messages were not found: stores the time of the next lookup, or none (then a person decides).
update zapline.outbox o
   set looks = o.looks + 1, look_at = to_timestamp(r.look_at)
  from jsonb_to_recordset(%(rows)s) as r(message_id uuid, fence int, looks smallint, look_at float8)
 where o.message_id = r.message_id and o.state = 'uncertain' and o.fence = r.fence and o.looks = r.looks
   and o.look_at is not null and zapline.owns(%(owner)s, %(since)s, o.unit_id)
returning o.message_id, o.look_at is null as waits;

-- name: list_provable
-- Of these messages, those still uncertain whose absence from the store under their chosen id proves that they were
-- not sent: the store is kept, the failure says nothing of a delivery, their calls ended long ago, and the last call of
-- the unit with this kind of content that was answered before got its chosen id.
select o.message_id, a.chosen_id, o.content #>> '{content,type}' as type, o.content #>> '{content,kind}' as kind
  from jsonb_to_recordset(%(rows)s) as r(message_id uuid, fence int)
  join zapline.outbox o on o.message_id = r.message_id and o.state = 'uncertain' and o.fence = r.fence
  join zapline.unit_whatsapp_connections c on c.unit_id = o.unit_id and c.store_kept
 cross join lateral (
       select min(t.chosen_id) as chosen_id, min(t.started_at) as started_at,
              bool_and(t.chosen_id is not null and t.outcome <> 'calling' and t.external_id is null
                       and (t.outcome in ('not_sent', 'rejected') or t.failure = any(%(failures)s))
                       and t.ended_at <= to_timestamp(%(now)s - %(quiet)s)) as silent
         from zapline.attempts t where t.message_id = o.message_id) a
 where a.silent and o.look_at is not null and o.resends < %(most)s
   and (o.expires_at is null or o.expires_at > to_timestamp(%(now)s))
   and (select p.external_id = p.chosen_id
          from zapline.attempts p
          join zapline.outbox q on q.message_id = p.message_id
         where p.unit_id = o.unit_id and p.started_at < a.started_at and p.matched_by = 'reply'
           and p.chosen_id is not null
           and q.content #>> '{content,type}' = o.content #>> '{content,type}'
           and q.content #>> '{content,kind}' is not distinct from o.content #>> '{content,kind}'
         order by p.started_at desc limit 1)
 limit %(limit)s;

-- name: requeue_unsent
-- Queues messages again that were not sent: under the same id, so that they cannot be shown twice in any case.
with again as (
    update zapline.outbox o
       set state = 'queued', resends = o.resends + 1, due_at = to_timestamp(%(now)s), look_at = null, looks = 0
      from jsonb_to_recordset(%(rows)s) as r(message_id uuid, fence int)
     where o.message_id = r.message_id and o.state = 'uncertain' and o.fence = r.fence and o.look_at is not null
       and zapline.owns(%(owner)s, %(since)s, o.unit_id)
       and
       -- include: same_store
    returning o.message_id
), ended as (
    update zapline.attempts a set outcome = 'not_sent'
      from again where a.message_id = again.message_id and a.outcome = 'uncertain' and a.external_id is null)
select message_id from again;

-- name: requeue_missing
-- Queues messages again that Evolution's store does not hold, where the unit wants that for the lane; never after a
-- failure that says "perhaps", and not while an echo with the same content is undecided.
update zapline.outbox o
   set state = 'queued', resends = o.resends + 1, due_at = to_timestamp(%(now)s), look_at = null
  from jsonb_to_recordset(%(rows)s) as r(message_id uuid, fence int)
 where o.message_id = r.message_id and o.state = 'uncertain' and o.fence = r.fence and o.look_at is not null
   and zapline.owns(%(owner)s, %(since)s, o.unit_id)
   and o.resends = 0 and (o.expires_at is null or o.expires_at > to_timestamp(%(now)s))
   and exists (select from zapline.unit_paces p where p.unit_id = o.unit_id and o.lane = any(p.resend_lanes))
   and exists (select from zapline.unit_whatsapp_connections c where c.unit_id = o.unit_id and c.store_kept)
   and
       -- include: same_store
   and not exists (
       select from zapline.attempts a
        where a.message_id = o.message_id
          and (a.failure in ('timed_out_after_relay', 'failed_inside') or a.outcome = 'calling' or a.external_id is not null
               or a.ended_at > to_timestamp(%(now)s - %(quiet)s)))
   and not exists (
       select from zapline.sightings s where s.unit_id = o.unit_id and s.fingerprint = o.fingerprint)
   -- The same text from this line to any recipient, not sent from here: perhaps it is this message, under an
   -- address or a time that could not be matched.
   and not exists (
       select from zapline.messages f join zapline.messages m on m.id = o.message_id
        where f.unit_id = o.unit_id and f.from_me and f.client_message_id is null
          and replace(f.kind, 'voice', 'audio') = replace(m.kind, 'voice', 'audio')
          and f.body is not distinct from m.body
          and f.sent_at >= (select min(a.started_at) from zapline.attempts a where a.message_id = o.message_id)
                           - interval '15 minutes')
returning o.message_id;

-- name: requeue
-- A person has decided to send an uncertain message again; its expiry is extended. Whoever has left a call open may
-- stand still before it: it waits until that process does not begin the call any more (domain/outbox/send_outcomes).
update zapline.outbox
   set state = 'queued', resends = resends + 1, look_at = null, failure = null, failure_detail = null,
       due_at = greatest(to_timestamp(%(now)s), (select max(a.started_at) + interval '12 seconds'
                                                   from zapline.attempts a
                                                  where a.message_id = outbox.message_id and a.failure = 'crashed')),
       expires_at = greatest(expires_at, to_timestamp(%(expires_at)s))
 where unit_id = %(unit_id)s and message_id = %(id)s and state = 'uncertain'
returning message_id;

-- name: give_up
-- A person has given up an uncertain message; whether it was delivered stays unknown.
update zapline.outbox
   set state = 'cancelled', failure = 'given_up', look_at = null, ended_at = to_timestamp(%(now)s)
 where unit_id = %(unit_id)s and message_id = %(id)s and state = 'uncertain'
returning message_id;
