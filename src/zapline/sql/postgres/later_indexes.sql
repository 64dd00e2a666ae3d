-- Indexes of large tables that are built while everything goes on.

-- name: has_many_messages
-- Whether there are more messages than these.
select exists (select from zapline.messages offset %(rows)s) as large;

-- name: list_missing
-- Of these indexes, those that are not there or that nobody has built to the end.
select r.name
  from unnest(%(names)s::text[]) as r(name)
 where not exists (select from pg_index i where i.indexrelid = to_regclass('zapline.' || r.name) and i.indisvalid);
