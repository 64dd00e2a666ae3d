-- The rest of the recorder's transaction: connections and positions. Each statement takes one
-- jsonb list for a batch of many units.

-- fragment: held
-- The row is not behind what was stored before, nor is the unit's last claim, whose echo may be among what is stored; and
-- the unit is still this process's, which still leads.
(r.expected = 0 or (u.journal_id = r.expected_id and u.applied_seq >= r.expected))
   and not exists (select from zapline.outbox o where o.message_id = r.last_message and o.fence < r.last_fence)
   and (r.epoch is null or exists (select from zapline.leader l where l.epoch = r.epoch))
   and (r.owner is null or (u.owner = r.owner and u.epoch = r.since))

-- name: set_lock_timeout
-- Limits how long this transaction waits for a lock (milliseconds).
select set_config('lock_timeout', (%(ms)s)::int::text, true);

-- name: advance_positions
-- Stores how far the journal is applied, for units whose connection did not change. A unit whose row is behind what was
-- stored before does not come back, nor one that is not the caller's any more.
update zapline.unit_whatsapp_connections u
   set journal_id = r.journal_id, applied_seq = r.applied_seq
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, journal_id uuid, applied_seq bigint, expected_id uuid,
                                         expected bigint, last_message uuid, last_fence integer, epoch bigint,
                                         owner uuid, since bigint)
 where u.unit_id = r.unit_id
   and
       -- include: held
returning u.unit_id;

-- name: write_connections
-- Stores changed connections and how far the journal is applied (null: unchanged); otherwise as advance_positions.
update zapline.unit_whatsapp_connections u
   set phase = r.phase, status = r.status, status_reason = r.reason, wanted = r.wanted, number = r.number,
       logout_pending = r.logout_pending, connected_at = to_timestamp(r.connected_at),
       disconnected_at = to_timestamp(r.disconnected_at), qr_updated_at = to_timestamp(r.qr_updated_at),
       qr_code = r.qr_code, pairing_code = r.pairing_code, owner_jid = r.owner_jid,
       profile_name = r.profile_name, updated_at = to_timestamp(r.updated_at),
       first_connected_at = coalesce(u.first_connected_at, to_timestamp(r.connected_at)),
       journal_id = coalesce(r.journal_id, u.journal_id), applied_seq = coalesce(r.applied_seq, u.applied_seq)
  from jsonb_to_recordset(%(rows)s) as r(
       unit_id uuid, phase text, status text, reason text, wanted boolean, number text, logout_pending boolean,
       connected_at float8, disconnected_at float8, qr_updated_at float8, qr_code text, pairing_code text,
       owner_jid text, profile_name text, updated_at float8, journal_id uuid, applied_seq bigint,
       expected_id uuid, expected bigint, last_message uuid, last_fence integer, epoch bigint, owner uuid,
       since bigint)
 where u.unit_id = r.unit_id
   and
       -- include: held
returning u.unit_id;

-- name: store_line_changes
-- Stores what lines have begun to show. A batch that is stored again, because nobody knew whether it was, has the same
-- numbers.
insert into zapline.line_changes (unit_id, number, at, phase, reason)
select r.unit_id, r.number, to_timestamp(r.at), r.phase, r.reason
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, number bigint, at float8, phase text, reason text)
  join zapline.unit_whatsapp_connections c on c.unit_id = r.unit_id
on conflict (unit_id, number) do nothing;

-- name: empty_inbox
-- Deletes what this transaction stores from the inbox; its units are the caller's until the commit.
delete from zapline.inbox i
 using jsonb_to_recordset(%(rows)s) as r(id bigint, unit_id uuid)
 where i.id = r.id and i.unit_id = r.unit_id;

-- name: hold_units
-- Locks units of which nothing but facts is stored, so that they stay their owner's until the commit.
select u.unit_id
  from zapline.unit_whatsapp_connections u
  join jsonb_to_recordset(%(rows)s) as r(unit_id uuid, expected_id uuid, expected bigint, last_message uuid,
                                         last_fence integer, epoch bigint, owner uuid, since bigint)
       on r.unit_id = u.unit_id
 where
       -- include: held
   for key share of u;

-- name: find_units
-- Those of the units that are there.
select unit_id from zapline.unit_whatsapp_connections where unit_id = any(%(units)s);
