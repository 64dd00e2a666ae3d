-- Organizations and their units.

-- name: insert_organization
-- A new organization, without units.
insert into zapline.organizations (id, name) values (%(id)s, %(name)s);

-- name: rename_organization
-- No row back: there is no such organization.
update zapline.organizations set name = %(name)s where id = %(id)s and deleted_at is null returning id;

-- name: set_campaign_rules
-- How often its units write to one person, and whether they share opt-outs. No row back: there is no such organization.
update zapline.organizations
   set campaign_messages = %(messages)s, campaign_days = %(days)s, shared_opt_outs = %(shared)s
 where id = %(id)s and deleted_at is null
returning id;

-- name: lock_organization
-- Whoever adds a unit meanwhile waits.
select id from zapline.organizations where id = %(id)s and deleted_at is null for update;

-- name: delete_organization
-- Marks an organization without units as deleted: its hooks may have a million deliveries, which are deleted in parts. No
-- row back: it has units, or does not exist.
update zapline.organizations o set deleted_at = now()
 where o.id = %(id)s and o.deleted_at is null
   and not exists (select from zapline.organization_units u where u.organization_id = o.id)
returning o.id;

-- name: delete_tokens
-- Deletes the tokens of an organization.
delete from zapline.access_tokens where organization_id = %(id)s;

-- name: delete_hooks
-- Marks the hooks of an organization as deleted.
update zapline.hooks set disabled_at = now(), disabled_reason = 'deleted', url = '', headers = null
 where organization_id = %(id)s and disabled_reason is distinct from 'deleted';

-- name: prune_organizations
-- Deletes deleted organizations whose hooks are gone.
delete from zapline.organizations o
 where o.deleted_at is not null and not exists (select from zapline.hooks h where h.organization_id = o.id);

-- name: hold_unit
-- Until the transaction ends, the unit stays in the organization. No row back: it is not in it.
select unit_id from zapline.organization_units
 where unit_id = %(unit_id)s and organization_id = %(organization_id)s for key share;

-- name: find_organization
-- One organization, with the number of its units that the transaction sees.
select o.id, o.name, o.created_at,
       (select count(*) from zapline.organization_units u where u.organization_id = o.id) as units,
       o.campaign_messages, o.campaign_days, o.shared_opt_outs
  from zapline.organizations o
 where o.id = %(id)s and o.deleted_at is null;

-- name: list_organizations
-- A page of organizations, the first made first.
select o.id, o.name, o.created_at,
       (select count(*) from zapline.organization_units u where u.organization_id = o.id) as units,
       o.campaign_messages, o.campaign_days, o.shared_opt_outs
  from zapline.organizations o
 where o.deleted_at is null
   and (%(after_at)s::timestamptz is null or (o.created_at, o.id) > (%(after_at)s, %(after_id)s::uuid))
 order by o.created_at, o.id limit %(limit)s;

-- name: insert_unit
-- Adds a unit, unless it is in an organization, or this one is deleted.
insert into zapline.organization_units (unit_id, organization_id)
select %(unit_id)s, o.id from zapline.organizations o
 where o.id = %(organization_id)s and o.deleted_at is null for share
on conflict (unit_id) do nothing;

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
