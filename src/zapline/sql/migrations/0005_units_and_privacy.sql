-- The rest of a unit's life, and what the law asks for the people it talks with: retention, erasure, export.

alter table zapline.units
    -- Messages older than so many days are deleted. Null: they are kept.
    add column retention_days integer check (retention_days between 1 and 36500),
    -- Since when nothing is sent, because a person asked for that.
    add column paused_at timestamptz;

-- A person has decided to leave it alone; kept like the others until its time is over.
alter table zapline.dead_letters add column given_up_at timestamptz;
create index dead_letters_open on zapline.dead_letters (unit_id) where revived_at is null and given_up_at is null;

-- The last message in and the last one out, and the oldest of both.
create index messages_by_side on zapline.messages (unit_id, from_me, received_at);

-- Messages of groups, by who wrote them.
create index messages_by_sender on zapline.messages (unit_id, sender) where sender is not null;

-- Where a recipient stood when his message was deleted: the counts of a campaign outlive the people in it.
alter table zapline.campaign_recipients add column ended_as text;
create index campaign_recipients_by_message on zapline.campaign_recipients (message_id) where message_id is not null;
create index campaign_recipients_by_name on zapline.campaign_recipients (unit_id, recipient);

-- One job each: everything that is held of one person, under all his names.
create table zapline.erasures (
    id         uuid primary key,
    unit_id    uuid not null references zapline.units,
    state      text not null default 'running' check (state in ('running', 'done')),
    -- Whom: canonical names, and the digits by which others name him. Emptied at the end.
    names      text[] not null,
    digits     text[] not null,
    -- How far the messages of others were searched for him.
    searched   bigint not null default 0,
    -- What came in before is erased; what comes later is somebody new.
    erased_at  timestamptz not null default now(),
    ended_at   timestamptz,
    -- What it waits for. Null: nothing.
    waits_for  text,
    -- Rows that went, by what they were.
    counts     jsonb not null default '{}'
);
create index erasures_running on zapline.erasures (erased_at) where state = 'running';
create index erasures_by_unit on zapline.erasures (unit_id, erased_at desc, id);

-- Who was erased, by a keyed digest that tells nobody who it was: so that a replay does not bring him back, and so
-- that his wish for no campaigns is kept.
create table zapline.erased_people (
    unit_id   uuid not null references zapline.units,
    digest    bytea not null,
    erased_at timestamptz not null,
    opted_out boolean not null default false,
    primary key (unit_id, digest)
);

do $$
declare
    name text;
begin
    foreach name in array array['erasures', 'erased_people']
    loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format($f$create policy api on zapline.%I to zapline_api using (
            unit_id = nullif(current_setting('zapline.unit', true), '')::uuid
            or current_setting('zapline.scope', true) = 'admin')$f$, name);
        execute format('grant select, insert, update, delete on zapline.%I to zapline_engine', name);
    end loop;
end
$$;
-- Whom a job is about is nobody's to read.
grant select (id, unit_id, state, erased_at, ended_at, waits_for, counts) on zapline.erasures to zapline_api;
