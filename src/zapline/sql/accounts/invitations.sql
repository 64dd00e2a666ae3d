-- Invitations: links that make an account, once, while whoever has sent them is an administrator who may sign in. Only
-- digests are stored.

-- name: insert_invitation
-- A new invitation; one of the same address that is still open ends.
with replaced as (
    update zapline.invitations set ended_at = now() where email = lower(%(email)s) and ended_at is null)
insert into zapline.invitations (id, digest, email, role, units, invited_by, inviter_id, expires_at)
values (%(id)s, %(digest)s, lower(%(email)s), %(role)s, %(units)s::jsonb, %(invited_by)s, %(inviter_id)s,
        now() + %(seconds)s::double precision * interval '1 second');

-- name: list_open
-- Invitations that still make an account, the latest first.
select id, email, role, units, invited_by, created_at, expires_at from zapline.invitations
 where ended_at is null and expires_at > now()
   and exists (select from zapline.admins a
                where a.id = inviter_id and a.role = 'admin' and a.disabled_at is null)
 order by created_at desc, id desc limit %(limit)s;

-- name: find_open
-- The invitation of a link, if it still makes an account.
select id, email, role, units, invited_by, created_at, expires_at from zapline.invitations
 where digest = %(digest)s and ended_at is null and expires_at > now()
   and exists (select from zapline.admins a
                where a.id = inviter_id and a.role = 'admin' and a.disabled_at is null);

-- name: end_by_digest
-- Uses an invitation. No row back: somebody was faster, it is too late, or its inviter is no administrator any more. His
-- row is locked until the commit, so that a transaction that takes his rights waits, or is seen here.
with inviter as (
    select a.id from zapline.invitations i join zapline.admins a on a.id = i.inviter_id
     where i.digest = %(digest)s and a.role = 'admin' and a.disabled_at is null
       for share of a)
update zapline.invitations set ended_at = now()
 where digest = %(digest)s and ended_at is null and expires_at > now() and inviter_id = (select id from inviter)
returning id, email, role, units, invited_by, created_at, expires_at;

-- name: withdraw
-- Ends an invitation that was not used. No row back: there is none.
update zapline.invitations set ended_at = now() where id = %(id)s and ended_at is null returning email;

-- name: insert_unit_roles
-- The roles in units that an invitation gives, as far as the units are still there.
insert into zapline.person_units (person_id, unit_id, role)
select %(person_id)s, u.id, g.value #>> '{}'
  from jsonb_each(%(units)s::jsonb) g join zapline.units u on u.id = g.key::uuid;
