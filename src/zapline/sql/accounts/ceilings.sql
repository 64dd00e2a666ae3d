-- What an operator lets tenants set: one row for the installation.

-- name: load_ceilings
-- No row: nobody has set any.
select per_minute, burst, gap_seconds, campaign_seconds, daily_cap, hooks, tokens, requests_per_minute
  from zapline.ceilings;

-- name: store_ceilings
-- Replaces all of them.
insert into zapline.ceilings (per_minute, burst, gap_seconds, campaign_seconds, daily_cap, hooks, tokens,
                              requests_per_minute)
values (%(per_minute)s, %(burst)s, %(gap_seconds)s, %(campaign_seconds)s, %(daily_cap)s, %(hooks)s, %(tokens)s,
        %(requests_per_minute)s)
on conflict (id) do update
   set per_minute = excluded.per_minute, burst = excluded.burst, gap_seconds = excluded.gap_seconds,
       campaign_seconds = excluded.campaign_seconds, daily_cap = excluded.daily_cap, hooks = excluded.hooks,
       tokens = excluded.tokens, requests_per_minute = excluded.requests_per_minute, updated_at = now();
