-- People who sign in: administrators, operators and attendants, how they are invited, and how they prove who they are.

alter table zapline.admins
    -- Everywhere. Null: only in the units of person_units.
    add column role text default 'admin',
    add constraint admins_role check (role in ('admin', 'operator', 'attendant')),
    -- The secret of the codes (TOTP), sealed under the master key; it counts once a code has confirmed it.
    add column totp_secret bytea,
    add column totp_confirmed_at timestamptz,
    -- The latest time step whose code was taken: none is taken twice.
    add column totp_step bigint not null default 0;

-- What a person may in one unit, beside the role everywhere.
create table zapline.person_units (
    person_id uuid not null references zapline.admins,
    unit_id   uuid not null references zapline.units,
    role      text not null check (role in ('operator', 'attendant')),
    primary key (person_id, unit_id)
);
create index person_units_by_unit on zapline.person_units (unit_id);

-- A link that makes an account, once.
create table zapline.invitations (
    id         uuid primary key,
    digest     bytea not null unique,
    email      text not null,
    role       text check (role in ('admin', 'operator', 'attendant')),
    -- Roles by unit.
    units      jsonb not null default '{}',
    invited_by text not null,
    inviter_id uuid not null references zapline.admins,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    -- Used or withdrawn.
    ended_at   timestamptz
);
create index invitations_by_age on zapline.invitations (created_at, id);

-- Codes for whoever has lost the second factor; each is good once.
create table zapline.recovery_codes (
    person_id uuid not null references zapline.admins,
    digest    bytea not null,
    used_at   timestamptz,
    primary key (person_id, digest)
);

-- Roles of which a second factor is required.
create table zapline.second_factor_roles (
    role text primary key check (role in ('admin', 'operator', 'attendant'))
);

alter table zapline.access_tokens
    -- Where the session was opened, for its owner.
    add column source text,
    add column agent text,
    drop constraint access_tokens_kind,
    add constraint access_tokens_kind check (kind in ('session', 'second_factor', 'admin', 'unit', 'organization'));

-- Validated by 0046: to read all of the log takes longer than anybody should wait for it.
alter table zapline.audit_log
    drop constraint audit_log_actor_kind_check,
    add constraint audit_log_actor_kind_check
        check (actor_kind in ('admin', 'person', 'unit_token', 'organization_token', 'command', 'system')) not valid;

do $$
declare
    name text;
begin
    foreach name in array array['person_units', 'invitations', 'recovery_codes', 'second_factor_roles']
    loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on zapline.%I to zapline_engine', name);
        execute format('revoke all on zapline.%I from zapline_api', name);
    end loop;
end
$$;

-- The roles of a person by unit, as JSON.
create function zapline.unit_roles(person uuid) returns jsonb language sql stable as $$
    select coalesce(jsonb_object_agg(unit_id, role), '{}') from zapline.person_units where person_id = person
$$;

-- Whether the person has a second factor.
create function zapline.has_second_factor(person uuid) returns boolean language sql stable as $$
    select exists (select from zapline.admins where id = person and totp_confirmed_at is not null)
$$;

-- Whether a second factor is required of a person who has none.
create function zapline.lacks_second_factor(person uuid) returns boolean language sql stable as $$
    select exists (select from zapline.second_factor_roles r
                    where r.role = (select role from zapline.admins where id = person)
                       or r.role in (select role from zapline.person_units where person_id = person))
       and not zapline.has_second_factor(person)
$$;

-- A transaction of a person sees the rows of the units that are his (`zapline.seen`), as pages of several units show them.
do $$
declare
    name text;
begin
    foreach name in array array['units', 'contacts', 'conversations', 'messages', 'message_aliases', 'dead_letters',
                                'outbox', 'attempts', 'line_changes']
    loop
        execute format($f$create policy person on zapline.%I for select to zapline_api using (
            %I = any((select nullif(current_setting('zapline.seen', true), '')::uuid[])::uuid[]))$f$,
            name, case name when 'units' then 'id' else 'unit_id' end);
    end loop;
end
$$;
