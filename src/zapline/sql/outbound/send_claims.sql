-- Sending: claims, answers, echoes, and what a sender must remember after a restart.

-- name: claim
-- The next message that may leave: replies first, then in the order asked. A message does not overtake an earlier
-- one to the same recipient that is tried again: of each recipient only the first one stands for election. The call
-- that is about to be made is a row before it is made.
with next as (
    select o.message_id
      from (select w.message_id, w.lane, w.seq
              from (select q.message_id, q.lane, q.seq, q.state, q.due_at, q.expires_at, q.recipient, q.campaign_id,
                           row_number() over (partition by q.recipient, q.lane, q.campaign_id order by q.seq) as place
                      from zapline.outbox q
                     where q.unit_id = %(unit_id)s and q.state in ('queued', 'leased')
                       and (q.tries > 0 or q.fence > 0 or q.due_at <= to_timestamp(%(now)s))) w
              left join zapline.campaigns c on c.id = w.campaign_id
             where w.place = 1 and w.state = 'queued' and w.due_at <= to_timestamp(%(now)s)
               and (w.expires_at is null or w.expires_at > to_timestamp(%(now)s))
               and w.lane = any(%(lanes)s) and w.recipient <> all(%(blocked)s)
               and (c.id is null or c.state = 'running')
             order by w.lane desc, w.seq
             limit 50) first
      join zapline.outbox o on o.message_id = first.message_id
     where o.state = 'queued'
       and not exists (select from zapline.units u where u.id = %(unit_id)s and u.paused_at is not null)
       and (o.campaign_id is null or not exists (select from zapline.opted_out(o.unit_id, o.recipient)))
     order by first.lane desc, first.seq
     limit 1
       for update of o skip locked
), claimed as (
    update zapline.outbox o
       set state = 'leased', fence = o.fence + 1, leased_by = %(process)s, look_at = null,
           lease_until = to_timestamp(%(now)s) + %(lease)s * interval '1 second'
      from next
     where o.message_id = next.message_id and o.state = 'queued'
    returning o.*
), called as (
    insert into zapline.attempts (id, message_id, unit_id, conversation_id, provider, fence, lane, recipient,
                                  fingerprint, started_at)
    select %(attempt)s, c.message_id, c.unit_id, c.conversation_id, %(provider)s, c.fence, c.lane, c.recipient,
           c.fingerprint, to_timestamp(%(now)s)
      from claimed c
    returning id
)
select c.message_id, called.id as attempt, c.fence, c.lane, c.recipient, c.address, c.content, c.tries, c.resends,
       extract(epoch from c.expires_at)::float8 as expires_at, c.campaign_id,
       (select k.seconds from zapline.campaigns k where k.id = c.campaign_id) as campaign_seconds
  from claimed c, called;

-- name: due_units
-- Which units have messages to send, by lane, and when their next one is due; and which have calls that nobody
-- ended, though their sender may be at work on them. The one query that wakes senders.
select w.unit_id, w.lane, extract(epoch from min(w.due_at))::float8 as due_at, bool_or(w.begun) as leased
  from (select o.unit_id, o.lane, o.due_at, false as begun
          from zapline.outbox o
          left join zapline.campaigns c on c.id = o.campaign_id
         where o.state = 'queued' and (c.id is null or c.state = 'running')
         union all
        select a.unit_id, a.lane, null, true from zapline.attempts a
         where a.outcome = 'calling' and a.external_id is null) w
 group by w.unit_id, w.lane;

-- name: next_due
-- When the next message of a unit is due, by lane, and the next one after now.
select o.lane, extract(epoch from min(o.due_at))::float8 as due_at,
       extract(epoch from min(o.due_at) filter (where o.due_at > to_timestamp(%(now)s)))::float8 as later
  from zapline.outbox o
  left join zapline.campaigns c on c.id = o.campaign_id
 where o.unit_id = %(unit_id)s and o.state = 'queued' and (c.id is null or c.state = 'running')
 group by o.lane;

