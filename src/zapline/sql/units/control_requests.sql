-- What the command line asks of the running daemon. A notification is only the bell: anybody who may connect to
-- the database can ring it, but only the engine's role can write here.

-- name: ask_control
-- A request.
insert into zapline.control_requests (id, verb, arguments, asked_by, asked_from)
values (%(id)s, %(verb)s, %(arguments)s, %(asked_by)s, %(asked_from)s);

-- name: open_requests
-- Requests that wait for their answer; those that nobody waits for any more are left alone.
select id, verb, arguments, asked_by, asked_from from zapline.control_requests
 where answered_at is null and asked_at > now() - interval '60 seconds'
 order by asked_at limit 20;

-- name: answer_control
-- The answer. What was asked is in the audit log, masked; here it would stay for a day as it was typed.
update zapline.control_requests
   set answered_at = now(), result = %(result)s, error = %(error)s, arguments = '{}'
 where id = %(id)s and answered_at is null;

-- name: read_answer
-- The answer, if it is there.
select result, error from zapline.control_requests where id = %(id)s and answered_at is not null;

-- name: forget_requests
-- Requests of yesterday.
delete from zapline.control_requests where asked_at < now() - interval '1 day';
