-- The rest of the recorder's transaction: connections and positions. Each statement takes one
-- jsonb list for a batch of many units.

-- name: set_lock_timeout
-- Limits how long this transaction waits for a lock (milliseconds).
select set_config('lock_timeout', (%(ms)s)::int::text, true);

-- name: advance_positions
-- Stores how far the journal is applied, for units whose connection did not change.
update zapline.unit_whatsapp_connections u
   set journal_id = r.journal_id, applied_seq = r.applied_seq
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, journal_id uuid, applied_seq bigint)
 where u.unit_id = r.unit_id;

-- name: write_connections
-- Stores changed connections and how far the journal is applied (null: unchanged).
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
       owner_jid text, profile_name text, updated_at float8, journal_id uuid, applied_seq bigint)
 where u.unit_id = r.unit_id;
