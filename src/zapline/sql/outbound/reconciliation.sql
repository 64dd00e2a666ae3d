-- How far each line was compared with Evolution's store, and what is looked for there.

-- name: load_lines
-- Where all lines in use stand.
select unit_id, extract(epoch from reconciled_until)::float8 as reconciled_until,
       extract(epoch from reconciled_at)::float8 as reconciled_at,
       extract(epoch from gap_since)::float8 as gap_since, store_kept,
       extract(epoch from coalesce(first_connected_at, connected_at))::float8 as first_connected
  from zapline.unit_whatsapp_connections
 where archived_at is null;

-- name: load_line
-- Where one line stands, and the last place in its order of arrival.
select c.unit_id, extract(epoch from c.reconciled_until)::float8 as reconciled_until,
       extract(epoch from c.reconciled_at)::float8 as reconciled_at,
       extract(epoch from c.gap_since)::float8 as gap_since, c.store_kept,
       extract(epoch from coalesce(c.first_connected_at, c.connected_at))::float8 as first_connected,
       coalesce((select m.seq from zapline.messages m where m.unit_id = c.unit_id order by m.seq desc limit 1), 0)
           as last_seq
  from zapline.unit_whatsapp_connections c
 where c.unit_id = %(unit_id)s and c.archived_at is null;

-- name: advance
-- A window was read to its last page: the watermark moves to its end, unless something before it was never read.
update zapline.unit_whatsapp_connections
   set reconciled_until = to_timestamp(%(until)s)
 where unit_id = %(unit_id)s
   and coalesce(reconciled_until, first_connected_at, connected_at) >= to_timestamp(%(since)s - 1)
   and (reconciled_until is null or reconciled_until < to_timestamp(%(until)s))
returning unit_id;

-- name: note_gap
-- From when on webhooks may be missing; null: no known gap.
update zapline.unit_whatsapp_connections
   set gap_since = to_timestamp(%(since)s)
 where unit_id = %(unit_id)s and gap_since is distinct from to_timestamp(%(since)s);

-- name: finish_run
-- A run came to its end.
update zapline.unit_whatsapp_connections
   set reconciled_at = to_timestamp(%(at)s)
 where unit_id = %(unit_id)s;

-- name: note_store
-- Whether Evolution keeps messages. Rows back: lines of which something else was thought.
update zapline.unit_whatsapp_connections
   set store_kept = %(kept)s
 where unit_id = %(unit_id)s and store_kept is distinct from %(kept)s
returning unit_id;

-- name: heard_live
-- Whether webhooks told of messages of this time, among the last that came: then Evolution's store must have some.
select exists (
    select from (select sent_at, external_id, backfilled, kind_rank, origin from zapline.messages
                  where unit_id = %(unit_id)s order by seq desc limit 200) as m
     where m.sent_at between to_timestamp(%(since)s) and to_timestamp(%(until)s)
       and m.external_id is not null and not m.backfilled and m.kind_rank = 2 and m.origin in ('live', 'sent')) as heard;

-- name: known_messages
-- Which of these messages are here with their content, and what is known of their way.
select external_id, delivery::text as delivery
  from zapline.messages
 where unit_id = %(unit_id)s and provider = %(provider)s and external_id = any(%(ids)s) and kind_rank = 2;

-- name: stored_anew
-- What came from Evolution's store after a place in the line's order of arrival.
select id, seq, extract(epoch from sent_at)::float8 as sent_at, extract(epoch from received_at)::float8 as received_at
  from zapline.messages
 where unit_id = %(unit_id)s and seq > %(after)s and backfilled
 order by seq;

-- name: still_untold
-- Which of these messages no webhook has told of since.
select id from zapline.messages where id = any(%(ids)s) and backfilled;

-- name: due_looks
-- Uncertain messages that are to be looked for now, of some units, with the time in which they may have been sent.
with due as (
    select o.message_id, o.unit_id, o.fence, o.looks, o.look_at
      from zapline.outbox o
     where o.state = 'uncertain' and o.look_at <= to_timestamp(%(now)s) and o.unit_id <> all(%(busy)s)
     order by o.look_at limit %(messages)s
), units as (
    select unit_id from due group by unit_id order by min(look_at) limit %(units)s
)
select d.message_id, d.unit_id, d.fence, d.looks, extract(epoch from min(a.started_at))::float8 as started_at,
       extract(epoch from max(a.ended_at))::float8 as ended_at
  from due d
  join units on units.unit_id = d.unit_id
  left join zapline.attempts a on a.message_id = d.message_id and a.external_id is null
                              and a.outcome in ('calling', 'uncertain')
 group by d.message_id, d.unit_id, d.fence, d.looks;

-- name: look_later
-- Nothing could be seen: they are looked for again, and this look does not count.
update zapline.outbox o
   set look_at = to_timestamp(%(at)s)
  from jsonb_to_recordset(%(rows)s) as r(message_id uuid, fence int, looks smallint)
 where o.message_id = r.message_id and o.state = 'uncertain' and o.fence = r.fence and o.looks = r.looks
   and o.look_at is not null;

-- name: end_looks
-- They were not found: the next look, or none (then a person decides).
update zapline.outbox o
   set looks = o.looks + 1, look_at = to_timestamp(r.look_at)
  from jsonb_to_recordset(%(rows)s) as r(message_id uuid, fence int, looks smallint, look_at float8)
 where o.message_id = r.message_id and o.state = 'uncertain' and o.fence = r.fence and o.looks = r.looks
   and o.look_at is not null
returning o.message_id, o.look_at is null as waits;

-- name: resend
-- Evolution's store has shown that they are not there: sent once more, where the unit wants that for the lane, never
-- after an answer that says "perhaps", and not while an echo with the same content waits to be decided.
update zapline.outbox o
   set state = 'queued', resends = o.resends + 1, due_at = to_timestamp(%(now)s), look_at = null
  from jsonb_to_recordset(%(rows)s) as r(message_id uuid, fence int)
 where o.message_id = r.message_id and o.state = 'uncertain' and o.fence = r.fence and o.look_at is not null
   and o.resends = 0 and (o.expires_at is null or o.expires_at > to_timestamp(%(now)s))
   and exists (select from zapline.unit_paces p where p.unit_id = o.unit_id and o.lane = any(p.resend_lanes))
   and exists (select from zapline.unit_whatsapp_connections c where c.unit_id = o.unit_id and c.store_kept)
   and not exists (
       select from zapline.attempts a
        where a.message_id = o.message_id
          and (a.failure in ('timed_out_after_relay', 'failed_inside') or a.outcome = 'calling' or a.external_id is not null
               or a.ended_at > to_timestamp(%(now)s - %(quiet)s)))
   and not exists (
       select from zapline.sightings s where s.unit_id = o.unit_id and s.fingerprint = o.fingerprint)
   -- The same words from this line to whomever, that nothing here has sent: perhaps it is this message, under a
   -- name or a time that could not be matched.
   and not exists (
       select from zapline.messages f join zapline.messages m on m.id = o.message_id
        where f.unit_id = o.unit_id and f.from_me and f.client_message_id is null
          and replace(f.kind, 'voice', 'audio') = replace(m.kind, 'voice', 'audio')
          and f.body is not distinct from m.body
          and f.sent_at >= (select min(a.started_at) from zapline.attempts a where a.message_id = o.message_id)
                           - interval '15 minutes')
returning o.message_id;
