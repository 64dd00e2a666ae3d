-- Files of messages that are kept, or are to be.

-- name: list_due
-- The next file of each unit that wants one, and the seconds until it is due; a negative number: since.
select f.message_id, p.unit_id, coalesce(f.better, f.name) as name, f.tries, f.denials, m.external_id,
       m.media ->> 'copyId' as copy_id,
       case when jsonb_typeof(m.media -> 'size') = 'number' then least((m.media ->> 'size')::numeric, 1e15)::bigint end
           as announced, p.max_bytes, p.quota_bytes,
       extract(epoch from f.asked_at)::float8 as asked_at,
       (extract(epoch from f.due_at) - %(now)s)::float8 as wait
  from zapline.file_policies p
 cross join lateral (
       select * from zapline.kept_files w
        where w.unit_id = p.unit_id and (w.state = 'wanted' or w.better is not null)
        order by w.due_at, w.message_id limit 1) f
  join zapline.messages m on m.id = f.message_id;

-- name: list_wanting_units
-- Units that keep files.
select unit_id from zapline.file_policies where kinds <> '{}';

-- name: count_kept_bytes
-- What a unit keeps beside the file of one message, in bytes.
select coalesce(sum(size), 0)::bigint as bytes from zapline.kept_files
 where unit_id = %(unit_id)s and state = 'kept' and message_id <> %(besides)s;

-- name: note_kept
-- The file is on disk, if it is still wanted and the unit has room for it. It replaces the one that was kept before.
update zapline.kept_files f
   set state = 'kept', name = %(name)s, better = null, reason = null, size = %(size)s, sha256 = %(sha256)s,
       mimetype = %(mimetype)s, file_name = %(file_name)s, kept_at = to_timestamp(%(at)s),
       due_at = to_timestamp(%(at)s), tries = 0
 where f.message_id = %(message_id)s and (f.state = 'wanted' and f.name = %(name)s or f.better = %(name)s)
   and %(size)s + (select coalesce(sum(k.size), 0) from zapline.kept_files k
                    where k.unit_id = f.unit_id and k.state = 'kept' and k.message_id <> f.message_id)
       <= (select p.quota_bytes from zapline.file_policies p where p.unit_id = f.unit_id);

-- name: find_kept
-- The message whose file is kept under this name.
select from zapline.kept_files where message_id = %(message_id)s and name = %(name)s and state = 'kept';

-- name: note_failed
-- The file was not to be had; it is looked for again.
update zapline.kept_files
   set reason = %(reason)s, due_at = to_timestamp(%(due_at)s), tries = tries + %(tried)s, denials = denials + %(denied)s
 where message_id = %(message_id)s and (state = 'wanted' and name = %(name)s or better = %(name)s);

-- name: note_end
-- The file will not be kept; one that was kept before stays.
update zapline.kept_files
   set state = case when better is null then %(state)s else state end, reason = %(reason)s, better = null
 where message_id = %(message_id)s and (state = 'wanted' and name = %(name)s or better = %(name)s);

-- name: find_file
-- The file of a message, whatever became of it.
select f.message_id, f.unit_id, f.name, f.state, f.size, f.sha256, f.mimetype, f.file_name
  from zapline.kept_files f where f.unit_id = %(unit_id)s and f.message_id = %(message_id)s;

-- name: expire
-- Some files that were kept as long as their unit wants.
update zapline.kept_files f
   set state = 'left_out', reason = 'expired', better = null
 where f.message_id in (
       select k.message_id
         from zapline.file_policies p
        cross join lateral (
              select message_id from zapline.kept_files
               where unit_id = p.unit_id and state = 'kept'
                 and kept_at < to_timestamp(%(now)s) - make_interval(days => p.days)
               order by kept_at, message_id limit %(limit)s) k
        where p.days is not null
        limit %(limit)s);

-- name: list_removals
-- What is to be removed, the longest known first.
select name, unit_id from zapline.file_removals order by asked_at, name limit %(limit)s;

-- name: delete_removals
-- These files are gone.
delete from zapline.file_removals where name = any(%(names)s);

-- name: list_known
-- Of these names, those of files that are kept, wanted, or to be removed.
select name from zapline.kept_files where unit_id = %(unit_id)s and state in ('wanted', 'kept') and name = any(%(names)s)
 union
select better from zapline.kept_files where unit_id = %(unit_id)s and better = any(%(names)s)
 union
select name from zapline.file_removals where name = any(%(names)s);

-- name: has_unit
-- Whether there is such a unit, active or archived.
select from zapline.units where id = %(unit_id)s;

-- name: count_all
-- Files of all units that wait or are to be removed, for the health report.
select (select count(*) from zapline.kept_files where state = 'wanted' or better is not null) as waiting,
       (select extract(epoch from min(asked_at))::float8 from zapline.kept_files
         where (state = 'wanted' or better is not null) and reason is distinct from 'quota') as oldest,
       array(select distinct unit_id from zapline.kept_files
              where (state = 'wanted' or better is not null) and reason = 'quota' limit 20) as full,
       (select count(*) from zapline.file_removals) as removals,
       (select extract(epoch from min(asked_at))::float8 from zapline.file_removals) as oldest_removal,
       exists (select from zapline.file_policies) as any;
