-- Contacts, their identities (JIDs and LIDs) and their conversations. Each statement is a merge over one jsonb list: the
-- same rows in any order, or again, lead to the same result.

-- name: upsert_contacts
-- Stores contacts. The newest name wins, and of names of one time that which was reported last; of usernames the newest.
with told as (
    select r.*, max(r.name_at) filter (where r.name is not null) over (partition by r.id) as newest
      from jsonb_to_recordset(%(rows)s) as r(id uuid, unit_id uuid, kind text, canonical text, phone text, lid text,
                                             name text, username text, name_at float8, reported_at float8)
), named as (
    select n.id, jsonb_object_agg(n.name, n.reported_at) as reports,
           (array_agg(n.name order by n.reported_at desc, n.name collate "C" desc))[1] as name
      from (select t.id, t.name, min(t.reported_at) as reported_at
              from told t
             where t.name is not null and t.name_at = t.newest
             group by t.id, t.name) n
     group by n.id
)
insert into zapline.contacts as c (id, unit_id, kind, canonical, phone, lid, name, name_at, name_reports,
                                   username, username_at)
select t.id, t.unit_id, t.kind, t.canonical, max(t.phone), max(t.lid collate "C"),
       n.name, to_timestamp(t.newest), n.reports,
       (array_agg(t.username order by t.name_at desc, t.username collate "C" desc)
           filter (where t.username is not null))[1],
       to_timestamp(max(t.name_at) filter (where t.username is not null))
  from told t
  left join named n on n.id = t.id
 group by t.id, t.unit_id, t.kind, t.canonical, t.newest, n.reports, n.name
 order by t.id
on conflict (id) do update
   set phone = coalesce(c.phone, excluded.phone),
       lid = greatest(c.lid collate "C", excluded.lid collate "C"),
       name = case when excluded.name is null or excluded.name_at < c.name_at then c.name
                   when c.name is null or coalesce(c.name_at, '-infinity') < excluded.name_at then excluded.name
                   else zapline.last_name(zapline.merge_names(zapline.known_names(c.name, c.name_reports),
                                                              excluded.name_reports)) end,
       name_at = greatest(c.name_at, case when excluded.name is not null then excluded.name_at end),
       name_reports = zapline.newest_names(excluded.name_at, excluded.name_reports, c.name_at,
                                           zapline.known_names(c.name, c.name_reports)),
       username = case when zapline.newer(excluded.username_at, excluded.username, c.username_at, c.username)
                       then excluded.username else c.username end,
       username_at = case when zapline.newer(excluded.username_at, excluded.username, c.username_at, c.username)
                          then excluded.username_at else c.username_at end
 where (excluded.name is not null and (c.name is null or coalesce(c.name_at, '-infinity') < excluded.name_at))
    or (excluded.name is not null and c.name_at = excluded.name_at
        and zapline.newest_names(excluded.name_at, excluded.name_reports, c.name_at,
                                 zapline.known_names(c.name, c.name_reports)) is distinct from c.name_reports)
    or zapline.newer(excluded.username_at, excluded.username, c.username_at, c.username)
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
   and (c.merged_at is null or (to_timestamp(r.at), r.into_id) > (c.merged_at, c.merged_into))
returning c.unit_id;

-- name: learn_own_names
-- Names of the lines' own people, a few for each unit. A contact who was called so before it was known, and has never
-- written, has no name again.
with learnt as (
    insert into zapline.own_names (unit_id, name)
    select distinct r.unit_id, r.name
      from jsonb_to_recordset(%(rows)s) as r(unit_id uuid, name text)
     where (select count(*) from zapline.own_names o where o.unit_id = r.unit_id) < 16
    on conflict do nothing
    returning unit_id, name)
update zapline.contacts c
   set name = null, name_at = null, name_reports = null
  from learnt l
 where c.unit_id = l.unit_id and c.name = l.name and c.kind = 'person'
   and not exists (select from zapline.conversations v
                     join zapline.messages m on m.conversation_id = v.id
                    where v.contact_id = c.id and not m.from_me)
   and not exists (select from zapline.messages m where m.unit_id = c.unit_id and m.sender = c.canonical);
