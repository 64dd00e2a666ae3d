-- Echoes of our own sends that are not matched to a call yet.

-- name: find_chosen_calls
-- Of these ids, those that were chosen for calls whose message has not got its id yet: one call for each. Also calls
-- that own the id of an echo already (``settled``), for their recipient.
(select distinct on (r.unit_id, r.external_id)
        r.unit_id, r.external_id, a.id as attempt, a.message_id, a.recipient, false as settled
   from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text)
   join zapline.attempts a on a.unit_id = r.unit_id and a.chosen_id = r.external_id and a.external_id is null
  where not exists (select from zapline.attempts o
                     where o.unit_id = r.unit_id and o.provider = %(provider)s and o.external_id = r.external_id)
  order by r.unit_id, r.external_id, a.outcome in ('calling', 'uncertain') desc, a.started_at)
union all
select r.unit_id, r.external_id, a.id, a.message_id, a.recipient, true
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text, hidden boolean)
  join zapline.attempts a on a.unit_id = r.unit_id and a.provider = %(provider)s and a.external_id = r.external_id
 where r.hidden;

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
-- Undecided echoes of these units, each with the root of its conversation; ``known``: it is one of our messages by now.
select s.unit_id, s.external_id, coalesce(c.merged_into, c.id) as conversation, s.fingerprint,
       extract(epoch from s.sent_at)::float8 as sent_at, extract(epoch from s.received_at)::float8 as received_at,
       s.backfilled, s.row, s.shown_at is not null as shown, k.canonical like 'lid:%%' as hidden,
       exists (select from zapline.messages m where m.unit_id = s.unit_id and m.provider = s.provider
                                                and m.external_id = s.external_id
                                                and (s.shown_at is null or m.client_message_id is not null)) as known
  from zapline.sightings s
  join zapline.conversations c on c.id = s.conversation_id
  join zapline.conversations root on root.id = case when c.merged_into is null then c.id else c.merged_into end
  join zapline.contacts k on k.id = root.contact_id
 where s.unit_id = any(%(units)s);

-- name: load_open_calls
-- Calls without an id that may own one of these echoes.
select a.unit_id, a.id as attempt, a.message_id, coalesce(c.merged_into, c.id) as conversation, a.fingerprint,
       extract(epoch from a.started_at)::float8 as started_at,
       extract(epoch from a.ended_at)::float8 as ended_at, a.failure, k.canonical like 'lid:%%' as hidden
  from zapline.attempts a
  join zapline.conversations c on c.id = a.conversation_id
  join zapline.conversations root on root.id = case when c.merged_into is null then c.id else c.merged_into end
  join zapline.contacts k on k.id = root.contact_id
 where a.unit_id = any(%(units)s) and a.fingerprint = any(%(fingerprints)s) and a.external_id is null
   and a.outcome in ('calling', 'uncertain');

-- name: mark_shown
-- These echoes are stored as messages of their own, and kept because their chats may turn out to be those of our calls.
update zapline.sightings s set shown_at = to_timestamp(%(now)s)
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text)
 where s.unit_id = r.unit_id and s.provider = %(provider)s and s.external_id = r.external_id;

-- name: prune_shown
-- Deletes such echoes after a week.
delete from zapline.sightings where shown_at < now() - interval '7 days';

-- name: delete_sightings
-- Deletes decided echoes.
delete from zapline.sightings s
 using jsonb_to_recordset(%(rows)s) as r(unit_id uuid, external_id text)
 where s.unit_id = r.unit_id and s.provider = %(provider)s and s.external_id = r.external_id;
