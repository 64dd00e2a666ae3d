-- name: end_attempts
-- Calls that ended without Evolution having taken the message, or without an answer.
update zapline.attempts a
   set ended_at = to_timestamp(r.ended_at), outcome = r.outcome, failure = r.failure, detail = r.detail
  from jsonb_to_recordset(%(rows)s) as r(attempt uuid, unit_id uuid, outcome text, ended_at float8, failure text,
                                         detail text)
 where a.id = r.attempt and a.unit_id = r.unit_id and a.outcome = 'calling';

-- name: move_messages
-- What follows for their messages; an answer to an older claim moves nothing.
with moved as (
    update zapline.outbox o
       set state = r.move, tries = o.tries + r.tries, due_at = coalesce(to_timestamp(r.due_at), o.due_at),
           look_at = to_timestamp(r.look_at), looks = 0, failure = r.failure, failure_detail = r.detail,
           ended_at = case when r.move = 'dead' then to_timestamp(r.ended_at) end,
           leased_by = null, lease_until = null
      from jsonb_to_recordset(%(rows)s) as r(message uuid, unit_id uuid, fence int, move text, tries smallint,
                                             due_at float8, look_at float8, failure text, detail text,
                                             ended_at float8)
     where o.message_id = r.message and o.unit_id = r.unit_id and o.state = 'leased' and o.fence = r.fence
    returning o.message_id, o.unit_id, o.state
), told as (
    update zapline.messages m set delivery = greatest(m.delivery, 'failed')
      from moved where m.id = moved.message_id and moved.state = 'dead')
select unit_id, message_id, state from moved;

-- name: take_foreign
-- An echo was stored before anybody knew whose it was: its row goes, what it knew is handed on.
delete from zapline.messages f
 using jsonb_to_recordset(%(rows)s) as r(attempt uuid, message uuid, unit_id uuid, external_id text)
 where f.unit_id = r.unit_id and f.external_id = r.external_id and f.id <> r.message
   and f.client_message_id is null and f.from_me
   and exists (select from zapline.attempts a where a.id = r.attempt and a.external_id is null)
returning f.unit_id, f.external_id, f.delivery::text as delivery, f.edited_body, f.edited_at_ms,
          extract(epoch from f.deleted_at)::float8 as deleted_at,
          extract(epoch from f.received_at)::float8 as parked_at;

-- name: take_from_guess
-- An id that the echo or the store had given to another call is this call's, as its own answer says: the other one
-- is without an answer again.
with wrong as (
    update zapline.attempts a
       set external_id = null, matched_by = null, alias = false, outcome = 'uncertain'
      from jsonb_to_recordset(%(rows)s) as r(attempt uuid, unit_id uuid, external_id text)
     where a.unit_id = r.unit_id and a.external_id = r.external_id and a.id <> r.attempt and a.matched_by <> 'reply'
    returning a.id, a.message_id, r.external_id
), told as (
    update zapline.messages m set external_id = null
      from wrong where m.id = wrong.message_id and m.external_id = wrong.external_id)
update zapline.outbox o
   set state = 'uncertain', settled_at = null, ended_at = null, looks = 0, look_at = to_timestamp(%(now)s) + interval '8 s'
  from wrong
 where o.message_id = wrong.message_id and o.state = 'settled'
   and not exists (select from zapline.attempts b
                    where b.message_id = o.message_id and b.id <> wrong.id and b.external_id is not null);

-- name: settle
-- Evolution took the message; its answer, its echo or its store says so, whichever comes first. The call owns the
-- id from now on, unless another owns it. A message that has an id already was delivered a second time.
with r as (
    select r.* from jsonb_to_recordset(%(rows)s) as r(attempt uuid, message uuid, unit_id uuid, external_id text,
                                                      by text, at float8)
     where not exists (select from zapline.attempts o
                        where o.unit_id = r.unit_id and o.external_id = r.external_id and o.id <> r.attempt)
), owned as (
    update zapline.attempts a
       set external_id = r.external_id, outcome = 'sent', matched_by = r.by,
           ended_at = coalesce(a.ended_at, to_timestamp(r.at)),
           alias = coalesce(m.external_id <> r.external_id, false)
      from r join zapline.messages m on m.id = r.message and m.unit_id = r.unit_id
     where a.id = r.attempt and a.unit_id = r.unit_id and a.external_id is null
    returning a.id, a.message_id, a.unit_id, a.external_id, a.alias, a.started_at, a.matched_by
), told as (
    update zapline.messages m
       set external_id = coalesce(m.external_id, owned.external_id), delivery = greatest(m.delivery, 'sent'),
           sent_at = case when m.external_id is null then owned.started_at else m.sent_at end
      from owned where m.id = owned.message_id
    returning m.id, m.external_id, m.client_message_id, m.conversation_id, m.delivery::text as delivery
), before as (
    select o.message_id, o.state from zapline.outbox o join owned on owned.message_id = o.message_id
), done as (
    update zapline.outbox o
       set state = 'settled', settled_at = coalesce(o.settled_at, to_timestamp(%(now)s)),
           ended_at = coalesce(o.settled_at, to_timestamp(%(now)s)),
           failure = null, failure_detail = null, leased_by = null, lease_until = null, look_at = null,
           twice = o.twice or owned.alias
      from owned where o.message_id = owned.message_id)
