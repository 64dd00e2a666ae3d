-- Deletes messages and everything that refers to them: for erasure and retention.

-- name: list_external_ids
-- The ids under which messages were sent, besides their own.
select a.external_id from zapline.attempts a
 where a.message_id = any(%(ids)s) and a.external_id is not null
 union
select c.external_id
  from zapline.messages m
  join zapline.message_aliases c on c.unit_id = m.unit_id and c.provider = m.provider and c.primary_id = m.external_id
 where m.id = any(%(ids)s);

-- name: freeze_recipients
-- A campaign keeps the counts of its deleted messages, but nothing about their recipients.
update zapline.campaign_recipients r
   set recipient = 'erased:' || r.number, parameters = '{}', detail = null, message_id = null,
       ended_as = coalesce(r.ended_as, zapline.recipient_state(r.state, o.state, m.delivery)),
       reason = coalesce(r.reason, o.failure)
  from zapline.messages m
  join zapline.outbox o on o.message_id = m.id
 where m.id = any(%(ids)s) and r.message_id = m.id;

-- name: delete_uploads
-- Deletes files that were sent with these messages and with no other message or campaign.
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
-- Deletes the calls of these messages.
delete from zapline.attempts where message_id = any(%(ids)s);

-- name: delete_outbox
-- Deletes the work on these messages.
delete from zapline.outbox where message_id = any(%(ids)s) and state not in ('queued', 'leased');

-- name: delete_reactions
-- Deletes the reactions to these messages.
delete from zapline.message_reactions where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_reports
-- Deletes parked reports of these messages.
delete from zapline.parked_reports where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_waiting
-- Deletes what waits until it is known whether it is about these messages.
delete from zapline.waiting_facts where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_secrets
-- Deletes the secrets of these messages.
delete from zapline.message_secrets where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_encrypted_reports
-- Deletes encrypted reports about these messages.
delete from zapline.encrypted_reports where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_sightings
-- Deletes undecided echoes of these messages.
delete from zapline.sightings where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_second_ids
-- Deletes the second ids of these messages.
delete from zapline.message_aliases where unit_id = %(unit_id)s and external_id = any(%(external_ids)s);

-- name: delete_messages
-- Deletes the messages.
delete from zapline.messages where unit_id = %(unit_id)s and id = any(%(ids)s);

-- name: load_retention_days
-- Units, active or archived, with a retention period.
select id, retention_days from zapline.units where retention_days is not null order by id;

-- name: find_expired
-- Some messages older than the retention period, without open ones. A wrong clock may have told when it was received;
-- WhatsApp tells when it was sent, unless that is yet to come.
select m.id, m.external_id
  from zapline.messages m
 where m.unit_id = %(unit_id)s and m.from_me = %(from_me)s and m.received_at < to_timestamp(%(before)s)
   and (m.sent_at < to_timestamp(%(before)s) or m.sent_at > now())
   and not exists (select from zapline.outbox o
                    where o.message_id = m.id and o.state in ('queued', 'leased', 'uncertain'))
 order by m.received_at
 limit %(limit)s
   for update of m skip locked;

-- name: cancel_expired_sends
-- Cancels old open work of a unit that was archived more than a day ago.
update zapline.outbox o
   set state = 'cancelled', failure = 'given_up', look_at = null, leased_by = null, lease_until = null, ended_at = now()
  from zapline.units u
 where u.id = %(unit_id)s and u.archived_at < now() - interval '1 day' and o.unit_id = u.id
   and o.state in ('queued', 'leased', 'uncertain')
   and exists (select from zapline.messages m
                where m.id = o.message_id and m.received_at < to_timestamp(%(before)s));

-- name: delete_expired_dead_letters
-- Dead letters of the same age.
delete from zapline.dead_letters
 where id in (select id from zapline.dead_letters
               where unit_id = %(unit_id)s and created_at < to_timestamp(%(before)s) order by id limit %(limit)s);

-- name: delete_expired_reactions
-- Reactions of that age to messages that never arrived.
delete from zapline.message_reactions r
 where r.unit_id = %(unit_id)s and r.received_at < to_timestamp(%(before)s)
   and not exists (select from zapline.messages m
                    where m.unit_id = r.unit_id and m.provider = r.provider and m.external_id = r.external_id);

-- name: blank_expired_recipients
-- Anonymises recipients without a message in campaigns that ended, or whose unit was archived, that long ago.
update zapline.campaign_recipients r
   set recipient = 'erased:' || r.number, parameters = '{}', detail = null
  from zapline.campaigns c
  join zapline.units u on u.id = c.unit_id
 where c.id = r.campaign_id and c.unit_id = %(unit_id)s
   and (c.state in ('done', 'cancelled') and c.ended_at < to_timestamp(%(before)s)
        or u.archived_at < to_timestamp(%(before)s)) and r.message_id is null and r.recipient not like 'erased:%%';

-- name: delete_expired_checks
-- What WhatsApp said of numbers that long ago.
delete from zapline.number_checks where unit_id = %(unit_id)s and checked_at < to_timestamp(%(before)s);

-- name: delete_expired_uploads
-- Files of that age that no open message or campaign will send.
delete from zapline.uploads u
 where u.unit_id = %(unit_id)s and u.created_at < to_timestamp(%(before)s)
   and not exists (select from zapline.outbox o
                    where o.unit_id = u.unit_id and o.state in ('queued', 'leased', 'uncertain')
                      and o.content -> 'content' ->> 'upload' = u.id::text)
   and not exists (select from zapline.campaigns c
                    where c.unit_id = u.unit_id and c.state not in ('cancelled', 'done')
                      and c.content -> 'content' ->> 'upload' = u.id::text);

-- name: delete_empty_conversations
-- Conversations without messages, of the same age. Merged ones are deleted first.
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
-- Identities of contacts without conversations and messages.
delete from zapline.contact_identities i
 using zapline.contacts k
 where k.unit_id = %(unit_id)s and k.created_at < to_timestamp(%(before)s) and i.contact_id = k.id
   and not exists (select from zapline.conversations c where c.contact_id = k.id)
   and not exists (select from zapline.messages m where m.unit_id = k.unit_id and m.sender = k.canonical);

-- name: delete_empty_contacts
-- Contacts without conversations, identities and messages.
delete from zapline.contacts k
 where k.unit_id = %(unit_id)s and k.created_at < to_timestamp(%(before)s)
   and not exists (select from zapline.conversations c where c.contact_id = k.id)
   and not exists (select from zapline.contact_identities i where i.contact_id = k.id)
   and not exists (select from zapline.messages m where m.unit_id = k.unit_id and m.sender = k.canonical);
