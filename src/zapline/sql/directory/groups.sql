-- Groups that a unit knows, and who is in them.

-- fragment: group_columns
-- The columns of a group.
select k.id, k.canonical, k.name, v.id as conversation, v.last_message_at, k.created_at, d.size, d.admins_only,
       d.told_at as members_at
  from zapline.contacts k
  left join zapline.conversations v on v.contact_id = k.id
  left join zapline.group_details d on d.group_id = k.id;

-- name: list_groups
-- A page of groups in the order of their addresses.
-- include: group_columns
 where k.unit_id = %(unit_id)s and k.kind = 'group' and k.canonical > %(after)s
   and (%(words)s::text is null or k.plain_name like %(words)s)
 order by k.canonical
 limit %(limit)s;

-- name: find_group
-- A group.
-- include: group_columns
 where k.unit_id = %(unit_id)s and k.kind = 'group' and k.id = %(id)s;

-- name: list_members
-- Who is in a group, as the unit calls them.
select m.canonical, m.phone, m.lid, m.role, k.name, k.id as contact
  from zapline.group_members m
  left join zapline.contacts k on k.unit_id = m.unit_id and k.canonical = m.canonical
 where m.unit_id = %(unit_id)s and m.group_id = %(id)s
 order by array_position(array['owner', 'admin', 'member'], m.role), m.canonical;

-- name: store_groups
-- Groups that the unit did not know.
insert into zapline.contacts (id, unit_id, kind, canonical)
select r.id, %(unit_id)s, 'group', r.canonical
  from jsonb_to_recordset(%(rows)s::jsonb) as r(id uuid, canonical text)
 order by r.id
on conflict (id) do nothing;

-- name: store_details
-- What WhatsApp has told of a group. No row back: it has told something later already, or the group is gone.
insert into zapline.group_details as d (group_id, unit_id, size, admins_only, told_at)
select k.id, k.unit_id, %(size)s, %(admins_only)s, to_timestamp(%(at)s::float8)
  from zapline.contacts k where k.unit_id = %(unit_id)s and k.id = %(id)s and k.kind = 'group'
on conflict (group_id) do update
   set size = excluded.size, admins_only = excluded.admins_only, told_at = excluded.told_at
 where excluded.told_at >= d.told_at
returning d.group_id;

-- name: delete_members
-- Who was in a group.
delete from zapline.group_members where unit_id = %(unit_id)s and group_id = %(id)s;

-- name: store_members
-- Who is in a group.
insert into zapline.group_members (group_id, unit_id, canonical, phone, lid, role)
select %(id)s, %(unit_id)s, r.canonical, r.phone, r.lid, r.role
  from jsonb_to_recordset(%(rows)s::jsonb) as r(canonical text, phone text, lid text, role text)
 order by r.canonical
on conflict (group_id, canonical) do nothing;
