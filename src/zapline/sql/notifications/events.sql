-- The log of events, which the triggers of migration 0034 write.

-- name: load_position
-- The last place that was given in the log, and up to where events were deleted for their age.
select coalesce(pg_sequence_last_value('zapline.events_seq_seq'::regclass), 0) as last,
       coalesce((select pruned_through from zapline.event_log), 0) as pruned_through;

-- name: load_pruned_through
-- Up to where events were deleted for their age.
select coalesce((select pruned_through from zapline.event_log), 0) as pruned_through;

-- name: list_latest
-- The last place of each unit between two places, and of each organization.
with latest as (
    select e.unit_id, max(e.seq) as seq
      from zapline.events e where e.seq > %(after)s and e.seq <= %(until)s group by e.unit_id
)
select l.unit_id as id, l.seq from latest l
union all
select o.organization_id, max(l.seq)
  from latest l join zapline.organization_units o on o.unit_id = l.unit_id group by o.organization_id;

-- name: list_writers
-- Transactions that may yet commit events with places that are given already: whoever has begun to write events holds
-- this lock until the end.
select distinct l.virtualtransaction as writer
  from pg_locks l
 where l.locktype = 'relation' and l.relation = 'zapline.events'::regclass and l.mode = 'RowExclusiveLock' and l.granted
   and l.database = (select d.oid from pg_database d where d.datname = current_database());

-- name: list_events
-- Events of an organization's units behind a place, up to another one, in their order; since each unit came into it.
select e.seq, e.id, e.unit_id, e.event, e.subject, e.facts, extract(epoch from e.created_at)::float8 as created_at
  from zapline.events e
  join zapline.members(%(organization_id)s, %(units)s::uuid[]) m on m.unit_id = e.unit_id
 where e.seq > %(after)s and e.seq <= %(until)s and coalesce(e.happened_at, e.created_at) >= m.since
   and (%(events)s::text[] is null or e.event = any(%(events)s::text[]))
 order by e.seq limit %(limit)s;

-- name: prune_events
-- Deletes a part of the events that are too old, and notes up to where.
with old as (
    select f.seq from (select e.seq, e.created_at from zapline.events e order by e.seq limit %(limit)s) f
     where f.created_at < now() - %(days)s * interval '1 day'
), gone as (
    delete from zapline.events where seq in (select seq from old) returning seq
), noted as (
    insert into zapline.event_log as l (pruned_through) select max(seq) from gone having count(*) > 0
    on conflict (id) do update set pruned_through = greatest(l.pruned_through, excluded.pruned_through)
)
select count(*) as events from gone;
