-- Administrators. A row is never deleted; the audit log refers to it.

-- name: add_admin
-- A new administrator; no row where the address exists already.
insert into zapline.admins (email, password_hash) values (lower(%(email)s), %(password_hash)s)
on conflict (email) do nothing
returning id;

-- name: set_password
-- Stores a new password of an administrator.
update zapline.admins set password_hash = %(password_hash)s where email = lower(%(email)s)
returning id;

-- name: set_enabled
-- Enables or disables an administrator.
update zapline.admins
   set disabled_at = case when not %(enabled)s then coalesce(disabled_at, now()) end
 where email = lower(%(email)s)
returning id;

-- name: get_admin
-- An administrator by address, enabled or not.
select id, email, password_hash, created_at, disabled_at from zapline.admins where email = lower(%(email)s);

-- name: list_admins
-- All administrators.
select id, email, password_hash, created_at, disabled_at from zapline.admins order by email;