select owned.id as attempt, owned.unit_id, owned.message_id, owned.external_id, told.external_id as primary_id, owned.alias,
       owned.matched_by, before.state as was, told.client_message_id, told.delivery,
       (select coalesce(k.merged_into, k.id) from zapline.conversations k where k.id = told.conversation_id) as conversation_id
  from owned join told on told.id = owned.message_id join before on before.message_id = owned.message_id;

-- name: find_claimable
-- Of these messages of ours, those that are not known yet and say what an open call says.
select distinct r.unit_id, r.external_id
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text, fingerprint text)
  join zapline.attempts a on a.unit_id = r.unit_id and a.fingerprint = r.fingerprint and a.external_id is null
                         and a.outcome in ('calling', 'uncertain')
 where not exists (select from zapline.messages m
                    where m.unit_id = r.unit_id and m.provider = %(provider)s and m.external_id = r.external_id);

-- name: keep_sightings
-- Messages of ours whose sender is not decided yet.
insert into zapline.sightings as s (unit_id, provider, external_id, conversation_id, fingerprint, sent_at,
                                    received_at, backfilled, row)
select distinct on (r.unit_id, r.external_id)
       r.unit_id, %(provider)s, r.external_id, r.conversation_id, r.fingerprint, to_timestamp(r.sent_at),
       to_timestamp(r.received_at), r.backfilled, r.row
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text, conversation_id uuid, fingerprint text,
                                         sent_at float8, received_at float8, backfilled boolean, row jsonb)
 order by r.unit_id, r.external_id, r.received_at
on conflict (unit_id, provider, external_id) do update
   -- What the first one told stays, gaps are filled.
   set row = s.row || jsonb_strip_nulls(excluded.row) || jsonb_strip_nulls(s.row);

-- name: load_sightings
-- What waits to be matched in these units, by the root of its conversation.
select s.unit_id, s.external_id, coalesce(c.merged_into, c.id) as conversation, s.fingerprint,
       extract(epoch from s.sent_at)::float8 as sent_at, extract(epoch from s.received_at)::float8 as received_at,
       s.backfilled, s.row,
       exists (select from zapline.messages m where m.unit_id = s.unit_id and m.provider = s.provider
                                                and m.external_id = s.external_id) as known
  from zapline.sightings s
  join zapline.conversations c on c.id = s.conversation_id
 where s.unit_id = any(%(units)s);

-- name: load_open_calls
-- The calls without an id that may own one of them.
select a.unit_id, a.id as attempt, a.message_id, coalesce(c.merged_into, c.id) as conversation, a.fingerprint,
       extract(epoch from a.started_at)::float8 as started_at,
       extract(epoch from a.ended_at)::float8 as ended_at, a.failure
  from zapline.attempts a
  join zapline.conversations c on c.id = a.conversation_id
 where a.unit_id = any(%(units)s) and a.fingerprint = any(%(fingerprints)s) and a.external_id is null
   and a.outcome in ('calling', 'uncertain');

-- name: drop_sightings
-- They are decided.
delete from zapline.sightings s
 using jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text)
 where s.unit_id = r.unit_id and s.provider = %(provider)s and s.external_id = r.external_id;

-- name: load_aliases
-- Ids of second deliveries, with the id that their message goes by.
select a.unit_id, a.external_id, m.external_id as primary_id
  from zapline.attempts a join zapline.messages m on m.id = a.message_id
 where a.alias;
