-- Dead letters: what could not be used.

-- name: list_dead_letters
-- The newest first, before a given id.
select id, unit_id, reason, detail, event, size, raw is not null as has_raw, received_at, created_at, revived_at,
       given_up_at
  from zapline.dead_letters
 where (%(unit_id)s::uuid is null or unit_id = %(unit_id)s)
   and (%(before)s::bigint is null or id < %(before)s)
 order by id desc limit %(limit)s;

-- name: get_dead_letter
-- One, with its raw body.
select id, unit_id, reason, detail, event, raw, size, raw is not null as has_raw, received_at, created_at, revived_at,
       given_up_at
  from zapline.dead_letters
 where id = %(id)s and (%(unit_id)s::uuid is null or unit_id = %(unit_id)s);

-- name: mark_revived
-- It was given to its unit again.
update zapline.dead_letters set revived_at = now() where id = %(id)s;

-- name: give_up_letter
-- A person leaves it alone; it was the first time that counts.
update zapline.dead_letters set given_up_at = coalesce(given_up_at, now())
 where unit_id = %(unit_id)s and id = %(id)s
returning id;
