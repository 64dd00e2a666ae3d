-- Invitations: links that make an account, once. Only digests are stored.

-- name: insert_invitation
-- A new invitation; one of the same address that is still open ends.
with replaced as (
    update zapline.invitations set ended_at = now() where email = lower(%(email)s) and ended_at is null)
insert into zapline.invitations (id, digest, email, role, units, invited_by, expires_at)
values (%(id)s, %(digest)s, lower(%(email)s), %(role)s, %(units)s::jsonb, %(invited_by)s,
        now() + %(seconds)s::double precision * interval '1 second');

-- name: list_open
-- Invitations that nobody has used yet, the latest first.
select id, email, role, units, invited_by, created_at, expires_at from zapline.invitations
 where ended_at is null and expires_at > now() order by created_at desc, id desc limit %(limit)s;

-- name: find_open
-- The invitation of a link, if it still makes an account.
select id, email, role, units, invited_by, created_at, expires_at from zapline.invitations
 where digest = %(digest)s and ended_at is null and expires_at > now();

-- name: end_by_digest
-- Uses an invitation. No row back: somebody was faster, or it is too late.
update zapline.invitations set ended_at = now()
 where digest = %(digest)s and ended_at is null and expires_at > now()
returning id, email, role, units, invited_by, created_at, expires_at;

-- name: withdraw
-- Ends an invitation that was not used. No row back: there is none.
update zapline.invitations set ended_at = now() where id = %(id)s and ended_at is null returning email;

-- name: insert_unit_roles
-- The roles in units that an invitation gives, as far as the units are still there.
insert into zapline.person_units (person_id, unit_id, role)
select %(person_id)s, u.id, g.value #>> '{}'
  from jsonb_each(%(units)s::jsonb) g join zapline.units u on u.id = g.key::uuid;
