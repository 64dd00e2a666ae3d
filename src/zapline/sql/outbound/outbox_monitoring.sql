-- Messages that expire or stall, and counts of the outbox.

-- name: expire_overdue
-- Ends messages whose time is over, whose campaign is cancelled or whose recipient has opted out, at most so many;
-- skips rows that another transaction holds.
with ended as (
    update zapline.outbox o
       set state = case when q.late then 'expired' else 'cancelled' end,
           failure = case when q.late then 'expired' when q.cancelled then 'campaign_cancelled' else 'opted_out' end,
           ended_at = to_timestamp(%(now)s)
      from (select w.message_id, coalesce(w.expires_at <= to_timestamp(%(now)s), false) as late,
                   coalesce(c.state = 'cancelled', false) as cancelled
              from zapline.outbox w
              left join zapline.campaigns c on c.id = w.campaign_id
             where w.state = 'queued'
               and (w.expires_at <= to_timestamp(%(now)s) or c.state = 'cancelled'
                    or (w.campaign_id is not null and exists (select from zapline.opted_out(w.unit_id, w.recipient))))
             limit %(limit)s
               for update of w skip locked) q
     where o.message_id = q.message_id and o.state = 'queued'
    returning o.message_id, o.unit_id, o.state
), failed as (
    update zapline.messages m set delivery = greatest(m.delivery, 'failed')
      from ended
     where m.id = ended.message_id
       -- A message that was released after an earlier call may have been delivered.
       and not exists (select from zapline.attempts a
                        where a.message_id = m.id and a.outcome in ('calling', 'uncertain', 'sent')))
select unit_id, message_id, state from ended;

-- name: mark_stalled
-- Marks messages that Evolution accepted long ago and that have not been confirmed; groups never confirm.
with waiting as materialized (
    select m.id from zapline.messages m
     where m.client_message_id is not null and m.delivery = 'sent' and m.kind <> 'reaction'
       and m.sent_at > to_timestamp(%(after)s) and m.sent_at < to_timestamp(%(before)s)
), stalled as (
    select o.message_id from waiting
      join zapline.outbox o on o.message_id = waiting.id
     where o.state = 'settled' and o.stalled_at is null and o.settled_at < to_timestamp(%(before)s)
       and o.recipient not like 'group:%%'
     limit %(limit)s)
update zapline.outbox o set stalled_at = to_timestamp(%(now)s) from stalled where o.message_id = stalled.message_id
returning o.unit_id, o.message_id;

-- name: count_outbox
-- Counts by state and lane: open messages, uncertain ones that a person must decide, those that died within a day, and
-- stalled ones. The oldest due message does not count for units that are paused
-- or whose line is not open.
select o.state, o.lane, count(*) as messages,
       extract(epoch from min(o.due_at) filter (where o.due_at <= now() and p.id is not null))::float8 as oldest
  from zapline.outbox o
  left join (zapline.units p join zapline.unit_whatsapp_connections l on l.unit_id = p.id and l.phase = 'open')
         on p.id = o.unit_id and p.paused_at is null
 where o.state in ('queued', 'leased', 'uncertain')
 group by o.state, o.lane
union all
select 'dead', lane, count(*), extract(epoch from min(ended_at))::float8
  from zapline.outbox where state = 'dead' and ended_at > now() - interval '1 day'
 group by lane
union all
select 'waits_for_person', lane, count(*), extract(epoch from min(created_at))::float8
  from zapline.outbox where state = 'uncertain' and look_at is null
 group by lane
union all
select 'stalled', o.lane, count(*), extract(epoch from min(o.settled_at))::float8
  from zapline.outbox o
  join zapline.messages m on m.id = o.message_id
 where o.stalled_at > now() - interval '3 days' and m.delivery = 'sent'
 group by o.lane;

-- name: release_misdated
-- Makes due what is to wait for longer than anything waits, or was tried at a time that is still to come: a wrong clock
-- has dated it. What was asked for later keeps its time until it was tried, what was asked for at once waits for
-- nothing; a campaign's message waits for its hours at most, which come each day.
update zapline.outbox o
   set due_at = case when o.state = 'queued' then to_timestamp(%(now)s) else o.due_at end,
       look_at = case when o.state = 'uncertain' then to_timestamp(%(now)s) end
 where (o.state = 'queued'
        and ((o.fence > 0 and o.due_at > to_timestamp(%(now)s + %(longest)s))
             or (o.fence > 0 and o.due_at > to_timestamp(%(now)s) + interval '1 minute'
                 and exists (select from zapline.attempts a
                              where a.message_id = o.message_id
                                and a.started_at > to_timestamp(%(now)s) + interval '1 minute'))
             or (o.lane = 'campaign' and o.due_at > to_timestamp(%(now)s) + interval '3 days')
             or (o.due_at > to_timestamp(%(now)s) + interval '1 minute'
                 and o.due_at <= (select m.received_at + interval '1 minute' from zapline.messages m
                                   where m.id = o.message_id))))
    or (o.state = 'uncertain' and o.look_at > to_timestamp(%(now)s + %(longest_look)s))
returning o.message_id;

-- name: date_expiries
-- Gives an end to messages that were asked for while the clocks did not agree. A campaign's have none of their own.
update zapline.outbox o
   set expires_at = greatest(o.due_at, to_timestamp(%(now)s)) + make_interval(secs => %(expiry)s)
 where o.state in ('queued', 'uncertain') and o.expires_at is null and o.campaign_id is null
returning o.message_id;

-- name: list_causes
-- The units behind three counts, the worst first: replies that are due for over `late` seconds on lines that are open and
-- not paused, uncertain messages that a person must decide, and stalled ones.
select 'late' as state, o.unit_id, min(o.due_at) as since
  from zapline.outbox o
  join zapline.units p on p.id = o.unit_id and p.paused_at is null
  join zapline.unit_whatsapp_connections l on l.unit_id = p.id and l.phase = 'open'
 where o.state = 'queued' and o.lane = 'reply' and o.due_at < now() - make_interval(secs => %(late)s)
 group by o.unit_id
union all
select 'waits_for_person', unit_id, min(created_at)
  from zapline.outbox where state = 'uncertain' and look_at is null
 group by unit_id
union all
select 'stalled', o.unit_id, min(o.settled_at)
  from zapline.outbox o
  join zapline.messages m on m.id = o.message_id
 where o.stalled_at > now() - interval '3 days' and m.delivery = 'sent'
 group by o.unit_id
 order by since limit %(limit)s;
