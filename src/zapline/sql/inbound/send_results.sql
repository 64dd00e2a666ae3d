-- Results of send calls, from Evolution's response, an echo or Evolution's store.

-- name: restore_calls
-- Calls that were made and that this database, which was set back, does not know of: their messages are claimed as they
-- were, and not sent again. What it knows already does not change.
with r as (
    select r.*, o.conversation_id, o.lane, o.recipient, o.fingerprint
      from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, attempt uuid, message uuid, fence int, started_at float8,
                                             chosen_id text)
      join zapline.outbox o on o.message_id = r.message and o.unit_id = r.unit_id
), restored as (
    insert into zapline.attempts (id, message_id, unit_id, conversation_id, provider, fence, lane, recipient,
                                  fingerprint, started_at, chosen_id)
    select r.attempt, r.message, r.unit_id, r.conversation_id, 'evolution', r.fence, r.lane, r.recipient, r.fingerprint,
           to_timestamp(r.started_at), r.chosen_id
      from r
    on conflict do nothing
)
update zapline.outbox o
   set state = 'leased', fence = last.fence, leased_by = null, lease_until = null, look_at = null
  from (select distinct on (message) message, fence from r order by message, fence desc) last
 where o.message_id = last.message and o.fence < last.fence and o.state in ('queued', 'leased', 'uncertain');

-- name: end_attempts
-- Ends calls that Evolution did not accept or did not answer.
update zapline.attempts a
   set ended_at = to_timestamp(r.ended_at), failure = r.failure, detail = r.detail,
       -- The message has the id that was chosen for this call too: whatever it has sent is that message.
       outcome = case when r.outcome = 'uncertain'
                       and exists (select from zapline.messages m
                                    where m.id = a.message_id and m.external_id = a.chosen_id)
                      then 'sent' else r.outcome end
  from jsonb_to_recordset(%(rows)s) as r(attempt uuid, unit_id uuid, outcome text, ended_at float8, failure text,
                                         detail text)
 where a.id = r.attempt and a.unit_id = r.unit_id and a.outcome = 'calling';

-- name: move_messages
-- Changes the state of their messages; the result of an older claim changes nothing.
with moved as (
    update zapline.outbox o
       set state = r.move, tries = o.tries + r.tries, due_at = coalesce(to_timestamp(r.due_at), o.due_at),
           look_at = to_timestamp(r.look_at), looks = 0, failure = r.failure, failure_detail = r.detail,
           ended_at = case when r.move = 'dead' then to_timestamp(r.ended_at) end,
           leased_by = null, lease_until = null
      from jsonb_to_recordset(%(rows)s) as r(message uuid, unit_id uuid, fence int, move text, tries smallint,
                                             due_at float8, look_at float8, failure text, detail text,
                                             ended_at float8)
     where o.message_id = r.message and o.unit_id = r.unit_id and o.state = 'leased' and o.fence = r.fence
    returning o.message_id, o.unit_id, o.state
), message as (
    update zapline.messages m set delivery = greatest(m.delivery, 'failed')
      from moved where m.id = moved.message_id and moved.state = 'dead')
select unit_id, message_id, state from moved;

-- name: take_unmatched_echoes
-- Deletes messages that were stored under the ids of our sends before these were known: their echoes, and what strangers
-- wrote under the same id (``foreign_one``). What their rows knew is returned; who was told of an echo is told whose it is.
with taken as (
    delete from zapline.messages f
     using jsonb_to_recordset(%(rows)s) as r(attempt uuid, message uuid, unit_id uuid, external_id text)
     where f.unit_id = r.unit_id and f.external_id = r.external_id and f.id <> r.message
       and f.client_message_id is null
       and exists (select from zapline.attempts a where a.id = r.attempt and a.external_id is null)
    returning f.*, r.message
), told as (
    select zapline.tell(array_agg((f.unit_id, 'message.deleted', f.message,
                                   jsonb_build_object('replaced', f.id, 'conversation', f.conversation_id),
                                   null)::zapline.news)) as done
      from taken f
     where f.from_me
)
select not f.from_me as foreign_one, f.conversation_id, f.sender, f.kind, f.body,
       f.unit_id, f.external_id, f.delivery::text as delivery, f.edited_body, f.edited_at_ms,
       f.edit_unread_ms, f.edit_read_ms, extract(epoch from f.deleted_at)::float8 as deleted_at,
       extract(epoch from f.received_at)::float8 as parked_at, f.refusal,
       extract(epoch from f.refused_at)::float8 as refused_at,
       extract(epoch from f.told_sent_at)::float8 as told_sent_at,
       extract(epoch from f.told_delivered_at)::float8 as told_delivered_at,
       extract(epoch from f.told_read_at)::float8 as told_read_at,
       extract(epoch from f.told_played_at)::float8 as told_played_at, '{}'::text[] as entries, f.id as replaced,
       f.message
  from taken f cross join told;

-- name: count_replacement
-- Tells whoever polls that these have changed: they take the place of a message that was listed under another id.
update zapline.messages set changed_seq = nextval('zapline.messages_seq_seq')
 where id = any(%(ids)s::uuid[]);

