-- Where a message is: all that rows tell of one, and the ways to find it.

-- name: get_trace
-- One message with the work on it, for the story of its way.
select m.id, m.conversation_id, coalesce(c.merged_into, c.id) as root, k.name, k.canonical, m.kind,
       left(case when m.deleted_at is not null then null
                 when m.edited_at_ms is not null then m.edited_body else m.body end, %(longest)s) as text,
       m.external_id, m.client_message_id, m.from_me, extract(epoch from m.sent_at)::float8 as written_at,
       extract(epoch from m.received_at)::float8 as received_at, extract(epoch from m.stored_at)::float8 as stored_at,
       m.backfilled, m.origin, case when m.from_me then m.delivery::text end as delivery, m.refusal,
       extract(epoch from m.refused_at)::float8 as refused_at, m.edited_at_ms / 1000.0::float8 as edited_at,
       extract(epoch from m.deleted_at)::float8 as deleted_at,
       extract(epoch from m.told_sent_at)::float8 as told_sent_at,
       extract(epoch from m.told_delivered_at)::float8 as told_delivered_at,
       extract(epoch from m.told_read_at)::float8 as told_read_at,
       extract(epoch from m.told_played_at)::float8 as told_played_at,
       o.state, o.lane, extract(epoch from o.due_at)::float8 as due_at, o.tries, o.resends, o.looks,
       extract(epoch from o.look_at)::float8 as look_at, o.failure,
       extract(epoch from o.settled_at)::float8 as settled_at, extract(epoch from o.ended_at)::float8 as ended_at,
       extract(epoch from o.stalled_at)::float8 as stalled_at, o.twice, p.state as campaign_state
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  join zapline.conversations r on r.id = case when c.merged_into is null then c.id else c.merged_into end
  join zapline.contacts k on k.id = r.contact_id
  left join zapline.outbox o on m.client_message_id is not null and o.message_id = m.id
  left join zapline.campaigns p on p.id = o.campaign_id
 where m.unit_id = %(unit_id)s and m.id = %(id)s;

-- name: list_calls
-- The calls for a message, in their order.
select extract(epoch from a.started_at)::float8 as started_at, extract(epoch from a.ended_at)::float8 as ended_at,
       a.outcome, a.failure, a.matched_by, a.alias
  from zapline.attempts a
 where a.message_id = %(id)s and a.unit_id = %(unit_id)s
 order by a.started_at, a.fence;

-- name: list_told
-- What the CRM was told of a message, in the order of its happening; of very many the first.
select d.event, d.state, extract(epoch from d.created_at)::float8 as created_at,
       extract(epoch from d.ended_at)::float8 as ended_at, d.tries, d.last_status as status, d.last_error as error
  from zapline.hook_deliveries d
 where d.subject = %(id)s and d.unit_id = %(unit_id)s
 order by d.seq
 limit %(limit)s;

-- name: find_by_id
-- A message by our own id, in one of these units.
select m.id, m.unit_id from zapline.messages m where m.id = %(id)s and m.unit_id = any(%(units)s);

-- name: find_by_name
-- Messages of these units by the caller's own id, or by one of WhatsApp's: its first, a second one, that of a call, or
-- the one that was chosen for a call that is not answered yet.
select distinct f.id, u.id as unit_id
  from unnest(%(units)s::uuid[]) as u(id)
 cross join lateral (
       (select m.id from zapline.messages m where m.unit_id = u.id and m.client_message_id = %(name)s::text)
       union all
       (select m.id from zapline.messages m
         where m.unit_id = u.id and m.provider = %(provider)s::text and m.external_id = %(name)s::text)
       union all
       (select m.id
          from zapline.message_aliases a
          join zapline.messages m on m.unit_id = a.unit_id and m.provider = a.provider and m.external_id = a.primary_id
         where a.unit_id = u.id and a.provider = %(provider)s::text and a.external_id = %(name)s::text)
       union all
       (select t.message_id from zapline.attempts t
         where t.unit_id = u.id and t.provider = %(provider)s::text and t.external_id = %(name)s::text)
       union all
       (select t.message_id from zapline.attempts t
         where t.unit_id = u.id and t.chosen_id = %(name)s::text and t.external_id is null)) f
 limit %(limit)s;

-- name: find_near
-- The messages of these conversations, and of those merged into them, that were written nearest to a time.
select n.id, n.unit_id
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, conversation_id uuid)
 cross join lateral (
       (select c.id from zapline.conversations c where c.unit_id = r.unit_id and c.id = r.conversation_id)
       union all
       (select c.id from zapline.conversations c
         where c.unit_id = r.unit_id and c.merged_into = r.conversation_id)) part
 cross join lateral (
       (select m.id, m.unit_id, m.sent_at from zapline.messages m
         where m.conversation_id = part.id and m.sent_at >= to_timestamp(%(at)s) and m.kind <> 'reaction'
         order by m.sent_at, m.seq limit %(limit)s)
       union all
       (select m.id, m.unit_id, m.sent_at from zapline.messages m
         where m.conversation_id = part.id and m.sent_at < to_timestamp(%(at)s) and m.kind <> 'reaction'
         order by m.sent_at desc, m.seq desc limit %(limit)s)) n
 order by abs(extract(epoch from n.sent_at)::float8 - %(at)s::float8), n.id
 limit %(limit)s;
