-- Moves recipients of running campaigns into their unit's outbox, a few at a time.

-- name: start_scheduled
-- Starts scheduled campaigns whose time has come.
update zapline.campaigns
   set state = 'running'
 where state = 'scheduled' and coalesce(start_at, '-infinity') <= to_timestamp(%(now)s)
returning id, unit_id;

-- name: reopen_campaigns
-- Reopens ended campaigns that have work again, because a person released an uncertain message.
update zapline.campaigns c
   set state = 'running', ended_at = null
 where c.state = 'done'
   and c.id in (select o.campaign_id from zapline.outbox o where o.state = 'queued' and o.campaign_id is not null)
returning c.id, c.unit_id;

-- name: list_active_campaigns
-- Scheduled and running campaigns with counts of their open messages. A message that is tried again is not fresh.
select c.id, c.unit_id, c.state, c.seconds, c.window_from, c.window_until,
       extract(epoch from c.start_at)::float8 as start_at, q.fresh, q.open, q.due_before,
       exists (select from zapline.campaign_recipients r
                where r.campaign_id = c.id and r.state = 'pending') as pending
  from zapline.campaigns c
 cross join lateral (
       select count(*) filter (where o.state = 'queued' and o.tries = 0) as fresh, count(*) as open,
              extract(epoch from min(o.due_at) filter (where o.state = 'queued' and o.lane = 'campaign'))::float8
                  as due_before
         from zapline.outbox o
        where o.campaign_id = c.id and o.state in ('queued', 'leased')) q
 where c.state in ('scheduled', 'running')
 order by c.started_at, c.id;

-- name: lock_running
-- A running campaign whose next messages are about to be queued, locked. No row back: it does not run, or is being
-- changed.
select c.content, c.wordings from zapline.campaigns c
 where c.id = %(id)s and c.state = 'running' and zapline.owns(%(owner)s, %(since)s, c.unit_id)
   for no key update skip locked;

-- name: lock_organization
-- The unit's organization, locked where it limits how often a person is written to: campaigns of its units count one
-- after the other.
select g.id
  from zapline.organization_units o
  join zapline.organizations g on g.id = o.organization_id
 where o.unit_id = %(unit_id)s and g.campaign_messages is not null
   for no key update of g;

-- name: find_last_due
-- When the latest message of a campaign is due, or its call was started. A call of the future was dated by a wrong clock.
select extract(epoch from greatest(
           (select max(o.due_at) from zapline.outbox o
             where o.campaign_id = %(id)s and o.state in ('queued', 'leased') and o.tries = 0),
           (select max(least(a.started_at, to_timestamp(%(now)s))) from zapline.attempts a
              join zapline.outbox o on o.message_id = a.message_id
             where a.unit_id = %(unit_id)s and a.started_at > to_timestamp(%(since)s)
               and o.campaign_id = %(id)s)))::float8 as at;

-- name: lock_next_recipients
-- The next pending recipients, locked, whether they have opted out, and whether the unit's organization has written to
-- them as often as it may.
select r.number, r.recipient, r.parameters, r.generation,
       exists (select from zapline.opted_out(r.unit_id, r.recipient)) as opted_out,
       coalesce((
           select count(*) >= g.campaign_messages
             from zapline.organization_units o
             join zapline.organizations g on g.id = o.organization_id and g.campaign_messages is not null
             join zapline.organization_units other on other.organization_id = g.id
             join zapline.campaign_recipients p on p.unit_id = other.unit_id and p.recipient = r.recipient
             join zapline.outbox w on w.message_id = p.message_id and w.campaign_id = p.campaign_id
            where o.unit_id = r.unit_id and w.state in ('queued', 'leased', 'uncertain', 'settled')
              and coalesce(w.settled_at, w.due_at) > to_timestamp(%(now)s) - make_interval(days => g.campaign_days)
            group by g.id), false) as capped
  from zapline.campaign_recipients r
 where r.campaign_id = %(id)s and r.state = 'pending'
 order by r.number
 limit %(limit)s
   for update of r skip locked;

