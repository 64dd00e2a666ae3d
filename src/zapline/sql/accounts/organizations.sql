-- Organizations and their units.

-- name: insert_organization
-- A new organization, without units.
insert into zapline.organizations (id, name) values (%(id)s, %(name)s);

-- name: rename_organization
-- No row back: there is no such organization.
update zapline.organizations set name = %(name)s where id = %(id)s returning id;

-- name: delete_organization
-- Deletes an organization without units, with its tokens. No row back: it has units, or does not exist.
delete from zapline.organizations o
 where o.id = %(id)s and not exists (select from zapline.organization_units u where u.organization_id = o.id)
returning o.id;

-- name: find_organization
-- One organization, with the number of its units that the transaction sees.
select o.id, o.name, o.created_at,
       (select count(*) from zapline.organization_units u where u.organization_id = o.id) as units
  from zapline.organizations o
 where o.id = %(id)s;

-- name: list_organizations
-- A page of organizations, the first made first.
select o.id, o.name, o.created_at,
       (select count(*) from zapline.organization_units u where u.organization_id = o.id) as units
  from zapline.organizations o
 where %(after_at)s::timestamptz is null or (o.created_at, o.id) > (%(after_at)s, %(after_id)s::uuid)
 order by o.created_at, o.id limit %(limit)s;

-- name: insert_unit
-- Adds a unit, unless it is in an organization.
insert into zapline.organization_units (unit_id, organization_id)
values (%(unit_id)s, %(organization_id)s) on conflict (unit_id) do nothing;

-- name: find_organization_of
-- The organization that a unit is in.
select organization_id from zapline.organization_units where unit_id = %(unit_id)s;

-- name: delete_unit
-- Takes a unit out of its organization. No row back: it is not in this one.
delete from zapline.organization_units
 where unit_id = %(unit_id)s and organization_id = %(organization_id)s
returning unit_id;

-- name: list_units
-- The units of an organization that the transaction sees.
select unit_id from zapline.organization_units where organization_id = %(organization_id)s order by added_at, unit_id;
