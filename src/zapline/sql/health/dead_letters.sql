-- Dead letters: webhooks that could not be used.

-- name: list_dead_letters
-- A page, newest first, before an id; all of them or only the open ones, which were neither revived nor given up.
select id, unit_id, reason, detail, event, size, raw is not null as has_raw, received_at, created_at, revived_at,
       given_up_at
  from zapline.dead_letters
 where (%(unit_id)s::uuid is null or unit_id = %(unit_id)s)
   and (not %(only_open)s or (revived_at is null and given_up_at is null))
   and (%(before)s::bigint is null or id < %(before)s)
 order by id desc limit %(limit)s;

-- name: get_dead_letter
-- One dead letter with its raw body.
select id, unit_id, reason, detail, event, raw, size, raw is not null as has_raw, received_at, created_at, revived_at,
       given_up_at
  from zapline.dead_letters
 where id = %(id)s and (%(unit_id)s::uuid is null or unit_id = %(unit_id)s);

-- name: mark_revived
-- It was processed again.
update zapline.dead_letters set revived_at = now() where id = %(id)s;

-- name: give_up
-- A person has given it up; the first time counts.
update zapline.dead_letters set given_up_at = coalesce(given_up_at, now())
 where unit_id = %(unit_id)s and id = %(id)s
returning id;
