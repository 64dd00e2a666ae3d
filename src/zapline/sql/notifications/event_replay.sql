-- Events of the log that are delivered once more.

-- name: replay_events
-- Has events of a time delivered once more, or at last: one after the other, so many seconds between two. What waits to be
-- delivered stays as it is. A page is by place: the time of an event is that of its transaction's begin.
with chosen as (
    select e.id, e.unit_id, e.event, e.subject, e.facts, e.seq, row_number() over (order by e.seq) as place
      from zapline.events e
      join zapline.hooks h on h.id = %(hook)s
      left join lateral zapline.members(h.organization_id, h.units) m on m.unit_id = e.unit_id
     where e.seq > %(after)s
       and e.created_at >= to_timestamp(%(since)s::float8) and e.created_at < to_timestamp(%(until)s::float8)
       and e.event = any(h.events) and (%(units)s::uuid[] is null or e.unit_id = any(%(units)s::uuid[]))
       and (e.unit_id = h.unit_id
            or coalesce(e.happened_at, e.created_at) >= m.since)
       and (%(events)s::text[] is null or e.event = any(%(events)s::text[]))
     order by e.seq limit %(limit)s
), told as (
    insert into zapline.hook_deliveries (id, hook_id, unit_id, event, subject, facts, due_at)
    select zapline.delivery_id(%(hook)s, c.id), %(hook)s, c.unit_id, c.event, c.subject, c.facts,
           now() + c.place * %(pause)s::float8 * interval '1 second'
      from chosen c
     order by c.seq
    on conflict (id) do update set state = 'queued', tries = 0, due_at = excluded.due_at, ended_at = null, seq = default
     where hook_deliveries.state <> 'queued'
    returning id
)
select (select count(*) from chosen) as found, (select count(*) from told) as replayed,
       (select max(seq) from chosen) as last;
