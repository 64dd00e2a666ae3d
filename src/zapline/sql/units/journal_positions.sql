-- What the database knows of a journal.

-- name: find_reached
-- The highest number of this journal's entries that is stored anywhere.
select greatest(
    (select max(applied_seq) from zapline.unit_whatsapp_connections where journal_id = %(journal_id)s),
    (select max(journal_seq) from zapline.dead_letters where journal_id = %(journal_id)s), 0) as reached;

-- name: list_lost_calls
-- Of these calls, those that the database does not have and whose message it still means to send: it was set back.
select r.attempt
  from jsonb_to_recordset(%(rows)s) as r(attempt uuid, message uuid, unit_id uuid, fence int)
  join zapline.outbox o on o.message_id = r.message and o.unit_id = r.unit_id and o.fence < r.fence
 where not exists (select from zapline.attempts a where a.id = r.attempt);
