-- People who sign in. A row is never deleted; the audit log refers to it.

-- name: add_admin
-- A new person; no row where the address exists already.
insert into zapline.admins (email, password_hash, role) values (lower(%(email)s), %(password_hash)s, %(role)s)
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
-- A person by address, enabled or not.
select id, email, password_hash, created_at, disabled_at, role, zapline.unit_roles(id) as unit_roles,
       zapline.has_second_factor(id) as second_factor
  from zapline.admins where email = lower(%(email)s);

-- name: list_admins
-- All people.
select id, email, password_hash, created_at, disabled_at, role, zapline.unit_roles(id) as unit_roles,
       zapline.has_second_factor(id) as second_factor
  from zapline.admins order by email;

-- name: find_person
-- A person by id, enabled or not.
select id, email, password_hash, created_at, disabled_at, role, zapline.unit_roles(id) as unit_roles,
       zapline.has_second_factor(id) as second_factor
  from zapline.admins where id = %(id)s;

-- name: set_role
-- Another role everywhere. No row back: there is no such person.
update zapline.admins set role = %(role)s where id = %(id)s returning email;

-- name: set_unit_role
-- A role in one unit.
insert into zapline.person_units (person_id, unit_id, role) values (%(person_id)s, %(unit_id)s, %(role)s)
on conflict (person_id, unit_id) do update set role = excluded.role;

-- name: delete_unit_role
-- No longer a role in this unit.
delete from zapline.person_units where person_id = %(person_id)s and unit_id = %(unit_id)s;

-- name: clear_unit_roles
-- No role in any single unit.
delete from zapline.person_units where person_id = %(person_id)s;

-- name: lock_other_admins
-- Administrators who may sign in, beside one. Whoever changes one of them meanwhile waits.
select id from zapline.admins where role = 'admin' and disabled_at is null and id <> %(id)s order by id for update;
