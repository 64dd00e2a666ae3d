-- Several Evolution servers. A unit without a server of its own lives on the one that the environment names, as before;
-- that one has a row (`environment`, without address and key) only if somebody has changed its share.
create table zapline.evolution_servers (
    name       text primary key check (name ~ '^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$'),
    url        text,
    -- Sealed under a key that is derived from the master key: nothing here opens a server.
    sealed_key bytea,
    -- How many units it gets in proportion to the others.
    weight     integer not null default 100 check (weight between 1 and 1000),
    -- Since when it gets no new units.
    paused_at  timestamptz,
    created_at timestamptz not null default now(),
    -- The row stays, because closed units name it; the key does not.
    removed_at timestamptz,
    check ((url is null) = (name = 'environment')),
    check ((sealed_key is null) = (name = 'environment' or removed_at is not null)),
    check (name <> 'environment' or removed_at is null)
);
create unique index evolution_servers_url on zapline.evolution_servers (url) where removed_at is null;

alter table zapline.unit_whatsapp_connections
    add column evolution_server text references zapline.evolution_servers check (evolution_server <> 'environment'),
    -- Since when it lives there, where it was moved: what was called before is not in this server's store.
    add column evolution_server_since timestamptz;
create index unit_connections_of_server on zapline.unit_whatsapp_connections (evolution_server)
    where evolution_server is not null;

-- Keys of servers are the engine's alone.
alter table zapline.evolution_servers enable row level security;
alter table zapline.evolution_servers force row level security;
create policy engine on zapline.evolution_servers to zapline_engine using (true) with check (true);
grant select, insert, update on zapline.evolution_servers to zapline_engine;
revoke all on zapline.evolution_servers from zapline_api;
