-- The frame and the inbound half: units, their connections, contacts, conversations, messages and what is
-- told about them, dead letters, and the people who may ask.
-- Everything lives in schema zapline, so that a CRM's own tables of the same names are never touched.

create schema if not exists zapline;

do $$
begin
    if not exists (select from pg_roles where rolname = 'zapline_engine') then
        create role zapline_engine nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'zapline_api') then
        create role zapline_api nologin;
    end if;
    execute format('grant zapline_engine, zapline_api to %I', current_user);
end
$$;

-- Same order as zapline.domain.delivery.Delivery: merging is greatest().
create type zapline.delivery as enum ('queued', 'sent', 'failed', 'delivered', 'read', 'played');

-- Whether a name told at one time replaces another; ties are decided alike wherever and whenever.
create function zapline.newer(at timestamptz, name text, known_at timestamptz, known text) returns boolean
    language sql immutable
return name is not null and (known is null or coalesce(at, '-infinity') > coalesce(known_at, '-infinity')
       or (coalesce(at, '-infinity') = coalesce(known_at, '-infinity') and name collate "C" > known collate "C"));

create table zapline.units (
    id          uuid primary key,
    name        text not null check (length(name) between 1 and 200),
    legacy_id   text unique,
    time_zone   text not null default 'America/Sao_Paulo',
    created_at  timestamptz not null default now(),
    archived_at timestamptz
);

create table zapline.unit_whatsapp_connections (
    unit_id                uuid primary key references zapline.units,
    provider               text not null,
    instance_id            text not null,
    phase                  text not null default 'idle',
    status                 text not null default 'disconnected',
    status_reason          text not null default 'never_connected',
    wanted                 boolean not null default false,
    number                 text,
    logout_pending         boolean not null default false,
    connected_at           timestamptz,
    disconnected_at        timestamptz,
    qr_updated_at          timestamptz,
    qr_code                text,
    pairing_code           text,
    owner_jid              text,
    profile_name           text,
    secret_generation      integer not null default 1,
    secret_digest          bytea not null unique,
    previous_secret_digest bytea,
    previous_secret_until  timestamptz,
    archived_at            timestamptz,
    -- The last journal entry whose effects are in this database: an entry at or below it is not stepped again.
    journal_id             uuid,
    applied_seq            bigint not null default 0,
    updated_at             timestamptz not null default now()
);
create unique index idx_unit_whatsapp_instance_lookup
    on zapline.unit_whatsapp_connections (provider, instance_id) where archived_at is null;

create table zapline.contacts (
    id         uuid primary key,
    unit_id    uuid not null references zapline.units,
    kind       text not null,
    canonical  text not null,
    phone      text,
    lid        text,
    name       text,
    name_at    timestamptz,
    created_at timestamptz not null default now(),
    unique (unit_id, canonical)
);

-- Every spelling under which WhatsApp has named a contact: JIDs with and without the ninth digit, LIDs.
create table zapline.contact_identities (
    unit_id    uuid not null references zapline.units,
    identity   text not null,
    contact_id uuid not null references zapline.contacts,
    created_at timestamptz not null default now(),
    primary key (unit_id, identity)
);
create index contact_identities_by_contact on zapline.contact_identities (contact_id);

-- A conversation known by LID only points to the phone's conversation once both are known to be one person.
create table zapline.conversations (
    id              uuid primary key,
    unit_id         uuid not null references zapline.units,
    contact_id      uuid not null references zapline.contacts,
    merged_into     uuid references zapline.conversations,
    merged_at       timestamptz,
    last_message_at timestamptz,
    created_at      timestamptz not null default now(),
    unique (unit_id, contact_id)
);
create index conversations_by_recency on zapline.conversations (unit_id, last_message_at desc, id);
create index conversations_merged on zapline.conversations (merged_into) where merged_into is not null;

