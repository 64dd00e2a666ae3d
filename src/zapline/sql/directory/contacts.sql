-- People whom a unit knows. A contact whose conversation was merged into another's is the same person, and not listed.

-- fragment: contact_columns
-- The columns of a contact in `page`, its name and username also from the contacts that were merged into it.
select p.id, p.canonical, p.phone, coalesce(p.lid, merged.lid) as lid,
       case when p.name is null or merged.name_at > p.name_at then coalesce(merged.name, p.name) else p.name end as name,
       coalesce(p.username, merged.username) as username, p.conversation, p.last_message_at, p.created_at
  from page p
  left join lateral (
       select max(k.lid) as lid,
              (array_agg(k.name order by k.name_at desc nulls last) filter (where k.name is not null))[1] as name,
              max(k.name_at) filter (where k.name is not null) as name_at,
              (array_agg(k.username order by k.username_at desc) filter (where k.username is not null))[1] as username
         from zapline.conversations m
         join zapline.contacts k on k.id = m.contact_id
        where m.merged_into = p.conversation) merged on true
 order by p.canonical;

-- name: list_contacts
-- A page of people in the order of their canonical names.
with page as (
    select k.id, k.canonical, k.phone, k.lid, k.name, k.name_at, k.username, v.id as conversation, v.last_message_at,
           k.created_at
      from zapline.contacts k
      left join zapline.conversations v on v.contact_id = k.id
     where k.unit_id = %(unit_id)s and k.kind = 'person' and k.canonical > %(after)s and v.merged_into is null
     order by k.canonical
     limit %(limit)s)
-- include: contact_columns;

-- name: search_contacts
-- The same of those whose name or username contains the words, under any of their addresses, or whose phone the digits.
with page as (
    select k.id, k.canonical, k.phone, k.lid, k.name, k.name_at, k.username, v.id as conversation, v.last_message_at,
           k.created_at
      from zapline.contacts k
      left join zapline.conversations v on v.contact_id = k.id
     where k.unit_id = %(unit_id)s and k.kind = 'person' and k.canonical > %(after)s and v.merged_into is null
       and (k.plain_name like %(words)s or k.phone like %(digits)s or lower(k.username) like %(called)s
            or exists (select from zapline.conversations m
                         join zapline.contacts o on o.id = m.contact_id
                        where m.merged_into = v.id
                          and (o.plain_name like %(words)s or lower(o.username) like %(called)s)))
     order by k.canonical
     limit %(limit)s)
-- include: contact_columns;

-- name: find_contact
-- A person by the contact's id.
with page as (
    select k.id, k.canonical, k.phone, k.lid, k.name, k.name_at, k.username, v.id as conversation, v.last_message_at,
           k.created_at
      from zapline.contacts k
      left join zapline.conversations v on v.contact_id = k.id
     where k.unit_id = %(unit_id)s and k.kind = 'person' and k.id = %(id)s)
-- include: contact_columns;

-- name: find_contact_by_phone
-- A person by the phone.
with page as (
    select k.id, k.canonical, k.phone, k.lid, k.name, k.name_at, k.username, v.id as conversation, v.last_message_at,
           k.created_at
      from zapline.contacts k
      left join zapline.conversations v on v.contact_id = k.id
     where k.unit_id = %(unit_id)s and k.kind = 'person' and k.canonical = %(phone)s)
-- include: contact_columns;
