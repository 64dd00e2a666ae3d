-- What has happened, once for all who are told: the hooks of a unit, and the hooks and streams of its organization.

create table zapline.events (
    -- The place in the log. A transaction that commits later may have an earlier place: a reader goes as far as none can
    -- come any more (zapline.sql.notifications.events).
    seq         bigint generated always as identity primary key,
    id          uuid not null default gen_random_uuid(),
    -- No key: as of a delivery.
    unit_id     uuid not null,
    event       text not null,
    -- The message or campaign that it is about; what is told of it is read when it is told.
    subject     uuid,
    -- What it was at that moment, where that is the news. Nothing that anybody wrote.
    facts       jsonb not null default '{}',
    -- Of what was read back later: when it happened. Null: now.
    happened_at timestamptz,
    created_at  timestamptz not null default now()
);
create index events_by_unit on zapline.events (unit_id, seq);
create index events_by_time on zapline.events using brin (created_at) with (pages_per_range = 16);

-- Up to where events were deleted for their age.
create table zapline.event_log (
    id             integer primary key default 1 check (id = 1),
    pruned_through bigint not null default 0
);

alter table zapline.hooks
    alter column unit_id drop not null,
    add column organization_id uuid references zapline.organizations on delete cascade,
    -- Of an organization's hook: the units that it is told of, as long as they are in the organization. Null: all of them,
    -- also those that are added later.
    add column units uuid[],
    -- Headers that go with each delivery, encrypted (zapline.domain.crm_webhook_headers).
    add column headers bytea,
    -- Of a unit's hook: the organization whose token has made it. It ends when the unit leaves.
    add column made_by uuid references zapline.organizations on delete set null,
    add constraint hooks_of_one check ((unit_id is null) <> (organization_id is null)),
    add constraint hooks_units check (units is null or organization_id is not null and cardinality(units) > 0);
create index hooks_by_organization on zapline.hooks (organization_id, created_at, id) where organization_id is not null;
create index hooks_by_maker on zapline.hooks (made_by) where made_by is not null;

do $$
declare
    name text;
begin
    foreach name in array array['events', 'event_log']
    loop
        execute format('alter table zapline.%I enable row level security', name);
        execute format('alter table zapline.%I force row level security', name);
        execute format('create policy engine on zapline.%I to zapline_engine using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on zapline.%I to zapline_engine', name);
    end loop;
end
$$;
grant usage, select on sequence zapline.events_seq_seq to zapline_engine;
grant select on zapline.events to zapline_api;
create policy api on zapline.events to zapline_api using (
    unit_id = (select nullif(current_setting('zapline.unit', true), '')::uuid)
    or (select current_setting('zapline.scope', true)) = 'admin');

-- A stream is told whether events behind its place were deleted.
grant select on zapline.event_log to zapline_api;
create policy api on zapline.event_log to zapline_api using (
    (select nullif(current_setting('zapline.organization', true), '')) is not null
    or (select current_setting('zapline.scope', true)) = 'admin');

-- A transaction of an organization's token sees what its hooks and its stream tell: rows of the units that it opens, and
-- those hooks of the organization that are told of no other.
do $$
declare
    name text;
begin
    foreach name in array array['events', 'hook_deliveries', 'messages', 'message_aliases', 'message_reactions',
                                'conversations', 'contacts', 'outbox', 'campaigns', 'campaign_recipients']
    loop
        execute format($f$create policy organization on zapline.%I for select to zapline_api using (
            unit_id = any((select nullif(current_setting('zapline.units', true), '')::uuid[])::uuid[]))$f$, name);
    end loop;
end
$$;
create policy organization on zapline.hooks for select to zapline_api using (
    organization_id = (select nullif(current_setting('zapline.organization', true), '')::uuid)
    and ((select current_setting('zapline.chosen', true)) = 'all'
         or units <@ (select nullif(nullif(current_setting('zapline.chosen', true), 'all'), '')::uuid[])));

-- A piece of news: `happened_at` null: it has just happened.
create type zapline.news as (
    unit_id uuid, event text, subject uuid, facts jsonb, happened_at timestamptz);

create function zapline.anybody_listens() returns boolean language sql stable as $$
    select exists (select from zapline.organization_units)
        or exists (select from zapline.hooks where disabled_at is null)
$$;

