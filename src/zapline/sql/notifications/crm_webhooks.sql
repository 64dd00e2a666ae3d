-- Webhooks to the CRM: hooks and their deliveries. The triggers of migrations 0034 and 0037 insert the deliveries. A
-- hook is a unit's or an organization's; of an organization's, who has a token for some units has those hooks that are
-- told of no other.

-- fragment: owned
-- The hooks of one unit, or of an organization.
(h.unit_id = %(unit_id)s
        or h.organization_id = %(organization_id)s
           and (%(chosen)s::uuid[] is null or h.units <@ %(chosen)s::uuid[]))
   and h.disabled_reason is distinct from 'deleted'

-- fragment: told
-- A delivery that its hook is still told of: an organization is told of its own units alone, since each came into it.
(h.organization_id is null
        or exists (select from zapline.members(h.organization_id, h.units) m
                    where m.unit_id = d.unit_id and d.created_at >= m.since))

-- name: lock_unit
-- Whoever makes hooks of a unit waits for others who do.
select u.id from zapline.units u where u.id = %(owner)s for no key update;

-- name: lock_organization
-- Whoever makes hooks of an organization waits for others who do. No row back: it is gone.
select o.id from zapline.organizations o
 where o.id = %(owner)s and o.deleted_at is null for no key update;

-- name: insert_hook
-- A new hook, unless the unit or the organization has as many as allowed.
insert into zapline.hooks (id, unit_id, organization_id, url, events, units, headers, made_by)
select %(id)s, %(unit_id)s::uuid, %(organization_id)s::uuid, %(url)s, %(events)s, %(units)s::uuid[], %(headers)s::bytea,
       %(made_by)s::uuid
 where (select count(*) from zapline.hooks h
         where (h.unit_id = %(unit_id)s or h.organization_id = %(organization_id)s)
           and h.disabled_reason is distinct from 'deleted') < %(most)s
returning id;

-- name: list_hooks
-- All hooks, or one of them, with the counts of waiting and dead deliveries.
select h.id, h.unit_id, h.url, h.events, h.key_generation, h.previous_until, h.created_at, h.failing_since,
       h.disabled_at, h.disabled_reason, w.waiting, w.oldest,
       (select count(*) from zapline.hook_deliveries d where d.hook_id = h.id and d.state = 'dead') as dead,
       h.organization_id, h.units, h.headers
  from zapline.hooks h
 cross join lateral (
       select count(*) as waiting, min(d.created_at) as oldest
         from zapline.hook_deliveries d where d.hook_id = h.id and d.state = 'queued') w
 where (%(id)s::uuid is null or h.id = %(id)s)
   and
       -- include: owned
 order by h.created_at, h.id;

-- name: delete_hook
-- Deletes a hook; its rows are deleted later, a part at a time. An immediate delete would block, and then fail,
-- transactions that have read the hook and insert a delivery.
update zapline.hooks h set disabled_at = now(), disabled_reason = 'deleted', url = '', headers = null
 where h.id = %(id)s and
       -- include: owned
returning h.id;

-- name: rotate_key
-- The next key generation; the previous key signs, too, for a while.
update zapline.hooks h
   set key_generation = key_generation + 1, previous_until = to_timestamp(%(until)s)
 where h.id = %(id)s and
       -- include: owned
returning h.key_generation;

-- name: enable_hook
-- Enables a disabled hook, unless an organization's token has made it for a unit that has left; failures count from now
-- on.
update zapline.hooks h
   set disabled_at = null, disabled_reason = null, failing_since = null
 where h.id = %(id)s
   and (h.disabled_reason is distinct from 'unit_left'
        or exists (select from zapline.organization_units o
                    where o.unit_id = h.unit_id and o.organization_id = h.made_by)) and
       -- include: owned
returning h.id;

-- name: insert_test_delivery
-- A test delivery without content; of an organization's hook it names the first unit that the hook is told of.
insert into zapline.hook_deliveries (hook_id, unit_id, event)
select h.id, u.unit_id, 'hook.test'
  from zapline.hooks h
 cross join lateral (
       (select h.unit_id where h.unit_id is not null)
       union all
       (select m.unit_id from zapline.members(h.organization_id, h.units) m order by m.added_at, m.unit_id limit 1)) u
 where h.id = %(id)s and h.disabled_at is null and
       -- include: owned
