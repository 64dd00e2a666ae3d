-- Contacts that want no campaigns.

-- name: insert_suppressions
-- Suppresses contacts that want no more campaigns, by their own message or a person's command; cancels their queued
-- campaign messages. Returns the new ones, with the root of their conversation.
with requested as (
    select distinct on (r.unit_id, r.canonical) r.*
      from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, canonical text, conversation_id uuid, address text,
                                             reason text, word text, external_id text, received_at float8,
                                             confirmation text)
     order by r.unit_id, r.canonical, r.received_at
), known as (
    select requested.*, coalesce(root.id, requested.conversation_id) as root_id, coalesce(k.canonical, requested.canonical) as root
      from requested
      left join zapline.conversations c on c.id = requested.conversation_id and c.unit_id = requested.unit_id
      left join zapline.conversations root on root.id = case when c.merged_into is null then c.id else c.merged_into end
      left join zapline.contacts k on k.id = root.contact_id
), fresh as (
    insert into zapline.suppressions (unit_id, canonical, reason, word, external_id)
    select unit_id, canonical, coalesce(reason, 'opt_out'), word, external_id from requested order by unit_id, canonical
    on conflict (unit_id, canonical) do nothing
    returning unit_id, canonical
), cancelled as (
    update zapline.outbox o
       set state = 'cancelled', failure = 'opted_out', failure_detail = null, ended_at = now()
      from known
     where o.unit_id = known.unit_id and o.recipient in (known.canonical, known.root)
       and o.campaign_id is not null and o.state = 'queued'
    returning o.message_id
), failed as (
    update zapline.messages m set delivery = greatest(m.delivery, 'failed')
      from cancelled
     where m.id = cancelled.message_id
       and not exists (select from zapline.attempts a
                        where a.message_id = m.id and a.outcome in ('calling', 'uncertain', 'sent')))
select known.unit_id, known.canonical, known.root_id, known.root, known.address, known.external_id,
       known.confirmation, known.received_at,
       (select extract(epoch from m.sent_at)::float8 from zapline.messages m
         where m.unit_id = known.unit_id and m.provider = 'evolution'
           and m.external_id = known.external_id) as said_at
  from known join fresh using (unit_id, canonical);

-- name: enqueue_confirmations
-- Queues the confirmation of an opt-out, once, as a reply.
with r as (
    select * from jsonb_to_recordset(%(rows)s) as r(
        message_id uuid, unit_id uuid, client_id text, conversation_id uuid, recipient text, address text, body text,
        fingerprint text, content jsonb, digest text, at float8, expires_at float8)
), message as (
    insert into zapline.messages (id, unit_id, conversation_id, provider, client_message_id, from_me, kind, kind_rank,
                                  body, origin, delivery, sent_at, received_at)
    select r.message_id, r.unit_id, r.conversation_id, %(provider)s, r.client_id, true, 'text', 2, r.body, 'sent',
           'queued', to_timestamp(r.at), to_timestamp(r.at)
      from r
    on conflict (unit_id, client_message_id) do nothing
    returning id)
insert into zapline.outbox (message_id, unit_id, conversation_id, lane, recipient, address, fingerprint, content,
                            request_digest, due_at, expires_at)
select r.message_id, r.unit_id, r.conversation_id, 'reply', r.recipient, r.address, r.fingerprint, r.content,
       decode(r.digest, 'hex'), to_timestamp(r.at), to_timestamp(r.expires_at)
  from r join message on message.id = r.message_id;

-- name: delete_suppression
-- Removes the suppression of a contact under all its names: a phone, and its LIDs.
with contact as (
    select k.canonical, coalesce(c.merged_into, c.id) as root
      from zapline.contacts k
      join zapline.conversations c on c.unit_id = k.unit_id and c.contact_id = k.id
     where k.unit_id = %(unit_id)s and k.canonical = %(canonical)s
), names as (
    select k.canonical
      from contact
      join zapline.conversations c on c.unit_id = %(unit_id)s and (c.id = contact.root or c.merged_into = contact.root)
      join zapline.contacts k on k.id = c.contact_id
    union
    select %(canonical)s)
delete from zapline.suppressions s
 using names
 where s.unit_id = %(unit_id)s and s.canonical = names.canonical
returning s.canonical;

-- name: list_suppressions
-- A page of suppressed contacts, latest first, and then who they are. A LID without a known phone needs a person.
with page as materialized (
    select s.* from zapline.suppressions s
     where s.unit_id = %(unit_id)s and (%(canonical)s::text is null or s.canonical = %(canonical)s)
       and (%(before_at)s::timestamptz is null
            or (s.created_at, s.canonical collate "C") < (%(before_at)s, %(before)s::text))
     order by s.created_at desc, s.canonical collate "C" desc
     limit %(limit)s)
select s.canonical, s.reason, s.word, s.external_id, s.created_at,
       coalesce(r.phone, case when s.canonical like '+%%' then s.canonical end) as phone, k.lid,
       coalesce(r.name, k.name) as name
  from page s
  left join lateral (
       select c.id, c.lid, c.name from zapline.contacts c
        where c.unit_id = s.unit_id and c.canonical = s.canonical offset 0) k on true
  left join lateral (
       select p.contact_id
         from zapline.conversations c
         join zapline.conversations p on p.id = case when c.merged_into is null then c.id else c.merged_into end
        where c.unit_id = s.unit_id and c.contact_id = k.id offset 0) p on true
  left join lateral (select c.phone, c.name from zapline.contacts c where c.id = p.contact_id offset 0) r on true
 order by s.created_at desc, s.canonical collate "C" desc;
