-- Nodes that share the units. Times are the server's own.

-- name: insert_member
-- A node that shares the units with others.
insert into zapline.nodes (id, name, version, epoch, expires_at, sessions, shares)
values (%(node)s, %(name)s, %(version)s, %(epoch)s, clock_timestamp() + %(lease)s * interval '1 second', %(sessions)s,
        true);

-- name: survey
-- What a node sees: how many nodes live and take units, whether it is the eldest of them, how many units there are, how
-- many of them it owns and nobody owns; and marks that change whenever units of its own, or any units, do. Seconds since
-- the youngest node joined; whether all are of one version.
with living as (
    select n.* from zapline.nodes n where n.expires_at > clock_timestamp() and not n.leaving
), lines as (
    select count(*) as total,
           count(*) filter (where c.owner = %(node)s) as mine,
           count(*) filter (where c.owner is null
                               or not exists (select from zapline.nodes n where n.id = c.owner)) as free,
           coalesce(sum(c.epoch) filter (where c.owner = %(node)s), 0)::text as held,
           (count(*) || ' ' || sum(c.secret_generation) || ' ' || count(c.evolution_server)
            || ' ' || count(c.archived_at)) as all_lines
      from zapline.unit_whatsapp_connections c
     where c.archived_at is null or c.archived_at > now() - interval '1 day'
)
select (select count(*) from living) as living,
       coalesce((select l.id = %(node)s from living l order by l.joined_at, l.id limit 1), false) as eldest,
       coalesce((select extract(epoch from clock_timestamp() - max(l.joined_at)) from living l), 0)::float8 as settled,
       (select count(distinct l.version) from living l) <= 1 and not exists (
           select from zapline.nodes n where n.leaving and n.expires_at > clock_timestamp()) as calm,
       l.total, l.mine, l.free, l.held, l.all_lines
  from lines l;

-- name: find_dead
-- Nodes whose lease is over, the given one aside; and the name of their sessions, unless a living node has the same.
select n.id, n.name,
       case when not exists (select from zapline.nodes o where o.sessions = n.sessions
                                                           and o.expires_at > clock_timestamp()) then n.sessions
            else '' end as sessions
  from zapline.nodes n where n.expires_at <= clock_timestamp() and n.id <> %(node)s;

-- name: leave_role
-- For this transaction: as who has logged in, who may end the sessions of his own.
select set_config('role', 'none', true);

-- name: end_sessions
-- Ends the sessions of a dead node's process.
select count(*) filter (where pg_terminate_backend(a.pid)) as ended
  from pg_stat_activity a
 where a.application_name = %(sessions)s and a.datname = current_database() and a.pid <> pg_backend_pid();

-- name: bury
-- Takes a dead node out: its units are nobody's, and what it had in hand may be what it died of.
with gone as (
    delete from zapline.nodes where id = %(node)s and expires_at <= clock_timestamp() returning id
), suspected as (
    update zapline.inbox i set deaths = i.deaths + 1, taken_by = null from gone where i.taken_by = gone.id
)
update zapline.unit_whatsapp_connections u set owner = null from gone where u.owner = gone.id;

-- name: claim_units
-- Takes units that nobody owns under a new epoch. What an earlier stay as their owner had in hand is to be taken anew.
with me as (
    select id from zapline.nodes where id = %(node)s and expires_at > clock_timestamp() and not leaving
), free as materialized (
    select c.unit_id
      from zapline.unit_whatsapp_connections c cross join me
     where (c.owner is null or not exists (select from zapline.nodes n where n.id = c.owner))
       and (c.archived_at is null or c.archived_at > now() - interval '1 day')
     order by c.unit_id
     limit %(most)s
       for update of c skip locked
), began as (
    update zapline.leader l set epoch = greatest(l.epoch, %(known)s::bigint) + 1
     where l.id = 1 and exists (select from free)
    returning l.epoch
), again as (
    update zapline.inbox i set taken_by = null from free f where i.unit_id = f.unit_id and i.taken_by = %(node)s
)
update zapline.unit_whatsapp_connections u
   set owner = %(node)s, epoch = b.epoch
  from free f cross join began b
 where u.unit_id = f.unit_id
returning u.unit_id, u.epoch;

-- name: find_takers
-- Nodes that own less than their share, and how many units each may take; those with the fewest first.
select n.id, (%(share)s - count(c.unit_id))::int as room
  from zapline.nodes n
  left join zapline.unit_whatsapp_connections c
    on c.owner = n.id and (c.archived_at is null or c.archived_at > now() - interval '1 day')
 where n.shares and not n.leaving and n.expires_at > clock_timestamp() and n.id <> %(node)s
 group by n.id
having count(c.unit_id) < %(share)s
 order by count(c.unit_id), n.id;

-- name: hand_over
-- Gives units to another living node, under a new epoch: at no time are they nobody's. One that is just being written
-- stays for the next time.
with taker as (
    select id from zapline.nodes where id = %(taker)s and expires_at > clock_timestamp() and not leaving
), moved as materialized (
    select c.unit_id
      from zapline.unit_whatsapp_connections c cross join taker
     where c.owner = %(node)s and c.unit_id = any(%(units)s)
     order by c.unit_id
       for update of c skip locked
), began as (
    update zapline.leader l set epoch = greatest(l.epoch, %(known)s::bigint) + 1
     where l.id = 1 and exists (select from moved)
    returning l.epoch
), again as (
    update zapline.inbox i set taken_by = null from moved m where i.unit_id = m.unit_id and i.taken_by is not null
)
update zapline.unit_whatsapp_connections u
   set owner = %(taker)s, epoch = b.epoch
  from moved m cross join began b
 where u.unit_id = m.unit_id
returning u.unit_id;

-- name: begin_leaving
-- A node takes no more units.
update zapline.nodes set leaving = true where id = %(node)s;

-- name: notify
-- Wakes whoever listens on these channels. In a transaction of its own: commits that notify wait for each other.
select pg_notify(channel, %(what)s) from unnest(%(channels)s::text[]) as channel;
