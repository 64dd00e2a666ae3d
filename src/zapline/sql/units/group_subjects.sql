-- Subjects of groups that nobody has told: which groups are to be asked for, and what Evolution answers.

-- name: claim_groups
-- Groups without a subject whose time has come, one of each connected line; if it is asked for again later, then after
-- so many seconds, which grow from one try to the next.
with due as (
    select distinct on (k.unit_id) k.id, u.instance_id, k.subject_due_at
      from zapline.contacts k
      join zapline.unit_whatsapp_connections u
        on u.unit_id = k.unit_id and u.status = 'connected' and u.archived_at is null
     where k.kind = 'group' and k.name is null and k.subject_due_at <= now()
     order by k.unit_id, k.subject_due_at, k.id
), chosen as (
    select * from due order by subject_due_at, id limit %(limit)s
)
update zapline.contacts k
   set subject_tries = least(k.subject_tries + 1, 100),
       subject_due_at = now() + make_interval(secs => (%(waits)s::float8[])[
           least(k.subject_tries + 1, array_length(%(waits)s::float8[], 1))])
  from chosen s
 where k.id = s.id
returning k.id, k.unit_id, k.canonical, s.instance_id;

-- name: claim_named_groups
-- Groups with a subject that was last told long ago, and with messages since; one of each connected line.
with due as (
    select distinct on (k.unit_id) k.id, u.instance_id
      from zapline.unit_whatsapp_connections u
      join zapline.contacts k on k.unit_id = u.unit_id and k.kind = 'group'
      join zapline.conversations c on c.contact_id = k.id
     where u.status = 'connected' and u.archived_at is null and k.name is not null
       and greatest(k.subject_due_at, k.name_at + make_interval(secs => %(age)s)) <= now()
       and c.last_message_at > now() - make_interval(secs => %(age)s)
     order by k.unit_id, k.subject_due_at, k.id
     limit %(limit)s)
update zapline.contacts k
   set subject_due_at = now() + make_interval(secs => %(age)s)
  from due d
 where k.id = d.id
returning k.id, k.unit_id, k.canonical, d.instance_id;

-- name: store_subjects
-- The subjects that Evolution has answered of some groups, where they differ or all; a newer one stays. Rows are locked in
-- the order of their ids, as all else locks contacts.
with told as (
    select r.id, r.subject from jsonb_to_recordset(%(rows)s::jsonb) as r(id uuid, subject text)
), locked as (
    select k.id, told.subject
      from told join zapline.contacts k on k.id = told.id
     where k.name is distinct from told.subject or %(again)s
     order by k.id
       for no key update of k
)
update zapline.contacts k
   set (name, name_at, name_reports, subject_tries) = (
       select zapline.last_name(n.reports), greatest(k.name_at, to_timestamp(%(at)s)), n.reports, 0
         from (select zapline.newest_names(to_timestamp(%(at)s), jsonb_build_object(l.subject, %(at)s::float8),
                                           k.name_at, zapline.known_names(k.name, k.name_reports)) as reports) n)
  from locked l
 where k.id = l.id;

-- name: postpone
-- The line or the server was at fault: all groups of the unit are asked for later, and the try does not count.
update zapline.contacts
   set subject_tries = greatest(subject_tries - (id = %(id)s)::integer, 0),
       subject_due_at = case when id = %(id)s then now() + make_interval(secs => %(seconds)s)
                             else greatest(subject_due_at, now() + make_interval(secs => %(seconds)s)) end
 where unit_id = %(unit)s and kind = 'group'
   and (id = %(id)s or (name is null and subject_due_at < now() + make_interval(secs => %(seconds)s)));