-- name: left_leases
-- Calls of this unit that somebody began and nobody ended, also those whose message another call has settled
-- meanwhile: these are nobody's lease. No sender of the unit may be at work.
select a.id as attempt, a.message_id, a.fence, o.leased_by, extract(epoch from a.started_at)::float8 as started_at,
       exists (select from zapline.messages m where m.id = a.message_id and m.kind = 'reaction') as repeatable
  from zapline.attempts a
  left join zapline.outbox o on o.message_id = a.message_id and o.fence = a.fence and o.state = 'leased'
 where a.unit_id = %(unit_id)s and a.outcome = 'calling' and a.external_id is null
 order by a.started_at;

-- name: give_back
-- A claim whose call was never made: the claim's own commit was in doubt.
with given as (
    update zapline.outbox set state = 'queued', leased_by = null, lease_until = null
     where message_id = %(message_id)s and state = 'leased' and fence = %(fence)s
    returning message_id)
delete from zapline.attempts a using given g
 where a.message_id = g.message_id and a.id = %(attempt)s and a.outcome = 'calling'
returning a.id;

-- name: expire_due
-- Messages whose time was over before they could be sent; those of a cancelled campaign, and of who wants none.
-- A part of them, where they are many, and none that somebody else has in hand.
with over as (
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
), told as (
    update zapline.messages m set delivery = greatest(m.delivery, 'failed')
      from over
     where m.id = over.message_id
       -- What was called for before, and released, may have been delivered all the same.
       and not exists (select from zapline.attempts a
                        where a.message_id = m.id and a.outcome in ('calling', 'uncertain', 'sent')))
select unit_id, message_id, state from over;

-- name: recent_calls
-- The calls of a unit since a time, oldest first: what its pace is rebuilt from.
select extract(epoch from started_at)::float8 as started_at, extract(epoch from ended_at)::float8 as ended_at,
       recipient, lane
  from zapline.attempts
 where unit_id = %(unit_id)s and started_at >= to_timestamp(%(since)s)
 order by started_at;

-- name: calls_today
-- How many calls of a unit may have left since its day began, by lane.
select lane, count(*) as calls
  from zapline.attempts
 where unit_id = %(unit_id)s and started_at >= to_timestamp(%(since)s) and outcome not in ('not_sent', 'rejected')
 group by lane;

-- name: load_pace
-- A unit's own limits, and since when its line is in use. One row, whether it has limits or not.
select p.per_minute, p.burst, p.gap_seconds, p.daily_cap, p.warm_up_first, p.quiet_from, p.quiet_until,
       p.campaign_seconds, p.resend_lanes, u.time_zone,
       extract(epoch from c.first_connected_at)::float8 as line_since
  from zapline.units u
  join zapline.unit_whatsapp_connections c on c.unit_id = u.id
  left join zapline.unit_paces p on p.unit_id = u.id
 where u.id = %(unit_id)s;

-- name: mark_stalled
-- What Evolution took long ago and nobody has confirmed since; groups never confirm.
with waiting as materialized (
    select m.id from zapline.messages m
     where m.client_message_id is not null and m.delivery = 'sent' and m.kind <> 'reaction'
       and m.sent_at > to_timestamp(%(after)s) and m.sent_at < to_timestamp(%(before)s)
), found as (
    select o.message_id from waiting
      join zapline.outbox o on o.message_id = waiting.id
     where o.state = 'settled' and o.stalled_at is null and o.settled_at < to_timestamp(%(before)s)
       and o.recipient not like 'group:%%'
     limit %(limit)s)
update zapline.outbox o set stalled_at = to_timestamp(%(now)s) from found where o.message_id = found.message_id
returning o.unit_id, o.message_id;

-- name: totals
-- How the outbox stands: counts by state and lane of those at work, of those a person must decide, of the dead of a
-- day, and of what is stalled now. What waits in a unit that a person has paused makes nobody impatient.
select o.state, o.lane, count(*) as messages,
       extract(epoch from min(o.due_at) filter (where o.due_at <= now() and p.id is null))::float8 as oldest
  from zapline.outbox o
  left join zapline.units p on p.id = o.unit_id and p.paused_at is not null
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
