-- Sessions and bearer tokens; only digests are stored, so what is read here opens nothing.

-- name: issue
-- A token's digest; the token itself is shown once and kept nowhere. No row back: its administrator is disabled, or
-- has another password by now. He is held until the commit, so that who changes that waits, and ends this token too.
with holder as (
    select id from zapline.admins
     where id = %(admin_id)s and disabled_at is null
       and password_hash = coalesce(%(password_hash)s::text, password_hash)
       for share)
insert into zapline.access_tokens
       (digest, kind, admin_id, unit_id, scopes, label, created_by, idle_seconds, expires_at)
select %(digest)s::bytea, %(kind)s::text, %(admin_id)s::uuid, %(unit_id)s::uuid, %(scopes)s::text[], %(label)s::text,
       %(created_by)s::text, %(idle_seconds)s::integer, now() + %(seconds)s::double precision * interval '1 second'
 where %(admin_id)s::uuid is null or exists (select from holder)
returning id, kind, unit_id, scopes, label, created_by, created_at, last_used_at, idle_seconds, expires_at, revoked_at;

-- name: find_holder
-- Who holds this token, if it is valid now. What is known of its last use and not stored yet counts too.
select t.id, t.kind, t.admin_id, a.email, t.unit_id, t.scopes, t.label, t.idle_seconds, t.expires_at,
       greatest(t.last_used_at, t.created_at, to_timestamp(%(used_at)s::double precision)) as used_at
  from zapline.access_tokens t
  left join zapline.admins a on a.id = t.admin_id
  left join zapline.units u on u.id = t.unit_id
 where t.digest = %(digest)s and t.revoked_at is null
   and (t.expires_at is null or t.expires_at > now())
   and (t.idle_seconds is null
        or greatest(t.last_used_at, t.created_at, to_timestamp(%(used_at)s::double precision))
           > now() - t.idle_seconds * interval '1 second')
   and a.disabled_at is null and u.archived_at is null;

-- name: touch
-- When tokens were last used.
update zapline.access_tokens t set last_used_at = used.at
  from (select id, to_timestamp(seconds) as at
          from unnest(%(ids)s::uuid[], %(seconds)s::double precision[]) as given (id, seconds)) as used
 where t.id = used.id and t.revoked_at is null and coalesce(t.last_used_at, '-infinity') < used.at;

-- name: list_of_unit
-- A page of a unit's tokens, the newest first.
select id, kind, unit_id, scopes, label, created_by, created_at, last_used_at, idle_seconds, expires_at, revoked_at
  from zapline.access_tokens
 where unit_id = %(unit_id)s
   and (%(before_at)s::timestamptz is null or (created_at, id) < (%(before_at)s, %(before_id)s::uuid))
 order by created_at desc, id desc limit %(limit)s;

-- name: list_of_admin
-- A page of an administrator's tokens and sessions, the newest first.
select id, kind, unit_id, scopes, label, created_by, created_at, last_used_at, idle_seconds, expires_at, revoked_at
  from zapline.access_tokens
 where admin_id = %(admin_id)s
   and (%(before_at)s::timestamptz is null or (created_at, id) < (%(before_at)s, %(before_id)s::uuid))
 order by created_at desc, id desc limit %(limit)s;

-- name: revoke_digest
-- The holder ends it.
update zapline.access_tokens set revoked_at = now() where digest = %(digest)s and revoked_at is null;

-- name: revoke_of_unit
-- A token of this unit ends; no row where the unit has no such token.
update zapline.access_tokens set revoked_at = coalesce(revoked_at, now())
 where id = %(id)s and unit_id = %(unit_id)s
returning label;

-- name: revoke_of_admin
-- A token or session of this administrator ends; no row where he has no such token.
update zapline.access_tokens set revoked_at = coalesce(revoked_at, now())
 where id = %(id)s and admin_id = %(admin_id)s
returning label;

-- name: revoke_all_of_admin
-- All that an administrator has opened ends.
update zapline.access_tokens set revoked_at = now()
 where admin_id = %(admin_id)s and revoked_at is null and expires_at > now();

-- name: forget
-- What ended long ago is of no use to anybody; the audit log keeps who made and who ended it.
delete from zapline.access_tokens
 where coalesce(revoked_at, expires_at) < now() - %(days)s::integer * interval '1 day';
