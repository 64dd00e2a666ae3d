-- What WhatsApp knows: which numbers are there, and who is in which group.

-- What it has said of a phone; of two answers the later one counts.
create table zapline.number_checks (
    unit_id     uuid not null references zapline.units,
    phone       text not null,
    on_whatsapp boolean not null,
    -- The JID under which the number is there, whose digits may be others than the phone's.
    whatsapp_id text,
    checked_at  timestamptz not null,
    primary key (unit_id, phone)
);
create index number_checks_by_age on zapline.number_checks (checked_at);

-- How many numbers a unit may ask for: tokens as of a moment, and what was asked for on a day of its own.
create table zapline.number_check_budgets (
    unit_id     uuid primary key references zapline.units,
    tokens      float8 not null,
    refilled_at timestamptz not null,
    day         date not null,
    asked       integer not null
);

-- What WhatsApp has told of a group, and of who is in it.
create table zapline.group_details (
    group_id    uuid primary key references zapline.contacts on delete cascade,
    unit_id     uuid not null references zapline.units,
    size        integer not null,
    admins_only boolean not null,
    told_at     timestamptz not null
);
create table zapline.group_members (
    group_id  uuid not null references zapline.group_details on delete cascade,
    unit_id   uuid not null references zapline.units,
    canonical text not null,
    phone     text,
    lid       text,
    role      text not null check (role in ('owner', 'admin', 'member')),
    primary key (group_id, canonical)
);
create index group_members_by_person on zapline.group_members (unit_id, canonical);
create index group_members_by_phone on zapline.group_members (unit_id, phone) where phone is not null;
create index group_members_by_lid on zapline.group_members (unit_id, lid) where lid is not null;

-- How a line is to behave, as far as its unit says so.
create table zapline.line_settings (
    unit_id         uuid primary key references zapline.units,
    reject_calls    boolean not null default false,
    call_text       text not null default '',
    ignore_groups   boolean not null default false,
    always_online   boolean not null default false,
    mark_read       text not null default 'asked' check (mark_read in ('asked', 'on_reply', 'on_arrival')),
    sync_history    boolean not null default false,
    -- Whether the unit says how its line behaves; else Evolution's settings are left as they are.
    settings_managed boolean not null default false,
    -- Whether the unit says which proxy its line has; null is none then. Sealed under the master key, credentials and all.
    proxy_managed   boolean not null default false,
    sealed_proxy    bytea,
    version         integer not null default 1,
    -- The version that Evolution has had.
    applied_version integer,
    changed_at      timestamptz not null default now()
);

do $$
declare
    name text;
begin
    foreach name in array array['number_checks', 'number_check_budgets', 'group_details', 'group_members',
        'line_settings']
    loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format($f$create policy api on zapline.%I to zapline_api using (
            unit_id = (select nullif(current_setting('zapline.unit', true), '')::uuid)
            or (select current_setting('zapline.scope', true)) = 'admin')$f$, name);
        execute format('grant select, insert, update, delete on zapline.%I to zapline_engine', name);
        execute format('grant select on zapline.%I to zapline_api', name);
    end loop;
end
$$;

-- For how long a line shows that it is typing before a text: characters a second, and seconds at most. Null: it does not.
alter table zapline.unit_paces add column typing_speed float8, add column typing_longest float8;
