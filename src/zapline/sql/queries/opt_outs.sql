-- Who wants no campaigns.

-- name: suppress
-- Contacts that asked for no more campaigns; what is queued for them in campaigns is taken back. Rows back: those
-- that are new.
with asked as (
    select distinct on (r.unit_id, r.canonical) r.*
      from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, canonical text, conversation_id uuid, address text,
                                             word text, external_id text, received_at float8)
     order by r.unit_id, r.canonical, r.received_at
), fresh as (
    insert into zapline.suppressions (unit_id, canonical, reason, word, external_id)
    select unit_id, canonical, 'opt_out', word, external_id from asked order by unit_id, canonical
    on conflict (unit_id, canonical) do nothing
    returning unit_id, canonical)
select asked.unit_id, asked.canonical, asked.conversation_id, asked.address, asked.word, asked.external_id
  from asked join fresh using (unit_id, canonical);
