-- Parked reports: statuses, edits and deletes whose message is not known yet.

-- name: park_reports
-- Parks reports whose message is not known yet. However old the webhook is by the clock that dated it, which may have
-- been wrong: a report waits from now on.
insert into zapline.parked_reports as p (unit_id, provider, external_id, delivery, edited_body, edited_at_ms,
                                         edit_unread_ms, edit_read_ms, deleted_at, parked_at, refusal, refused_at,
                                         claim, tried_at, entries, told_sent_at, told_delivered_at, told_read_at,
                                         told_played_at)
select r.unit_id, r.provider, r.external_id, r.delivery, r.edited_body, r.edited_at_ms, r.edit_unread_ms, r.edit_read_ms,
       to_timestamp(r.deleted_at), greatest(to_timestamp(r.parked_at), now() - interval '1 hour'), r.refusal, to_timestamp(r.refused_at),
       r.claim, case when r.tried then now() end, r.entries, to_timestamp(r.told_sent_at),
       to_timestamp(r.told_delivered_at), to_timestamp(r.told_read_at), to_timestamp(r.told_played_at)
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, delivery zapline.delivery,
                                         edited_body text, edited_at_ms bigint, edit_unread_ms bigint,
                                         edit_read_ms bigint, deleted_at float8, parked_at float8, refusal text,
                                         refused_at float8, claim text, tried boolean, entries text[],
                                         told_sent_at float8, told_delivered_at float8, told_read_at float8,
                                         told_played_at float8)
 order by r.unit_id, r.provider, r.external_id, r.claim
on conflict (unit_id, provider, external_id, claim) do update
   set delivery = greatest(p.delivery, excluded.delivery),
       edited_body = case when (excluded.edited_at_ms, excluded.edited_body collate "C")
                               > (p.edited_at_ms, p.edited_body)
                            or (p.edited_at_ms is null and excluded.edited_at_ms is not null)
                          then excluded.edited_body else p.edited_body end,
       edited_at_ms = greatest(p.edited_at_ms, excluded.edited_at_ms),
       edit_unread_ms = greatest(p.edit_unread_ms, excluded.edit_unread_ms),
       edit_read_ms = greatest(p.edit_read_ms, excluded.edit_read_ms),
       deleted_at = least(p.deleted_at, excluded.deleted_at),
       parked_at = least(p.parked_at, excluded.parked_at),
       refusal = greatest(p.refusal collate "C", excluded.refusal collate "C"),
       refused_at = least(p.refused_at, excluded.refused_at),
       told_sent_at = least(p.told_sent_at, excluded.told_sent_at),
       told_delivered_at = least(p.told_delivered_at, excluded.told_delivered_at),
       told_read_at = least(p.told_read_at, excluded.told_read_at),
       told_played_at = least(p.told_played_at, excluded.told_played_at),
       tried_at = greatest(p.tried_at, excluded.tried_at),
       entries = zapline.some_entries(p.entries, excluded.entries)
 where excluded.delivery > p.delivery or (p.delivery is null and excluded.delivery is not null)
    or (excluded.edited_at_ms, excluded.edited_body collate "C") > (p.edited_at_ms, p.edited_body)
    or (p.edited_at_ms is null and excluded.edited_at_ms is not null)
    or excluded.edit_unread_ms > coalesce(p.edit_unread_ms, -1) or excluded.edit_read_ms > coalesce(p.edit_read_ms, -1)
    or excluded.deleted_at < p.deleted_at or (p.deleted_at is null and excluded.deleted_at is not null)
    or excluded.refusal collate "C" > p.refusal or (p.refusal is null and excluded.refusal is not null)
    or excluded.refused_at < p.refused_at
    or excluded.told_sent_at < coalesce(p.told_sent_at, 'infinity')
    or excluded.told_delivered_at < coalesce(p.told_delivered_at, 'infinity')
    or excluded.told_read_at < coalesce(p.told_read_at, 'infinity')
    or excluded.told_played_at < coalesce(p.told_played_at, 'infinity')
    or excluded.parked_at < p.parked_at or (p.tried_at is null and excluded.tried_at is not null);

-- fragment: report
-- A parked report.
p.unit_id, p.provider, p.external_id, p.claim, p.delivery::text, p.edited_body, p.edited_at_ms,
          p.edit_unread_ms, p.edit_read_ms,
          extract(epoch from p.deleted_at)::float8 as deleted_at, extract(epoch from p.parked_at)::float8 as parked_at,
          p.refusal, extract(epoch from p.refused_at)::float8 as refused_at, p.entries,
          extract(epoch from p.told_sent_at)::float8 as told_sent_at,
          extract(epoch from p.told_delivered_at)::float8 as told_delivered_at,
          extract(epoch from p.told_read_at)::float8 as told_read_at,
          extract(epoch from p.told_played_at)::float8 as told_played_at

-- name: take_parked_reports
-- Removes and returns the reports that are parked for these messages.
delete from zapline.parked_reports p
 using jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text)
 where p.unit_id = r.unit_id and p.provider = r.provider and p.external_id = r.external_id
returning
       -- include: report
;

-- name: find_applicable_reports
-- Parked reports whose message is known by now. Those that do not prove to be its author's are tried ever more rarely.
select p.unit_id, p.external_id
  from zapline.parked_reports p
  left join zapline.message_aliases a on a.unit_id = p.unit_id and a.provider = p.provider
                                     and a.external_id = p.external_id
  join zapline.messages m on m.unit_id = p.unit_id and m.provider = p.provider
                         and m.external_id = coalesce(a.primary_id, p.external_id)
 where p.tried_at is null or p.tried_at < now() - greatest(interval '1 minute', (now() - p.parked_at) / 4)
 limit %(limit)s;

-- name: find_unproven
-- The messages in these units whose reports wait until it can be told from whom they are.
select distinct p.unit_id, p.external_id from zapline.parked_reports p
 where p.unit_id = any(%(units)s) and p.tried_at is not null
 limit %(limit)s;

-- name: expire_parked_reports
-- Deletes reports whose message did not arrive in time, or of which it was not told in time whether they are by its
-- author (compared).
delete from zapline.parked_reports p where p.parked_at < now() - %(days)s * interval '1 day'
returning
       -- include: report
       , p.tried_at is not null as compared;
