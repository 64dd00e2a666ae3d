-- Open work of units.

-- name: prefer_index_order
-- Makes this transaction read indexes in their order: the policies hide from the planner how few rows are needed.
select set_config('enable_bitmapscan', 'off', true) as bitmaps;

-- name: load_totals
-- The open work of every active unit, or of one, and when messages last came in and went out. One row per unit; times
-- in UTC seconds. (Below a policy PostgreSQL takes a column to an index, but no text that is put together: hence `again`.)
select u.id as unit_id, coalesce(w.queued, 0) as queued, coalesce(w.uncertain, 0) as uncertain, d.dead, l.letters,
       f.failed + r.refused as failed,
       extract(epoch from w.oldest)::float8 as oldest_queued, extract(epoch from i.at)::float8 as last_in,
       extract(epoch from o.at)::float8 as last_out
  from zapline.units u
  left join (
       select unit_id, count(*) filter (where state in ('queued', 'leased')) as queued,
              count(*) filter (where state = 'uncertain') as uncertain,
              min(created_at) filter (where state = 'queued' and due_at <= now()) as oldest
         from zapline.outbox
        where state in ('queued', 'leased', 'uncertain') and (%(unit_id)s::uuid is null or unit_id = %(unit_id)s)
        group by unit_id) w on w.unit_id = u.id
 cross join lateral (
       select count(*) as dead from zapline.outbox x
        where x.unit_id = u.id and x.state = 'dead' and x.ended_at > now() - interval '1 day') d
 cross join lateral (
       select count(*) as failed from zapline.outbox x
        cross join lateral (select %(again)s || x.message_id::text as id offset 0) again
        where x.unit_id = u.id and x.state = 'dead' and x.ended_at > now() - make_interval(days => %(days)s)
          and x.campaign_id is null and x.dismissed_at is null and x.failure is distinct from 'given_up'
          and not exists (select from zapline.messages a
                           where a.unit_id = x.unit_id and a.client_message_id = again.id)) f
 cross join lateral (
       select count(*) as refused from zapline.messages m
         join zapline.outbox x on x.message_id = m.id and x.state <> 'dead'
        cross join lateral (select %(again)s || m.id::text as id offset 0) again
        where m.unit_id = u.id and m.refused_at > now() - make_interval(days => %(days)s) and m.delivery = 'failed'
          and m.client_message_id is not null
          and x.campaign_id is null and x.dismissed_at is null and x.failure is distinct from 'given_up'
          and not exists (select from zapline.messages a
                           where a.unit_id = m.unit_id and a.client_message_id = again.id)) r
 cross join lateral (
       select count(*) as letters from zapline.dead_letters x
        where x.unit_id = u.id and x.revived_at is null and x.given_up_at is null) l
  left join lateral (
       select x.received_at as at from zapline.messages x
        where x.unit_id = u.id and not x.from_me
        order by x.received_at desc limit 1) i on true
  left join lateral (
       select coalesce((select b.settled_at from zapline.outbox b where b.message_id = x.id), x.received_at) as at
         from zapline.messages x
        where x.unit_id = u.id and x.from_me and x.delivery in ('sent', 'delivered', 'read', 'played')
        order by x.received_at desc limit 1) o on true
 where u.archived_at is null and (%(unit_id)s::uuid is null or u.id = %(unit_id)s);
