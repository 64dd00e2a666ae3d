-- What each line has shown since when; and when it was told how far a message had come.

create table zapline.line_changes (
    unit_id uuid not null references zapline.units,
    -- Counts the unit's changes: one that is stored again has the same number.
    number  bigint not null,
    at      timestamptz not null,
    phase   text not null,
    status  text not null,
    reason  text not null,
    primary key (unit_id, number)
);
create index line_changes_by_time on zapline.line_changes (unit_id, at);
-- Until now only the latest was known.
insert into zapline.line_changes (unit_id, number, at, phase, status, reason)
select unit_id, 1, updated_at, phase, status, status_reason
  from zapline.unit_whatsapp_connections
 where status_reason <> 'never_connected' and archived_at is null;

alter table zapline.line_changes enable row level security;
alter table zapline.line_changes force row level security;
create policy engine on zapline.line_changes to zapline_engine using (true) with check (true);
create policy api on zapline.line_changes to zapline_api using (
    unit_id = (select nullif(current_setting('zapline.unit', true), '')::uuid)
    or (select current_setting('zapline.scope', true)) = 'admin');
grant select, insert, update, delete on zapline.line_changes to zapline_engine;
grant select on zapline.line_changes to zapline_api;

-- When the transaction began that stored the message. Null: before this migration.
alter table zapline.messages add column stored_at timestamptz;
alter table zapline.messages alter column stored_at set default now();
-- When the first report of each status came in. Null: none did, or before this migration.
alter table zapline.messages
    add column told_sent_at timestamptz, add column told_delivered_at timestamptz,
    add column told_read_at timestamptz, add column told_played_at timestamptz;
alter table zapline.parked_reports
    add column told_sent_at timestamptz, add column told_delivered_at timestamptz,
    add column told_read_at timestamptz, add column told_played_at timestamptz;

-- What the CRM was told of one message.
create index hook_deliveries_by_subject on zapline.hook_deliveries (subject) where subject is not null;
