-- What an operator lets tenants set, and how many requests their tokens make.

-- One row for the installation, or none yet; null: no ceiling.
create table zapline.ceilings (
    id                  integer primary key default 1 check (id = 1),
    -- The pace that a token may set: at most so fast.
    per_minute          float8 check (per_minute > 0),
    burst               integer check (burst > 0),
    gap_seconds         float8 check (gap_seconds >= 0),
    campaign_seconds    float8 check (campaign_seconds > 0),
    daily_cap           integer check (daily_cap > 0),
    -- Hooks of one unit or organization, as far as a token makes them; and valid tokens of one, whoever makes them.
    hooks               integer check (hooks >= 0),
    tokens              integer check (tokens > 0),
    -- Requests a minute of each token that has no limit of its own.
    requests_per_minute integer check (requests_per_minute between 1 and 1000000),
    updated_at          timestamptz not null default now()
);
alter table zapline.ceilings enable row level security;
alter table zapline.ceilings force row level security;
create policy engine on zapline.ceilings to zapline_engine using (true) with check (true);
grant select, insert, update, delete on zapline.ceilings to zapline_engine;

-- Requests a minute of a token; null: as the ceilings say.
alter table zapline.access_tokens
    add column requests_per_minute integer,
    add constraint access_tokens_requests
        check (requests_per_minute is null
               or requests_per_minute between 1 and 1000000 and kind in ('unit', 'organization'));
