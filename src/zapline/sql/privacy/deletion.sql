-- Deletes messages with all that hangs on them: for erasure and for retention.

-- name: external_ids
-- Under which ids a message was sent, beside its own.
select distinct a.external_id from zapline.attempts a
 where a.message_id = any(%(ids)s) and a.external_id is not null;

-- name: freeze_recipients
-- A campaign's counts outlive its messages, and so does nothing of the people it was sent to.
update zapline.campaign_recipients r
   set recipient = 'erased:' || r.number, parameters = '{}', detail = null, message_id = null,
       ended_as = coalesce(r.ended_as, zapline.recipient_state(r.state, o.state, m.delivery)),
       reason = coalesce(r.reason, o.failure)
  from zapline.messages m
  join zapline.outbox o on o.message_id = m.id
 where m.id = any(%(ids)s) and r.message_id = m.id;

-- name: delete_uploads
-- Files that were sent with these messages and with no other, and with no campaign.
with sent as (
    select distinct o.unit_id, o.content -> 'content' ->> 'upload' as upload
      from zapline.outbox o
     where o.message_id = any(%(ids)s) and o.campaign_id is null and o.content -> 'content' ->> 'upload' is not null)
delete from zapline.uploads u
 using sent
 where u.unit_id = sent.unit_id and u.id::text = sent.upload
   and not exists (select from zapline.outbox o
                    where o.unit_id = u.unit_id and o.message_id <> all(%(ids)s)
                      and o.content -> 'content' ->> 'upload' = sent.upload)
   and not exists (select from zapline.campaigns c
                    where c.unit_id = u.unit_id and c.content -> 'content' ->> 'upload' = sent.upload);

-- name: delete_attempts
-- The calls that were made for them.
delete from zapline.attempts where message_id = any(%(ids)s);

-- name: delete_outbox
-- The work on them.
delete from zapline.outbox where message_id = any(%(ids)s) and state not in ('queued', 'leased');

-- name: delete_reactions
-- What was said about them.
delete from zapline.message_reactions where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_reports
-- What was reported of them and waits.
delete from zapline.parked_reports where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_sightings
-- Echoes of them that nobody owned yet.
delete from zapline.sightings where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_messages
-- Themselves.
delete from zapline.messages where unit_id = %(unit_id)s and id = any(%(ids)s);

-- name: kept_for
-- Units, at work or closed, whose messages have an end.
select id, retention_days from zapline.units where retention_days is not null order by id;

-- name: find_old
-- Some messages that are older than the unit keeps them. What is still at work stays.
select m.id, m.external_id
  from zapline.messages m
 where m.unit_id = %(unit_id)s and m.from_me = %(from_me)s and m.received_at < to_timestamp(%(before)s)
   and not exists (select from zapline.outbox o
                    where o.message_id = m.id and o.state in ('queued', 'leased', 'uncertain'))
 order by m.received_at
 limit %(limit)s
   for update of m skip locked;

-- name: end_old_work
-- What a unit that was closed a day ago had still to do is nobody's any more, as far as it is too old.
update zapline.outbox o
   set state = 'cancelled', failure = 'given_up', look_at = null, leased_by = null, lease_until = null, ended_at = now()
  from zapline.units u
 where u.id = %(unit_id)s and u.archived_at < now() - interval '1 day' and o.unit_id = u.id
   and o.state in ('queued', 'leased', 'uncertain')
   and exists (select from zapline.messages m
                where m.id = o.message_id and m.received_at < to_timestamp(%(before)s));

-- name: delete_old_letters
-- Dead letters of the same age.
delete from zapline.dead_letters
 where id in (select id from zapline.dead_letters
               where unit_id = %(unit_id)s and created_at < to_timestamp(%(before)s) order by id limit %(limit)s);

-- name: delete_old_reactions
-- What was said, at that time, about messages that never came.
delete from zapline.message_reactions r
 where r.unit_id = %(unit_id)s and r.received_at < to_timestamp(%(before)s)
   and not exists (select from zapline.messages m
                    where m.unit_id = r.unit_id and m.provider = r.provider and m.external_id = r.external_id);

-- name: blank_old_recipients
-- The people in campaigns that ended at that time, or whose unit did, and were not sent anything.
update zapline.campaign_recipients r
   set recipient = 'erased:' || r.number, parameters = '{}', detail = null
  from zapline.campaigns c
  join zapline.units u on u.id = c.unit_id
 where c.id = r.campaign_id and c.unit_id = %(unit_id)s
   and (c.state in ('done', 'cancelled') and c.ended_at < to_timestamp(%(before)s)
        or u.archived_at < to_timestamp(%(before)s)) and r.message_id is null and r.recipient not like 'erased:%%';

-- name: delete_old_uploads
-- Files of that time that nothing at work will send.
delete from zapline.uploads u
 where u.unit_id = %(unit_id)s and u.created_at < to_timestamp(%(before)s)
   and not exists (select from zapline.outbox o
                    where o.unit_id = u.unit_id and o.state in ('queued', 'leased', 'uncertain')
                      and o.content -> 'content' ->> 'upload' = u.id::text)
   and not exists (select from zapline.campaigns c
                    where c.unit_id = u.unit_id and c.state not in ('cancelled', 'done')
                      and c.content -> 'content' ->> 'upload' = u.id::text);

-- name: delete_empty_conversations
-- Conversations that are left without a message, as old as those that went. What was merged goes first.
delete from zapline.conversations c
 where c.id in (
       select e.id from zapline.conversations e
        where e.unit_id = %(unit_id)s and e.created_at < to_timestamp(%(before)s)
          and coalesce(e.last_message_at, '-infinity') < to_timestamp(%(before)s)
          and not exists (select from zapline.messages m where m.conversation_id = e.id)
          and not exists (select from zapline.sightings s where s.conversation_id = e.id)
          and not exists (select from zapline.outbox o where o.conversation_id = e.id)
          and not exists (select from zapline.attempts a where a.conversation_id = e.id)
          and not exists (select from zapline.conversations p where p.merged_into = e.id)
        limit %(limit)s
          for update skip locked);

-- name: delete_empty_identities
-- Spellings of contacts that are left without anything.
delete from zapline.contact_identities i
 using zapline.contacts k
 where k.unit_id = %(unit_id)s and k.created_at < to_timestamp(%(before)s) and i.contact_id = k.id
   and not exists (select from zapline.conversations c where c.contact_id = k.id)
   and not exists (select from zapline.messages m where m.unit_id = k.unit_id and m.sender = k.canonical);

-- name: delete_empty_contacts
-- Contacts that are left without anything.
delete from zapline.contacts k
 where k.unit_id = %(unit_id)s and k.created_at < to_timestamp(%(before)s)
   and not exists (select from zapline.conversations c where c.contact_id = k.id)
   and not exists (select from zapline.contact_identities i where i.contact_id = k.id)
   and not exists (select from zapline.messages m where m.unit_id = k.unit_id and m.sender = k.canonical);