-- name: skip_recipients
-- Skips recipients, for a reason.
update zapline.campaign_recipients
   set state = 'skipped', reason = %(reason)s
 where campaign_id = %(id)s and number = any(%(numbers)s) and state = 'pending';

-- name: insert_contacts
-- The contacts that do not exist yet.
insert into zapline.contacts (id, unit_id, kind, canonical, phone)
select r.contact_id, %(unit_id)s, 'person', r.recipient, r.recipient
  from jsonb_to_recordset(%(rows)s) as r(contact_id uuid, recipient text)
 order by r.contact_id
on conflict do nothing;

-- name: upsert_conversations
-- Their conversations, and the time of the latest message.
insert into zapline.conversations as c (id, unit_id, contact_id, last_message_at)
select r.conversation_id, %(unit_id)s, r.contact_id, to_timestamp(%(now)s)
  from jsonb_to_recordset(%(rows)s) as r(conversation_id uuid, contact_id uuid)
 order by r.conversation_id
on conflict (id) do update set last_message_at = greatest(c.last_message_at, excluded.last_message_at);

-- name: enqueue
-- Inserts the messages with their outbox rows and marks the recipients in one statement, so that no recipient is
-- queued twice. A recipient whose client id is taken is skipped.
with r as (
    select * from jsonb_to_recordset(%(rows)s) as r(
        number int, message_id uuid, client_id text, conversation_id uuid, recipient text, address text, kind text,
        body text, media jsonb, fingerprint text, content jsonb, digest text, due_at float8)
), message as (
    insert into zapline.messages (id, unit_id, conversation_id, provider, client_message_id, from_me, kind, kind_rank,
                                  body, media, origin, delivery, sent_at, received_at)
    select r.message_id, %(unit_id)s, r.conversation_id, %(provider)s, r.client_id, true, r.kind, 2, r.body, r.media,
           'sent', 'queued', to_timestamp(r.due_at), to_timestamp(%(now)s)
      from r order by r.number
    on conflict (unit_id, client_message_id) do nothing
    returning id
), work as (
    insert into zapline.outbox (message_id, unit_id, conversation_id, lane, recipient, address, fingerprint, content,
                                request_digest, due_at, campaign_id)
    select r.message_id, %(unit_id)s, r.conversation_id, 'campaign', r.recipient, r.address, r.fingerprint, r.content,
           decode(r.digest, 'hex'), to_timestamp(r.due_at), %(id)s
      from r join message on message.id = r.message_id
     order by r.number
    returning message_id
), marked as (
    update zapline.campaign_recipients c
       set state = case when work.message_id is null then 'skipped' else 'enqueued' end,
           reason = case when work.message_id is null then 'client_id_taken' end,
           message_id = work.message_id
      from r left join work on work.message_id = r.message_id
     where c.campaign_id = %(id)s and c.number = r.number and c.state = 'pending'
    returning c.message_id)
select count(message_id) as queued from marked;

-- name: postpone_queued
-- Postpones queued messages of a campaign until its time window opens.
update zapline.outbox
   set due_at = to_timestamp(%(opens)s)
 where campaign_id = %(id)s and state = 'queued' and lane = 'campaign' and due_at < to_timestamp(%(opens)s)
   and zapline.owns(%(owner)s, %(since)s, unit_id);

-- name: finish_campaign
-- Ends a campaign without pending recipients and open messages.
update zapline.campaigns c
   set state = 'done', ended_at = to_timestamp(%(now)s)
 where c.id = %(id)s and c.state = 'running' and zapline.owns(%(owner)s, %(since)s, c.unit_id)
   and not exists (select from zapline.campaign_recipients r where r.campaign_id = c.id and r.state = 'pending')
   and not exists (select from zapline.outbox o where o.campaign_id = c.id and o.state in ('queued', 'leased'))
returning c.id;
