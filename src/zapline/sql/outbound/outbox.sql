-- Outgoing messages: inserts, guarded updates and what a new message refers to.

-- name: enqueue
-- Inserts messages with their outbox rows, and contacts and conversations where they are new; returns what the database
-- has added to each. No row back: its client id is taken, and nothing of it has changed.
-- Contacts before conversations and each in the order of the ids, as in the recorder: each step counts the rows of the
-- one before, which so comes first. With a limit (ms) nobody's lock is waited for any longer.
with limited as materialized (
    select set_config('lock_timeout', coalesce(%(lock_ms)s::text, current_setting('lock_timeout')), true) as limit
), asked as materialized (
    select r.*, r.place as at
      from limited l, rows from (jsonb_to_recordset(%(rows)s) as (
               id uuid, unit_id uuid, client_id text, conversation_id uuid, contact_id uuid, chat_kind text,
               canonical text, phone text, lid text, kind text, body text, media jsonb, detail jsonb, quoted_id text,
               sent_at float8, now float8, shown_at float8, lane text, address text, fingerprint text, content jsonb,
               digest text, due_at float8, expires_at float8)) with ordinality as r(
               id, unit_id, client_id, conversation_id, contact_id, chat_kind, canonical, phone, lid, kind, body, media,
               detail, quoted_id, sent_at, now, shown_at, lane, address, fingerprint, content, digest, due_at,
               expires_at, place)
     where l.limit is not null
), message as (
    insert into zapline.messages (id, unit_id, conversation_id, provider, client_message_id, from_me, kind, kind_rank,
                                  body, media, detail, quoted_id, origin, delivery, sent_at, received_at)
    select a.id, a.unit_id, a.conversation_id, %(provider)s, a.client_id, true, a.kind, 2, a.body, a.media, a.detail,
           a.quoted_id, 'sent', 'queued', to_timestamp(a.sent_at), to_timestamp(a.now)
      from asked a
     order by a.place
    on conflict (unit_id, client_message_id) do nothing
    returning id, unit_id, conversation_id, provider, seq, detail, media, quoted_id, sent_at, received_at
), contact as (
    insert into zapline.contacts (id, unit_id, kind, canonical, phone, lid)
    select distinct on (a.contact_id) a.contact_id, a.unit_id, a.chat_kind, a.canonical, a.phone, a.lid
      from asked a
      join message m on m.id = a.id
     order by a.contact_id
    on conflict do nothing
    returning id
), conversation as (
    insert into zapline.conversations as c (id, unit_id, contact_id, last_message_at)
    select a.conversation_id, a.unit_id, a.contact_id, to_timestamp(max(a.shown_at))
      from asked a
      join message m on m.id = a.id
     where (select count(*) from contact) >= 0
     group by a.conversation_id, a.unit_id, a.contact_id
     order by a.conversation_id
    on conflict (id) do update set last_message_at = greatest(c.last_message_at, excluded.last_message_at)
     where excluded.last_message_at > coalesce(c.last_message_at, '-infinity')
    returning id
), work as (
    insert into zapline.outbox (message_id, unit_id, conversation_id, lane, recipient, address, fingerprint, content,
                                request_digest, due_at, expires_at)
    select m.id, m.unit_id, m.conversation_id, a.lane, a.canonical, a.address, a.fingerprint, a.content,
           decode(a.digest, 'hex'), to_timestamp(a.due_at), to_timestamp(a.expires_at)
      from message m
      join asked a on a.id = m.id
     where (select count(*) from conversation) >= 0
     order by a.place
    returning message_id, seq, due_at, expires_at
)
select m.id, m.seq, m.detail, m.media, coalesce(quoting.primary_id, m.quoted_id) as quoted_id, m.sent_at, m.received_at,
       coalesce(c.merged_into, m.conversation_id) as conversation_id, w.seq as work_seq, w.due_at, w.expires_at
  from message m
  join work w on w.message_id = m.id
  left join zapline.conversations c on c.id = m.conversation_id
  left join zapline.message_aliases quoting on quoting.unit_id = m.unit_id and quoting.provider = m.provider
                                           and quoting.external_id = m.quoted_id;

-- name: list_present
-- Which of these messages are stored.
select m.id from zapline.messages m where m.id = any(%(ids)s);

-- name: find_by_client_id
-- The message with a caller's client id, and the digest of its request.
select m.id, o.request_digest
  from zapline.messages m
  left join zapline.outbox o on o.message_id = m.id
 where m.unit_id = %(unit_id)s and m.client_message_id = %(client_id)s;

-- name: find_chat
-- The contact of the conversation's root, and all its JIDs, those of phones first.
select r.id as conversation, r.contact_id as contact, k.kind, k.canonical, k.phone, k.lid, r.read_up_to,
       array(select i.identity from zapline.conversations p
               join zapline.contact_identities i on i.contact_id = p.contact_id and i.unit_id = p.unit_id
              where p.unit_id = c.unit_id and (p.id = r.id or p.merged_into = r.id)
              order by i.identity like '%%@s.whatsapp.net' desc, i.created_at, i.identity) as jids
  from zapline.conversations c
  join zapline.conversations r on r.id = case when c.merged_into is null then c.id else c.merged_into end
  join zapline.contacts k on k.id = r.contact_id
 where c.unit_id = %(unit_id)s and c.id = %(conversation_id)s;

-- name: find_referenced_message
-- A message that another one replies or reacts to, and the root of its conversation.
select m.external_id, m.from_me, coalesce(c.merged_into, c.id) as conversation,
       case when m.deleted_at is not null then null
            when m.edited_at_ms is not null then m.edited_body else m.body end as body
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
 where m.unit_id = %(unit_id)s and m.id = %(id)s and m.kind <> 'reaction';

-- name: cancel
-- Cancels a queued message. It counts as failed unless an earlier call may have delivered it.
with cancelled as (
    update zapline.outbox o
       set state = 'cancelled', failure_detail = null, ended_at = to_timestamp(%(now)s),
           failure = case when exists (select from zapline.attempts a
                                        where a.message_id = o.message_id
                                          and a.outcome in ('calling', 'uncertain', 'sent'))
                          then 'given_up' else 'cancelled' end
     where o.unit_id = %(unit_id)s and o.message_id = %(id)s and o.state = 'queued'
    returning o.message_id, o.failure
), failed as (
    update zapline.messages m set delivery = greatest(m.delivery, 'failed')
      from cancelled where m.id = cancelled.message_id and cancelled.failure = 'cancelled')
select message_id from cancelled;

-- name: find_work_state
-- The work state of a message; an incoming one is `received`.
select coalesce(o.state, 'received') as state
  from zapline.messages m
  left join zapline.outbox o on o.message_id = m.id
 where m.unit_id = %(unit_id)s and m.id = %(id)s;

-- name: dismiss_failed
-- A failed message, or one that WhatsApp refused, is left alone by a person.
update zapline.outbox o set dismissed_at = coalesce(o.dismissed_at, to_timestamp(%(now)s))
  from zapline.messages m
 where o.unit_id = %(unit_id)s and o.message_id = %(id)s and m.id = o.message_id
   and (o.state = 'dead' or (o.state = 'settled' and m.delivery = 'failed'))
returning o.message_id;
