-- Units and their lines.

-- name: load_units
-- Every unit that webhooks may still come for: the active ones, and those archived within a day.
select u.id, u.name, u.time_zone, u.created_at, u.paused_at, u.retention_days, c.archived_at, c.provider, c.instance_id, c.secret_generation,
       c.secret_digest, c.previous_secret_digest, c.previous_secret_until, c.journal_id, c.applied_seq,
       c.phase, c.status_reason, c.wanted, c.number, c.logout_pending, c.connected_at, c.disconnected_at,
       c.qr_updated_at, c.qr_code, c.pairing_code, c.owner_jid, c.profile_name, c.updated_at
  from zapline.units u
  join zapline.unit_whatsapp_connections c on c.unit_id = u.id
 where c.archived_at is null or c.archived_at > now() - interval '1 day'
 order by u.created_at, u.id;

-- name: insert_unit
-- A new unit.
insert into zapline.units (id, name, time_zone) values (%(id)s, %(name)s, %(time_zone)s);

-- name: insert_connection
-- The new unit's line; its instance must be free.
insert into zapline.unit_whatsapp_connections (unit_id, provider, instance_id, secret_digest)
values (%(unit_id)s, %(provider)s, %(instance_id)s, %(secret_digest)s);

-- name: archive_unit
-- The unit is closed; its rows stay, and its late webhooks are still recognised for a day.
with archived as (
    update zapline.units set archived_at = now() where id = %(id)s and archived_at is null returning id)
update zapline.unit_whatsapp_connections c
   set archived_at = now(), wanted = false from archived a where c.unit_id = a.id
returning c.unit_id;

-- name: rotate_secret
-- A new webhook secret; the old one stays valid for the grace, because retries carry the old URL.
update zapline.unit_whatsapp_connections
   set secret_generation = %(generation)s, secret_digest = %(digest)s,
       previous_secret_digest = secret_digest, previous_secret_until = now() + %(grace)s * interval '1 minute'
 where unit_id = %(id)s and archived_at is null and secret_generation = %(generation)s - 1
returning previous_secret_until;

-- name: change_unit
-- Its name, its time zone and how long its messages are kept; what is null stays, but for the days, where that is said.
update zapline.units
   set name = coalesce(%(name)s::text, name), time_zone = coalesce(%(time_zone)s::text, time_zone),
       retention_days = case when %(with_retention)s then %(retention_days)s::int else retention_days end
 where id = %(id)s and archived_at is null
returning id;

-- name: pause_unit
-- Nothing is sent from now on.
update zapline.units set paused_at = coalesce(paused_at, now()) where id = %(id)s and archived_at is null
returning id;

-- name: resume_unit
-- What waits may leave again.
update zapline.units set paused_at = null where id = %(id)s and archived_at is null
returning id;

-- name: find_archived
-- When a unit was archived. No row: there is no such unit.
select archived_at from zapline.units where id = %(id)s;

-- name: list_archived
-- Units that are closed, oldest first.
select u.id, u.name, u.time_zone, u.created_at, u.archived_at, u.retention_days, c.instance_id
  from zapline.units u
  join zapline.unit_whatsapp_connections c on c.unit_id = u.id
 where u.archived_at is not null
   and (%(after_at)s::float8 is null
        or (extract(epoch from u.created_at)::float8, u.id) > (%(after_at)s::float8, %(after_id)s::uuid))
 order by u.created_at, u.id
 limit %(limit)s;

-- name: walk_indexes
-- In this transaction indexes are walked in their order: the policies hide from the planner how few rows are needed.
select set_config('enable_bitmapscan', 'off', true) as bitmaps;

-- name: unit_totals
-- What every active unit, or one, has to do, and when it was last heard of. A line a unit; times in UTC seconds.
select u.id as unit_id, coalesce(w.queued, 0) as queued, coalesce(w.uncertain, 0) as uncertain, d.dead, l.letters,
       extract(epoch from w.oldest)::float8 as oldest_queued, extract(epoch from i.at)::float8 as last_in,
       extract(epoch from o.at)::float8 as last_out
  from zapline.units u
  left join (
       select unit_id, count(*) filter (where state in ('queued', 'leased')) as queued,
              count(*) filter (where state = 'uncertain') as uncertain,
              min(created_at) filter (where state = 'queued' and due_at <= now()) as oldest
         from zapline.outbox
        where state in ('queued', 'leased', 'uncertain') and (%(unit_id)s::uuid is null or unit_id = %(unit_id)s)
        group by unit_id) w on w.unit_id = u.id
 cross join lateral (
       select count(*) as dead from zapline.outbox x
        where x.unit_id = u.id and x.state = 'dead' and x.ended_at > now() - interval '1 day') d
 cross join lateral (
       select count(*) as letters from zapline.dead_letters x
        where x.unit_id = u.id and x.revived_at is null and x.given_up_at is null) l
  left join lateral (
       select x.received_at as at from zapline.messages x
        where x.unit_id = u.id and not x.from_me
        order by x.received_at desc limit 1) i on true
  left join lateral (
       select coalesce((select b.settled_at from zapline.outbox b where b.message_id = x.id), x.received_at) as at
         from zapline.messages x
        where x.unit_id = u.id and x.from_me and x.delivery in ('sent', 'delivered', 'read', 'played')
        order by x.received_at desc limit 1) o on true
 where u.archived_at is null and (%(unit_id)s::uuid is null or u.id = %(unit_id)s);
