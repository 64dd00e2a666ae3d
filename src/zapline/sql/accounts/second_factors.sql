-- Second factors: the sealed secret of one-time codes, recovery codes by digest; and the sessions that a person has open.

-- name: get_factor
-- What is known of a person's second factor.
select a.totp_secret as secret, a.totp_confirmed_at is not null as confirmed, a.totp_step as step,
       (select count(*) from zapline.recovery_codes c where c.person_id = a.id and c.used_at is null) as recovery_left
  from zapline.admins a where a.id = %(person_id)s;

-- name: start_factor
-- A new secret, which counts once it is confirmed. No row back: there is a confirmed one.
update zapline.admins set totp_secret = %(secret)s
 where id = %(person_id)s and totp_confirmed_at is null returning id;

-- name: confirm_factor
-- The code of this step has confirmed the secret. No row back: it was replaced, or is confirmed already.
update zapline.admins set totp_confirmed_at = now(), totp_step = %(step)s
 where id = %(person_id)s and totp_secret = %(secret)s and totp_confirmed_at is null returning id;

-- name: take_step
-- Takes the code of a step, once. No row back: it, or a later one, was taken already.
update zapline.admins set totp_step = %(step)s
 where id = %(person_id)s and totp_confirmed_at is not null and totp_step < %(step)s returning id;

-- name: take_recovery_code
-- Takes a recovery code, once.
update zapline.recovery_codes set used_at = now()
 where person_id = %(person_id)s and digest = %(digest)s and used_at is null returning person_id;

-- name: delete_recovery_codes
-- Before new ones.
delete from zapline.recovery_codes where person_id = %(person_id)s;

-- name: insert_recovery_codes
-- New recovery codes, by digest.
insert into zapline.recovery_codes (person_id, digest)
select %(person_id)s, unnest(%(digests)s::bytea[]);

-- name: remove_factor
-- No one-time codes any more.
update zapline.admins set totp_secret = null, totp_confirmed_at = null where id = %(person_id)s;

-- name: note_place
-- From where a session was opened.
update zapline.access_tokens set source = %(source)s, agent = %(agent)s where digest = %(digest)s;

-- name: list_sessions
-- What a person has open now, the latest use first.
select id, kind, label, created_at, last_used_at, expires_at, source, agent, digest = %(digest)s as present
  from zapline.access_tokens
 where admin_id = %(person_id)s and kind <> 'second_factor' and revoked_at is null and expires_at > now()
   and (idle_seconds is null
        or greatest(last_used_at, created_at) > now() - idle_seconds * interval '1 second')
 order by present desc, greatest(last_used_at, created_at) desc, id limit 100;

-- name: end_other_sessions
-- Ends all of a person's sessions and tokens but this one.
update zapline.access_tokens set revoked_at = now()
 where admin_id = %(person_id)s and revoked_at is null and digest <> %(digest)s;

-- name: list_required_roles
-- The roles of which a second factor is required.
select role from zapline.second_factor_roles;

-- name: delete_required_roles
-- Before others are stored.
delete from zapline.second_factor_roles;

-- name: insert_required_roles
-- The roles of which a second factor is required from now on.
insert into zapline.second_factor_roles (role) select unnest(%(roles)s::text[]);
