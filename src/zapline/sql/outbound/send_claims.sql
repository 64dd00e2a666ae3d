-- Claims: which message a sender may send next, and calls that a process left open.

-- name: claim
-- Claims for each of these units the next message that may be sent: replies first, then in the order of the requests. A
-- message does not overtake an earlier one to the same recipient that is tried again: only the first message of each
-- recipient is considered. The row of the call is inserted before the call is made. Of a unit for which none was claimed
-- it tells whether its messages may be claimed on this database, and when the next ones are due; of the others whether
-- nothing else is queued. With a limit (ms) nobody's lock is waited for any longer. A unit stays its owner's until the
-- commit; its row is shared with whoever stores something.
with limited as materialized (
    select set_config('lock_timeout', coalesce(%(lock_ms)s::text, current_setting('lock_timeout')), true) as limit
), asked as materialized (
    select r.*
      from limited l, jsonb_to_recordset(%(rows)s) as r(
           unit_id uuid, attempt uuid, chosen_id text, now float8, lanes text[], blocked text[], scheduled boolean,
           epoch bigint, journal_id uuid, stored bigint, last_message uuid, last_fence integer, owner uuid, since bigint)
     where l.limit is not null
), held as materialized (
    select c.unit_id
      from asked a join zapline.unit_whatsapp_connections c on c.unit_id = a.unit_id
     where c.owner = a.owner and c.epoch = a.since
     order by c.unit_id
       for key share of c
), next as materialized (
    select a.*, f.message_id
      from asked a
     cross join lateral (
           select o.message_id
             from (select w.message_id, w.lane, w.seq
                     from (select q.message_id, q.lane, q.seq, q.state, q.due_at, q.expires_at, q.recipient,
                                  q.campaign_id, row_number() over (partition by q.recipient, q.lane, q.campaign_id
                                                                    order by q.seq) as place
                             from zapline.outbox q
                            where q.unit_id = a.unit_id and q.state in ('queued', 'leased')
                              and (q.tries > 0 or q.fence > 0 or q.due_at <= to_timestamp(a.now))
                              -- What was asked for later waits while nobody can say what time it is.
                              and (a.scheduled or q.fence > 0
                                   or q.due_at <= (select m.received_at + interval '1 minute' from zapline.messages m
                                                    where m.id = q.message_id))) w
                     left join zapline.campaigns c on c.id = w.campaign_id
                    where w.place = 1 and w.state = 'queued' and w.due_at <= to_timestamp(a.now)
                      and (w.expires_at is null or w.expires_at > to_timestamp(a.now))
                      and w.lane = any(a.lanes) and w.recipient <> all(a.blocked)
                      and (c.id is null or c.state = 'running')
                    order by w.lane desc, w.seq
                    limit 50) first
             join zapline.outbox o on o.message_id = first.message_id
            where o.state = 'queued'
              and zapline.may_claim(a.unit_id, a.epoch, a.journal_id, a.stored, a.last_message, a.last_fence)
              and (a.owner is null or a.unit_id in (select h.unit_id from held h))
              and not exists (select from zapline.units u where u.id = a.unit_id and u.paused_at is not null)
              and (o.lane = 'reply'
                   or not exists (select from zapline.units u where u.id = a.unit_id and u.campaigns_held_at is not null))
              and (o.campaign_id is null or not exists (select from zapline.opted_out(o.unit_id, o.recipient)))
            order by first.lane desc, first.seq
            limit 1
              for update of o skip locked) f
), claimed as (
    update zapline.outbox o
       set state = 'leased', fence = o.fence + 1, leased_by = %(process)s, look_at = null,
           lease_until = to_timestamp(next.now) + %(lease)s * interval '1 second'
      from next
     where o.message_id = next.message_id and o.state = 'queued'
    returning o.*, next.attempt, next.chosen_id, next.now, case when next.owner is not null then next.since end as since
), called as (
    insert into zapline.attempts (id, message_id, unit_id, conversation_id, provider, fence, lane, recipient,
                                  fingerprint, started_at, epoch, chosen_id)
    select c.attempt, c.message_id, c.unit_id, c.conversation_id, %(provider)s, c.fence, c.lane, c.recipient,
           c.fingerprint, to_timestamp(c.now), c.since,
           -- A message keeps its id: WhatsApp shows two of one id once.
           coalesce((select e.chosen_id from zapline.attempts e
                      where e.message_id = c.message_id and e.chosen_id is not null
                      order by e.started_at limit 1), c.chosen_id)
      from claimed c
    returning id, chosen_id
)
select a.attempt, c.message_id, called.chosen_id, c.fence, c.lane, c.recipient, c.address, c.content, c.tries,
       c.resends, extract(epoch from c.expires_at)::float8 as expires_at, c.campaign_id,
       (select k.seconds from zapline.campaigns k where k.id = c.campaign_id) as campaign_seconds,
       c.message_id is not null
           or (zapline.may_claim(a.unit_id, a.epoch, a.journal_id, a.stored, a.last_message, a.last_fence)
               and (a.owner is null or a.unit_id in (select h.unit_id from held h))) as may,
       c.message_id is not null
           and not exists (select from zapline.outbox q where q.unit_id = a.unit_id and q.state = 'queued'
                                                          and q.message_id <> c.message_id) as last,
       dues.lanes as dues
  from asked a
  left join (claimed c join called on called.id = c.attempt) on c.attempt = a.attempt
  left join lateral (
       select jsonb_agg(jsonb_build_array(d.lane, d.due_at, d.later)) as lanes
         from (select q.lane, extract(epoch from min(q.due_at))::float8 as due_at,
                      extract(epoch from min(q.due_at) filter (where q.due_at > to_timestamp(a.now)))::float8 as later
                 from zapline.outbox q
                 left join zapline.campaigns k on k.id = q.campaign_id
                where c.message_id is null
                  and q.unit_id = a.unit_id and q.state = 'queued' and (k.id is null or k.state = 'running')
                group by q.lane) d) dues on true;

