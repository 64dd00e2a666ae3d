-- Outgoing messages: inserts, guarded updates and what a new message refers to.

-- name: enqueue
-- Inserts a message with its outbox row, and its contact and conversation where they are new. No row back: the client
-- id is taken, and nothing has changed.
-- Contact before conversation, as in the recorder: each step counts the rows of the one before, which so comes first.
with message as (
    insert into zapline.messages (id, unit_id, conversation_id, provider, client_message_id, from_me, kind, kind_rank,
                                  body, media, detail, quoted_id, origin, delivery, sent_at, received_at)
    values (%(id)s, %(unit_id)s, %(conversation_id)s, %(provider)s, %(client_id)s, true, %(kind)s, 2, %(body)s,
            %(media)s, %(detail)s, %(quoted_id)s, 'sent', 'queued', to_timestamp(%(sent_at)s::float8),
            to_timestamp(%(now)s::float8))
    on conflict (unit_id, client_message_id) do nothing
    returning id, unit_id, conversation_id
), contact as (
    insert into zapline.contacts (id, unit_id, kind, canonical, phone, lid)
    select %(contact_id)s::uuid, m.unit_id, %(chat_kind)s::text, %(canonical)s::text, %(phone)s::text, %(lid)s::text
      from message m
    on conflict do nothing
    returning id
), conversation as (
    insert into zapline.conversations as c (id, unit_id, contact_id, last_message_at)
    select m.conversation_id, m.unit_id, %(contact_id)s::uuid, to_timestamp(%(shown_at)s::float8)
      from message m
     where (select count(*) from contact) >= 0
    on conflict (id) do update set last_message_at = greatest(c.last_message_at, excluded.last_message_at)
     where excluded.last_message_at > coalesce(c.last_message_at, '-infinity')
    returning id
)
insert into zapline.outbox (message_id, unit_id, conversation_id, lane, recipient, address, fingerprint, content,
                            request_digest, due_at, expires_at)
select m.id, m.unit_id, m.conversation_id, %(lane)s::text, %(canonical)s::text, %(address)s::text,
       %(fingerprint)s::text, %(content)s::jsonb, %(digest)s::bytea, to_timestamp(%(due_at)s::float8),
       to_timestamp(%(expires_at)s::float8)
  from message m
 where (select count(*) from conversation) >= 0
returning message_id;

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
  join zapline.conversations r on r.id = coalesce(c.merged_into, c.id)
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
