-- What the CRM is told by itself: its hooks, and what waits to be delivered to them. A delivery is a row of the very
-- transaction that stored the fact, whoever stored it, so no kill lies between the two.

create table zapline.hooks (
    id              uuid primary key,
    unit_id         uuid not null references zapline.units,
    url             text not null,
    events          text[] not null,
    -- Its keys are derived from the master key by this number: nothing here signs anything.
    key_generation  integer not null default 1,
    -- Until when deliveries are signed with the key before too.
    previous_until  timestamptz,
    created_at      timestamptz not null default now(),
    -- The time of the first of the failures since the last success.
    failing_since   timestamptz,
    disabled_at     timestamptz,
    disabled_reason text,
    check ((disabled_at is null) = (disabled_reason is null))
);
create index hooks_by_unit on zapline.hooks (unit_id, created_at, id);

create table zapline.hook_deliveries (
    -- Also its webhook-id, the same at every try.
    id          uuid primary key default gen_random_uuid(),
    seq         bigint generated always as identity,
    hook_id     uuid not null references zapline.hooks on delete cascade,
    unit_id     uuid not null references zapline.units,
    event       text not null,
    -- The message or campaign that it is about; what is told of it is read when it is delivered. No key: it may be
    -- erased meanwhile, and then nothing is told of it.
    subject     uuid,
    -- What it was at that moment, where that is the news. Nothing that anybody wrote.
    facts       jsonb not null default '{}',
    state       text not null default 'queued' check (state in ('queued', 'delivered', 'dead')),
    tries       smallint not null default 0,
    due_at      timestamptz not null default now(),
    last_status smallint,
    last_error  text,
    created_at  timestamptz not null default now(),
    ended_at    timestamptz,
    check ((state = 'queued') = (ended_at is null))
);
create index hook_deliveries_due on zapline.hook_deliveries (hook_id, due_at, seq) where state = 'queued';
create index hook_deliveries_by_state on zapline.hook_deliveries (hook_id, state, seq);
create index hook_deliveries_ended on zapline.hook_deliveries (state, ended_at) where state <> 'queued';

-- New messages. History is not news: of what was read back, only what was written after the hook was made.
create function zapline.tell_created() returns trigger language plpgsql set enable_nestloop = off as $$
begin
    if exists (select from zapline.hooks where disabled_at is null) and exists (select from fresh) then
        insert into zapline.hook_deliveries (hook_id, unit_id, event, subject)
        select h.id, h.unit_id, e.event, f.id
          from fresh f
         cross join lateral (select case when f.from_me then 'message.sent' else 'message.received' end as event) e
          join zapline.hooks h on h.unit_id = f.unit_id and h.disabled_at is null and e.event = any(h.events)
         where f.client_message_id is null
           and (f.origin = 'live' and not f.backfilled or f.sent_at >= date_trunc('second', h.created_at))
         order by f.seq;
    end if;
    return null;
end
$$;
create trigger tell_created after insert on zapline.messages
    referencing new table as fresh for each statement execute function zapline.tell_created();

-- What has changed of messages: how far ours have come, and texts of all. The plan is made once, at a time when few
-- rows may have changed: without nested loops it is good for many too.
create function zapline.tell_changed() returns trigger language plpgsql set enable_nestloop = off as $$
begin
    if exists (select from zapline.hooks where disabled_at is null) and exists (select from later) then
        insert into zapline.hook_deliveries (hook_id, unit_id, event, subject, facts)
        select h.id, h.unit_id, e.event, n.id, e.facts
          from earlier o
          join later n on n.id = o.id
          join zapline.hooks h on h.unit_id = n.unit_id and h.disabled_at is null
         cross join lateral (values
               ('message.delivery', n.from_me and n.delivery is distinct from o.delivery,
                jsonb_build_object('deliveryStatus', n.delivery)),
               ('message.edited', n.edited_at_ms is distinct from o.edited_at_ms or n.kind_rank > o.kind_rank, '{}'),
               ('message.deleted', n.deleted_at is not null and o.deleted_at is null, '{}')) as e(event, happened, facts)
         where e.happened and e.event = any(h.events)
         order by n.seq;
    end if;
    return null;
end
$$;
create trigger tell_changed after update on zapline.messages
    referencing old table as earlier new table as later for each statement execute function zapline.tell_changed();

-- A line's status. Its row is written with every batch of webhooks, and its status seldom changes.
create function zapline.tell_status() returns trigger language plpgsql as $$
begin
    insert into zapline.hook_deliveries (hook_id, unit_id, event, facts)
    select h.id, h.unit_id, 'unit.status',
           jsonb_build_object('status', new.status, 'reason', new.status_reason, 'phase', new.phase,
                              'connectedAt', extract(epoch from new.connected_at),
                              'disconnectedAt', extract(epoch from new.disconnected_at),
                              'updatedAt', extract(epoch from new.updated_at))
      from zapline.hooks h
     where h.unit_id = new.unit_id and h.disabled_at is null and 'unit.status' = any(h.events);
    return null;
end
$$;
create trigger tell_status after update on zapline.unit_whatsapp_connections
    for each row when (old.status is distinct from new.status or old.status_reason is distinct from new.status_reason)
    execute function zapline.tell_status();

create function zapline.tell_campaign() returns trigger language plpgsql as $$
begin
    insert into zapline.hook_deliveries (hook_id, unit_id, event, subject, facts)
    select h.id, h.unit_id, 'campaign.state', new.id, jsonb_build_object('state', new.state)
      from zapline.hooks h
     where h.unit_id = new.unit_id and h.disabled_at is null and 'campaign.state' = any(h.events);
    return null;
end
$$;
create trigger tell_campaign after update on zapline.campaigns
    for each row when (old.state is distinct from new.state) execute function zapline.tell_campaign();

-- A unit that is archived tells nothing any more.
create function zapline.end_hooks() returns trigger language plpgsql as $$
begin
    update zapline.hooks set disabled_at = now(), disabled_reason = 'unit_archived'
     where unit_id = new.id and disabled_at is null;
    update zapline.hook_deliveries set state = 'dead', ended_at = now(), last_error = 'unit_archived'
     where unit_id = new.id and state = 'queued';
    return null;
end
$$;
create trigger end_hooks after update on zapline.units
    for each row when (old.archived_at is null and new.archived_at is not null) execute function zapline.end_hooks();

do $$
declare
    name text;
begin
    foreach name in array array['hooks', 'hook_deliveries']
    loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format($f$create policy api on zapline.%I to zapline_api using (
            unit_id = nullif(current_setting('zapline.unit', true), '')::uuid
            or current_setting('zapline.scope', true) = 'admin')$f$, name);
        execute format('grant select, insert, update, delete on zapline.%I to zapline_engine', name);
        execute format('grant select on zapline.%I to zapline_api', name);
    end loop;
end
$$;
grant usage on all sequences in schema zapline to zapline_engine;
