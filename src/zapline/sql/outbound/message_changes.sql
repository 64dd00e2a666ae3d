-- Edits and deletions of our own messages that were asked for, and what became of them.

-- fragment: shows
-- Whether a message shows what was asked for: whoever has told of it, it is so.
(x.kind = 'delete' and m.deleted_at is not null
    or x.kind = 'edit' and m.edited_at_ms is not null and m.edited_body = x.text)

-- name: find_target
-- A message that is to be changed, and the change of it that is under way.
select m.external_id, m.from_me, m.kind, m.sent_at, m.deleted_at is not null as deleted, m.delivery::text as delivery,
       o.state as work_state,
       case when zapline.edit_is_unread(m.edit_unread_ms, m.edit_read_ms, m.edited_at_ms) then null
            when m.edited_at_ms is not null then m.edited_body else m.body end as text,
       coalesce(c.merged_into, c.id) as conversation, x.kind as open_kind, x.text as open_text
  from zapline.messages m
  join zapline.conversations c on c.id = m.conversation_id
  left join zapline.outbox o on o.message_id = m.id
  left join zapline.message_changes x on x.message_id = m.id and x.state in ('calling', 'uncertain')
 where m.unit_id = %(unit_id)s and m.id = %(id)s and m.kind <> 'reaction';

-- name: begin
-- A change is asked for, unless another one of the message is under way, or the unit belongs to somebody else.
with owner as (
    select zapline.owns(%(owner)s::uuid, %(since)s::bigint, %(unit_id)s) as owned
), begun as (
    insert into zapline.message_changes (id, unit_id, message_id, kind, text, asked_at, look_at)
    select %(id)s, %(unit_id)s, %(message_id)s, %(kind)s, %(text)s::text, to_timestamp(%(now)s), to_timestamp(%(look_at)s)
      from owner where owned
        on conflict (message_id) where state in ('calling', 'uncertain') do nothing
    returning id
)
select owned, exists (select from begun) as begun from owner;

-- name: end_call
-- The call has ended, or what became of it is known.
update zapline.message_changes
   set state = %(state)s, failure = %(failure)s, look_at = to_timestamp(%(look_at)s),
       text = case when %(state)s = 'uncertain' then text end,
       ended_at = case when %(state)s <> 'uncertain' then to_timestamp(%(now)s) end
 where id = %(id)s and state in ('calling', 'uncertain');

-- name: list_due
-- Changes of which nobody knows what became of them, and which are to be looked for now: of so many units at most, and of
-- each so many.
with due as (
    select x.unit_id, min(x.look_at) as look_at
      from zapline.message_changes x
     where x.state in ('calling', 'uncertain') and x.look_at <= to_timestamp(%(now)s)
       and x.unit_id <> all(%(busy)s::uuid[])
     group by x.unit_id
     order by 2
     limit %(units)s
)
select f.id, f.unit_id, f.looks, f.external_id, f.asked_at
  from due
 cross join lateral (
       select x.id, x.unit_id, x.looks, m.external_id, extract(epoch from x.asked_at)::float8 as asked_at, x.look_at
         from zapline.message_changes x
         join zapline.messages m on m.id = x.message_id
        where x.unit_id = due.unit_id and x.state in ('calling', 'uncertain') and x.look_at <= to_timestamp(%(now)s)
        order by x.look_at
        limit %(limit)s) f
 order by f.look_at;

-- name: end_archived
-- Nobody asks the server of an archived unit; what its messages do not show is unknown for good.
update zapline.message_changes x
   set state = 'unknown', text = null, look_at = null, failure = coalesce(x.failure, 'no_answer'),
       ended_at = to_timestamp(%(now)s)
  from zapline.units u
 where x.id = any(%(ids)s) and x.state in ('calling', 'uncertain') and u.id = x.unit_id and u.archived_at is not null
   and zapline.owns(%(owner)s, %(since)s, x.unit_id)
returning x.id;

-- name: settle_shown
-- Those whose message shows what was asked for are done. Returns them.
update zapline.message_changes x
   set state = 'done', failure = null, text = null, look_at = null, ended_at = to_timestamp(%(now)s)
  from zapline.messages m
 where x.id = any(%(ids)s) and x.state in ('calling', 'uncertain') and m.id = x.message_id
   and zapline.owns(%(owner)s, %(since)s, x.unit_id) and
       -- include: shows
returning x.id;

-- name: look_later
-- It could not be told now: it is looked for again, or nobody can tell.
update zapline.message_changes x
   set state = case when r.look_at is null then 'unknown' else 'uncertain' end, looks = r.next,
       look_at = to_timestamp(r.look_at), failure = coalesce(x.failure, 'no_answer'),
       text = case when r.look_at is not null then x.text end,
       ended_at = case when r.look_at is null then to_timestamp(%(now)s) end
  from jsonb_to_recordset(%(rows)s) as r(id uuid, looks smallint, next smallint, look_at float8)
 where x.id = r.id and x.state in ('calling', 'uncertain') and x.looks = r.looks
   and zapline.owns(%(owner)s, %(since)s, x.unit_id)
returning x.id, x.state;

-- name: list_changes
-- What was asked to be changed of a message, the latest first.
select x.id, x.kind,
       case when x.state in ('calling', 'uncertain') and
       -- include: shows
            then 'done' else x.state end as state,
       x.asked_at, x.ended_at, x.failure
  from zapline.message_changes x
  join zapline.messages m on m.id = x.message_id
 where x.unit_id = %(unit_id)s and x.message_id = %(message_id)s
   and (x.asked_at, x.id) < (coalesce(%(before_at)s::timestamptz, 'infinity'),
                             coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
 order by x.asked_at desc, x.id desc
 limit %(limit)s;
