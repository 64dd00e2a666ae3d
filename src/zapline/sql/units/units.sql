-- Units and their lines.

-- name: load_units
-- Every unit that may still get webhooks: the active ones, and those archived within a day.
select u.id, u.name, u.time_zone, extract(epoch from u.created_at)::float8 as created_at,
       extract(epoch from u.paused_at)::float8 as paused_at,
       extract(epoch from u.campaigns_held_at)::float8 as campaigns_held_at, u.campaigns_held_reason, u.retention_days,
       u.webhook_registration, s.unit_id is not null as has_line_settings,
       coalesce(s.mark_read = 'on_reply' and s.settings_managed, false) as marks_read_on_reply,
       extract(epoch from c.archived_at)::float8 as archived_at, c.instance_id as instance, c.secret_generation,
       c.secret_digest, c.previous_secret_digest as previous_digest,
       extract(epoch from c.previous_secret_until)::float8 as previous_until,
       c.earlier_secret_digests as earlier_digests, c.journal_id, c.applied_seq, c.owner, c.epoch,
       c.phase, c.status_reason as reason, c.wanted, c.number, c.logout_pending,
       extract(epoch from c.connected_at)::float8 as connected_at,
       extract(epoch from c.disconnected_at)::float8 as disconnected_at,
       extract(epoch from c.qr_updated_at)::float8 as qr_updated_at, c.qr_code, c.pairing_code, c.owner_jid,
       c.profile_name, extract(epoch from c.updated_at)::float8 as updated_at,
       c.evolution_server, extract(epoch from c.evolution_server_since)::float8 as evolution_server_since,
       array(select o.name from zapline.own_names o where o.unit_id = u.id order by o.name) as own_names,
       coalesce(h.number, 0) as changes_stored, h.phase as last_phase, h.reason as last_reason
  from zapline.units u
  join zapline.unit_whatsapp_connections c on c.unit_id = u.id
  left join zapline.line_settings s on s.unit_id = u.id
  left join lateral (
       select * from zapline.line_changes l where l.unit_id = u.id order by l.number desc limit 1) h on true
 where c.archived_at is null or c.archived_at > now() - interval '1 day'
 order by u.created_at, u.id;

-- name: load_lines
-- How the lines of these units stand, as whoever owns them has stored it last.
select c.unit_id, c.phase, c.status_reason as reason, c.wanted,
       extract(epoch from c.connected_at)::float8 as connected_at,
       extract(epoch from c.disconnected_at)::float8 as disconnected_at,
       extract(epoch from c.updated_at)::float8 as updated_at
  from zapline.unit_whatsapp_connections c
 where c.unit_id = any(%(units)s::uuid[]) and c.archived_at is null;

-- name: insert_unit
-- A new unit.
insert into zapline.units (id, name, time_zone) values (%(id)s, %(name)s, %(time_zone)s);

-- name: insert_connection
-- The line of a new unit; its instance must be free.
insert into zapline.unit_whatsapp_connections (unit_id, provider, instance_id, secret_digest, evolution_server, owner,
                                               epoch)
values (%(unit_id)s, %(provider)s, %(instance_id)s, %(secret_digest)s, %(evolution_server)s, %(owner)s, %(epoch)s);

-- name: archive_unit
-- Archives a unit; its rows stay, and its late webhooks are still recognised for a day. It leaves its organization.
with archived as (
    update zapline.units set archived_at = now() where id = %(id)s and archived_at is null returning id
), left_organization as (
    delete from zapline.organization_units o using archived a where o.unit_id = a.id
)
update zapline.unit_whatsapp_connections c
   set archived_at = now(), wanted = false from archived a where c.unit_id = a.id
returning c.unit_id;

-- name: rotate_secret
-- Stores a new webhook secret; the old one stays valid for the grace period, because retries use the old URL, and as all
-- earlier ones until Evolution has confirmed that it uses the new one.
update zapline.unit_whatsapp_connections
   set secret_generation = %(generation)s, secret_digest = %(digest)s,
       previous_secret_digest = secret_digest,
       earlier_secret_digests = (array_prepend(secret_digest, earlier_secret_digests))[:16], previous_secret_until = now() + %(grace)s * interval '1 minute'
 where unit_id = %(id)s and archived_at is null and secret_generation = %(generation)s - 1
returning extract(epoch from previous_secret_until)::float8 as valid_until;

-- name: end_earlier_secrets
-- Evolution uses the newest secret, and the grace period is over: earlier ones are valid no more.
update zapline.unit_whatsapp_connections
   set earlier_secret_digests = '{}'
 where unit_id = %(id)s and secret_generation = %(generation)s;

-- name: change_unit
-- Changes a unit's settings. Null changes nothing, except for the retention, which has a flag.
update zapline.units
   set name = coalesce(%(name)s::text, name), time_zone = coalesce(%(time_zone)s::text, time_zone),
       webhook_registration = coalesce(%(webhook_registration)s::text, webhook_registration),
       retention_days = case when %(with_retention)s then %(retention_days)s::int else retention_days end
 where id = %(id)s and archived_at is null
returning id;

-- name: pause_unit
-- Pauses sending.
update zapline.units set paused_at = coalesce(paused_at, now()) where id = %(id)s and archived_at is null
returning id;

-- name: resume_unit
-- Resumes sending.
update zapline.units set paused_at = null where id = %(id)s and archived_at is null
returning id;

-- name: find_archive_time
-- When a unit was archived. No row: there is no such unit.
select extract(epoch from archived_at)::float8 as archived_at from zapline.units where id = %(id)s;

-- name: list_archived_units
-- A page of the archived units, oldest first.
select u.id, u.name, u.time_zone, extract(epoch from u.created_at)::float8 as created_at,
       extract(epoch from u.archived_at)::float8 as archived_at, u.retention_days, u.webhook_registration, c.instance_id as instance
  from zapline.units u
  join zapline.unit_whatsapp_connections c on c.unit_id = u.id
 where u.archived_at is not null
   and (%(after_at)s::float8 is null
        or (extract(epoch from u.created_at)::float8, u.id) > (%(after_at)s::float8, %(after_id)s::uuid))
 order by u.created_at, u.id
 limit %(limit)s;
