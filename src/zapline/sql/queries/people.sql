-- Administrators and their tokens.

-- name: add_admin
-- A new administrator, or a new password for a known one.
insert into zapline.admins (email, password_hash) values (lower(%(email)s), %(password_hash)s)
on conflict (email) do update set password_hash = excluded.password_hash, disabled_at = null
returning id;

-- name: find_admin
-- The administrator who signs in.
select id, password_hash from zapline.admins where email = lower(%(email)s) and disabled_at is null;

-- name: issue_token
-- A token's digest; the token itself is shown once and kept nowhere.
insert into zapline.access_tokens (digest, admin_id, label, expires_at)
values (%(digest)s, %(admin_id)s, %(label)s, now() + %(hours)s * interval '1 hour')
returning expires_at;

-- name: find_token
-- Whose token this is, if it is valid now.
select t.admin_id, t.expires_at
  from zapline.access_tokens t join zapline.admins a on a.id = t.admin_id
 where t.digest = %(digest)s and t.revoked_at is null and t.expires_at > now() and a.disabled_at is null;

-- name: revoke_token
-- The holder signs out.
update zapline.access_tokens set revoked_at = now() where digest = %(digest)s and revoked_at is null;
