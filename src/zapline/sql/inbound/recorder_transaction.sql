-- What the recorder's transactions say. Each statement takes one jsonb list, so that a batch of many units is
-- one round trip; each is a merge, so that the same facts in another order, or again, end in the same rows.

-- name: upsert_contacts
-- A contact appears, or its name is known better: the name told last (by message time) wins.
insert into zapline.contacts as c (id, unit_id, kind, canonical, phone, lid, name, name_at)
select r.id, r.unit_id, r.kind, r.canonical, max(r.phone), max(r.lid collate "C"),
       (array_agg(r.name order by r.name_at desc nulls last, r.name collate "C" desc)
           filter (where r.name is not null))[1],
       to_timestamp(max(r.name_at) filter (where r.name is not null))
  from jsonb_to_recordset(%(rows)s) as r(id uuid, unit_id uuid, kind text, canonical text, phone text, lid text,
                                         name text, name_at float8)
 group by r.id, r.unit_id, r.kind, r.canonical
 order by r.id
on conflict (id) do update
   set phone = coalesce(c.phone, excluded.phone),
       lid = greatest(c.lid collate "C", excluded.lid collate "C"),
       name = case when zapline.newer(excluded.name_at, excluded.name, c.name_at, c.name)
                   then excluded.name else c.name end,
       name_at = case when zapline.newer(excluded.name_at, excluded.name, c.name_at, c.name)
                      then excluded.name_at else c.name_at end
 where zapline.newer(excluded.name_at, excluded.name, c.name_at, c.name)
    or (excluded.phone is not null and c.phone is null)
    or (excluded.lid is not null and c.lid is distinct from greatest(c.lid collate "C", excluded.lid collate "C"));

-- name: upsert_identities
-- The spellings under which a contact was named.
insert into zapline.contact_identities (unit_id, identity, contact_id)
select distinct on (r.unit_id, r.identity) r.unit_id, r.identity, r.contact_id
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, identity text, contact_id uuid)
 order by r.unit_id, r.identity, r.contact_id
on conflict (unit_id, identity) do nothing;

-- name: upsert_conversations
-- A conversation appears or has a later message.
insert into zapline.conversations as c (id, unit_id, contact_id, last_message_at)
select r.id, r.unit_id, r.contact_id, to_timestamp(max(r.at))
  from jsonb_to_recordset(%(rows)s) as r(id uuid, unit_id uuid, contact_id uuid, at float8)
 group by r.id, r.unit_id, r.contact_id
 order by r.id
on conflict (id) do update
   set last_message_at = greatest(c.last_message_at, excluded.last_message_at)
 where excluded.last_message_at > c.last_message_at
    or (c.last_message_at is null and excluded.last_message_at is not null);

-- name: merge_conversations
-- A LID and a phone are one person: the LID's conversation points to the phone's. The latest evidence counts;
-- a phone's conversation is never pointed anywhere, so a chain has one link.
update zapline.conversations as c
   set merged_into = r.into_id, merged_at = to_timestamp(r.at)
  from (select distinct on (id) * from jsonb_to_recordset(%(rows)s) as l(id uuid, into_id uuid, at float8)
         order by id, at desc, into_id desc) as r
 where c.id = r.id and r.id <> r.into_id
   and (c.merged_at is null or (to_timestamp(r.at), r.into_id) > (c.merged_at, c.merged_into));

-- name: upsert_messages
-- A message is known. Its first arrival keeps the sequence; `unknown` yields to content, gaps are filled.
-- Rows back: those that are new, and those that became fuller.
insert into zapline.messages as m (
    id, unit_id, conversation_id, provider, external_id, from_me, kind, kind_rank, body, media, detail, raw,
    sender, sender_name, quoted_id, forwarded, view_once, expires_after, source, origin, backfilled, delivery,
    sent_at, received_at)
select r.id, r.unit_id, r.conversation_id, r.provider, r.external_id, r.from_me, r.kind, r.kind_rank, r.body,
       r.media, coalesce(r.detail, '{}'), decode(r.raw, 'base64'), r.sender, r.sender_name, r.quoted_id,
       coalesce(r.forwarded, false), coalesce(r.view_once, false), r.expires_after, r.source, r.origin,
       coalesce(r.backfilled, false), r.delivery, to_timestamp(r.sent_at), to_timestamp(r.received_at)
  from jsonb_to_recordset(%(rows)s) as r(
       ord int, id uuid, unit_id uuid, conversation_id uuid, provider text, external_id text, from_me boolean,
       kind text, kind_rank smallint, body text, media jsonb, detail jsonb, raw text, sender text,
       sender_name text, quoted_id text, forwarded boolean, view_once boolean, expires_after int, source text,
       origin text, backfilled boolean, delivery zapline.delivery, sent_at float8, received_at float8)
 order by r.ord
