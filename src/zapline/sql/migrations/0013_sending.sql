-- Sending as WhatsApp is in 2026: an id chosen before each call, refusals after Evolution's 201, campaigns that are held
-- until a person has looked, echoes under the other identity of a chat.

alter table zapline.attempts
    -- The WhatsApp id that was chosen before the call. A server that honours it gives the message this id; another one
    -- gives an id of its own. All calls of a message have the same.
    add column chosen_id text,
    drop constraint attempts_matched_by_check,
    add constraint attempts_matched_by_check check (matched_by in ('reply', 'echo', 'store', 'status'));
create index attempts_chosen on zapline.attempts (unit_id, chosen_id) where chosen_id is not null and external_id is null;
create index attempts_of_campaigns on zapline.attempts (unit_id, started_at) where lane = 'campaign';

-- What has been learnt of servers: whether they honour the chosen id, by version and kind of request.
create table zapline.message_id_support (
    server   text not null,
    version  text not null,
    route    text not null,
    honoured boolean not null,
    seen_at  timestamptz not null default now(),
    primary key (server, version, route)
);
alter table zapline.message_id_support enable row level security;
alter table zapline.message_id_support force row level security;
create policy engine on zapline.message_id_support to zapline_engine using (true) with check (true);
create policy api on zapline.message_id_support for select to zapline_api
    using (current_setting('zapline.scope', true) = 'admin');
grant select, insert, update, delete on zapline.message_id_support to zapline_engine;
grant select on zapline.message_id_support to zapline_api;

-- Why WhatsApp refused a message after Evolution had taken it: a code of zapline.domain.outbox.failure_texts, the
-- greater one says more. Since when: of its first report.
alter table zapline.messages add column refusal text, add column refused_at timestamptz;
alter table zapline.parked_reports add column refusal text, add column refused_at timestamptz;
create index messages_refused on zapline.messages (unit_id, refused_at) where refused_at is not null;

-- An echo that was stored as a message of its own, and may yet turn out to be one of ours: its chat and that of a call
-- may be one person's.
alter table zapline.sightings add column shown_at timestamptz;

alter table zapline.units
    -- Since when no campaign is sent, because WhatsApp refused too much, and the failure that was told. A person ends it.
    add column campaigns_held_at timestamptz,
    add column campaigns_held_reason text,
    -- When a person ended it last: what was refused before does not count again.
    add column campaigns_released_at timestamptz;

-- Hooks hear of it with the line's status, and whenever that changes.
create or replace function zapline.tell_status() returns trigger language plpgsql as $$
begin
    insert into zapline.hook_deliveries (hook_id, unit_id, event, facts)
    select h.id, h.unit_id, 'unit.status',
           jsonb_build_object('status', new.status, 'reason', new.status_reason, 'phase', new.phase,
                              'connectedAt', extract(epoch from new.connected_at),
                              'disconnectedAt', extract(epoch from new.disconnected_at),
                              'updatedAt', extract(epoch from new.updated_at),
                              'campaignsHeld', u.campaigns_held_reason)
      from zapline.hooks h
      join zapline.units u on u.id = h.unit_id
     where h.unit_id = new.unit_id and h.disabled_at is null and 'unit.status' = any(h.events);
    return null;
end
$$;
create function zapline.tell_campaigns_held() returns trigger language plpgsql as $$
begin
    insert into zapline.hook_deliveries (hook_id, unit_id, event, facts)
    select h.id, h.unit_id, 'unit.status',
           jsonb_build_object('status', c.status, 'reason', c.status_reason, 'phase', c.phase,
                              'connectedAt', extract(epoch from c.connected_at),
                              'disconnectedAt', extract(epoch from c.disconnected_at),
                              'updatedAt', extract(epoch from c.updated_at),
                              'campaignsHeld', new.campaigns_held_reason)
      from zapline.hooks h
      join zapline.unit_whatsapp_connections c on c.unit_id = h.unit_id
     where h.unit_id = new.id and h.disabled_at is null and 'unit.status' = any(h.events);
    return null;
end
$$;
create trigger tell_campaigns_held after update on zapline.units
    for each row when (old.campaigns_held_at is distinct from new.campaigns_held_at)
    execute function zapline.tell_campaigns_held();