-- name: list_due_lanes
-- Units and lanes with queued messages and when the next one is due; also those with unended calls, though their
-- sender may be at work on them. This query alone wakes senders.
select w.unit_id, w.lane, extract(epoch from min(w.due_at))::float8 as due_at, bool_or(w.unended) as leased
  from (select o.unit_id, o.lane, o.due_at, false as unended
          from zapline.outbox o
          left join zapline.campaigns c on c.id = o.campaign_id
         where o.state = 'queued' and (c.id is null or c.state = 'running')
         union all
        select a.unit_id, a.lane, null, true from zapline.attempts a
         where a.outcome = 'calling' and a.external_id is null) w
 group by w.unit_id, w.lane;

-- name: find_next_due
-- When the next message of a unit is due, by lane, and the next one after now.
select o.lane, extract(epoch from min(o.due_at))::float8 as due_at,
       extract(epoch from min(o.due_at) filter (where o.due_at > to_timestamp(%(now)s)))::float8 as later
  from zapline.outbox o
  left join zapline.campaigns c on c.id = o.campaign_id
 where o.unit_id = %(unit_id)s and o.state = 'queued' and (c.id is null or c.state = 'running')
 group by o.lane;

-- name: list_unended_calls
-- Calls of this unit that have no end, also those whose message another call has settled meanwhile: these belong to no
-- lease. No sender of the unit may be at work.
select a.id as attempt, a.message_id, a.fence, o.leased_by, extract(epoch from a.started_at)::float8 as started_at,
       exists (select from zapline.messages m where m.id = a.message_id and m.kind = 'reaction') as repeatable
  from zapline.attempts a
  left join zapline.outbox o on o.message_id = a.message_id and o.fence = a.fence and o.state = 'leased'
 where a.unit_id = %(unit_id)s and a.outcome = 'calling' and a.external_id is null
 order by a.started_at;

-- name: undo_claim
-- Undoes a claim whose call was never made, because the outcome of the claim's commit was unknown.
with undone as (
    update zapline.outbox set state = 'queued', leased_by = null, lease_until = null
     where message_id = %(message_id)s and state = 'leased' and fence = %(fence)s
    returning message_id)
delete from zapline.attempts a using undone u
 where a.message_id = u.message_id and a.id = %(attempt)s and a.outcome = 'calling'
returning a.id;

-- name: find_call
-- A call, if the database knows of it.
select id from zapline.attempts where id = %(attempt)s and unit_id = %(unit_id)s;

-- name: hand_over_claim
-- The message was called before, and this database, which was set back, did not know it: that call owns the claim now.
with gone as (
    delete from zapline.attempts where id = %(attempt)s and outcome = 'calling' returning message_id
), known as (
    insert into zapline.attempts (id, message_id, unit_id, conversation_id, provider, fence, lane, recipient,
                                  fingerprint, started_at, chosen_id)
    select %(known)s, o.message_id, o.unit_id, o.conversation_id, 'evolution', %(fence)s, o.lane, o.recipient,
           o.fingerprint, to_timestamp(%(started_at)s), %(chosen_id)s
      from zapline.outbox o join gone on gone.message_id = o.message_id
    on conflict do nothing
)
update zapline.outbox o
   set fence = %(fence)s, leased_by = null, lease_until = null
  from gone
 where o.message_id = gone.message_id and o.state = 'leased';
