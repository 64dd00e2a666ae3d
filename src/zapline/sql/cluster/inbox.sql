-- Webhooks that wait for the node that owns their unit.

-- name: put
-- Puts webhooks in, each once while it waits; returns who owns the units.
with given as materialized (
    select * from unnest(%(copies)s::uuid[], %(units)s::uuid[], %(events)s::text[], %(received)s::float8[],
                         %(bodies)s::bytea[], %(replayed)s::boolean[])
                  with ordinality as g(copy, unit_id, event, received_at, body, replayed, place)
), put as (
    insert into zapline.inbox (copy, unit_id, event, received_at, body, replayed)
    select g.copy, g.unit_id, g.event, g.received_at, g.body, g.replayed from given g order by g.place
    on conflict (copy) do nothing
)
select distinct c.owner
  from zapline.unit_whatsapp_connections c
 where c.unit_id in (select g.unit_id from given g) and c.owner is not null;

-- name: take
-- Takes the oldest webhooks of a node's units that it does not have in hand, some of each unit; some of its units may be
-- full. What it takes is on record before it looks into it: should it die over one, the next owner is careful with all
-- of these. Only so many are looked at: where most are of units that are full by then, the next time passes over these.
with oldest as materialized (
    select i.id, i.unit_id
      from zapline.inbox i
      join zapline.unit_whatsapp_connections c on c.unit_id = i.unit_id
     where c.owner = %(node)s and c.archived_at is null
       and i.taken_by is distinct from %(node)s and i.unit_id <> all(%(full)s)
     order by i.id
     limit 4 * %(most)s::bigint
), ranked as materialized (
    select o.id, row_number() over (partition by o.unit_id order by o.id) as place from oldest o
), waiting as materialized (
    select i.id
      from zapline.inbox i
     where i.id = any(array(select r.id from ranked r where r.place <= %(each)s order by r.id limit %(most)s::bigint))
       and i.taken_by is distinct from %(node)s
     order by i.id
       for update of i skip locked
)
update zapline.inbox i set taken_by = %(node)s
  from waiting w where i.id = w.id
returning i.id, i.unit_id, i.event, i.received_at, i.body, i.replayed, i.deaths;

-- name: find_waiting
-- Whether anything waits that was put in for a unit before a time (UTC seconds).
select exists (select from zapline.inbox i
                where i.unit_id = %(unit_id)s and i.put_at <= to_timestamp(%(until)s)) as waits;

-- name: give_back
-- Lets go of what a node took and does not have in hand: the answer to its statement was lost, or the unit is another's.
update zapline.inbox set taken_by = null where taken_by = %(node)s and id <> all(%(in_hand)s);

-- name: forget_homeless
-- Deletes what waits for units that are archived for longer than a day, or gone.
delete from zapline.inbox i
 where i.put_at < now() - interval '1 hour'
   and not exists (select from zapline.unit_whatsapp_connections c
                    where c.unit_id = i.unit_id
                      and (c.archived_at is null or c.archived_at > now() - interval '1 day'));

-- name: count
-- How many wait, and for how long the oldest has waited (seconds).
select count(*) as waiting, coalesce(extract(epoch from clock_timestamp() - min(put_at)), 0)::float8 as age
  from zapline.inbox;
