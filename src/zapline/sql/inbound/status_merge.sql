-- Delivery statuses, edits and deletes of messages that exist.

-- name: merge_reports
-- Merges statuses, edits and deletes into their messages, where whoever reports them may change these: the highest
-- status, the latest edit, the first delete, the refusal that says most, the first time of each status.
-- Returns the reports whose messages exist, with whether they fit and the messages' new values where these changed.
with r as (
    select * from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, claim text,
                                                    delivery zapline.delivery, edited_body text,
                                                    edited_at_ms bigint, edit_unread_ms bigint, edit_read_ms bigint,
                                                    deleted_at float8, refusal text,
                                                    refused_at float8, told_sent_at float8,
                                                    told_delivered_at float8, told_read_at float8,
                                                    told_played_at float8)
), judged as materialized (
    select r.*, m.id as message,
           zapline.fits(r.claim, m.unit_id, m.conversation_id, m.from_me, m.sender) as fits
      from r
      join zapline.messages m on m.unit_id = r.unit_id and m.provider = r.provider and m.external_id = r.external_id
), merged as (
    select message, max(delivery) as delivery,
           (array_agg(edited_body order by edited_at_ms desc, edited_body collate "C" desc)
               filter (where edited_at_ms is not null))[1] as edited_body,
           max(edited_at_ms) as edited_at_ms, max(edit_unread_ms) as edit_unread_ms, max(edit_read_ms) as edit_read_ms,
           min(deleted_at) as deleted_at, max(refusal collate "C") as refusal, min(refused_at) as refused_at,
           min(told_sent_at) as told_sent_at, min(told_delivered_at) as told_delivered_at,
           min(told_read_at) as told_read_at, min(told_played_at) as told_played_at
      from judged where fits
     group by message
), locked as (
    -- Messages are locked in the order of their ids, by every statement.
    select m.id from zapline.messages m join merged on merged.message = m.id order by m.id for no key update of m
), changed as (
    update zapline.messages m
       set delivery = greatest(m.delivery, r.delivery),
           edited_body = case when (r.edited_at_ms, r.edited_body collate "C") > (m.edited_at_ms, m.edited_body)
                                or (m.edited_at_ms is null and r.edited_at_ms is not null)
                              then r.edited_body else m.edited_body end,
           edited_at_ms = greatest(m.edited_at_ms, r.edited_at_ms),
           edit_unread_ms = greatest(m.edit_unread_ms, r.edit_unread_ms),
           edit_read_ms = greatest(m.edit_read_ms, r.edit_read_ms),
           deleted_at = least(m.deleted_at, to_timestamp(r.deleted_at)),
           refusal = greatest(m.refusal collate "C", r.refusal collate "C"),
           refused_at = least(m.refused_at, to_timestamp(r.refused_at)),
           told_sent_at = least(m.told_sent_at, to_timestamp(r.told_sent_at)),
           told_delivered_at = least(m.told_delivered_at, to_timestamp(r.told_delivered_at)),
           told_read_at = least(m.told_read_at, to_timestamp(r.told_read_at)),
           told_played_at = least(m.told_played_at, to_timestamp(r.told_played_at))
      from merged r join locked on locked.id = r.message
     where m.id = r.message
       and (r.delivery > m.delivery or (m.delivery is null and r.delivery is not null)
            or (r.edited_at_ms, r.edited_body collate "C") > (m.edited_at_ms, m.edited_body)
            or (m.edited_at_ms is null and r.edited_at_ms is not null)
            or r.edit_unread_ms > coalesce(m.edit_unread_ms, -1) or r.edit_read_ms > coalesce(m.edit_read_ms, -1)
            or to_timestamp(r.deleted_at) < m.deleted_at
            or (m.deleted_at is null and r.deleted_at is not null)
            or r.refusal collate "C" > m.refusal or (m.refusal is null and r.refusal is not null)
            or to_timestamp(r.refused_at) < m.refused_at
            or to_timestamp(r.told_sent_at) < coalesce(m.told_sent_at, 'infinity')
            or to_timestamp(r.told_delivered_at) < coalesce(m.told_delivered_at, 'infinity')
            or to_timestamp(r.told_read_at) < coalesce(m.told_read_at, 'infinity')
            or to_timestamp(r.told_played_at) < coalesce(m.told_played_at, 'infinity'))
returning m.id, m.client_message_id, m.conversation_id, m.delivery::text as delivery, m.edited_at_ms,
          m.edit_unread_ms, m.edit_read_ms, m.deleted_at, m.refusal
)
select m.unit_id, m.external_id, j.claim, j.fits, c.id, c.client_message_id,
       (select coalesce(k.merged_into, k.id) from zapline.conversations k
         where k.id = c.conversation_id) as conversation_id,
       case when m.from_me and c.delivery is distinct from m.delivery::text then c.delivery end as delivery,
       c.edited_at_ms is distinct from m.edited_at_ms
       or zapline.edit_is_unread(c.edit_unread_ms, c.edit_read_ms, c.edited_at_ms)
          and c.edit_unread_ms is distinct from m.edit_unread_ms as edited,
       c.deleted_at is null and coalesce(zapline.edit_is_unread(c.edit_unread_ms, c.edit_read_ms, c.edited_at_ms), false)
           as edit_text_unknown,
       c.deleted_at is distinct from m.deleted_at as deleted,
       case when m.from_me and c.refusal is distinct from m.refusal and c.delivery = 'failed' then c.refusal end
           as refusal
  from judged j
  join zapline.messages m on m.id = j.message
  left join changed c on c.id = m.id;
