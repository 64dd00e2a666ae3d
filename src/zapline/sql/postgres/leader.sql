-- The epoch of the process that leads.

-- name: take_role
-- The lock's connection has no role of its own.
set local role zapline_engine;

-- name: stay_engine
-- The same, until the session ends. What it writes from then on are leases: they are worth nothing after a crash of the
-- server, so no commit waits for its disk, nor for a standby.
select set_config('role', 'zapline_engine', false) as role, set_config('synchronous_commit', 'off', false) as commits;

-- name: take_epoch
-- A new epoch, above all that are known; and the one before.
with before as (select epoch from zapline.leader where id = 1)
insert into zapline.leader as l (epoch, process) values (%(known)s + 1, %(process)s)
on conflict (id) do update set epoch = greatest(l.epoch, %(known)s) + 1, process = excluded.process, taken_at = now()
returning l.epoch, coalesce((select epoch from before), 0) as earlier;

-- name: find_place
-- Which database this is: the cluster, the database in it, and the timeline, which a promotion changes.
select (select system_identifier::text from pg_control_system()) as cluster,
       (select oid::text from pg_database where datname = current_database()) as base,
       substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) as timeline;

-- name: read_clock
-- What the server's clock shows.
select extract(epoch from clock_timestamp())::float8 as now;
