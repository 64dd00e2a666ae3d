-- Requests of the command line to the running daemon. The notification only wakes the daemon: anybody who may connect
-- to the database can send it, but only the engine's role can write here.

-- name: insert_request
-- Stores a request.
insert into zapline.control_requests (id, verb, arguments, asked_by, asked_from)
values (%(id)s, %(verb)s, %(arguments)s, %(asked_by)s, %(asked_from)s);

-- name: list_open_requests
-- Requests without a response; older ones, for which nobody waits any more, are ignored.
select id, verb, arguments, asked_by, asked_from from zapline.control_requests
 where answered_at is null and asked_at > now() - interval '60 seconds'
 order by asked_at limit 20;

-- name: store_answer
-- Stores the response. The arguments are in the audit log, masked; they are removed here, where they would stay for a
-- day as they were typed.
update zapline.control_requests
   set answered_at = now(), result = %(result)s, error = %(error)s, arguments = '{}'
 where id = %(id)s and answered_at is null;

-- name: read_answer
-- The response, if it exists.
select result, error from zapline.control_requests where id = %(id)s and answered_at is not null;

-- name: prune_requests
-- Deletes requests older than a day.
delete from zapline.control_requests where asked_at < now() - interval '1 day';
