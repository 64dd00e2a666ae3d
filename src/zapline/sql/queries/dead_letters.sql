-- Dead letters: what could not be used.

-- name: list_dead_letters
-- The newest first, before a given id.
select id, unit_id, reason, detail, event, size, raw is not null as has_raw, received_at, created_at, revived_at
  from zapline.dead_letters
 where (%(unit_id)s::uuid is null or unit_id = %(unit_id)s)
   and (%(before)s::bigint is null or id < %(before)s)
 order by id desc limit %(limit)s;

-- name: get_dead_letter
-- One, with its raw body.
select id, unit_id, event, raw, received_at, revived_at from zapline.dead_letters where id = %(id)s;

-- name: mark_revived
-- It was given to its unit again.
update zapline.dead_letters set revived_at = now() where id = %(id)s;
