-- Which files units keep.

-- name: load_policy
-- A unit's policy. No row: it keeps none.
select kinds, max_bytes, quota_bytes, days from zapline.file_policies where unit_id = %(unit_id)s;

-- name: store_policy
-- Replaces a unit's policy.
insert into zapline.file_policies (unit_id, kinds, max_bytes, quota_bytes, days)
values (%(unit_id)s, %(kinds)s, %(max_bytes)s, %(quota_bytes)s, %(days)s)
on conflict (unit_id) do update
   set kinds = excluded.kinds, max_bytes = excluded.max_bytes, quota_bytes = excluded.quota_bytes,
       days = excluded.days, changed_at = now();

-- name: give_up_unwanted
-- What is not kept any more by a new policy, and has not been fetched yet.
update zapline.kept_files f
   set state = case when f.better is null then 'left_out' else f.state end, reason = 'not_wanted', better = null
  from zapline.messages m
 where f.unit_id = %(unit_id)s and (f.state = 'wanted' or f.better is not null)
   and m.id = f.message_id and m.kind <> all(%(kinds)s::text[]);

-- name: want_again
-- What waits for room is looked at anew.
update zapline.kept_files set due_at = now()
 where unit_id = %(unit_id)s and (state = 'wanted' or better is not null) and reason = 'quota';

-- name: load_usage
-- What a unit keeps, and what else became of the files that it wanted.
select count(*) filter (where state = 'kept') as files,
       coalesce(sum(size) filter (where state = 'kept'), 0)::bigint as bytes,
       count(*) filter (where state = 'wanted' or better is not null) as waiting,
       count(*) filter (where (state = 'wanted' or better is not null) and reason = 'quota') as without_room,
       count(*) filter (where state = 'gone') as gone,
       count(*) filter (where state = 'left_out') as left_out
  from zapline.kept_files where unit_id = %(unit_id)s;
