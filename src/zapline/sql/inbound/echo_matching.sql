-- Echoes of our own sends that are not matched to a call yet.

-- name: find_matchable_echoes
-- Of these outgoing messages, those that are not stored yet and have the content of an open call.
select distinct r.unit_id, r.external_id
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text, fingerprint text)
  join zapline.attempts a on a.unit_id = r.unit_id and a.fingerprint = r.fingerprint and a.external_id is null
                         and a.outcome in ('calling', 'uncertain')
 where not exists (select from zapline.messages m
                    where m.unit_id = r.unit_id and m.provider = %(provider)s and m.external_id = r.external_id);

-- name: insert_sightings
-- Stores outgoing messages whose send is not decided yet.
insert into zapline.sightings as s (unit_id, provider, external_id, conversation_id, fingerprint, sent_at,
                                    received_at, backfilled, row)
select distinct on (r.unit_id, r.external_id)
       r.unit_id, %(provider)s, r.external_id, r.conversation_id, r.fingerprint, to_timestamp(r.sent_at),
       to_timestamp(r.received_at), r.backfilled, r.row
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text, conversation_id uuid, fingerprint text,
                                         sent_at float8, received_at float8, backfilled boolean, row jsonb)
 order by r.unit_id, r.external_id, r.received_at
on conflict (unit_id, provider, external_id) do update
   -- The first echo's values stay, gaps are filled.
   set row = s.row || jsonb_strip_nulls(excluded.row) || jsonb_strip_nulls(s.row);

-- name: load_sightings
-- Undecided echoes of these units, each with the root of its conversation.
select s.unit_id, s.external_id, coalesce(c.merged_into, c.id) as conversation, s.fingerprint,
       extract(epoch from s.sent_at)::float8 as sent_at, extract(epoch from s.received_at)::float8 as received_at,
       s.backfilled, s.row,
       exists (select from zapline.messages m where m.unit_id = s.unit_id and m.provider = s.provider
                                                and m.external_id = s.external_id) as known
  from zapline.sightings s
  join zapline.conversations c on c.id = s.conversation_id
 where s.unit_id = any(%(units)s);

-- name: load_open_calls
-- Calls without an id that may own one of these echoes.
select a.unit_id, a.id as attempt, a.message_id, coalesce(c.merged_into, c.id) as conversation, a.fingerprint,
       extract(epoch from a.started_at)::float8 as started_at,
       extract(epoch from a.ended_at)::float8 as ended_at, a.failure
  from zapline.attempts a
  join zapline.conversations c on c.id = a.conversation_id
 where a.unit_id = any(%(units)s) and a.fingerprint = any(%(fingerprints)s) and a.external_id is null
   and a.outcome in ('calling', 'uncertain');

-- name: delete_sightings
-- Deletes decided echoes.
delete from zapline.sightings s
 using jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text)
 where s.unit_id = r.unit_id and s.provider = %(provider)s and s.external_id = r.external_id;
