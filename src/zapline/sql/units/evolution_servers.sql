-- Evolution servers beside the one that the environment names, and which units live on them.

-- name: load_servers
-- All servers at work, by name.
select name, url, sealed_key, weight, extract(epoch from paused_at)::float8 as paused_at,
       extract(epoch from created_at)::float8 as created_at
  from zapline.evolution_servers where removed_at is null order by name;

-- name: count_units
-- How many units live on each server; null is the server of the environment.
select evolution_server as server, count(*)::int as units
  from zapline.unit_whatsapp_connections where archived_at is null group by evolution_server;

-- name: serialize_changes
-- Lets one change of the list of servers happen at a time.
select pg_advisory_xact_lock(hashtextextended('zapline evolution servers', 0));

-- name: insert_server
-- A new server, or one that was removed and comes again; no row where there is one of this name at work.
insert into zapline.evolution_servers as s (name, url, sealed_key, weight)
values (%(name)s, %(url)s, %(sealed_key)s, %(weight)s)
on conflict (name) do update
   set url = excluded.url, sealed_key = excluded.sealed_key, weight = excluded.weight, paused_at = null,
       created_at = now(), removed_at = null
 where s.removed_at is not null
returning name;

-- name: keep_environment
-- Makes the row of the environment's server, whose share is to be changed.
insert into zapline.evolution_servers (name) values ('environment') on conflict (name) do nothing;

-- name: change_server
-- Changes a server at work. Null changes nothing.
update zapline.evolution_servers
   set url = coalesce(%(url)s::text, url), sealed_key = coalesce(%(sealed_key)s::bytea, sealed_key),
       weight = coalesce(%(weight)s::int, weight),
       paused_at = case when %(paused)s::boolean is null then paused_at
                        when %(paused)s::boolean then coalesce(paused_at, now()) end
 where name = %(name)s and removed_at is null
returning name;

-- name: distrust_store
-- The units of a server that gets another address: what stands behind it may be another server, whose store proves
-- nothing of what was called before.
update zapline.unit_whatsapp_connections c
   set evolution_server_since = now(), store_kept = null
  from zapline.evolution_servers s
 where s.name = %(name)s and s.removed_at is null and s.url is distinct from %(url)s::text
   and c.evolution_server = s.name and c.archived_at is null;

-- name: lock_server
-- Locks a server at work against its removal; no row where there is none.
select name from zapline.evolution_servers where name = %(name)s and removed_at is null for share;

-- name: lock_for_removal
-- Locks a server at work against units that would come to live on it.
select name from zapline.evolution_servers where name = %(name)s and removed_at is null for update;

-- name: remove_server
-- Removes a server on which no unit lives, with its key.
update zapline.evolution_servers
   set removed_at = now(), sealed_key = null
 where name = %(name)s and removed_at is null
   and not exists (select from zapline.unit_whatsapp_connections c
                    where c.evolution_server = %(name)s and c.archived_at is null)
returning name;

-- name: move_unit
-- Has a unit live on another server; null is the environment's. What was compared with the old server's store is over.
update zapline.unit_whatsapp_connections
   set evolution_server = %(to)s::text, evolution_server_since = now(), store_kept = null, gap_since = null
 where unit_id = %(unit)s and archived_at is null and evolution_server is not distinct from %(from)s::text
returning unit_id;
