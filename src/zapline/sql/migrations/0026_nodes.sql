-- Which process serves which unit. A node is one stay of a process in the lead, with an id of its own; a unit belongs to
-- its owner since an epoch, and whatever somebody else writes of it, or under another epoch, is refused by the statement
-- itself. Epochs come from zapline.leader, so that those of a unit only rise. A unit without an owner is nobody's.
create table zapline.nodes (
    id           uuid primary key,
    -- Of its machine.
    name         text not null,
    version      text not null,
    epoch        bigint not null,
    joined_at    timestamptz not null default now(),
    -- By this server's clock. A node that has not renewed it by then is out, and joins again under another id.
    expires_at   timestamptz not null,
    -- Seconds by which its clock is ahead of this server's.
    clock_offset float8
);
alter table zapline.nodes enable row level security;
alter table zapline.nodes force row level security;
create policy engine on zapline.nodes to zapline_engine using (true) with check (true);
grant select, insert, update, delete on zapline.nodes to zapline_engine;

alter table zapline.unit_whatsapp_connections add column owner uuid, add column epoch bigint not null default 0;
-- Of the unit when the call was claimed. Null: nobody owned it.
alter table zapline.attempts add column epoch bigint;

-- Whether a unit belongs to this node since this epoch. Null: that is not asked.
create function zapline.owns(node uuid, since bigint, of_unit uuid) returns boolean language sql stable
return node is null or exists (select from zapline.unit_whatsapp_connections c
                                where c.unit_id = of_unit and c.owner = node and c.epoch = since);
