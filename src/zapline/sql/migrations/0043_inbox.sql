-- Webhooks that wait for the node that owns their unit, where several share the units. Whichever node was called puts
-- them in; the owner deletes them in the transaction that stores what they say.
create table zapline.inbox (
    -- Of what was received: whatever is put in twice while it waits is there once.
    copy        uuid primary key,
    -- In which order it was put in; unique, though only the sequence says so.
    id          bigint generated always as identity,
    unit_id     uuid not null,
    event       text not null,
    -- UTC seconds, to the last bit: the copy is made of it.
    received_at float8 not null,
    body        bytea not null,
    -- It was stored before: its facts merge, its events are history.
    replayed    boolean not null default false,
    put_at      timestamptz not null default now(),
    -- The node that has it in hand.
    taken_by    uuid,
    -- Nodes that died while they had it in hand.
    deaths      integer not null default 0
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
create index idx_inbox_id on zapline.inbox (id);
create index idx_inbox_unit on zapline.inbox (unit_id);
create index idx_inbox_taken_by on zapline.inbox (taken_by) where taken_by is not null;
alter table zapline.inbox enable row level security;
alter table zapline.inbox force row level security;
create policy engine on zapline.inbox to zapline_engine using (true) with check (true);
grant select, insert, update, delete on zapline.inbox to zapline_engine;
