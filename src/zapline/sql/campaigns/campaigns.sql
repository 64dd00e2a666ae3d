-- Campaigns: changes, lists of recipients, and what the API shows.

-- name: insert_campaign
-- A new campaign. No row back: its client id is taken, and nothing has changed.
insert into zapline.campaigns (id, unit_id, name, state, content, seconds, window_from, window_until, start_at,
                               created_at, request_digest, client_campaign_id, wordings)
values (%(id)s, %(unit_id)s, %(name)s, 'ready', %(content)s, %(seconds)s, %(window_from)s, %(window_until)s,
        to_timestamp(%(start_at)s), to_timestamp(%(now)s), %(digest)s, %(client_id)s, %(wordings)s)
on conflict (unit_id, client_campaign_id) do nothing
returning id;

-- name: find_by_client_id
-- The campaign with a caller's client id, and the digest of its request.
select id, request_digest from zapline.campaigns
 where unit_id = %(unit_id)s and client_campaign_id = %(client_id)s;

-- name: lock_campaign
-- A campaign that is about to be changed, locked.
select state, content, wordings, extract(epoch from start_at)::float8 as start_at, seconds, window_from, window_until
  from zapline.campaigns
 where unit_id = %(unit_id)s and id = %(id)s
   for no key update;

-- name: find_plan
-- A campaign as planned, the number of the next recipient and how many are pending.
select c.state, c.content, c.wordings, extract(epoch from c.start_at)::float8 as start_at, c.seconds, c.window_from,
       c.window_until,
       1 + coalesce((select max(r.number) from zapline.campaign_recipients r where r.campaign_id = c.id), 0) as next,
       (select count(*) from zapline.campaign_recipients r
         where r.campaign_id = c.id and r.state = 'pending') as pending
  from zapline.campaigns c
 where c.unit_id = %(unit_id)s and c.id = %(id)s;

-- name: set_state
-- Starts, pauses, resumes or cancels a campaign, or continues it with its failed recipients.
update zapline.campaigns
   set state = %(state)s,
       started_at = case when %(state)s in ('scheduled', 'running') then coalesce(started_at, to_timestamp(%(now)s))
                         else started_at end,
       ended_at = case when %(state)s = 'cancelled' then to_timestamp(%(now)s) end
 where id = %(id)s;

-- name: skip_opted_out
-- Skips recipients who have opted out since they were put on the list.
update zapline.campaign_recipients r
   set state = 'skipped', reason = 'opted_out'
 where r.campaign_id = %(id)s and r.state = 'pending'
   and exists (select from zapline.opted_out(r.unit_id, r.recipient));

-- name: has_pending
-- Whether recipients are pending.
select exists (select from zapline.campaign_recipients where campaign_id = %(id)s and state = 'pending') as pending;

-- name: cancel_pending_recipients
-- Cancels pending recipients.
update zapline.campaign_recipients set state = 'cancelled' where campaign_id = %(id)s and state = 'pending';

-- name: cancel_queued_messages
-- Cancels queued messages of a campaign. They count as failed unless an earlier call may have delivered them.
with cancelled as (
    update zapline.outbox
       set state = 'cancelled', failure = 'campaign_cancelled', failure_detail = null, ended_at = to_timestamp(%(now)s)
     where campaign_id = %(id)s and state = 'queued'
    returning message_id)
update zapline.messages m set delivery = greatest(m.delivery, 'failed')
  from cancelled
 where m.id = cancelled.message_id
   and not exists (select from zapline.attempts a
                    where a.message_id = m.id and a.outcome in ('calling', 'uncertain', 'sent'));

-- name: retry_failed
-- Makes recipients pending again whose message certainly was not sent, or was refused by WhatsApp. Uncertain ones are
-- not changed.
with again as (
    update zapline.campaign_recipients r
       set state = 'pending', generation = r.generation + 1, message_id = null
      from zapline.outbox o
      join zapline.messages m on m.id = o.message_id
     where r.campaign_id = %(id)s and r.state = 'enqueued' and o.message_id = r.message_id
       and r.recipient not like 'erased:%%'
       and ((o.state = 'settled' and m.delivery = 'failed')
            or (o.state in ('dead', 'expired')
                and not exists (select from zapline.attempts a
                                 where a.message_id = o.message_id and a.outcome in ('calling', 'uncertain', 'sent'))))
    returning r.number)
select count(*) as recipients from again;

-- name: move_to_reply_lane
-- Moves queued campaign messages to the reply lane for contacts who have just written, because they are in a
-- conversation.
update zapline.outbox o
   set lane = 'reply'
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, conversation_id uuid)
  join zapline.conversations c on c.id = r.conversation_id and c.unit_id = r.unit_id
  join zapline.conversations root on root.id = case when c.merged_into is null then c.id else c.merged_into end
  join zapline.contacts k on k.id = root.contact_id
 where o.unit_id = r.unit_id and o.recipient = k.canonical and o.state = 'queued' and o.lane = 'campaign'
