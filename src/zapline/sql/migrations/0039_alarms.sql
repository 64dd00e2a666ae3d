-- Alarms: to whom they go, which incidents there were, and what was said of each to whom.
create table zapline.alarm_destinations (
    id         uuid primary key,
    kind       text not null check (kind in ('email', 'webhook', 'line')),
    -- An address, a URL or a phone, sealed under a key that is derived from the master key.
    sealed     bytea not null,
    -- The same as people may see it.
    shown      text not null,
    -- Of a line: the units whose lines may tell it, the first that is open does. Empty for the others.
    units      uuid[] not null default '{}',
    language   text not null default 'en',
    -- Of a webhook: the generation of its signing key.
    generation integer not null default 1,
    created_at timestamptz not null default now(),
    -- How the last try to reach it ended; null error: it worked.
    tried_at   timestamptz,
    error      text,
    check ((kind = 'line') = (cardinality(units) > 0))
);

create table zapline.alarm_incidents (
    id        uuid primary key,
    number    bigint generated always as identity,
    opened_at timestamptz not null,
    joined_at timestamptz not null,
    -- How many notices there were, and when the last one was said.
    said      integer not null check (said > 0),
    said_at   timestamptz not null,
    closed_at timestamptz,
    -- What was wrong: key, name, reason, since, falls, told, well since.
    members   jsonb not null
);
create index alarm_incidents_by_number on zapline.alarm_incidents (number);
create index alarm_incidents_open on zapline.alarm_incidents (opened_at) where closed_at is null;
create index alarm_incidents_closed on zapline.alarm_incidents (closed_at) where closed_at is not null;

-- What was said of an incident to whom. The id follows from incident, number and destination: whoever says it again,
-- after a kill or without the database, says it under the same id.
create table zapline.alarm_notices (
    id             uuid primary key,
    incident_id    uuid not null references zapline.alarm_incidents on delete cascade,
    destination_id uuid not null references zapline.alarm_destinations on delete cascade,
    number         integer not null,
    kind           text not null,
    -- The incident as it was then.
    told           jsonb not null,
    state          text not null default 'waiting' check (state in ('waiting', 'delivered', 'replaced', 'given_up')),
    attempts       integer not null default 0,
    due_at         timestamptz not null,
    created_at     timestamptz not null,
    ended_at       timestamptz,
    error          text
);
create index alarm_notices_of_incident on zapline.alarm_notices (incident_id, destination_id);
create index alarm_notices_of_destination on zapline.alarm_notices (destination_id);
create index alarm_notices_due on zapline.alarm_notices (due_at) where state = 'waiting';
create index alarm_notices_given_up on zapline.alarm_notices (ended_at) where state = 'given_up';

do $$ declare name text; begin
    foreach name in array array['alarm_destinations', 'alarm_incidents', 'alarm_notices'] loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on zapline.%I to zapline_engine', name);
        execute format('revoke all on zapline.%I from zapline_api', name);
    end loop;
end $$;
