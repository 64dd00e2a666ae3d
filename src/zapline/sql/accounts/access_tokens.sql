-- Sessions and bearer tokens. Only digests are stored, so nothing that is read here gives access.

-- name: lock_ceilings
-- Whoever makes tokens of units waits for others who do, until the transaction ends.
select id from zapline.ceilings for no key update;

-- name: insert_token
-- Stores the digest of a new token; the token itself is shown once and not stored. No row back: its administrator is
-- disabled, or has changed the password; or its unit or organization has as many valid tokens as the ceilings say. The
-- administrator's row is locked until the commit, so that a transaction that changes it waits and revokes this token,
-- too.
with holder as (
    select id from zapline.admins
     where id = %(admin_id)s and disabled_at is null
       and password_hash = coalesce(%(password_hash)s::text, password_hash)
       for share)
insert into zapline.access_tokens
       (digest, kind, admin_id, unit_id, organization_id, units, scopes, label, created_by, idle_seconds,
        requests_per_minute, expires_at)
select %(digest)s::bytea, %(kind)s::text, %(admin_id)s::uuid, %(unit_id)s::uuid, %(organization_id)s::uuid,
       %(units)s::uuid[], %(scopes)s::text[], %(label)s::text, %(created_by)s::text, %(idle_seconds)s::integer,
       %(requests_per_minute)s::integer, now() + %(seconds)s::double precision * interval '1 second'
 where case when %(admin_id)s::uuid is not null then exists (select from holder)
            else (select count(*) from zapline.access_tokens t
                   where (t.unit_id = %(unit_id)s::uuid or t.organization_id = %(organization_id)s::uuid)
                     and t.revoked_at is null and (t.expires_at is null or t.expires_at > now()))
                 < coalesce((select c.tokens from zapline.ceilings c), 2147483647) end
returning id, kind, unit_id, scopes, label, created_by, created_at, last_used_at, idle_seconds, expires_at, revoked_at,
          organization_id, units, requests_per_minute;

-- name: find_holder
-- The holder of a token that is valid now. A last use that is not stored yet counts, too.
select t.id, t.kind, t.admin_id, a.email, a.role, zapline.unit_roles(a.id) as unit_roles,
       a.id is not null and zapline.lacks_second_factor(a.id) as must_enroll, t.unit_id, t.organization_id,
       t.units as chosen, array(select m.unit_id from zapline.members(t.organization_id, t.units) m) as units,
       t.scopes, t.label, t.idle_seconds, t.expires_at,
       case when t.admin_id is null then coalesce(t.requests_per_minute, c.requests_per_minute) end as requests_per_minute,
       greatest(t.last_used_at, t.created_at, to_timestamp(%(used_at)s::double precision)) as used_at
  from zapline.access_tokens t
  left join zapline.admins a on a.id = t.admin_id
  left join zapline.units u on u.id = t.unit_id
  left join zapline.ceilings c on true
 where t.digest = %(digest)s and t.revoked_at is null
   and (t.expires_at is null or t.expires_at > now())
   and (t.idle_seconds is null
        or greatest(t.last_used_at, t.created_at, to_timestamp(%(used_at)s::double precision))
           > now() - t.idle_seconds * interval '1 second')
   and a.disabled_at is null and u.archived_at is null;

-- name: store_last_use
-- Stores when tokens were last used.
update zapline.access_tokens t set last_used_at = used.at
  from (select id, to_timestamp(seconds) as at
          from unnest(%(ids)s::uuid[], %(seconds)s::double precision[]) as reported (id, seconds)) as used
 where t.id = used.id and t.revoked_at is null and coalesce(t.last_used_at, '-infinity') < used.at;

-- name: list_unit_tokens
-- A page of a unit's tokens, newest first.
select id, kind, unit_id, scopes, label, created_by, created_at, last_used_at, idle_seconds, expires_at, revoked_at,
       organization_id, units, requests_per_minute
  from zapline.access_tokens
 where unit_id = %(unit_id)s
   and (%(before_at)s::timestamptz is null or (created_at, id) < (%(before_at)s, %(before_id)s::uuid))
 order by created_at desc, id desc limit %(limit)s;

-- name: list_organization_tokens
-- A page of an organization's tokens, newest first.
select id, kind, unit_id, scopes, label, created_by, created_at, last_used_at, idle_seconds, expires_at, revoked_at,
       organization_id, units, requests_per_minute
  from zapline.access_tokens
 where organization_id = %(organization_id)s
   and (%(before_at)s::timestamptz is null or (created_at, id) < (%(before_at)s, %(before_id)s::uuid))
 order by created_at desc, id desc limit %(limit)s;

-- name: list_admin_tokens
-- A page of an administrator's tokens and sessions, newest first.
select id, kind, unit_id, scopes, label, created_by, created_at, last_used_at, idle_seconds, expires_at, revoked_at,
       organization_id, units, requests_per_minute
  from zapline.access_tokens
 where admin_id = %(admin_id)s
   and (%(before_at)s::timestamptz is null or (created_at, id) < (%(before_at)s, %(before_id)s::uuid))
 order by created_at desc, id desc limit %(limit)s;

-- name: revoke_by_digest
-- Revokes the token of its holder.
update zapline.access_tokens set revoked_at = now() where digest = %(digest)s and revoked_at is null;

-- name: revoke_unit_token
-- Revokes a token of this unit; no row where the unit has no such token.
update zapline.access_tokens set revoked_at = coalesce(revoked_at, now())
 where id = %(id)s and unit_id = %(unit_id)s
returning label;

-- name: revoke_organization_token
-- Revokes a token of this organization; no row where it has no such token.
update zapline.access_tokens set revoked_at = coalesce(revoked_at, now())
 where id = %(id)s and organization_id = %(organization_id)s
returning label;

-- name: revoke_admin_token
-- Revokes a token or session of this administrator; no row where there is none.
update zapline.access_tokens set revoked_at = coalesce(revoked_at, now())
 where id = %(id)s and admin_id = %(admin_id)s
returning label;

-- name: revoke_all_admin_tokens
-- Revokes all tokens and sessions of an administrator.
update zapline.access_tokens set revoked_at = now()
 where admin_id = %(admin_id)s and revoked_at is null and expires_at > now();

-- name: tell_daemons
-- When the transaction commits, every daemon hears that what tokens open has changed.
select pg_notify(%(channel)s::text, '');

-- name: prune_tokens
-- Deletes tokens that ended long ago; the audit log keeps who created and revoked them.
delete from zapline.access_tokens
 where coalesce(revoked_at, expires_at) < now() - %(days)s::integer * interval '1 day';