returning id;

-- name: list_deliveries
-- A page of a hook's deliveries, latest first, in one state or in all.
select d.id, d.seq, d.event, d.subject, d.state, d.tries, d.due_at, d.last_status, d.last_error, d.created_at, d.ended_at
  from zapline.hook_deliveries d
 where d.hook_id = %(hook)s and (%(units)s::uuid[] is null or d.unit_id = any(%(units)s::uuid[]))
   and (%(state)s::text is null or d.state = %(state)s)
   and (%(before)s::bigint is null or d.seq < %(before)s)
 order by d.seq desc
 limit %(limit)s;

-- name: replay_delivery
-- Queues an ended delivery again, under the same id. No row back: it has not ended, or is not to be told.
update zapline.hook_deliveries d
   set state = 'queued', tries = 0, due_at = now(), ended_at = null
  from zapline.hooks h
 where d.id = %(id)s and d.hook_id = %(hook)s and (%(units)s::uuid[] is null or d.unit_id = any(%(units)s::uuid[]))
   and d.state <> 'queued' and h.id = d.hook_id and
       -- include: told
returning d.id;

-- name: replay_dead
-- Queues dead deliveries since a time again, oldest first.
update zapline.hook_deliveries r
   set state = 'queued', tries = 0, due_at = now(), ended_at = null
 where r.id in (select d.id from zapline.hook_deliveries d join zapline.hooks h on h.id = d.hook_id
                 where d.hook_id = %(hook)s and (%(units)s::uuid[] is null or d.unit_id = any(%(units)s::uuid[]))
                   and d.state = 'dead'
                   and d.created_at >= to_timestamp(%(since)s)
                   and
                       -- include: told
                 order by d.seq limit %(limit)s);

-- name: has_delivery
-- Whether the hook has this delivery, and is still told of it.
select d.id from zapline.hook_deliveries d join zapline.hooks h on h.id = d.hook_id
 where d.id = %(id)s and d.hook_id = %(hook)s and (%(units)s::uuid[] is null or d.unit_id = any(%(units)s::uuid[]))
   and
       -- include: told
;

-- name: list_active_hooks
-- Every active hook, and the seconds until its next delivery is due; null where none is queued. Deliveries are stored
-- by the server's clock: where the daemon's clock is behind, no delivery waits for that.
select h.id,
       case when h.unit_id is not null then array[h.unit_id]
            else array(select m.unit_id from zapline.members(h.organization_id, h.units) m) end as units,
       h.url, h.key_generation, extract(epoch from h.previous_until)::float8 as previous_until,
       (select extract(epoch from min(d.due_at) - greatest(now(), to_timestamp(%(now)s)))::float8
          from zapline.hook_deliveries d where d.hook_id = h.id and d.state = 'queued') as wait,
       h.headers, h.organization_id
  from zapline.hooks h
 where h.disabled_at is null;

-- name: list_due_deliveries
-- The due deliveries of a hook, in the order of their events.
select d.id, d.unit_id, d.event, d.subject, d.facts, d.tries, extract(epoch from d.created_at)::float8 as created_at
  from zapline.hook_deliveries d join zapline.hooks h on h.id = d.hook_id
 where d.hook_id = %(hook)s and d.state = 'queued' and d.due_at <= greatest(now(), to_timestamp(%(now)s))
   and
       -- include: told
 order by d.seq
 limit %(limit)s;

