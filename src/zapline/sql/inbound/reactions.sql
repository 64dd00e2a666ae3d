-- Reactions and votes: the latest of each person. They wait for their message by themselves.

-- fragment: reported
-- What is told of a reaction or vote, with its message and the root of its conversation.
x.unit_id, x.external_id, x.kind, x.actor, x.value, x.at_ms, m.id as message, m.client_message_id,
       coalesce(c.merged_into, c.id) as conversation_id

-- fragment: of_messages
-- The message, and its conversation.
join zapline.messages m on m.unit_id = x.unit_id and m.provider = x.provider and m.external_id = x.external_id
  left join zapline.conversations c on c.id = m.conversation_id

-- name: upsert_reactions
-- Stores the latest reaction or vote of each person, and returns those that are new or changed, without a message where
-- it is not known yet. One that was read replaces the same one unread (an object). The place in the order of arrival is
-- taken anew where the value changes. Those from other conversations are not stored, and returned with their claim.
with r as materialized (
    select r.*, coalesce(a.primary_id, r.external_id) as target,
           coalesce(zapline.fits(r.claim, m.unit_id, m.conversation_id, m.from_me, m.sender), m.id is null) as fits,
           zapline.fits(r.claim, m.unit_id, m.conversation_id, m.from_me, m.sender) is false as foreign_one
      from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text, kind text, actor text,
                                             value jsonb, at_ms bigint, received_at float8, live boolean, claim text,
                                             entries text[])
      left join zapline.message_aliases a on a.unit_id = r.unit_id and a.provider = r.provider
                                         and a.external_id = r.external_id
      left join zapline.messages m on m.unit_id = r.unit_id and m.provider = r.provider
                                  and m.external_id = coalesce(a.primary_id, r.external_id)
), x as (
    insert into zapline.message_reactions as x (unit_id, provider, external_id, kind, actor, value, at_ms, received_at,
                                                live, claim, entries)
    select distinct on (r.unit_id, r.provider, r.target, r.kind, r.actor)
           r.unit_id, r.provider, r.target, r.kind, r.actor, r.value, r.at_ms, to_timestamp(r.received_at), r.live,
           r.claim, coalesce(r.entries, '{}')
      from r where r.fits
     order by r.unit_id, r.provider, r.target, r.kind, r.actor, r.at_ms desc,
              jsonb_typeof(r.value) <> 'object' desc, r.value desc, r.live desc
    on conflict (unit_id, provider, external_id, kind, actor) do update
       set value = excluded.value, at_ms = excluded.at_ms, received_at = excluded.received_at, live = excluded.live,
           claim = excluded.claim, entries = zapline.some_entries(x.entries, excluded.entries),
           seq = case when excluded.value <> x.value then excluded.seq else x.seq end
     where (excluded.at_ms, jsonb_typeof(excluded.value) <> 'object', excluded.value)
           > (x.at_ms, jsonb_typeof(x.value) <> 'object', x.value)
returning x.*)
select
       -- include: reported
       , null::text as claim, null::boolean as foreign_one, null::boolean as live, null::text[] as entries,
       null::float8 as received_at
  from x
  left
       -- include: of_messages
union all
select r.unit_id, r.target, r.kind, r.actor, r.value, r.at_ms, null, null, null, r.claim, r.foreign_one, r.live,
       r.entries, r.received_at
  from r where not r.fits;

-- name: find_waiting_reactions
-- The reactions and votes that came before these messages.
select
       -- include: reported
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text)
  join zapline.message_reactions x
    on x.unit_id = r.unit_id and x.provider = r.provider and x.external_id = r.external_id
       -- include: of_messages
;

-- name: move_reactions
-- Moves reactions and votes from second ids to the messages themselves; of one person the latest stays. Returns those
-- that are new or changed there. Those from other conversations are removed, and returned with their claim.
with moved as (
    delete from zapline.message_reactions x
     using jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text)
     join zapline.message_aliases a on a.unit_id = r.unit_id and a.provider = r.provider
                                   and a.external_id = r.external_id
     join zapline.messages m on m.unit_id = a.unit_id and m.provider = a.provider and m.external_id = a.primary_id
     where x.unit_id = r.unit_id and x.provider = r.provider and x.external_id = r.external_id
    returning x.*, a.primary_id, zapline.fits(x.claim, m.unit_id, m.conversation_id, m.from_me, m.sender) as fits
), x as (
    insert into zapline.message_reactions as x (unit_id, provider, external_id, kind, actor, value, at_ms, received_at,
                                                live, claim, entries)
    select distinct on (unit_id, provider, primary_id, kind, actor)
           unit_id, provider, primary_id, kind, actor, value, at_ms, received_at, live, claim,
           entries
      from moved
     where fits
     order by unit_id, provider, primary_id, kind, actor, at_ms desc, jsonb_typeof(value) <> 'object' desc, value desc
    on conflict (unit_id, provider, external_id, kind, actor) do update
       set value = excluded.value, at_ms = excluded.at_ms, received_at = excluded.received_at, live = excluded.live,
           claim = excluded.claim, entries = zapline.some_entries(x.entries, excluded.entries),
           seq = case when excluded.value <> x.value then excluded.seq else x.seq end
     where (excluded.at_ms, jsonb_typeof(excluded.value) <> 'object', excluded.value)
           > (x.at_ms, jsonb_typeof(x.value) <> 'object', x.value)
returning x.*)
select
       -- include: reported
       , null::text as claim, null::boolean as foreign_one, null::boolean as live, null::text[] as entries,
       null::float8 as received_at
  from x
       -- include: of_messages
union all
select d.unit_id, d.primary_id, d.kind, d.actor, d.value, d.at_ms, null, null, null, d.claim, d.fits is false, d.live,
       d.entries, extract(epoch from d.received_at)::float8
  from moved d where d.fits is not true;
