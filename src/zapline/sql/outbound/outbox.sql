-- What people ask to be sent, and the little that is changed about it afterwards: inserts and guarded updates only.

-- name: enqueue
-- A message to send with its work; its contact and its conversation appear with it where they are new. No row back:
-- the client id is taken, and nothing has changed.
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
), conversation as (
    insert into zapline.conversations as c (id, unit_id, contact_id, last_message_at)
    select m.conversation_id, m.unit_id, %(contact_id)s::uuid, to_timestamp(%(shown_at)s::float8)
      from message m
    on conflict (id) do update set last_message_at = greatest(c.last_message_at, excluded.last_message_at)
     where excluded.last_message_at > coalesce(c.last_message_at, '-infinity')
)
insert into zapline.outbox (message_id, unit_id, conversation_id, lane, recipient, address, fingerprint, content,
                            request_digest, due_at, expires_at)
select m.id, m.unit_id, m.conversation_id, %(lane)s::text, %(canonical)s::text, %(address)s::text,
       %(fingerprint)s::text, %(content)s::jsonb, %(digest)s::bytea, to_timestamp(%(due_at)s::float8),
       to_timestamp(%(expires_at)s::float8)
  from message m
returning message_id;

-- name: find_by_client_id
-- Which message a caller's id stands for, and what was asked under it.
select m.id, o.request_digest
  from zapline.messages m
  left join zapline.outbox o on o.message_id = m.id
 where m.unit_id = %(unit_id)s and m.client_message_id = %(client_id)s;

-- name: find_chat
-- Whom a conversation is with: the contact of the one that it belongs to, and every spelling of it, phones first.
select r.id as conversation, r.contact_id as contact, k.kind, k.canonical, k.phone, k.lid, r.read_up_to,
       array(select i.identity from zapline.conversations p
               join zapline.contact_identities i on i.contact_id = p.contact_id and i.unit_id = p.unit_id
              where p.unit_id = c.unit_id and (p.id = r.id or p.merged_into = r.id)
              order by i.identity like '%%@s.whatsapp.net' desc, i.created_at, i.identity) as jids
  from zapline.conversations c
  join zapline.conversations r on r.id = coalesce(c.merged_into, c.id)
  join zapline.contacts k on k.id = r.contact_id
 where c.unit_id = %(unit_id)s and c.id = %(conversation_id)s;

-- name: find_target
-- The message that another one replies or reacts to, and the conversation that it belongs to.
select m.external_id, m.from_me, coalesce(c.merged_into, c.id) as conversation,
       case when m.deleted_at is not null then null
            when m.edited_at_ms is not null then m.edited_body else m.body end as body
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
 where m.unit_id = %(unit_id)s and m.id = %(id)s and m.kind <> 'reaction';

-- name: cancel
-- A queued message is taken back. It failed, unless an earlier call of it may have been carried out.
with gone as (
    update zapline.outbox o
       set state = 'cancelled', failure_detail = null, ended_at = to_timestamp(%(now)s),
           failure = case when exists (select from zapline.attempts a
                                        where a.message_id = o.message_id
                                          and a.outcome in ('calling', 'uncertain', 'sent'))
                          then 'given_up' else 'cancelled' end
     where o.unit_id = %(unit_id)s and o.message_id = %(id)s and o.state = 'queued'
    returning o.message_id, o.failure
), told as (
    update zapline.messages m set delivery = greatest(m.delivery, 'failed')
      from gone where m.id = gone.message_id and gone.failure = 'cancelled')
select message_id from gone;

-- name: send_again
-- A person has decided that an uncertain message is to be sent once more; the time it had may be over by then.
update zapline.outbox
   set state = 'queued', resends = resends + 1, due_at = to_timestamp(%(now)s), look_at = null, failure = null,
       failure_detail = null, expires_at = greatest(expires_at, to_timestamp(%(expires_at)s))
 where unit_id = %(unit_id)s and message_id = %(id)s and state = 'uncertain'
returning message_id;

-- name: give_up
-- A person has decided to leave an uncertain message alone; whether it was delivered stays unknown.
update zapline.outbox
   set state = 'cancelled', failure = 'given_up', look_at = null, ended_at = to_timestamp(%(now)s)
 where unit_id = %(unit_id)s and message_id = %(id)s and state = 'uncertain'
returning message_id;

-- name: find_state
-- Where the work on a message stands; one that came in is `received`.
select coalesce(o.state, 'received') as state
  from zapline.messages m
  left join zapline.outbox o on o.message_id = m.id
 where m.unit_id = %(unit_id)s and m.id = %(id)s;

-- name: insert_upload
-- A file to be sent; one that is there already stays as it is.
insert into zapline.uploads (id, unit_id, mimetype, file_name, size, sha256, bytes)
values (%(id)s, %(unit_id)s, %(mimetype)s, %(file_name)s, %(size)s, %(sha256)s, %(bytes)s)
on conflict (id) do nothing;

-- name: find_upload
-- What is known of a file to be sent, without its bytes.
select mimetype, file_name, size, sha256 from zapline.uploads where unit_id = %(unit_id)s and id = %(id)s;

-- name: load_upload
-- The bytes of a file to be sent.
select bytes from zapline.uploads where id = %(id)s;

-- name: prune_uploads
-- Files of a month ago that no message and no campaign at work will send.
delete from zapline.uploads u
 where u.created_at < now() - interval '30 days'
   and not exists (select from zapline.outbox o
                    where o.unit_id = u.unit_id and o.state in ('queued', 'leased', 'uncertain')
                      and o.content -> 'content' ->> 'upload' = u.id::text)
   and not exists (select from zapline.campaigns c
                    where c.unit_id = u.unit_id and c.state not in ('cancelled', 'done')
                      and c.content -> 'content' ->> 'upload' = u.id::text);

-- name: find_unread
-- The newest messages of a conversation, and of all merged into it, that came in after what was read so far.
select m.external_id, m.seq
  from zapline.conversations r
  join zapline.conversations p on p.unit_id = r.unit_id and (p.id = r.id or p.merged_into = r.id)
  join zapline.messages m on m.conversation_id = p.id and m.seq > greatest(r.read_up_to, p.read_up_to)
 where r.unit_id = %(unit_id)s and r.id = %(conversation_id)s and not m.from_me and m.external_id is not null
 order by m.seq desc
 limit %(limit)s;

-- name: read_up_to
-- Somebody has read a conversation so far.
update zapline.conversations set read_up_to = %(seq)s
 where unit_id = %(unit_id)s and id = %(conversation_id)s and read_up_to < %(seq)s;

-- name: put_pace
-- A unit's own limits, all of them.
insert into zapline.unit_paces (unit_id, per_minute, burst, gap_seconds, daily_cap, warm_up_first, quiet_from,
                                quiet_until, campaign_seconds, resend_lanes)
values (%(unit_id)s, %(per_minute)s, %(burst)s, %(gap_seconds)s, %(daily_cap)s, %(warm_up_first)s, %(quiet_from)s,
        %(quiet_until)s, %(campaign_seconds)s, %(resend_lanes)s)
on conflict (unit_id) do update
   set per_minute = excluded.per_minute, burst = excluded.burst, gap_seconds = excluded.gap_seconds,
       daily_cap = excluded.daily_cap, warm_up_first = excluded.warm_up_first, quiet_from = excluded.quiet_from,
       quiet_until = excluded.quiet_until, campaign_seconds = excluded.campaign_seconds,
       resend_lanes = excluded.resend_lanes, updated_at = now();