-- name: load_messages
-- Messages as event payloads need them, without the content of deleted ones.
select m.id, m.unit_id, m.seq, coalesce(c.merged_into, c.id) as conversation_id, k.canonical, k.phone, m.external_id,
       m.client_message_id, m.from_me, m.kind,
       case when m.deleted_at is null then coalesce(m.edited_body, m.body) end as body,
       case when m.deleted_at is null then m.media end as media,
       case when m.deleted_at is null then m.detail end as detail, m.sender, m.sender_name,
       coalesce(a.primary_id, m.quoted_id) as quoted_id, case when m.deleted_at is null then m.quoted end as quoted,
       case when m.from_me then m.delivery::text end as delivery, o.state as work_state,
       coalesce(o.failure, case when m.from_me and m.delivery = 'failed' then coalesce(m.refusal, 'whatsapp_refused') end)
           as failure, m.sent_at, m.received_at, m.edited_at_ms,
       m.edit_unread_ms, m.deleted_at is null and zapline.edit_is_unread(m.edit_unread_ms, m.edit_read_ms, m.edited_at_ms)
           as edit_text_unknown,
       m.deleted_at,
       m.backfilled
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  join zapline.conversations r on r.id = case when c.merged_into is null then c.id else c.merged_into end
  join zapline.contacts k on k.id = r.contact_id
  left join zapline.message_aliases a on a.unit_id = m.unit_id and a.provider = m.provider
                                     and a.external_id = m.quoted_id
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
 where m.unit_id = any(%(units)s) and m.id = any(%(ids)s);

-- name: load_reactions
-- Reactions and votes with the messages that they are about.
select x.id, x.unit_id, x.kind, x.actor, x.value, x.at_ms, m.id as message, m.external_id, m.client_message_id,
       coalesce(c.merged_into, c.id) as conversation_id
  from zapline.messages m
  join zapline.message_reactions x
    on x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id
  join zapline.conversations c on c.id = m.conversation_id
 where m.unit_id = any(%(units)s) and m.id = any(%(messages)s) and x.id = any(%(ids)s);

-- name: load_contacts
-- Contacts and groups as event payloads need them, each with the conversation under which it is shown.
select k.id, k.unit_id, k.kind, k.canonical, k.phone, k.lid, k.name, k.username,
       (select coalesce(c.merged_into, c.id) from zapline.conversations c
         where c.unit_id = k.unit_id and c.contact_id = k.id) as conversation_id
  from zapline.contacts k
 where k.unit_id = any(%(units)s) and k.id = any(%(ids)s);

-- name: store_success
-- The CRM has accepted a delivery, so the hook is not failing. The later of this machine's and the server's clock
-- says when it ended: one that is behind makes nothing old enough to be deleted.
with done as (
    update zapline.hook_deliveries
       set state = 'delivered', tries = tries + 1, last_status = %(status)s, last_error = null,
           ended_at = greatest(now(), to_timestamp(%(wall)s))
     where id = %(id)s and hook_id = %(hook)s and state = 'queued' and zapline.owns(%(owner)s, %(since)s, unit_id))
update zapline.hooks set failing_since = null
 where id = %(hook)s and failing_since is not null
   and zapline.owns(%(owner)s, %(since)s, (select d.unit_id from zapline.hook_deliveries d where d.id = %(id)s));

-- name: store_failure
-- A failed delivery is tried again after so many seconds, or is dead (null). Returns since when the hook has been
-- failing.
with failed as (
    update zapline.hook_deliveries
       set tries = tries + 1, last_status = %(status)s, last_error = %(error)s,
           due_at = coalesce(greatest(now(), to_timestamp(%(now)s)) + %(wait)s * interval '1 second', due_at),
           state = case when %(wait)s::float8 is null then 'dead' else 'queued' end,
           ended_at = case when %(wait)s::float8 is null then greatest(now(), to_timestamp(%(wall)s)) end
     where id = %(id)s and hook_id = %(hook)s and state = 'queued' and zapline.owns(%(owner)s, %(since)s, unit_id))
update zapline.hooks set failing_since = coalesce(failing_since, to_timestamp(%(now)s))
 where id = %(hook)s and zapline.owns(%(owner)s, %(since)s, (select d.unit_id from zapline.hook_deliveries d where d.id = %(id)s))
returning extract(epoch from failing_since)::float8 as failing_since;

-- name: bury_delivery
-- The subject of the delivery does not exist any more.
update zapline.hook_deliveries
   set state = 'dead', last_error = %(error)s, ended_at = greatest(now(), to_timestamp(%(wall)s))
 where id = %(id)s and hook_id = %(hook)s and state = 'queued' and zapline.owns(%(owner)s, %(since)s, unit_id);

