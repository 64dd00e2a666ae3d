-- The audit log: who changed what, and with which outcome.

-- name: begin_entry
-- An action is about to start.
insert into zapline.audit_log (actor_kind, actor, actor_id, source, unit_id, action, target)
values (%(actor_kind)s, %(actor)s, %(actor_id)s, %(source)s, %(unit_id)s, %(action)s, %(target)s)
returning id;

-- name: complete_entry
-- Stores the outcome of an action, once.
update zapline.audit_log set outcome = %(outcome)s, detail = %(detail)s, ended_at = clock_timestamp()
 where id = %(id)s and outcome is null;

-- name: insert_completed
-- An action that is already over.
insert into zapline.audit_log
       (actor_kind, actor, actor_id, source, unit_id, action, target, detail, outcome, ended_at)
values (%(actor_kind)s, %(actor)s, %(actor_id)s, %(source)s, %(unit_id)s, %(action)s, %(target)s, %(detail)s,
        %(outcome)s, now());

-- name: list_entries
-- A page, newest first.
select id, at, actor_kind, actor, actor_id, source, unit_id, action, target, detail, outcome, ended_at
  from zapline.audit_log
 where (%(before)s::bigint is null or id < %(before)s)
   and (%(unit_id)s::uuid is null or unit_id = %(unit_id)s)
   and (%(actor)s::text is null or actor = %(actor)s)
   and (%(action)s::text is null or action = %(action)s)
 order by id desc limit %(limit)s;
