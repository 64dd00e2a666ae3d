-- Second ids of messages: of better copies of their photos and videos.

-- name: store_second_ids
-- Stores second ids, where the copy's sender is the message's. Returns them all that belong to a message.
with r as (
    select distinct on (c.unit_id, c.provider, c.external_id) c.*
      from jsonb_to_recordset(%(rows)s) as c(unit_id uuid, provider text, external_id text, primary_id text,
                                             from_me boolean, sender text, conversation_id uuid)
     order by c.unit_id, c.provider, c.external_id, c.primary_id
), own as (
    select r.unit_id, r.provider, r.external_id, r.primary_id
      from r
      join zapline.messages m on m.unit_id = r.unit_id and m.provider = r.provider and m.external_id = r.primary_id
      join zapline.conversations a on a.id = m.conversation_id
      join zapline.conversations b on b.id = r.conversation_id
     where m.from_me = r.from_me and coalesce(m.sender, '') = coalesce(r.sender, '')
       and coalesce(a.merged_into, a.id) = coalesce(b.merged_into, b.id) and r.external_id <> r.primary_id
), stored as (
    insert into zapline.message_aliases (unit_id, provider, external_id, primary_id)
    select unit_id, provider, external_id, primary_id from own
    on conflict (unit_id, provider, external_id) do nothing)
select unit_id, external_id from own;

-- name: find_primary_ids
-- The ids of the messages to which these second ids lead.
select a.unit_id, a.external_id, a.primary_id
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text)
  join zapline.message_aliases a on a.unit_id = r.unit_id and a.provider = r.provider and a.external_id = r.external_id;

-- name: move_reactions
-- Moves reactions and votes from second ids to the messages themselves; of one person the latest stays.
with moved as (
    delete from zapline.message_reactions x
     using jsonb_to_recordset(%(rows)s) as r(unit_id uuid, provider text, external_id text)
     join zapline.message_aliases a on a.unit_id = r.unit_id and a.provider = r.provider
                                   and a.external_id = r.external_id
     where x.unit_id = r.unit_id and x.provider = r.provider and x.external_id = r.external_id
    returning x.*, a.primary_id)
insert into zapline.message_reactions as x (unit_id, provider, external_id, kind, actor, value, at_ms, received_at,
                                               live)
select distinct on (unit_id, provider, primary_id, kind, actor)
       unit_id, provider, primary_id, kind, actor, value, at_ms, received_at, live
  from moved
 order by unit_id, provider, primary_id, kind, actor, at_ms desc, value desc
on conflict (unit_id, provider, external_id, kind, actor) do update
   set value = excluded.value, at_ms = excluded.at_ms, received_at = excluded.received_at,
       live = excluded.live, seq = case when excluded.value <> x.value then excluded.seq else x.seq end
 where (excluded.at_ms, excluded.value) > (x.at_ms, x.value);
