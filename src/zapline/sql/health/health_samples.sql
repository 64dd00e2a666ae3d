-- The rates of the health report, minute by minute.

-- name: insert_sample
-- Stores one minute; a process that takes over within it changes nothing.
insert into zapline.health_samples
       (at, verdict, webhook_error_rate, unknown_instances, dedupe_rate, unexpected_disconnects)
values (date_trunc('minute', now()), %(verdict)s, %(webhook_error_rate)s, %(unknown_instances)s, %(dedupe_rate)s,
        %(unexpected_disconnects)s)
on conflict (at) do nothing;

-- name: prune_samples
-- Deletes samples older than so many days.
delete from zapline.health_samples where at < now() - %(days)s * interval '1 day';

-- name: list_highest_rates
-- The highest of each rate in steps of so many seconds; steps without a sample are left out.
select extract(epoch from date_bin(%(step)s * interval '1 second', at, 'epoch'))::float8 as at,
       max(webhook_error_rate) as webhook_error_rate, max(unknown_instances) as unknown_instances,
       max(dedupe_rate) as dedupe_rate, max(unexpected_disconnects) as unexpected_disconnects
  from zapline.health_samples
 where at >= now() - %(seconds)s * interval '1 second'
 group by 1 order by 1;
