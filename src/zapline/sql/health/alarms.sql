-- Alarms: to whom they go, which incidents there were, and what was said of each to whom.

-- fragment: incident
-- The columns of an incident.
i.id, i.number, extract(epoch from i.opened_at)::float8 as opened_at,
extract(epoch from i.joined_at)::float8 as joined_at, i.said, extract(epoch from i.said_at)::float8 as said_at,
extract(epoch from i.closed_at)::float8 as closed_at, i.members

-- name: load_destinations
-- All destinations, the oldest first.
select id, kind, sealed, shown, units, language, generation, extract(epoch from created_at)::float8 as created_at,
       extract(epoch from tried_at)::float8 as tried_at, error
  from zapline.alarm_destinations order by created_at, id;

-- name: serialize_destinations
-- Lets one change of the list of destinations happen at a time.
select pg_advisory_xact_lock(hashtextextended('zapline alarm destinations', 0));

-- name: insert_destination
-- A new destination; no row where there are enough.
insert into zapline.alarm_destinations (id, kind, sealed, shown, units, language)
select %(id)s::uuid, %(kind)s::text, %(sealed)s::bytea, %(shown)s::text, %(units)s::uuid[], %(language)s::text
 where (select count(*) from zapline.alarm_destinations) < %(most)s::bigint
returning id;

-- name: delete_destination
-- Deletes a destination, with what waits for it.
delete from zapline.alarm_destinations where id = %(id)s returning id;

-- name: note_try
-- How the last try to reach a destination ended.
update zapline.alarm_destinations set tried_at = to_timestamp(%(now)s), error = %(error)s::text where id = %(id)s;

-- name: store_incident
-- An incident as it is now; no row where it is stored as of later.
insert into zapline.alarm_incidents as i (id, opened_at, joined_at, said, said_at, closed_at, members)
values (%(id)s, to_timestamp(%(opened_at)s), to_timestamp(%(joined_at)s), %(said)s, to_timestamp(%(said_at)s),
        to_timestamp(%(closed_at)s::float8), %(members)s)
on conflict (id) do update
   set joined_at = excluded.joined_at, said = excluded.said, said_at = excluded.said_at,
       closed_at = excluded.closed_at, members = excluded.members
 where i.said <= excluded.said
returning id;

-- name: replace_notices
-- What was said of an incident before and still waits: what is said now holds it too.
update zapline.alarm_notices set state = 'replaced', ended_at = to_timestamp(%(now)s)
 where incident_id = %(incident)s and number < %(number)s and state = 'waiting';

-- name: insert_notices
-- What is said of an incident, to each destination that is still there; once.
insert into zapline.alarm_notices
       (id, incident_id, destination_id, number, kind, told, state, due_at, created_at, ended_at)
select n.id, %(incident)s::uuid, d.id, %(number)s::int, %(kind)s::text, %(told)s::jsonb, n.state,
       to_timestamp(n.created_at), to_timestamp(n.created_at),
       case when n.state = 'delivered' then to_timestamp(n.created_at) end
  from jsonb_to_recordset(%(rows)s::jsonb) as n(id uuid, destination uuid, state text, created_at float8)
  join zapline.alarm_destinations d on d.id = n.destination
on conflict (id) do nothing;

-- name: load_incidents
-- Incidents that are open, or were closed since a time.
select
       -- include: incident
  from zapline.alarm_incidents i where i.closed_at is null
union all
select
       -- include: incident
  from zapline.alarm_incidents i where i.closed_at >= to_timestamp(%(closed_since)s);

-- name: list_incidents
-- A page of incidents, the latest first, below a number.
select
       -- include: incident
       , (select count(*)::int from zapline.alarm_notices n where n.incident_id = i.id and n.state = 'given_up')
       as failed
  from zapline.alarm_incidents i
 where i.number < coalesce(%(before)s::bigint, 9223372036854775807)
 order by i.number desc
 limit %(limit)s;

-- name: list_due
-- Notices that are to be delivered now, the longest due first; none to these destinations.
select n.id, n.destination_id, n.kind, n.told, extract(epoch from n.created_at)::float8 as created_at, n.attempts
  from zapline.alarm_notices n
 where n.state = 'waiting' and n.due_at <= to_timestamp(%(now)s) and n.destination_id <> all(%(busy)s::uuid[])
 order by n.due_at
 limit %(limit)s;

-- name: find_next_due
-- When the next notice is due, to other destinations than these.
select extract(epoch from min(due_at))::float8 as next_due from zapline.alarm_notices
 where state = 'waiting' and destination_id <> all(%(busy)s::uuid[]);

-- name: end_notice
-- A notice is delivered or given up. One that was replaced while it was told was told.
update zapline.alarm_notices
   set state = %(state)s::text, ended_at = to_timestamp(%(now)s), error = %(error)s::text, attempts = attempts + 1
 where id = %(id)s and (state = 'waiting' or (state = 'replaced' and %(state)s::text = 'delivered'));

-- name: retry_notice
-- A notice is tried again at a time.
update zapline.alarm_notices
   set due_at = to_timestamp(%(due_at)s), error = %(error)s::text, attempts = attempts + 1
 where id = %(id)s and state = 'waiting';

-- name: count_deliveries
-- Notices that fail and wait, and those given up within a day.
select (select count(*)::int from zapline.alarm_notices where state = 'waiting' and attempts > 0) as failing,
       (select extract(epoch from min(created_at))::float8 from zapline.alarm_notices
         where state = 'waiting' and attempts > 0) as oldest,
       (select count(*)::int from zapline.alarm_notices
         where state = 'given_up' and ended_at >= to_timestamp(%(now)s::float8 - 86400)) as given_up;

-- name: prune_incidents
-- Deletes incidents that were closed before a time, with their notices; at most so many at once.
delete from zapline.alarm_incidents
 where id in (select id from zapline.alarm_incidents
               where closed_at < to_timestamp(%(before)s) order by closed_at limit %(limit)s);
