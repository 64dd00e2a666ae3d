-- How far each line has been compared with Evolution's store, and which messages are known.

-- fragment: owned
-- The unit is still this process's: as zapline.owns, but of the row as it is when it is changed, which locks it. Null:
-- that is not asked.
(%(owner)s::uuid is null or (owner = %(owner)s and epoch = %(since)s))

-- name: load_lines
-- The reconciliation state of all active lines.
select unit_id, extract(epoch from reconciled_until)::float8 as reconciled_until,
       extract(epoch from reconciled_at)::float8 as reconciled_at,
       extract(epoch from gap_since)::float8 as gap_since, store_kept,
       extract(epoch from coalesce(first_connected_at, connected_at))::float8 as first_connected
  from zapline.unit_whatsapp_connections
 where archived_at is null;

-- name: load_line
-- The reconciliation state of one line, and the last sequence number of its unit.
select c.unit_id, extract(epoch from c.reconciled_until)::float8 as reconciled_until,
       extract(epoch from c.reconciled_at)::float8 as reconciled_at,
       extract(epoch from c.gap_since)::float8 as gap_since, c.store_kept,
       extract(epoch from coalesce(c.first_connected_at, c.connected_at))::float8 as first_connected,
       coalesce((select m.seq from zapline.messages m where m.unit_id = c.unit_id order by m.seq desc limit 1), 0)
           as last_seq
  from zapline.unit_whatsapp_connections c
 where c.unit_id = %(unit_id)s and c.archived_at is null;

-- name: advance_watermark
-- A window was read to its last page: moves the watermark to its end, unless something before it was never read.
update zapline.unit_whatsapp_connections
   set reconciled_until = to_timestamp(%(until)s)
 where unit_id = %(unit_id)s
   and coalesce(reconciled_until, first_connected_at, connected_at) >= to_timestamp(%(begins)s - 1)
   and (reconciled_until is null or reconciled_until < to_timestamp(%(until)s))
   and
       -- include: owned
returning unit_id;

-- name: store_gap
-- Stores since when webhooks may be missing; null: no known gap.
update zapline.unit_whatsapp_connections
   set gap_since = to_timestamp(%(gap)s)
 where unit_id = %(unit_id)s
   and
       -- include: owned
returning unit_id;

-- name: store_run_end
-- Stores when a run ended.
update zapline.unit_whatsapp_connections
   set reconciled_at = to_timestamp(%(at)s)
 where
       -- include: owned
   and unit_id = %(unit_id)s;

-- name: store_history_kept
-- Stores whether Evolution keeps messages. Returns lines where this has changed.
update zapline.unit_whatsapp_connections
   set store_kept = %(kept)s
 where unit_id = %(unit_id)s and store_kept is distinct from %(kept)s
   and
       -- include: owned
returning unit_id;

-- name: received_webhooks_between
-- Whether the last messages include some of this time that came by webhook: then Evolution's store must have some,
-- too.
select exists (
    select from (select sent_at, external_id, backfilled, kind_rank, origin from zapline.messages
                  where unit_id = %(unit_id)s order by seq desc limit 200) as m
     where m.sent_at between to_timestamp(%(since)s) and to_timestamp(%(until)s)
       and m.external_id is not null and not m.backfilled and m.kind_rank = 2 and m.origin in ('live', 'sent')) as received;

-- name: find_known_messages
-- Which of these messages are stored with their content or as deleted, and what is known of them.
select external_id, delivery::text as delivery, case when edited_at_ms is not null then edited_body end as edited_text,
       deleted_at is not null as deleted
  from zapline.messages
 where unit_id = %(unit_id)s and provider = %(provider)s and external_id = any(%(ids)s)
   and (kind_rank = 2 or deleted_at is not null);

-- name: list_backfilled_after
-- Messages from Evolution's store after a sequence number.
select id, seq, extract(epoch from sent_at)::float8 as sent_at, extract(epoch from received_at)::float8 as received_at
  from zapline.messages
 where unit_id = %(unit_id)s and seq > %(after)s and backfilled
 order by seq;

-- name: find_still_backfilled
-- Which of these messages no webhook has delivered since.
select id from zapline.messages where id = any(%(ids)s) and backfilled;