on conflict (unit_id, provider, external_id) do update
   set conversation_id = least(m.conversation_id, excluded.conversation_id),
       from_me = m.from_me or excluded.from_me,
       kind = case when excluded.kind_rank > m.kind_rank then excluded.kind
                   when excluded.kind_rank < m.kind_rank then m.kind
                   else greatest(m.kind collate "C", excluded.kind collate "C") end,
       body = case when excluded.kind_rank > m.kind_rank then excluded.body
                   when excluded.kind_rank < m.kind_rank then m.body
                   else greatest(m.body collate "C", excluded.body collate "C") end,
       media = case when excluded.kind_rank > m.kind_rank then excluded.media
                    when excluded.kind_rank < m.kind_rank then m.media
                    else greatest(m.media, excluded.media) end,
       detail = case when excluded.kind_rank > m.kind_rank then excluded.detail
                     when excluded.kind_rank < m.kind_rank then m.detail
                     else greatest(m.detail, excluded.detail) end,
       raw = case when excluded.kind_rank > m.kind_rank then excluded.raw
                  when excluded.kind_rank < m.kind_rank then m.raw
                  else greatest(m.raw, excluded.raw) end,
       kind_rank = greatest(m.kind_rank, excluded.kind_rank),
       sender = least(m.sender collate "C", excluded.sender collate "C"),
       sender_name = greatest(m.sender_name collate "C", excluded.sender_name collate "C"),
       quoted_id = greatest(m.quoted_id collate "C", excluded.quoted_id collate "C"),
       forwarded = m.forwarded or excluded.forwarded,
       view_once = m.view_once or excluded.view_once,
       expires_after = greatest(m.expires_after, excluded.expires_after),
       source = greatest(m.source collate "C", excluded.source collate "C"),
       origin = greatest(m.origin collate "C", excluded.origin collate "C"),
       backfilled = m.backfilled and excluded.backfilled,
       delivery = greatest(m.delivery, excluded.delivery),
       sent_at = least(m.sent_at, excluded.sent_at)
 where excluded.kind_rank > m.kind_rank
    or (excluded.kind_rank = m.kind_rank
        and (excluded.kind collate "C" > m.kind
             or excluded.body collate "C" > m.body or (m.body is null and excluded.body is not null)
             or excluded.media > m.media or (m.media is null and excluded.media is not null)
             or excluded.detail > m.detail
             or excluded.raw > m.raw or (m.raw is null and excluded.raw is not null)))
    or excluded.conversation_id < m.conversation_id
    or (excluded.from_me and not m.from_me)
    or excluded.sender collate "C" < m.sender or (m.sender is null and excluded.sender is not null)
    or excluded.sender_name collate "C" > m.sender_name
    or (m.sender_name is null and excluded.sender_name is not null)
    or excluded.quoted_id collate "C" > m.quoted_id or (m.quoted_id is null and excluded.quoted_id is not null)
    or (excluded.forwarded and not m.forwarded)
    or (excluded.view_once and not m.view_once)
    or excluded.expires_after > m.expires_after or (m.expires_after is null and excluded.expires_after is not null)
    or excluded.source collate "C" > m.source or (m.source is null and excluded.source is not null)
    or excluded.origin collate "C" > m.origin
    or (m.backfilled and not excluded.backfilled)
    or excluded.delivery > m.delivery or (m.delivery is null and excluded.delivery is not null)
    or excluded.sent_at < m.sent_at
returning m.unit_id, m.external_id, m.id, (xmax = 0) as created, m.seq, m.conversation_id;

-- name: find_roots
-- Which of these conversations are shown as part of another.
select id, merged_into from zapline.conversations where id = any(%(ids)s) and merged_into is not null;

-- name: wait_less
-- Within this transaction a lock is waited for this long (milliseconds) and no longer.
select set_config('lock_timeout', (%(ms)s)::int::text, true);

-- name: take_parked
-- The reports that wait for these messages, which are known.
delete from zapline.parked_reports p
 using jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text)
 where p.unit_id = r.unit_id and p.provider = r.provider and p.external_id = r.external_id
returning p.unit_id, p.provider, p.external_id, p.delivery::text, p.edited_body, p.edited_at_ms,
          extract(epoch from p.deleted_at)::float8 as deleted_at, extract(epoch from p.parked_at)::float8 as parked_at;