returning o.unit_id;

-- name: begin_load
-- Marks a campaign whose list is about to be loaded. No row back: it is not ready for one.
update zapline.campaigns c
   set state = 'loading',
       loading_from = 1 + coalesce((select max(number) from zapline.campaign_recipients where campaign_id = c.id), 0)
 where c.unit_id = %(unit_id)s and c.id = %(id)s and c.state = 'ready'
returning c.loading_from, c.content, c.wordings;

-- name: end_load
-- The list has been loaded completely.
update zapline.campaigns set state = 'ready', loading_from = null where id = %(id)s and state = 'loading'
returning id;

-- name: delete_loaded
-- Deletes recipients of a list that was not loaded completely.
delete from zapline.campaign_recipients r
 using zapline.campaigns c
 where c.id = %(id)s and c.state = 'loading' and r.campaign_id = c.id and r.number >= c.loading_from;

-- name: list_unfinished_loads
-- Campaigns whose list is marked as loading.
select id from zapline.campaigns where state = 'loading';

-- name: find_excluded_recipients
-- Of these recipients, those whom the campaign has already and those who have opted out; the latter count if both.
with r as materialized (
    select * from jsonb_to_recordset(%(rows)s) as r(number int, recipient text))
select r.number, 'duplicate' as reason
  from r
  join zapline.campaign_recipients k on k.campaign_id = %(id)s::uuid and k.recipient = r.recipient
                                    and k.state <> 'skipped'
union all
select r.number, 'opted_out'
  from r
 where exists (select from zapline.opted_out(%(unit_id)s, r.recipient))
 order by reason;

-- name: insert_recipients
-- A part of a list.
insert into zapline.campaign_recipients (campaign_id, number, unit_id, recipient, parameters, state, reason, detail)
select %(id)s, r.number, %(unit_id)s, r.recipient, r."values",
       case when r.reason is null then 'pending' else 'skipped' end, r.reason, r.detail
  from jsonb_to_recordset(%(rows)s) as r(number int, recipient text, "values" jsonb, reason text, detail text);

-- name: list_campaigns
-- A page of a unit's campaigns, newest first, or one of them.
select id, name, state, content, seconds, window_from, window_until, start_at, started_at, ended_at, created_at,
       client_campaign_id, wordings,
       case when state not in ('cancelled', 'done') then
           (select u.campaigns_held_reason from zapline.units u where u.id = campaigns.unit_id) end as held
  from zapline.campaigns
 where unit_id = %(unit_id)s and (%(id)s::uuid is null or id = %(id)s)
   and (%(before_at)s::timestamptz is null or (created_at, id) < (%(before_at)s, %(before_id)s::uuid))
 order by created_at desc, id desc
 limit %(limit)s;

-- name: has_campaign
-- Whether the unit has this campaign.
select id from zapline.campaigns where unit_id = %(unit_id)s and id = %(id)s;

-- name: load_progress
-- The state of campaigns, and counts of their recipients by state; no recipient state where there are none.
select c.id, c.name, c.state, s.state as recipients_state, s.recipients
  from zapline.campaigns c
  left join lateral (
       select coalesce(r.ended_as, zapline.recipient_state(r.state, o.state, m.delivery)) as state, count(*) as recipients
         from zapline.campaign_recipients r
         left join zapline.outbox o on o.message_id = r.message_id and o.campaign_id = r.campaign_id
         left join zapline.messages m on m.id = r.message_id
        where r.campaign_id = c.id and r.unit_id = c.unit_id
        group by 1) s on true
 where c.unit_id = any(%(units)s) and c.id = any(%(ids)s);

-- name: list_recipients
-- A page of a campaign's recipients in the order of the list, in these states or in all, with the reason of a failure.
select r.number, r.recipient, r.parameters,
       coalesce(r.ended_as, zapline.recipient_state(r.state, o.state, m.delivery)) as state,
       coalesce(r.reason, o.failure,
                case when m.delivery = 'failed' and o.state = 'settled' then coalesce(m.refusal, 'whatsapp_refused') end)
           as reason,
       coalesce(r.detail, o.failure_detail) as detail, r.message_id,
       o.settled_at
  from zapline.campaign_recipients r
  left join zapline.outbox o on o.message_id = r.message_id and o.campaign_id = r.campaign_id
  left join zapline.messages m on m.id = r.message_id
 where r.unit_id = %(unit_id)s and r.campaign_id = %(id)s and r.number > %(after)s
   and (%(states)s::text[] is null
        or coalesce(r.ended_as, zapline.recipient_state(r.state, o.state, m.delivery)) = any(%(states)s))
 order by r.number
 limit %(limit)s;

-- name: list_variables
-- The names of all parameters that a campaign's recipients have.
select distinct jsonb_object_keys(parameters) as name
  from zapline.campaign_recipients
 where unit_id = %(unit_id)s and campaign_id = %(id)s;