-- Writes down what somebody is told: a hook that wants it, or the organization of the unit. History is not news: of what
-- was read back, only what happened after the hook was made, or after the unit came into the organization.
create function zapline.tell(news zapline.news[]) returns void language sql as $$
    insert into zapline.events (unit_id, event, subject, facts, happened_at)
    select n.unit_id, n.event, n.subject, coalesce(n.facts, '{}'), n.happened_at
      from unnest(news) with ordinality as n(unit_id, event, subject, facts, happened_at, place)
     where exists (select from zapline.organization_units o
                    where o.unit_id = n.unit_id
                      and (n.happened_at is null or n.happened_at >= date_trunc('second', o.added_at)))
        or exists (select from zapline.hooks h
                    where h.unit_id = n.unit_id and h.disabled_at is null and n.event = any(h.events)
                      and (n.happened_at is null or n.happened_at >= date_trunc('second', h.created_at)))
     order by n.place
$$;

-- The delivery of an event to a hook has an id derived from both: it is the same when it is made again.
create function zapline.delivery_id(hook uuid, event uuid) returns uuid language sql immutable
return md5(hook::text || event::text)::uuid;

create function zapline.deliver_events() returns trigger language plpgsql as $$
begin
    insert into zapline.hook_deliveries (id, hook_id, unit_id, event, subject, facts)
    select zapline.delivery_id(d.hook_id, d.id), d.hook_id, d.unit_id, d.event, d.subject, d.facts
      from (select h.id as hook_id, e.*
              from fresh e
              join zapline.hooks h on h.unit_id = e.unit_id and h.disabled_at is null and e.event = any(h.events)
             where e.happened_at is null or e.happened_at >= date_trunc('second', h.created_at)
            union all
            select h.id, e.*
              from fresh e
              join zapline.organization_units o on o.unit_id = e.unit_id
              join zapline.hooks h on h.organization_id = o.organization_id and h.disabled_at is null
                                  and e.event = any(h.events) and (h.units is null or e.unit_id = any(h.units))
             where e.happened_at is null or e.happened_at >= date_trunc('second', o.added_at)) d
     order by d.seq;
    return null;
end
$$;
create trigger deliver_events after insert on zapline.events
    referencing new table as fresh for each statement execute function zapline.deliver_events();

-- A unit that leaves its organization is told of there no more. Hooks that the organization's programs made for the unit
-- alone end. What is queued is delivered no more (crm_webhooks.sql), and ended afterwards, in parts: whoever takes a unit
-- out waits for none of it.
create function zapline.end_hooks_of_left_unit() returns trigger language plpgsql as $$
begin
    update zapline.hooks set disabled_at = coalesce(disabled_at, now()), disabled_reason = 'unit_left'
     where unit_id = old.unit_id and made_by = old.organization_id and disabled_reason is distinct from 'deleted';
    return null;
end
$$;
create trigger end_hooks_of_left_unit after delete on zapline.organization_units
    for each row execute function zapline.end_hooks_of_left_unit();

-- -- what is told, as until now ------------------------------------------------------------------------------------

create or replace function zapline.tell_created() returns trigger language plpgsql as $$
begin
    if zapline.anybody_listens() and exists (select from fresh) then
        perform zapline.tell(array_agg(
            (f.unit_id, case when f.from_me then 'message.sent' else 'message.received' end, f.id, null,
             case when f.origin = 'live' and not f.backfilled then null else f.sent_at end)::zapline.news
            order by f.seq))
           from fresh f where f.client_message_id is null;
    end if;
    return null;
end
$$;
create or replace function zapline.tell_changed() returns trigger language plpgsql set enable_nestloop = off as $$
begin
    if zapline.anybody_listens() and exists (select from later) then
        perform zapline.tell(array_agg((n.unit_id, e.event, n.id, e.facts, null)::zapline.news order by n.seq, e.place))
           from earlier o
           join later n on n.id = o.id
          cross join lateral (values
                (1, 'message.delivery', n.from_me and n.delivery is distinct from o.delivery,
                 jsonb_build_object('deliveryStatus', n.delivery)),
                (2, 'message.edited', n.edited_at_ms is distinct from o.edited_at_ms or n.kind_rank > o.kind_rank
                 or zapline.edit_is_unread(n.edit_unread_ms, n.edit_read_ms, n.edited_at_ms)
                    and n.edit_unread_ms is distinct from o.edit_unread_ms, null),
                (3, 'message.deleted', n.deleted_at is not null and o.deleted_at is null, null))
                    as e(place, event, happened, facts)
          where e.happened;
    end if;
    return null;
end
$$;

create or replace function zapline.tell_completed() returns trigger language plpgsql as $$
begin
    perform zapline.tell(array[(new.unit_id, 'message.edited', new.id, null, null)::zapline.news]);
    return null;