-- name: apply_reports
-- Statuses, edits and deletes reach their message: the status only upward, the latest edit, the first delete.
-- Rows back: the messages that are known, with what they are now where they changed; other reports are parked.
with r as (
    select * from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text,
                                                    delivery zapline.delivery, edited_body text,
                                                    edited_at_ms bigint, deleted_at float8)
), changed as (
    update zapline.messages m
       set delivery = greatest(m.delivery, r.delivery),
           edited_body = case when (r.edited_at_ms, r.edited_body collate "C") > (m.edited_at_ms, m.edited_body)
                                or (m.edited_at_ms is null and r.edited_at_ms is not null)
                              then r.edited_body else m.edited_body end,
           edited_at_ms = greatest(m.edited_at_ms, r.edited_at_ms),
           deleted_at = least(m.deleted_at, to_timestamp(r.deleted_at))
      from r
     where m.unit_id = r.unit_id and m.provider = r.provider and m.external_id = r.external_id
       and (r.delivery > m.delivery or (m.delivery is null and r.delivery is not null)
            or (r.edited_at_ms, r.edited_body collate "C") > (m.edited_at_ms, m.edited_body)
            or (m.edited_at_ms is null and r.edited_at_ms is not null)
            or to_timestamp(r.deleted_at) < m.deleted_at
            or (m.deleted_at is null and r.deleted_at is not null))
returning m.id, m.client_message_id, m.conversation_id, m.delivery::text as delivery, m.edited_at_ms, m.deleted_at
)
select m.unit_id, m.external_id, c.id, c.client_message_id,
       (select coalesce(k.merged_into, k.id) from zapline.conversations k where k.id = c.conversation_id) as conversation_id,
       case when c.delivery is distinct from m.delivery::text then c.delivery end as delivery,
       c.edited_at_ms is distinct from m.edited_at_ms as edited, c.deleted_at is distinct from m.deleted_at as deleted
  from zapline.messages m
  join r on m.unit_id = r.unit_id and m.provider = r.provider and m.external_id = r.external_id
  left join changed c on c.id = m.id;

-- name: park_reports
-- Reports whose message is not known yet.
insert into zapline.parked_reports as p (unit_id, provider, external_id, delivery, edited_body, edited_at_ms,
                                         deleted_at, parked_at)
select r.unit_id, r.provider, r.external_id, r.delivery, r.edited_body, r.edited_at_ms,
       to_timestamp(r.deleted_at), to_timestamp(r.parked_at)
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, delivery zapline.delivery,
                                         edited_body text, edited_at_ms bigint, deleted_at float8, parked_at float8)
 order by r.unit_id, r.provider, r.external_id
on conflict (unit_id, provider, external_id) do update
   set delivery = greatest(p.delivery, excluded.delivery),
       edited_body = case when (excluded.edited_at_ms, excluded.edited_body collate "C")
                               > (p.edited_at_ms, p.edited_body)
                            or (p.edited_at_ms is null and excluded.edited_at_ms is not null)
                          then excluded.edited_body else p.edited_body end,
       edited_at_ms = greatest(p.edited_at_ms, excluded.edited_at_ms),
       deleted_at = least(p.deleted_at, excluded.deleted_at),
       parked_at = least(p.parked_at, excluded.parked_at)
 where excluded.delivery > p.delivery or (p.delivery is null and excluded.delivery is not null)
    or (excluded.edited_at_ms, excluded.edited_body collate "C") > (p.edited_at_ms, p.edited_body)
    or (p.edited_at_ms is null and excluded.edited_at_ms is not null)
    or excluded.deleted_at < p.deleted_at or (p.deleted_at is null and excluded.deleted_at is not null)
    or excluded.parked_at < p.parked_at;

-- name: find_waiting
-- Parked reports whose message is known by now.
select p.unit_id, p.external_id
  from zapline.parked_reports p
  join zapline.messages m on m.unit_id = p.unit_id and m.provider = p.provider and m.external_id = p.external_id
 limit %(limit)s;

-- name: expire_parked
-- Reports that have waited in vain.
delete from zapline.parked_reports where parked_at < now() - %(days)s * interval '1 day';

-- name: upsert_reactions
-- The latest reaction or vote of each person.
insert into zapline.message_reactions as x (unit_id, provider, external_id, kind, actor, value, at_ms, received_at)
select distinct on (r.unit_id, r.provider, r.external_id, r.kind, r.actor)
       r.unit_id, r.provider, r.external_id, r.kind, r.actor, r.value, r.at_ms, to_timestamp(r.received_at)
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, kind text, actor text,
                                         value jsonb, at_ms bigint, received_at float8)
 order by r.unit_id, r.provider, r.external_id, r.kind, r.actor, r.at_ms desc, r.value desc
on conflict (unit_id, provider, external_id, kind, actor) do update
   set value = excluded.value, at_ms = excluded.at_ms, received_at = excluded.received_at
 where (excluded.at_ms, excluded.value) > (x.at_ms, x.value);

-- name: insert_dead_letters
-- What could not be used, with its reason; once per journal entry.
insert into zapline.dead_letters (unit_id, reason, detail, event, raw, size, received_at, journal_id, journal_seq)
select r.unit_id, r.reason, r.detail, r.event, decode(r.raw, 'base64'), r.size, to_timestamp(r.received_at),
       r.journal_id, r.journal_seq
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, reason text, detail text, event text, raw text, size bigint,
                                         received_at float8, journal_id uuid, journal_seq bigint)
on conflict (journal_id, journal_seq) do nothing
returning unit_id, reason;

-- name: advance_units
-- How far the journal is applied, for units whose connection did not change.
update zapline.unit_whatsapp_connections u
   set journal_id = r.journal_id, applied_seq = r.applied_seq
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, journal_id uuid, applied_seq bigint)
 where u.unit_id = r.unit_id;

-- name: write_connections
-- The connection changed; the same row says how far the journal is applied (null: unchanged).
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