create table zapline.messages (
    id                uuid primary key,
    unit_id           uuid not null references zapline.units,
    conversation_id   uuid not null references zapline.conversations,
    provider          text not null,
    external_id       text,
    client_message_id text,
    seq               bigint generated always as identity,
    from_me           boolean not null,
    kind              text not null,
    -- 0 unknown, 1 placeholder, 2 content: a higher rank replaces the content of a lower one.
    kind_rank         smallint not null,
    body              text,
    media             jsonb,
    detail            jsonb not null default '{}',
    raw               bytea,
    sender            text,
    sender_name       text,
    quoted_id         text,
    forwarded         boolean not null default false,
    view_once         boolean not null default false,
    expires_after     integer,
    source            text,
    origin            text not null,
    backfilled        boolean not null default false,
    delivery          zapline.delivery,
    edited_body       text,
    edited_at_ms      bigint,
    deleted_at        timestamptz,
    sent_at           timestamptz not null,
    received_at       timestamptz not null,
    unique (unit_id, provider, external_id),
    unique (unit_id, client_message_id),
    check (external_id is not null or client_message_id is not null)
);
create index messages_by_thread on zapline.messages (conversation_id, sent_at desc, seq desc);
create index messages_by_seq on zapline.messages (unit_id, seq);

-- What was reported of a message that is not known yet, merged to one row; applied when the message appears.
create table zapline.parked_reports (
    unit_id      uuid not null references zapline.units,
    provider     text not null,
    external_id  text not null,
    delivery     zapline.delivery,
    edited_body  text,
    edited_at_ms bigint,
    deleted_at   timestamptz,
    parked_at    timestamptz not null default now(),
    primary key (unit_id, provider, external_id)
);
create index parked_reports_by_age on zapline.parked_reports (parked_at);

-- Reactions and poll votes: the latest per person. They wait here for their message by themselves.
create table zapline.message_reactions (
    unit_id     uuid not null references zapline.units,
    provider    text not null,
    external_id text not null,
    kind        text not null check (kind in ('reaction', 'vote')),
    actor       text not null,
    value       jsonb not null,
    at_ms       bigint not null,
    received_at timestamptz not null,
    primary key (unit_id, provider, external_id, kind, actor)
);

create table zapline.dead_letters (
    id          bigint generated always as identity primary key,
    unit_id     uuid not null references zapline.units,
    reason      text not null,
    detail      text,
    event       text,
    -- The body as it came: jsonb would refuse NUL and lone surrogates. Null where it was over the limit.
    raw         bytea,
    size        bigint not null,
    received_at timestamptz not null,
    journal_id  uuid,
    journal_seq bigint,
    created_at  timestamptz not null default now(),
    revived_at  timestamptz,
    unique (journal_id, journal_seq)
);
create index dead_letters_by_unit on zapline.dead_letters (unit_id, id desc);

create table zapline.admins (
    id            uuid primary key default gen_random_uuid(),
    email         text not null unique,
    password_hash text not null,
    created_at    timestamptz not null default now(),
    disabled_at   timestamptz
);

create table zapline.access_tokens (
    digest       bytea primary key,
    admin_id     uuid not null references zapline.admins,
    label        text not null,
    created_at   timestamptz not null default now(),
    last_used_at timestamptz,
    expires_at   timestamptz not null,
    revoked_at   timestamptz
);

-- What the command line asks of the running daemon; only the engine's role may.
create table zapline.control_requests (
    id          uuid primary key,
    verb        text not null,
    arguments   jsonb not null,
    asked_at    timestamptz not null default now(),
    answered_at timestamptz,
    result      jsonb,
    error       text
);
create index control_requests_open on zapline.control_requests (asked_at) where answered_at is null;

-- Tenants are kept apart by the database itself. zapline_engine (recorder, janitor) sees all units by an
-- explicit policy; zapline_api sees the unit set for its transaction, or all in a transaction that says it
-- acts for an administrator.
do $$
declare
    name text;
    key  text;
begin
    foreach name in array array['units', 'unit_whatsapp_connections', 'contacts', 'contact_identities',
        'conversations', 'messages', 'parked_reports', 'message_reactions', 'dead_letters']
    loop
        key := case name when 'units' then 'id' else 'unit_id' end;
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format($f$create policy api on zapline.%I to zapline_api using (
            %I = nullif(current_setting('zapline.unit', true), '')::uuid
            or current_setting('zapline.scope', true) = 'admin')$f$, name, key);
    end loop;
end
$$;

grant usage on schema zapline to zapline_engine, zapline_api;
grant select, insert, update, delete on all tables in schema zapline to zapline_engine;
grant select on all tables in schema zapline to zapline_api;
revoke all on zapline.control_requests from zapline_api;
grant usage on all sequences in schema zapline to zapline_engine;