-- name: make_waiting_due
-- The CRM responds again: makes deliveries due that wait because they have failed.
update zapline.hook_deliveries set due_at = to_timestamp(%(now)s)
 where hook_id = %(hook)s and state = 'queued' and due_at > to_timestamp(%(now)s) and tries > 0;

-- name: release_misdated
-- Makes due what is to wait for longer than any delivery waits: a wrong clock has dated it.
update zapline.hook_deliveries set due_at = to_timestamp(%(now)s)
 where id in (select id from zapline.hook_deliveries
               where state = 'queued' and due_at > to_timestamp(%(now)s + %(longest)s) limit %(limit)s)
returning id;

-- name: disable_hook
-- Disables a hook.
update zapline.hooks set disabled_at = now(), disabled_reason = %(reason)s where id = %(hook)s and disabled_at is null;

-- name: bury_waiting
-- Makes a part of the queued deliveries of disabled hooks dead; they may be replayed. Also those whose transaction had
-- read the active hook and committed later.
update zapline.hook_deliveries d
   set state = 'dead', ended_at = greatest(now(), to_timestamp(%(wall)s)),
       last_error = coalesce(d.last_error, case when h.disabled_reason in ('unit_archived', 'unit_left') then h.disabled_reason
                                                else 'hook_disabled' end)
  from zapline.hooks h
 where h.id = d.hook_id and d.state = 'queued'
   and d.id in (select q.id from zapline.hooks e join zapline.hook_deliveries q on q.hook_id = e.id
                 where e.disabled_at is not null and e.disabled_reason <> 'deleted' and q.state = 'queued'
                 limit %(limit)s);

-- name: bury_left
-- Makes a part of the queued deliveries dead of which their hook is told no more: their unit has left its organization.
update zapline.hook_deliveries r
   set state = 'dead', ended_at = greatest(now(), to_timestamp(%(wall)s)), last_error = 'unit_left'
 where r.state = 'queued'
   and r.id in (select d.id from zapline.hooks h join zapline.hook_deliveries d on d.hook_id = h.id
                 where h.organization_id is not null and d.state = 'queued' and not
                       -- include: told
                 limit %(limit)s);

-- name: prune_deleted
-- Deletes a part of the deliveries of deleted hooks.
delete from zapline.hook_deliveries
 where id in (select d.id from zapline.hooks h join zapline.hook_deliveries d on d.hook_id = h.id
               where h.disabled_reason = 'deleted'
               limit %(limit)s);

-- name: prune_deleted_hooks
-- Deletes deleted hooks that no delivery refers to, and that no transaction can have read as active.
delete from zapline.hooks h
 where h.disabled_reason = 'deleted' and h.disabled_at < now() - interval '1 hour'
   and not exists (select from zapline.hook_deliveries d where d.hook_id = h.id);

-- name: prune_deliveries
-- Deletes a part of the deliveries that ended long ago.
delete from zapline.hook_deliveries
 where id in (select id from zapline.hook_deliveries
               where (state = 'delivered' and ended_at < now() - %(delivered_days)s * interval '1 day')
                  or (state = 'dead' and ended_at < now() - %(dead_days)s * interval '1 day')
               limit %(limit)s);

-- name: count_deliveries
-- Counts of waiting deliveries, of those that died within a day, and of hooks that are active or were disabled by
-- failures. Deliveries of missing subjects and archived units do not count.
select w.waiting, w.oldest,
       (select count(*) from zapline.hook_deliveries
         where state = 'dead' and ended_at > now() - interval '1 day'
           and last_error not in ('subject_gone', 'unit_archived', 'unit_left')) as dead,
       (select count(*) from zapline.hooks where disabled_at is null) as active,
       (select count(*) from zapline.hooks where disabled_reason in ('gone', 'failing')) as disabled
  from (select count(*) as waiting, extract(epoch from min(created_at))::float8 as oldest
          from zapline.hook_deliveries where state = 'queued') w;
