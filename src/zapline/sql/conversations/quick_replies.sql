-- Texts that the people of a unit answer with again and again.

-- name: list_replies
-- A page in the order of their shortcuts; what follows `after`.
select q.shortcut, q.text, q.changed_at
  from zapline.quick_replies q
 where q.unit_id = %(unit_id)s and q.shortcut > %(after)s::text collate "C"
 order by q.shortcut
 limit %(limit)s;

-- name: find_reply
-- The one with this shortcut.
select q.shortcut, q.text, q.changed_at
  from zapline.quick_replies q
 where q.unit_id = %(unit_id)s and q.shortcut = %(shortcut)s;

-- name: lock_unit
-- Whoever adds one waits here, so that their number stays below its limit.
select u.id from zapline.units u where u.id = %(unit_id)s for no key update;

-- name: count_others
-- How many the unit has beside this one.
select count(*) as others
  from zapline.quick_replies q
 where q.unit_id = %(unit_id)s and q.shortcut <> %(shortcut)s;

-- name: put_reply
-- Returns whether it is new.
insert into zapline.quick_replies (unit_id, shortcut, text) values (%(unit_id)s, %(shortcut)s, %(text)s)
on conflict (unit_id, shortcut) do update set text = excluded.text, changed_at = now()
returning xmax = 0 as fresh;

-- name: delete_reply
-- Returns the shortcut, where there was one.
delete from zapline.quick_replies q where q.unit_id = %(unit_id)s and q.shortcut = %(shortcut)s returning q.shortcut;
