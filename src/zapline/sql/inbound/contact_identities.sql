-- Contacts, their identities (JIDs and LIDs) and their conversations. Each statement is a merge over one jsonb list: the
-- same rows in any order, or again, lead to the same result.

-- name: upsert_contacts
-- Stores contacts. The name with the latest message time wins.
insert into zapline.contacts as c (id, unit_id, kind, canonical, phone, lid, name, name_at)
select r.id, r.unit_id, r.kind, r.canonical, max(r.phone), max(r.lid collate "C"),
       (array_agg(r.name order by r.name_at desc nulls last, r.name collate "C" desc)
           filter (where r.name is not null))[1],
       to_timestamp(max(r.name_at) filter (where r.name is not null))
  from jsonb_to_recordset(%(rows)s) as r(id uuid, unit_id uuid, kind text, canonical text, phone text, lid text,
                                         name text, name_at float8)
 group by r.id, r.unit_id, r.kind, r.canonical
 order by r.id
on conflict (id) do update
   set phone = coalesce(c.phone, excluded.phone),
       lid = greatest(c.lid collate "C", excluded.lid collate "C"),
       name = case when zapline.newer(excluded.name_at, excluded.name, c.name_at, c.name)
                   then excluded.name else c.name end,
       name_at = case when zapline.newer(excluded.name_at, excluded.name, c.name_at, c.name)
                      then excluded.name_at else c.name_at end
 where zapline.newer(excluded.name_at, excluded.name, c.name_at, c.name)
    or (excluded.phone is not null and c.phone is null)
    or (excluded.lid is not null and c.lid is distinct from greatest(c.lid collate "C", excluded.lid collate "C"));

-- name: upsert_identities
-- Stores the identities under which contacts have been named.
insert into zapline.contact_identities (unit_id, identity, contact_id)
select distinct on (r.unit_id, r.identity) r.unit_id, r.identity, r.contact_id
  from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, identity text, contact_id uuid)
 order by r.unit_id, r.identity, r.contact_id
on conflict (unit_id, identity) do nothing;

-- name: upsert_conversations
-- Stores conversations and the time of their latest message.
insert into zapline.conversations as c (id, unit_id, contact_id, last_message_at)
select r.id, r.unit_id, r.contact_id, to_timestamp(max(r.at))
  from jsonb_to_recordset(%(rows)s) as r(id uuid, unit_id uuid, contact_id uuid, at float8)
 group by r.id, r.unit_id, r.contact_id
 order by r.id
on conflict (id) do update
   set last_message_at = greatest(c.last_message_at, excluded.last_message_at)
 where excluded.last_message_at > c.last_message_at
    or (c.last_message_at is null and excluded.last_message_at is not null);

-- name: merge_conversations
-- Points the conversation of a LID to that of its phone number, since both are one person. The latest evidence counts.
-- The conversation of a phone never points to another, so a chain has one link.
update zapline.conversations as c
   set merged_into = r.into_id, merged_at = to_timestamp(r.at)
  from (select distinct on (id) * from jsonb_to_recordset(%(rows)s) as l(id uuid, into_id uuid, at float8)
         order by id, at desc, into_id desc) as r
 where c.id = r.id and r.id <> r.into_id
   and (c.merged_at is null or (to_timestamp(r.at), r.into_id) > (c.merged_at, c.merged_into));