end
$$;

create or replace function zapline.tell_status() returns trigger language plpgsql as $$
begin
    perform zapline.tell(array[(new.unit_id, 'unit.status', null,
           jsonb_build_object('status', new.status, 'reason', new.status_reason, 'phase', new.phase,
                              'connectedAt', extract(epoch from new.connected_at),
                              'disconnectedAt', extract(epoch from new.disconnected_at),
                              'updatedAt', extract(epoch from new.updated_at),
                              'campaignsHeld', u.campaigns_held_reason), null)::zapline.news])
       from zapline.units u where u.id = new.unit_id;
    return null;
end
$$;

create or replace function zapline.tell_campaigns_held() returns trigger language plpgsql as $$
begin
    perform zapline.tell(array[(new.id, 'unit.status', null,
           jsonb_build_object('status', c.status, 'reason', c.status_reason, 'phase', c.phase,
                              'connectedAt', extract(epoch from c.connected_at),
                              'disconnectedAt', extract(epoch from c.disconnected_at),
                              'updatedAt', extract(epoch from c.updated_at),
                              'campaignsHeld', new.campaigns_held_reason), null)::zapline.news])
       from zapline.unit_whatsapp_connections c where c.unit_id = new.id;
    return null;
end
$$;

create or replace function zapline.tell_campaign() returns trigger language plpgsql as $$
begin
    perform zapline.tell(array[
        (new.unit_id, 'campaign.state', new.id, jsonb_build_object('state', new.state), null)::zapline.news]);
    return null;
end
$$;

-- A reaction or vote as news about its message. What was not live counts where it happened later.
create function zapline.reaction_news(unit uuid, kind text, message uuid, reaction uuid, live boolean, at_ms bigint)
    returns zapline.news language sql immutable
return (unit, case kind when 'vote' then 'poll.vote' else 'message.reaction' end, message,
        jsonb_build_object('reaction', reaction),
        case when live then null else to_timestamp(at_ms / 1000.0) end)::zapline.news;

create or replace function zapline.tell_reactions() returns trigger language plpgsql as $$
begin
    if zapline.anybody_listens() and exists (select from fresh) then
        perform zapline.tell(array_agg(
            zapline.reaction_news(x.unit_id, x.kind, m.id, x.id, x.live, x.at_ms) order by x.seq))
           from fresh x
           join zapline.messages m
             on m.unit_id = x.unit_id and m.provider = x.provider and m.external_id = x.external_id;
    end if;
    return null;
end
$$;

create or replace function zapline.tell_changed_reactions() returns trigger language plpgsql as $$
begin
    if zapline.anybody_listens() and exists (select from later) then
        perform zapline.tell(array_agg(
            zapline.reaction_news(x.unit_id, x.kind, m.id, x.id, x.live, x.at_ms) order by x.seq))
           from later x
           join earlier o on o.id = x.id and o.value is distinct from x.value
           join zapline.messages m
             on m.unit_id = x.unit_id and m.provider = x.provider and m.external_id = x.external_id;
    end if;
    return null;
end
$$;

create or replace function zapline.tell_waiting_reactions(known uuid[]) returns void language sql as $$
    select zapline.tell(array_agg(
        zapline.reaction_news(x.unit_id, x.kind, m.id, x.id, x.live, x.at_ms) order by x.seq))
      from unnest(known) as k(id)
      join zapline.messages m on m.id = k.id
      join zapline.message_reactions x
        on x.unit_id = m.unit_id and x.provider = m.provider and x.external_id = m.external_id
$$;
create or replace function zapline.tell_reactions_of_created() returns trigger language plpgsql as $$
begin
    if zapline.anybody_listens() and exists (select from fresh) then
        perform zapline.tell_waiting_reactions(
            (select array_agg(f.id) from fresh f
              where exists (select from zapline.message_reactions x
                             where x.unit_id = f.unit_id and x.provider = f.provider
                               and x.external_id = f.external_id)));
    end if;
    return null;
end
$$;
create or replace function zapline.tell_reactions_of_settled() returns trigger language plpgsql as $$
begin
    if zapline.anybody_listens() and exists (select from later) then
        perform zapline.tell_waiting_reactions(
            (select array_agg(n.id) from later n join earlier o on o.id = n.id
              where o.external_id is null and n.external_id is not null
                and exists (select from zapline.message_reactions x
                             where x.unit_id = n.unit_id and x.provider = n.provider
                               and x.external_id = n.external_id)));
    end if;
    return null;
end
$$;
