-- Which numbers are on WhatsApp, as it has said, and how many of them each unit may ask for.

-- name: find_checks
-- The answers about these phones that are fresh enough; that one is not there is believed for a shorter time.
select c.phone, c.on_whatsapp, c.whatsapp_id, extract(epoch from c.checked_at)::float8 as checked_at
  from zapline.number_checks c
 where c.unit_id = %(unit_id)s and c.phone = any(%(phones)s)
   and c.checked_at >= case when c.on_whatsapp then to_timestamp(%(known_since)s::float8)
                            else to_timestamp(%(missing_since)s::float8) end;

-- name: claim_checks
-- Counts numbers that are to be asked for, if pace and day allow all of them. No row back: they do not. A clock that goes
-- back neither fills the bucket nor begins a day.
insert into zapline.number_check_budgets as b (unit_id, tokens, refilled_at, day, asked)
select u.id, %(burst)s::float8 - %(count)s::int, now(), (now() at time zone u.time_zone)::date, %(count)s::int
  from zapline.units u
 where u.id = %(unit_id)s and %(count)s::int <= least(%(burst)s::float8, %(daily)s::int)
on conflict (unit_id) do update
   set tokens = least(%(burst)s::float8, b.tokens + greatest(extract(epoch from now() - b.refilled_at)::float8, 0)
                                                    * %(rate)s::float8) - %(count)s::int,
       refilled_at = greatest(b.refilled_at, now()),
       day = greatest(b.day, excluded.day),
       asked = case when excluded.day > b.day then 0 else b.asked end + %(count)s::int
 where least(%(burst)s::float8, b.tokens + greatest(extract(epoch from now() - b.refilled_at)::float8, 0)
                                           * %(rate)s::float8) >= %(count)s::int
   and case when excluded.day > b.day then 0 else b.asked end + %(count)s::int <= %(daily)s::int
returning b.unit_id;

-- name: find_hold
-- How many numbers are left of a unit's day, in how many seconds so many may be asked for, and when the next day begins.
select case when b.day >= (now() at time zone u.time_zone)::date then greatest(%(daily)s::int - b.asked, 0)
            else %(daily)s::int end as left_today,
       case when b.unit_id is null then 0
            else greatest((least(%(count)s::int, %(burst)s::float8) - b.tokens) / %(rate)s::float8
                          - greatest(extract(epoch from now() - b.refilled_at)::float8, 0), 0) end::float8 as wait,
       extract(epoch from (((now() at time zone u.time_zone)::date + 1)::timestamp at time zone u.time_zone)
                          - now())::float8 as until_tomorrow
  from zapline.units u
  left join zapline.number_check_budgets b on b.unit_id = u.id
 where u.id = %(unit_id)s;

-- name: store_checks
-- What WhatsApp has said of phones; of two answers the later one counts, of one moment that the phone is there.
insert into zapline.number_checks as c (unit_id, phone, on_whatsapp, whatsapp_id, checked_at)
select %(unit_id)s, r.phone, r.on_whatsapp, r.whatsapp_id, to_timestamp(%(at)s::float8)
  from jsonb_to_recordset(%(rows)s::jsonb) as r(phone text, on_whatsapp boolean, whatsapp_id text)
 order by r.phone
on conflict (unit_id, phone) do update
   set on_whatsapp = excluded.on_whatsapp, whatsapp_id = excluded.whatsapp_id, checked_at = excluded.checked_at
 where (excluded.checked_at, excluded.on_whatsapp, coalesce(excluded.whatsapp_id, ''))
     > (c.checked_at, c.on_whatsapp, coalesce(c.whatsapp_id, ''));

-- name: prune_checks
-- Answers that nobody believes any more.
delete from zapline.number_checks where checked_at < to_timestamp(%(before)s::float8);