-- name: find_settling
-- The messages of these calls under the ids that they are about to get, where somebody has reacted to these already.
select m.unit_id, m.provider, r.external_id, m.conversation_id, m.from_me, m.sender
  from jsonb_to_recordset(%(rows)s) as r(message uuid, unit_id uuid, external_id text)
  join zapline.messages m on m.id = r.message and m.unit_id = r.unit_id
 where exists (select from zapline.message_reactions x
                where x.unit_id = r.unit_id and x.provider = m.provider and x.external_id = r.external_id);

-- name: revoke_guessed_ids
-- Takes ids from calls that were matched by echo or store, because the response names another message's call. Those
-- calls are uncertain again. What was matched by the chosen id is no guess.
with wrong as (
    update zapline.attempts a
       set external_id = null, matched_by = null, alias = false, outcome = 'uncertain'
      from jsonb_to_recordset(%(rows)s) as r(attempt uuid, message uuid, unit_id uuid, external_id text)
     where a.unit_id = r.unit_id and a.external_id = r.external_id and a.id <> r.attempt and a.matched_by <> 'reply'
       and a.message_id <> r.message and a.chosen_id is distinct from a.external_id
    returning a.id, a.message_id, r.external_id
), message as (
    update zapline.messages m set external_id = null
      from wrong where m.id = wrong.message_id and m.external_id = wrong.external_id)
update zapline.outbox o
   set state = 'uncertain', settled_at = null, ended_at = null, looks = 0, look_at = to_timestamp(%(now)s) + interval '8 s'
  from wrong
 where o.message_id = wrong.message_id and o.state = 'settled'
   and not exists (select from zapline.attempts b
                    where b.message_id = o.message_id and b.id <> wrong.id and b.external_id is not null);

-- name: settle_sends
-- Settles sends that Evolution accepted, as its response, echo or store says, whichever comes first. The call owns the id
-- unless another call does. A message that has an id already was delivered twice.
with r as (
    select r.* from jsonb_to_recordset(%(rows)s) as r(attempt uuid, message uuid, unit_id uuid, external_id text,
                                                      by text, at float8)
     where not exists (select from zapline.attempts o
                        where o.unit_id = r.unit_id and o.external_id = r.external_id and o.id <> r.attempt)
), owned as (
    update zapline.attempts a
       set external_id = r.external_id, outcome = 'sent', matched_by = r.by,
           ended_at = coalesce(a.ended_at, to_timestamp(r.at)),
           alias = coalesce(m.external_id <> r.external_id, false)
      from r join zapline.messages m on m.id = r.message and m.unit_id = r.unit_id
     where a.id = r.attempt and a.unit_id = r.unit_id and a.external_id is null
    returning a.id, a.message_id, a.unit_id, a.external_id, a.alias, a.started_at, a.matched_by, a.chosen_id
), same as (
    -- Earlier calls of the message with the same chosen id: what they have sent is this message.
    update zapline.attempts a set outcome = 'sent'
      from owned
     where a.message_id = owned.message_id and a.id <> owned.id and a.external_id is null and a.outcome = 'uncertain'
       and a.chosen_id = owned.external_id
), before as (
    -- The outbox before the message, as in every statement that changes both.
    select o.message_id, o.state from zapline.outbox o join owned on owned.message_id = o.message_id
     order by o.message_id for no key update of o
), message as (
    update zapline.messages m
       set external_id = coalesce(m.external_id, owned.external_id), delivery = greatest(m.delivery, 'sent'),
           sent_at = case when m.external_id is null then owned.started_at else m.sent_at end
      from owned join before on before.message_id = owned.message_id where m.id = owned.message_id
    returning m.id, m.external_id, m.client_message_id, m.conversation_id, m.delivery::text as delivery
), done as (
    update zapline.outbox o
       set state = 'settled', settled_at = coalesce(o.settled_at, to_timestamp(%(now)s)),
           ended_at = coalesce(o.settled_at, to_timestamp(%(now)s)),
           failure = null, failure_detail = null, leased_by = null, lease_until = null, look_at = null,
           twice = o.twice or owned.alias
      from owned where o.message_id = owned.message_id)
select owned.id as attempt, owned.unit_id, owned.message_id, owned.external_id, message.external_id as primary_id,
       owned.alias, owned.matched_by, before.state as was, message.client_message_id, message.delivery,
       (select coalesce(k.merged_into, k.id) from zapline.conversations k
         where k.id = message.conversation_id) as conversation_id
  from owned join message on message.id = owned.message_id join before on before.message_id = owned.message_id;

-- name: end_repeated
-- Ends accepted calls whose id another call of the same message owns: it was sent again under its id.
update zapline.attempts a
   set outcome = 'sent', ended_at = coalesce(a.ended_at, to_timestamp(r.at))
  from jsonb_to_recordset(%(rows)s) as r(attempt uuid, message uuid, unit_id uuid, external_id text, at float8)
 where a.id = r.attempt and a.unit_id = r.unit_id
   and exists (select from zapline.attempts o
                where o.message_id = a.message_id and o.external_id = r.external_id and o.id <> a.id)
returning a.id;

-- name: load_aliases
-- Ids of second deliveries, with the primary id of their message.
select a.unit_id, a.external_id, m.external_id as primary_id
  from zapline.attempts a join zapline.messages m on m.id = a.message_id
 where a.alias;
