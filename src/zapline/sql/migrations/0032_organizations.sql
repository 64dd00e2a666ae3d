-- Organizations: several units of one customer, whose programs have one token for all of them.

create table zapline.organizations (
    id         uuid primary key,
    name       text not null check (length(name) between 1 and 200),
    created_at timestamptz not null default now(),
    -- Nobody sees it from then on; the row goes once its hooks are gone.
    deleted_at timestamptz
);
create index organizations_by_age on zapline.organizations (created_at, id);

-- A unit is in one organization at most.
create table zapline.organization_units (
    unit_id         uuid primary key references zapline.units,
    organization_id uuid not null references zapline.organizations,
    -- What happened before is nothing that the organization is told.
    added_at        timestamptz not null default now()
);
create index organization_units_by_organization on zapline.organization_units (organization_id, unit_id);

alter table zapline.access_tokens
    add column organization_id uuid references zapline.organizations on delete cascade,
    -- Of an organization's token: the units that it opens, as long as they are in the organization. Null: all of them, also
    -- those that are added later.
    add column units uuid[],
    drop constraint access_tokens_kind,
    add constraint access_tokens_kind check (kind in ('session', 'admin', 'unit', 'organization')),
    drop constraint access_tokens_of_one,
    add constraint access_tokens_of_one check (
        case kind
            when 'unit' then unit_id is not null and organization_id is null and admin_id is null
                             and cardinality(scopes) > 0
            when 'organization' then organization_id is not null and unit_id is null and admin_id is null
                                     and cardinality(scopes) > 0
            else admin_id is not null and unit_id is null and organization_id is null and cardinality(scopes) = 0
        end),
    add constraint access_tokens_units check (units is null or kind = 'organization' and cardinality(units) > 0),
    drop constraint access_tokens_end,
    add constraint access_tokens_end check (kind in ('unit', 'organization') or expires_at is not null);
create index access_tokens_of_organization on zapline.access_tokens (organization_id, created_at)
    where organization_id is not null;

alter table zapline.audit_log
    drop constraint audit_log_actor_kind_check,
    add constraint audit_log_actor_kind_check
        check (actor_kind in ('admin', 'unit_token', 'organization_token', 'command', 'system')) not valid;

-- A transaction of an organization's token sees its organization (`zapline.organization`) and the units that the token
-- opens (`zapline.units`).
do $$
declare
    name text;
begin
    foreach name in array array['organizations', 'organization_units']
    loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on zapline.%I to zapline_engine', name);
        execute format('grant select on zapline.%I to zapline_api', name);
    end loop;
end
$$;
create policy api on zapline.organizations to zapline_api using (
    id = (select nullif(current_setting('zapline.organization', true), '')::uuid)
    or (select current_setting('zapline.scope', true)) = 'admin');
create policy api on zapline.organization_units to zapline_api using (
    unit_id = (select nullif(current_setting('zapline.unit', true), '')::uuid)
    or organization_id = (select nullif(current_setting('zapline.organization', true), '')::uuid)
       and unit_id = any((select nullif(current_setting('zapline.units', true), '')::uuid[])::uuid[])
    or (select current_setting('zapline.scope', true)) = 'admin');
