-- Pace limits of units, and the calls that count against them.

-- name: load_pace
-- A unit's own limits, and since when its line has been in use. One row, also for a unit without limits.
select p.per_minute, p.burst, p.gap_seconds, p.daily_cap, p.warm_up_first, p.quiet_from, p.quiet_until,
       p.campaign_seconds, p.resend_lanes, p.typing_speed, p.typing_longest, u.time_zone,
       extract(epoch from c.first_connected_at)::float8 as line_since, u.campaigns_held_at is not null as campaigns_held
  from zapline.units u
  join zapline.unit_whatsapp_connections c on c.unit_id = u.id
  left join zapline.unit_paces p on p.unit_id = u.id
 where u.id = %(unit_id)s;

-- name: store_pace
-- Replaces a unit's own limits.
insert into zapline.unit_paces (unit_id, per_minute, burst, gap_seconds, daily_cap, warm_up_first, quiet_from,
                                quiet_until, campaign_seconds, resend_lanes, typing_speed, typing_longest)
values (%(unit_id)s, %(per_minute)s, %(burst)s, %(gap_seconds)s, %(daily_cap)s, %(warm_up_first)s, %(quiet_from)s,
        %(quiet_until)s, %(campaign_seconds)s, %(resend_lanes)s, %(typing_speed)s, %(typing_longest)s)
on conflict (unit_id) do update
   set per_minute = excluded.per_minute, burst = excluded.burst, gap_seconds = excluded.gap_seconds,
       daily_cap = excluded.daily_cap, warm_up_first = excluded.warm_up_first, quiet_from = excluded.quiet_from,
       quiet_until = excluded.quiet_until, campaign_seconds = excluded.campaign_seconds,
       resend_lanes = excluded.resend_lanes, typing_speed = excluded.typing_speed,
       typing_longest = excluded.typing_longest, updated_at = now();

-- name: list_recent_calls
-- The calls of a unit since a time, oldest first, from which its pace is restored.
select extract(epoch from started_at)::float8 as started_at, extract(epoch from ended_at)::float8 as ended_at,
       recipient, lane
  from zapline.attempts
 where unit_id = %(unit_id)s and started_at >= to_timestamp(%(since)s)
 order by started_at;

-- name: count_calls_since
-- How many calls of a unit may have delivered a message since its day began, by lane.
select lane, count(*) as calls
  from zapline.attempts
 where unit_id = %(unit_id)s and started_at >= to_timestamp(%(since)s) and outcome not in ('not_sent', 'rejected')
 group by lane;
